package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
)

// journal is what the fakes of a test have been asked to do, in order, a line
// for each call.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(words ...string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, strings.Join(words, " "))
}

// all returns the lines that start with one of the words, or every line.
func (j *journal) all(words ...string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var lines []string
	for _, line := range j.lines {
		if len(words) == 0 || slices.Contains(words, strings.Fields(line)[0]) {
			lines = append(lines, line)
		}
	}
	return lines
}

// flat returns what follows the word in the lines that start with it, as if it
// were one line: which records a connector was given, whatever the batches.
func (j *journal) flat(word string) string {
	var rest []string
	for _, line := range j.all(word) {
		rest = append(rest, strings.Fields(line)[1:]...)
	}
	return strings.Join(rest, " ")
}

// records returns records with these positions, which are also their payload.
func records(positions ...string) []opencdc.Record {
	recs := make([]opencdc.Record, len(positions))
	for i, p := range positions {
		recs[i] = opencdc.Record{
			Position: opencdc.Position(p),
			Metadata: opencdc.Metadata{"id": p},
			Payload:  opencdc.Change{After: opencdc.RawData(p)},
		}
	}
	return recs
}

func positionsOf(recs []opencdc.Record) []string {
	positions := make([]string, len(recs))
	for i, rec := range recs {
		positions[i] = string(rec.Position)
	}
	return positions
}

// fakeRead is what a read of a fakeSource returns.
type fakeRead struct {
	recs []opencdc.Record
	err  error
}

// fakeSource returns the reads, then io.EOF or, if it is endless, nothing until
// it is torn down. A function that is set is called in place of what the fake
// would do.
type fakeSource struct {
	*journal
	reads   []fakeRead
	endless bool

	open     func(context.Context) error
	read     func(context.Context) ([]opencdc.Record, error)
	ack      func(context.Context, []opencdc.Position) error
	teardown func(context.Context) error

	once    sync.Once
	torn    chan struct{} // closed by a teardown
	reading chan struct{} // gets a value for each read that blocks
}

func (s *fakeSource) ID() string { panic("the engine asked a source for its ID") }

func (s *fakeSource) Errors() <-chan error { panic("the engine asked a source for its errors") }

func (s *fakeSource) Open(ctx context.Context) error {
	s.add("open source")
	if s.open != nil {
		return s.open(ctx)
	}
	return nil
}

func (s *fakeSource) Read(ctx context.Context) ([]opencdc.Record, error) {
	if s.read != nil {
		return s.read(ctx)
	}
	if len(s.reads) > 0 {
		r := s.reads[0]
		s.reads = s.reads[1:]
		return r.recs, r.err
	}
	if !s.endless {
		return nil, io.EOF
	}
	return nil, s.block(ctx)
}

