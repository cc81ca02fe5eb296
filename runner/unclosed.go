package runner

import (
	"context"
	"errors"
)

// maxUnclosed is the maximum number of workers and sinks that a pipeline keeps for closing again.
const maxUnclosed = 16

// unclosed are the workers and sinks that earlier runs could not close, the oldest first.
// Closing a worker again closes only what is still open, such as a source that could not save
// its position and keeps its claim. The next run would find the claim taken, so it closes these
// first.
type unclosed []func(context.Context) error

// add adds the method Close of a worker or sink. Beyond maxUnclosed it drops the oldest.
func (u *unclosed) add(close func(context.Context) error) {
	*u = append(*u, close)
	if len(*u) > maxUnclosed {
		*u = (*u)[1:]
	}
}

// closeAgain closes the workers and sinks of earlier runs again, and keeps those that fail
// again. It returns the errors joined.
func (r *run) closeAgain() error {
	if len(r.unclosed) == 0 {
		return nil
	}
	r.doing.set(noWorker, "closing what an earlier run could not close")
	defer r.doing.clear()
	ctx, cancel := context.WithTimeout(r.ctx, r.bounds.cancelled)
	defer cancel()
	var errs []error
	var left unclosed
	for _, close := range r.unclosed {
		if err := call(func() error { return close(ctx) }); err != nil {
			errs = append(errs, err)
			left.add(close)
		}
	}
	r.unclosed = left
	return errors.Join(errs...)
}
