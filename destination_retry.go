package funnel

import (
	"context"
	"fmt"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/reuse"
)

// DestinationRetry says how a destination retries the records that it refuses. A number
// of 0 or less means the default.
type DestinationRetry struct {
	// MaxAttempts is the maximum number of times that a record is written, including the
	// first. The default is 3.
	MaxAttempts int
	// MinPause is the pause before a record is written the second time. Each further
	// pause is twice as long as the one before. The default is 10 ms.
	MinPause time.Duration
	// MaxPause is the longest pause, even if MinPause is longer. The default is 1 s, or
	// MinPause if that is longer.
	MaxPause time.Duration
	// Retryable returns true if a record that was refused with this error may be written
	// again. It runs on the goroutine that calls Ack, once for each refusal after which
	// attempts are left. By default every error is retryable.
	Retryable func(error) bool
}

const (
	defaultMaxAttempts   = 3
	defaultMinWritePause = 10 * time.Millisecond
	defaultMaxWritePause = time.Second
)

// NewRetryDestination returns a destination that writes records to d again if d refuses
// them, for refusals that are temporary. If d is nil, so is the result.
//
// Records whose acks have an error are written again, alone and in order, after a pause,
// as long as attempts are left and their errors are retryable. An error that is or wraps
// [context.Canceled], [context.DeadlineExceeded] or the cause of the ended context is
// never retryable. A record that is refused for good keeps the error of its last attempt.
//
// Write makes the first attempt; Ack pauses and makes the others. Ack returns the acks in
// the order of the records, each as soon as its record and all before it are decided. So
// a record that is written again delays the acks of those behind it.
//
// Only refusals are retried. If d fails, Ack first returns the acks before the first
// undecided record, if there are any, and then the error. The same holds if the context
// ends in a pause, and if the acks of an attempt do not match its records; in the latter
// case no ack of the attempt counts. Once Ack has returned an error, it returns the same
// error until the next Write or Open.
//
// What is given up is order: when a record is written again, records behind it in the
// same Write may already be there. A record may be written up to MaxAttempts times. No
// later Write begins before all records of this one are decided. For strict order, retry
// one record at a time:
//
//	NewLimitedDestination(NewRetryDestination(d, retry), WriteLimit{Records: 1})
//
// If none is refused, a record costs a check of its ack, a few nanoseconds, where a
// [DestinationTask] or another destination of this package writes to the result directly.
// Any other caller also pays for a copy of the struct, into memory that is reused: about
// 15 ns, more if a Write does not fit into the CPU's caches. The metrics of a
// DestinationTask count a record once, with the time of all attempts.
func NewRetryDestination(d Destination, retry DestinationRetry) Destination {
	if isNil(d) {
		return nil
	}
	if retry.MaxAttempts <= 0 {
		retry.MaxAttempts = defaultMaxAttempts
	}
	if retry.MinPause <= 0 {
		retry.MinPause = defaultMinWritePause
	}
	if retry.MaxPause <= 0 {
		retry.MaxPause = max(defaultMaxWritePause, retry.MinPause)
	}
	return &retryDestination{Destination: d, retry: retry}
}

type retryDestination struct {
	Destination
	retry DestinationRetry // with the defaults filled in

	kept     keptWrite // its records are undecided
	attempt  int       // the number of the current attempt, from 1
	indices  []int     // of the undecided records among all, from the second attempt on
	returned int       // how many of the first acks were returned

	indexMemory reuse.Buffer[int]
}

func (r *retryDestination) validate() error { return validate(r.Destination) }

func (r *retryDestination) reset() {
	r.kept.reset()
	r.indexMemory.Put(r.indices)
	r.attempt, r.indices, r.returned = 1, nil, 0
}

func (r *retryDestination) Open(ctx context.Context) error {
	r.reset()
	return r.Destination.Open(ctx)
}

func (r *retryDestination) Write(ctx context.Context, records []opencdc.Record) error {
	return r.write(ctx, records, false)
}

func (r *retryDestination) write(ctx context.Context, records []opencdc.Record, isLent bool) error {
	r.reset()
	r.kept.keep(records, isLent)
	err := write(ctx, r.Destination, r.kept.records[:len(records):len(records)])
	if err != nil {
		r.kept.end(err)
	}
	return err
}

func (r *retryDestination) Ack(ctx context.Context) ([]connector.DestinationAck, error) {
	k := &r.kept
	switch {
	case k.err != nil:
		return nil, k.err
	case len(k.records) == 0:
		return r.Destination.Ack(ctx)
	}
	for {
		d := delivery{records: k.records[:len(k.records):len(k.records)], isWritten: r.attempt == 1}
		err := r.deliver(ctx, &d)
		if d.acks != nil && r.attempt == 1 && len(d.refused) == 0 {
			k.end(nil)
			return d.acks, nil
		}
		decided := r.decide(ctx, &d)
		if err != nil {
			k.end(err)
		}
		acks := k.acks[r.returned:decided:decided]
		r.returned = decided
		if len(acks) > 0 || err != nil {
			return k.result(acks)
		}
	}
}

// deliver makes an attempt, after a pause if it is not the first one.
func (r *retryDestination) deliver(ctx context.Context, d *delivery) error {
	if r.attempt == 1 {
		return d.run(ctx, r.Destination)
	}
	if _, err := sleep(ctx, pause(r.attempt-1, r.retry.MinPause, r.retry.MaxPause), nil); err != nil {
		return err
	}
	if err := d.run(ctx, r.Destination); err != nil {
		return fmt.Errorf("attempt %d of %d: %w", r.attempt, r.retry.MaxAttempts, err)
	}
	return nil
}

// decide stores the acks of an attempt, and keeps the records that are to be written
// again for the next one. It returns how many of the first records of the Write are
// decided.
func (r *retryDestination) decide(ctx context.Context, d *delivery) (decided int) {
	k := &r.kept
	if r.attempt == 1 {
		k.addAcks(d)
		r.indices = r.indexMemory.Take(len(d.refused))
	} else {
		for _, i := range r.indices {
			k.acks[i].Error = nil
		}
		for _, refused := range d.refused {
			k.acks[r.indices[refused.index]].Error = refused.err
		}
	}
	decided = len(k.acks)
	if d.acked < len(d.records) { // d has failed: nothing is written again
		decided = r.index(d.acked)
	}
	again := d.refused[:0]
	for _, refused := range d.refused {
		if r.isRetryable(ctx, refused.err) {
			again = append(again, refused)
		}
	}
	k.keepOnly(again)
	indices := r.indices[:0] // in the same memory, never beyond what was looked at
	for _, refused := range again {
		indices = append(indices, r.index(refused.index))
	}
	if len(indices) > 0 {
		decided = min(decided, indices[0])
	}
	r.indices = indices
	r.attempt++
	return decided
}

// index returns the index in the Write of record i of the attempt.
func (r *retryDestination) index(i int) int {
	if r.attempt == 1 {
		return i
	}
	return r.indices[i]
}

// isRetryable returns true if a record that was refused with the error is to be written
// again.
func (r *retryDestination) isRetryable(ctx context.Context, err error) bool {
	return r.attempt < r.retry.MaxAttempts &&
		!isAny(err, context.Canceled, context.DeadlineExceeded, context.Cause(ctx)) &&
		(r.retry.Retryable == nil || r.retry.Retryable(err))
}