// block waits for the teardown.
func (s *fakeSource) block(ctx context.Context) error {
	s.reading <- struct{}{}
	select {
	case <-s.torn:
		return errors.New("the source was torn down")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *fakeSource) Ack(ctx context.Context, positions []opencdc.Position) error {
	words := []string{"ack"}
	for _, p := range positions {
		words = append(words, string(p))
	}
	s.add(words...)
	if s.ack != nil {
		return s.ack(ctx, positions)
	}
	return nil
}

func (s *fakeSource) Teardown(ctx context.Context) error {
	s.add("teardown source")
	if s.teardown != nil {
		if err := s.teardown(ctx); err != nil {
			return err
		}
	}
	s.once.Do(func() { close(s.torn) })
	return nil
}

func newSource(j *journal, reads ...fakeRead) *fakeSource {
	return &fakeSource{journal: j, reads: reads, torn: make(chan struct{}), reading: make(chan struct{}, 1)}
}

// fakeDestination acks all that it is given, in one go. Records whose position
// is in refuse are acked with an error.
type fakeDestination struct {
	*journal
	name   string
	refuse map[string]error

	open     func(context.Context) error
	write    func(context.Context, []opencdc.Record) error
	acks     func(context.Context) ([]connector.DestinationAck, error)
	teardown func(context.Context) error

	written []opencdc.Record // all of them
	pending []connector.DestinationAck
}

func (d *fakeDestination) ID() string { panic("the engine asked a destination for its ID") }

func (d *fakeDestination) Errors() <-chan error {
	panic("the engine asked a destination for its errors")
}

func (d *fakeDestination) Open(ctx context.Context) error {
	d.add("open", d.name)
	if d.open != nil {
		return d.open(ctx)
	}
	return nil
}

func (d *fakeDestination) Write(ctx context.Context, recs []opencdc.Record) error {
	d.add(append([]string{d.name}, positionsOf(recs)...)...)
	d.written = append(d.written, recs...)
	d.pending = nil
	for _, rec := range recs {
		d.pending = append(d.pending, connector.DestinationAck{
			Position: rec.Position, Error: d.refuse[string(rec.Position)],
		})
	}
	if d.write != nil {
		return d.write(ctx, recs)
	}
	return nil
}

func (d *fakeDestination) Ack(ctx context.Context) ([]connector.DestinationAck, error) {
	if d.acks != nil {
		return d.acks(ctx)
	}
	acks := d.pending
	d.pending = nil
	return acks, nil
}

func (d *fakeDestination) Teardown(ctx context.Context) error {
	d.add("teardown", d.name)
	if d.teardown != nil {
		return d.teardown(ctx)
	}
	return nil
}

func newDestination(j *journal, name string) *fakeDestination {
	return &fakeDestination{journal: j, name: name, refuse: make(map[string]error)}
}

// fakeProcessor is a processor that is one function.
type fakeProcessor func(context.Context, []opencdc.Record) []sdk.ProcessedRecord

func (p fakeProcessor) Open(context.Context) error { return nil }

func (p fakeProcessor) Teardown(context.Context) error { return nil }

func (p fakeProcessor) Process(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
	return p(ctx, recs)
}

// splitInto returns the pieces of a record: copies whose positions are that of
// the record and a letter.
func splitInto(rec opencdc.Record, n int) sdk.MultiRecord {
	pieces := make(sdk.MultiRecord, n)
	for i := range pieces {
		pieces[i] = rec.Clone()
		pieces[i].Position = opencdc.Position(string(rec.Position) + string(rune('a'+i)))
	}
	return pieces
}

// node returns a node with the task and the next nodes.
func node(task funnel.Task, next ...*funnel.TaskNode) *funnel.TaskNode {
	return &funnel.TaskNode{Task: task, Next: next}
}

// chain links the nodes one behind the other and returns the first one.
func chain(nodes ...*funnel.TaskNode) *funnel.TaskNode {
	for i := range nodes[:len(nodes)-1] {
		nodes[i].Next = append(nodes[i].Next, nodes[i+1])
	}
	return nodes[0]
}

func from(s funnel.Source) *funnel.TaskNode {
	return node(funnel.NewSourceTask("source", s, log.Nop(), nil))
}

func through(id string, p funnel.Processor) *funnel.TaskNode {
	return node(funnel.NewProcessorTask(id, p, log.Nop(), nil))
}

func to(d *fakeDestination) *funnel.TaskNode {
	return node(funnel.NewDestinationTask(d.name, d, log.Nop(), nil))
}

// queue returns a dead-letter queue without a window.
func queue(d *fakeDestination) *funnel.DLQ {
	return funnel.NewDLQ(d.name, d, log.Nop(), nil, 0, 0)
}

// ending is how Do has ended.
type ending struct {
	err      error
	panicked any
	exited   bool // by runtime.Goexit
}

// start calls Do and sends how it ends.
func start(ctx context.Context, w *funnel.Worker) <-chan ending {
	done := make(chan ending, 1)
	go func() {
		e := ending{exited: true}
		defer func() {
			if v := recover(); v != nil {
				e.panicked, e.exited = v, false
			}
			done <- e
		}()
		e.err = w.Do(ctx)
		e.exited = false
	}()
	return done
}

// strictSource fails the test if two calls overlap that must not: Ack and
// Teardown may run beside Read, but nothing beside itself, and not beside each
// other.
type strictSource struct {
	*fakeSource
	t                        *testing.T
	reading, acking, tearing atomic.Bool
}

func (s *strictSource) enter(call string, busy *atomic.Bool, others ...*atomic.Bool) {
	if busy.Swap(true) {
		s.t.Errorf("%s was called beside itself", call)
	}
	for _, other := range others {
		if other.Load() {
			s.t.Errorf("%s was called beside another call", call)
		}
	}
}

func (s *strictSource) Read(ctx context.Context) ([]opencdc.Record, error) {
	s.enter("Read", &s.reading)
	defer s.reading.Store(false)
	return s.fakeSource.Read(ctx)
}

func (s *strictSource) Ack(ctx context.Context, positions []opencdc.Position) error {
	s.enter("Ack", &s.acking, &s.tearing)
	defer s.acking.Store(false)
	return s.fakeSource.Ack(ctx, positions)
}

func (s *strictSource) Teardown(ctx context.Context) error {
	s.enter("Teardown", &s.tearing, &s.acking)
	defer s.tearing.Store(false)
	return s.fakeSource.Teardown(ctx)
}

// newAhead returns a worker that reads ahead, or one that does not if records is
// 0.
func newAhead(t *testing.T, records int, first *funnel.TaskNode, dlq *funnel.DLQ, timer metrics.Timer) *funnel.Worker {
	t.Helper()
	var opts []funnel.WorkerOption
	if records > 0 {
		opts = append(opts, funnel.WithReadAhead(records))
	}
	w, err := funnel.NewWorker(first, dlq, log.Nop(), timer, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func wantNoError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("unexpected error: %v", err)
	}
}

var errTest = errors.New("test error")

func errFor(position string) error { return fmt.Errorf("%w of %s", errTest, position) }
