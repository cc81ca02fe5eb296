package funnel

import (
	"context"
	"time"
)

// Pauses between calls that return nothing.

const (
	// maxUnansweredCalls is the number of consecutive calls without an answer after which
	// the worker gives up on a task, see RetryPolicy. The pauses between them bridge an
	// outage of some seconds.
	maxUnansweredCalls = 16
	minRetryPause      = time.Millisecond
	maxRetryPause      = time.Second

	// maxAckCalls is the number of consecutive calls without acks after which the
	// worker gives up on a destination. There is no pause after the first one.
	maxAckCalls = 5
	minAckPause = time.Millisecond
	maxAckPause = 4 * time.Millisecond

	// From the start of an empty read to the start of the next read.
	minEmptyPause = time.Millisecond
	maxEmptyPause = 100 * time.Millisecond
)

// pause returns the length of a pause in a series, numbered from 1. The first pause is
// the shortest, and each is twice as long as the one before, up to the longest.
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

// emptyReads spaces out reads that return nothing, so that a source that does not block
// cannot keep a CPU busy. The interval counts from the start of a read: after a read
// that has blocked that long, the next one begins at once.
type emptyReads struct {
	base   time.Time     // times count from here: time.Since costs half of time.Now
	began  time.Duration // when the last read began
	series int           // consecutive reads that returned nothing

	now     time.Duration // the time, if it was looked up just before the next read
	isKnown bool
}

// know sets the time for the next begin, which then need not read the clock.
func (e *emptyReads) know(now time.Duration) { e.now, e.isKnown = now, true }

// look returns the time.
func (e *emptyReads) look() time.Duration {
	if e.isKnown {
		e.isKnown = false
		return e.now
	}
	return time.Since(e.base)
}

// begin waits until the next read may begin, and returns true. If quit is closed or the
// context ends first, it returns what sleep returns.
func (e *emptyReads) begin(ctx context.Context, quit <-chan struct{}) (bool, error) {
	now := e.look()
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

// end records whether a read returned nothing.
func (e *emptyReads) end(isEmpty bool) {
	if isEmpty {
		e.series++
	} else {
		e.series = 0
	}
}

// isClosed returns true if the channel, to which nothing is sent, is closed.
func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
