package funnel

import (
	"context"
	"time"
)

// The pauses of a worker: between calls that have brought nothing.

const (
	// maxRetryCalls is how often in a row a task is asked that gives no answer.
	// With the pauses between them the worker survives an outage of some seconds.
	maxRetryCalls = 16
	minRetryPause = time.Millisecond
	maxRetryPause = time.Second

	// maxAckCalls is how often in a row a destination may return no acks. After the
	// first time it is asked again at once.
	maxAckCalls = 5
	minAckPause = time.Millisecond
	maxAckPause = 4 * time.Millisecond

	// These are between the begins of reads in a row that return nothing.
	minEmptyPause = time.Millisecond
	maxEmptyPause = 100 * time.Millisecond
)

// pause returns the length of a pause in a series of which each is twice as long
// as the one before, up to the longest. The shortest has the number 1.
func pause(number int, shortest, longest time.Duration) time.Duration {
	d := shortest
	for i := 1; i < number && d < longest; i++ {
		d *= 2
	}
	return min(d, longest)
}

// sleep waits. It returns false if the channel is closed or the context ends
// before, with the context's error.
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
// records must not keep a processor busy. What counts are the begins, so a read
// that has waited itself is followed at once.
type emptyReads struct {
	base   time.Time     // the clock is read as the time since then, which costs half
	began  time.Duration // when the last read has begun
	series int           // how many reads in a row have returned nothing
}

// begin waits until the next read may begin. It returns false if the channel is
// closed or the context ends before, with the context's error.
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

// end notes how a read has ended.
func (e *emptyReads) end(isEmpty bool) {
	if isEmpty {
		e.series++
	} else {
		e.series = 0
	}
}
