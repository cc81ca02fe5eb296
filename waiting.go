package funnel

import (
	"context"
	"time"
)

// The pauses of a worker, between calls that return nothing.

const (
	// maxRetryCalls is the number of calls in a row without an answer after which
	// the worker gives up on a task. The pauses between them let it survive an
	// outage of some seconds.
	maxRetryCalls = 16
	minRetryPause = time.Millisecond
	maxRetryPause = time.Second

	// maxAckCalls is the number of calls in a row without acks after which the
	// worker gives up on a destination. After the first one there is no pause.
	maxAckCalls = 5
	minAckPause = time.Millisecond
	maxAckPause = 4 * time.Millisecond

	// From the start of a read that returns nothing to the start of the next one.
	minEmptyPause = time.Millisecond
	maxEmptyPause = 100 * time.Millisecond
)

// pause returns the length of a pause in a series: the shortest has the number 1,
// and each is twice as long as the one before, up to the longest.
func pause(number int, shortest, longest time.Duration) time.Duration {
	d := shortest
	for i := 1; i < number && d < longest; i++ {
		d *= 2
	}
	return min(d, longest)
}

// sleep waits for d and returns true. It returns false if quit is closed first, and
// false with the context's error if the context ends first.
func sleep(ctx context.Context, d time.Duration, quit <-chan struct{}) (bool, error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true, nil
	case <-quit:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// emptyReads spaces reads that return nothing: a source that does not wait for
// records must not keep a CPU busy. The time counts from the start of a read, so
// after a read that has itself waited, the next one begins at once.
type emptyReads struct {
	base   time.Time     // times count from here: time.Since costs half of time.Now
	began  time.Duration // when the last read began
	series int           // how many reads in a row have returned nothing
}

// begin waits until the next read may begin, and returns true. Otherwise it is like
// sleep.
func (e *emptyReads) begin(ctx context.Context, quit <-chan struct{}) (bool, error) {
	now := time.Since(e.base)
	if e.series > 0 {
		if wait := e.began + pause(e.series, minEmptyPause, maxEmptyPause) - now; wait > 0 {
			if ok, err := sleep(ctx, wait, quit); !ok {
				return false, err
			}
			now = time.Since(e.base)
		}
	}
	e.began = now
	return true, nil
}

// end notes whether a read has returned nothing.
func (e *emptyReads) end(isEmpty bool) {
	if isEmpty {
		e.series++
	} else {
		e.series = 0
	}
}
