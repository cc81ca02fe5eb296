package funnel

import (
	"context"
	"errors"
	"fmt"
)

// Limiter says when records may pass. The *Limiter of golang.org/x/time/rate is one.
type Limiter interface {
	// WaitN blocks until n events may happen. It returns an error if the context ends
	// first or if it can never let that many pass.
	//
	// If the limiter also has a method Burst() int and it returns more than 0, n is never
	// greater than its result.
	WaitN(ctx context.Context, n int) error
}

// NewRateLimitTask returns a task that lets records pass at the rate of the limiter. The
// task may stand anywhere between the source and the last task of a path. Several tasks,
// even of several workers, may share a limiter if it is safe for concurrent use.
//
// A batch passes as a whole, once the limiter has let all of its active records pass. A
// piece of a split record counts as a record; a filtered record does not count. So the rate
// holds on average, and records still arrive in bursts of a batch. An error of the limiter
// stops the worker: a limiter may refuse at once to wait beyond the deadline of the context.
// [Worker.Stop] waits for the batch in flight, and so for the limiter.
//
// The task only reads the batch. So a branch that has only rate limits before its
// destination shares its records with other branches, as it would without them. [NewWorker]
// returns an error if limiter is nil, or if the task is the last one of a path: its records
// would be acked, but written nowhere.
func NewRateLimitTask(id string, limiter Limiter) Task {
	return &rateLimitTask{id: id, limiter: limiter}
}

type rateLimitTask struct {
	id      string
	limiter Limiter
}

func (t *rateLimitTask) validate() error {
	if isNil(t.limiter) {
		return errors.New("the limiter is nil")
	}
	return nil
}

func (t *rateLimitTask) ID() string { return t.id }

func (t *rateLimitTask) Open(context.Context) error { return nil }

func (t *rateLimitTask) Close(context.Context) error { return nil }

func (t *rateLimitTask) Do(ctx context.Context, b *Batch) error {
	all := b.copies.Len()
	for passed := 0; passed < all; {
		n := all - passed
		if l, ok := t.limiter.(interface{ Burst() int }); ok {
			if burst := l.Burst(); burst > 0 {
				n = min(n, burst)
			}
		}
		if err := t.limiter.WaitN(ctx, n); err != nil {
			return fmt.Errorf("the rate limiter let %d of %d records pass: %w", passed, all, err)
		}
		passed += n
	}
	return nil
}
