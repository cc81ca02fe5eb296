package funnel

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/deepcopy"
)

// maxChannelRead is the maximum number of records that a Read of a ChannelSource returns.
const maxChannelRead = 1000

// ChannelSource is a source of the records that goroutines of the host send: into a Go
// channel or, to wait for the outcome of a record, with [ChannelSource.Send].
//
// A Read waits for a record, and returns it together with the records that were sent
// meanwhile, up to 1,000 in all. A record without a position gets its number as its
// position: "1", "2" and so on.
//
// Records from the channel that a worker has read and not acked are returned again, first,
// when the source is opened again or another worker begins. So the worker gets deep copies,
// which takes some microseconds for a row of ten columns. (A record nested too deeply to be
// copied is passed as it is; see [ErrTooDeep].) All records are in memory only, so to end a
// program without losing any, close the channel or call Close, and let the worker run to
// its end; do not stop it. Records from Send are not returned again: Send returns
// [ErrNotDelivered].
//
// Send and Close may be called at any time by any number of goroutines. A ChannelSource
// belongs to one worker at a time. It learns the outcomes of its records only if it is
// itself the source of the worker, is embedded in a struct that is, or is inside a
// decorator of this package. Otherwise the outcome of an acked record is OutcomeUnknown.
type ChannelSource struct {
	anonymous
	records  <-chan opencdc.Record // nil if there is no channel, or if it was closed
	requests chan *request
	closed   chan struct{} // closed by Close
	close    sync.Once

	mu        sync.Mutex
	isRunning bool          // a worker is in Do
	isTorn    bool          // the source was torn down
	unread    chan struct{} // closed while Read is not allowed
	ended     chan struct{} // closed while Send is not allowed
	endErr    error         // why the last run has ended
	number    uint64        // the number of records read so far
	pending   []*request    // the requests that were read and not acked, in order
	left      []*request    // those to be read before any others
}

// request is a record that was sent.
type request struct {
	record  opencdc.Record
	number  uint64     // of all that Read has taken, from 1 on
	decided *decided   // the outcome, once it is known
	reply   chan reply // has room for the reply; nil if nobody waits for it
}

type reply struct {
	outcome Outcome
	err     error
}

// NewChannelSource returns a source of the records from a channel. The source ends when the
// channel is closed or [ChannelSource.Close] is called. The channel may be nil, for hosts
// that only use Send.
func NewChannelSource(records <-chan opencdc.Record) *ChannelSource {
	return &ChannelSource{
		records:  records,
		requests: make(chan *request),
		closed:   make(chan struct{}),
		unread:   make(chan struct{}),
		ended:    make(chan struct{}),
	}
}

// Send sends a record through the pipeline and waits for the outcome. The source owns the
// record from then on. Send returns:
//   - [OutcomeDeadLettered] and the reason, a [*TaskError], if the record goes to the
//     dead-letter queue.
//   - An error that wraps [ErrNotDelivered], and the error of the worker if there is one,
//     if the worker ends before the record is acked, if it had ended before, or if the
//     source is closed. The record may have been written anyway.
//   - The context's error, if the context ends first. The record may still be delivered.
//   - Otherwise the outcome, and no error.
//
// If no worker has begun yet, Send waits for one. If a worker has ended, or NewWorker or
// Open has failed, Send returns an error at once, until the source is opened again or
// another worker begins.
func (s *ChannelSource) Send(ctx context.Context, record opencdc.Record) (Outcome, error) {
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	switch {
	case isClosed(s.closed):
		return OutcomeUnknown, errSourceClosed
	case ctx.Err() != nil:
		return OutcomeUnknown, contextError(ctx)
	}
	r := &request{record: record, reply: make(chan reply, 1)}
	select {
	case s.requests <- r:
	case <-ended:
		s.mu.Lock()
		defer s.mu.Unlock()
		return OutcomeUnknown, notDelivered(s.endErr)
	case <-s.closed:
		return OutcomeUnknown, errSourceClosed
	case <-ctx.Done():
		return OutcomeUnknown, contextError(ctx)
	}
	select {
	case got := <-r.reply:
		return got.outcome, got.err
	case <-ctx.Done():
		return OutcomeUnknown, contextError(ctx)
	}
}

var errSourceClosed = fmt.Errorf("%w: the source is closed", ErrNotDelivered)

// notDelivered returns the error of a record whose worker ended with err before the record
// was acked.
func notDelivered(err error) error {
	if err == nil {
		return ErrNotDelivered
	}
	return fmt.Errorf("%w: %w", ErrNotDelivered, err)
}

// Close ends the source. The worker processes the records that it has read and those that
// are in the channel, and then ends. Calling Close again does nothing.
func (s *ChannelSource) Close() { s.close.Do(func() { close(s.closed) }) }

// Open allows Read again after Teardown. It returns an error while a worker runs.
func (s *ChannelSource) Open(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isRunning {
		return errors.New("the channel source has a worker already")
	}
	s.isTorn = false
	s.begin()
	return nil
}

// Read returns the next records. It returns [io.EOF] once the source has ended, and an
// error if it was torn down.
func (s *ChannelSource) Read(ctx context.Context) ([]opencdc.Record, error) {
	s.mu.Lock()
	unread := s.unread
	if isClosed(unread) {
		s.mu.Unlock()
		return nil, errNotReadable
	}
	n := min(len(s.left), maxChannelRead)
	taken := s.left[:n:n]
	s.left = s.left[n:]
	s.mu.Unlock()
	taken = s.take(taken)
	if len(taken) == 0 {
		select {
		case r := <-s.requests:
			taken = s.add(taken, r)
		case record, ok := <-s.records:
			taken = s.received(taken, record, ok)
		case <-s.closed:
		case <-unread:
			return nil, errNotReadable
		case <-ctx.Done():
			return nil, contextError(ctx)
		}
		if taken = s.take(taken); len(taken) == 0 {
			return nil, io.EOF
		}
	}
	return s.accept(taken, unread)
}

// errNotReadable is the error of a Read that is not allowed, or no longer allowed.
var errNotReadable = errors.New("the channel source was torn down, or its worker has ended")

// take adds the records that are available without waiting.
func (s *ChannelSource) take(taken []*request) []*request {
	for len(taken) < maxChannelRead {
		select {
		case r := <-s.requests:
			taken = s.add(taken, r)
		case record, ok := <-s.records:
			taken = s.received(taken, record, ok)
		default:
			return taken
		}
	}
	return taken
}

// add adds a request that was taken.
func (s *ChannelSource) add(taken []*request, r *request) []*request {
	s.number++
	r.number = s.number
	return append(taken, r)
}

// received adds a record from the channel or, if the channel was closed, ends the source.
func (s *ChannelSource) received(taken []*request, record opencdc.Record, ok bool) []*request {
	if !ok {
		s.records = nil
		s.Close()
		return taken
	}
	return s.add(taken, &request{record: record})
}

// accept keeps track of records that were taken, and returns them.
func (s *ChannelSource) accept(taken []*request, unread <-chan struct{}) ([]opencdc.Record, error) {
	if isClosed(unread) {
		return nil, s.giveBack(taken)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	records := make([]opencdc.Record, len(taken))
	for i, r := range taken {
		records[i] = r.handOut()
	}
	s.pending = append(s.pending, taken...)
	if isClosed(unread) && !s.isRunning {
		s.finish(nil) // the source was torn down meanwhile
	}
	return records, nil
}

// handOut gives the record its position, if it has none, and returns what the engine may
// own: the record of a Send, and a copy of any other, since that may have to be read again.
func (r *request) handOut() opencdc.Record {
	if len(r.record.Position) == 0 {
		r.record.Position = strconv.AppendUint(nil, r.number, 10)
	}
	record := r.record
	if r.reply != nil {
		r.record = opencdc.Record{Position: record.Position}
		return record
	}
	if own, err := deepcopy.Record(record); err == nil {
		return own
	}
	return record // it is nested too deeply
}

// giveBack gives back records that were taken for a Read that is not allowed anymore, and
// returns the error of the Read.
func (s *ChannelSource) giveBack(taken []*request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave(taken)
	if !s.isRunning {
		s.finish(nil)
	}
	return errNotReadable
}

// refuse tells the callers of Send that their records were not delivered.
func refuse(requests []*request, err error) {
	for _, r := range requests {
		r.answer(reply{err: notDelivered(err)})
	}
}

// answer sends the reply. It must be called at most once.
func (r *request) answer(with reply) {
	if r.reply != nil {
		r.reply <- with
	}
}

// Ack tells the callers of Send the outcomes of their records.
func (s *ChannelSource) Ack(_ context.Context, positions []opencdc.Position) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range positions {
		k := slices.IndexFunc(s.pending, func(r *request) bool { return bytes.Equal(r.record.Position, p) })
		if k < 0 {
			continue // the position is made up, or is acked again
		}
		var with reply
		if d := s.pending[k].decided; d != nil {
			with = reply{outcome: d.outcome, err: d.err}
		}
		s.pending[k].answer(with)
		if k == 0 {
			s.pending[0] = nil
			s.pending = s.pending[1:]
		} else {
			s.pending = slices.Delete(s.pending, k, k+1)
		}
	}
	return nil
}

// Teardown ends a pending Read. If no worker runs, it also ends each call of Send.
func (s *ChannelSource) Teardown(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isTorn = true
	s.stopReading()
	if !s.isRunning {
		s.finish(nil)
	}
	return nil
}

func (s *ChannelSource) beginRun() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isRunning = true
	if !s.isTorn {
		s.begin()
	}
}

func (s *ChannelSource) endRun(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isRunning = false
	s.stopReading()
	s.finish(err)
}

func (s *ChannelSource) neverRuns(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isRunning {
		s.finish(err)
	}
}

func (s *ChannelSource) decide(outcomes []decided) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := 0 // the outcomes are in the order of reading
	for i := range outcomes {
		k := slices.IndexFunc(s.pending[next:], func(r *request) bool {
			return r.decided == nil && bytes.Equal(r.record.Position, outcomes[i].position)
		})
		if k >= 0 {
			s.pending[next+k].decided = &outcomes[i]
			next += k + 1
		}
	}
}

// The callers of the methods below hold the lock.

// begin allows Read and Send.
func (s *ChannelSource) begin() {
	if isClosed(s.unread) {
		s.unread = make(chan struct{})
	}
	if isClosed(s.ended) {
		s.ended, s.endErr = make(chan struct{}), nil
	}
}

// stopReading ends a pending Read, and lets no other begin.
func (s *ChannelSource) stopReading() {
	if !isClosed(s.unread) {
		close(s.unread)
	}
}

// finish ends sending. Of the records that were read and not acked, it refuses those of
// Send; the others are read again.
func (s *ChannelSource) finish(err error) {
	if !isClosed(s.ended) {
		s.endErr = err
		close(s.ended)
	}
	s.leave(s.pending)
	refuse(s.left, s.endErr)
	s.left = slices.DeleteFunc(s.left, func(r *request) bool { return r.reply != nil })
	s.pending = nil
}

// leave leaves requests to be read before any others.
func (s *ChannelSource) leave(requests []*request) {
	s.left = append(s.left, requests...)
	slices.SortFunc(s.left, func(a, b *request) int { return cmp.Compare(a.number, b.number) })
}
