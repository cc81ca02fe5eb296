package runner

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/conduitio/funnel"
)

// A run is one life of the workers of a pipeline, from Build to the last Teardown. It has
// a goroutine of its own, which waits for all the goroutines that it starts. If a connector
// hangs, this goroutine hangs, too. The actor of the pipeline waits for none of them: messages
// tell it how far the run is, and it declares the run stuck when the hard bound has passed.
//
// A run ends in one way, whatever the reason: it begins to wind up. From then on there are two
// bounds. Up to the soft bound, which is the graceful bound of WithStopTimeout, the workers
// may finish the batches in flight; then the context of Do is cancelled. At the hard bound the
// run is stuck.
type run struct {
	pipeline string
	build    Build
	classify func(error) Class // or nil
	bounds   bounds
	unclosed unclosed                           // by earlier runs and, in the end, by this one
	opened   func()                             // is called when the workers begin to run
	winds    func(hard time.Time, reason error) // is called when the run winds up by itself
	ended    func(ending)                       // is called when everything is closed

	ctx     context.Context // of Build, and of all but Close
	cancel  context.CancelCauseFunc
	winding chan struct{} // closed when the run begins to wind up

	mu         sync.Mutex
	isServing  bool // the workers may run
	isStopped  bool // the host has stopped the run
	isForced   bool // the soft bound has passed while workers ran
	isWinding  bool
	soft, hard time.Time
	softTimer  *time.Timer
	forcedAt   time.Time // when the soft bound was found to have passed, or zero
	reason     error     // the first error
	members    []*member
	sinks      []*funnel.Sink
	doing      doing // the call that is pending, except those of workers
	isOver     bool
}

// bounds are how long a run may take to end.
type bounds struct{ graceful, cancelled time.Duration }

// prepare makes the run ready for main. The context is that of the group.
func (r *run) prepare(ctx context.Context) {
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	r.winding = make(chan struct{})
}

// main is the goroutine of the run.
func (r *run) main() {
	e := r.live()
	if e.err != nil {
		// A function of the host classifies the error, and may hang: it is part of the run.
		r.doing.set(noWorker, "classifying its error")
		e.class, e.err = classify(e.err, r.classify)
	}
	r.mu.Lock()
	r.isOver = true
	if r.softTimer != nil {
		r.softTimer.Stop()
	}
	r.mu.Unlock()
	r.cancel(nil)
	r.ended(e)
}

// stop makes the run wind up, and returns its hard bound.
func (r *run) stop() (hard time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isStopped = true
	if !r.isServing {
		r.cancel(errStopped)
	}
	r.windLocked()
	return r.hard
}

// windUp makes the run wind up because of err, or because the sources have ended.
func (r *run) windUp(err error) {
	r.mu.Lock()
	isFirst := !r.isWinding
	if r.reason == nil {
		r.reason = err
	}
	r.windLocked()
	hard := r.hard
	r.mu.Unlock()
	if isFirst {
		r.winds(hard, err)
	}
}

func (r *run) windLocked() {
	if r.isWinding {
		return
	}
	r.isWinding = true
	r.soft = time.Now().Add(r.bounds.graceful)
	r.hard = r.soft.Add(r.bounds.cancelled)
	r.softTimer = time.AfterFunc(r.bounds.graceful, r.force)
	close(r.winding)
}

// force cancels the run at the soft bound.
func (r *run) force() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isOver || !r.forcedAt.IsZero() {
		return
	}
	r.forcedAt = time.Now()
	r.hard = r.forcedAt.Add(r.bounds.cancelled)
	for _, m := range r.members {
		if m.isRunning() {
			r.isForced = true
		}
	}
	r.cancel(errForced)
}

// stuckAt returns when the run counts as stuck. If the process was suspended at the soft
// bound, that is later than the hard bound was: after the cancellation the run always has the
// full time to end.
func (r *run) stuckAt() time.Time {
	r.force()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hard
}

// live builds, opens, runs and closes the workers, and returns how the run has ended.
func (r *run) live() (e ending) {
	if err := r.closeAgain(); err != nil {
		defer func() { // it may explain why the run has failed
			if e.err != nil {
				e.err = join(e.err, fmt.Errorf("failed to close what an earlier run could not close: %w", err))
			}
		}()
	}
	var parts Parts
	r.doing.set(noWorker, "building the pipeline")
	err := call(func() (err error) {
		parts, err = r.build(r.ctx)
		return err
	})
	if err == nil {
		err = parts.check()
	}
	if err != nil {
		return ending{err: r.unlessStopped(fmt.Errorf("failed to build the pipeline: %w", err))}
	}
	var members []*member
	for i, w := range parts.Workers {
		members = append(members, newMember(i, len(parts.Workers), w, r.ctx))
	}
	r.doing.clear()
	r.mu.Lock()
	r.members, r.sinks = members, parts.Sinks
	r.mu.Unlock()

	tried, err := r.open()
	channels, askErr := r.findChannels()
	if err == nil {
		err = askErr
	}
	isServing := err == nil && r.beginServing()
	switch {
	case isServing:
		r.opened()
	case err != nil:
		if err = r.unlessStopped(err); err != nil {
			r.windUp(err)
		}
	}
	heard := r.listen(channels)
	if isServing {
		err = r.serve()
	}
	e.finished = r.endServing(join(heard.err(), err))
	err = join(err, r.close(tried))
	heard.end()
	e.err = join(heard.err(), err)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isForced {
		e.forced = fmt.Errorf("%w of %v", errForced, r.bounds.graceful)
	}
	return e
}

// unlessStopped returns err, or nil if err only says that the run was stopped.
func (r *run) unlessStopped(err error) error {
	if r.ctx.Err() != nil && saysOnly(err, r.ctx.Err(), context.Cause(r.ctx)) {
		return nil
	}
	return err
}

// open opens the sinks and then the workers, until one fails or the run is stopped. It
// returns how many it has tried to open, sinks and workers together.
func (r *run) open() (tried int, err error) {
	for i, s := range r.sinks {
		if r.ctx.Err() != nil {
			return tried, context.Cause(r.ctx)
		}
		tried++
		r.doing.set(noWorker, fmt.Sprintf("opening sink %d", i))
		if err := call(func() error { return s.Open(r.ctx) }); err != nil {
			return tried, fmt.Errorf("failed to open sink %d: %w", i, err)
		}
		r.doing.clear()
	}
	for _, m := range r.members {
		if r.ctx.Err() != nil {
			return tried, context.Cause(r.ctx)
		}
		tried++
		m.doing.set(m.index, "opening")
		if err := call(func() error { return m.worker.Open(r.ctx) }); err != nil {
			return tried, m.wrap("failed to open", err)
		}
		m.isOpen = true
		m.doing.clear()
	}
	return tried, nil
}

// beginServing returns true if the workers are to run. From then on a stop is graceful.
func (r *run) beginServing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isServing = !r.isStopped
	return r.isServing
}

// endServing is called when no worker runs anymore. It returns true if all workers have ended
// because their sources have, and not because the run was stopped.
func (r *run) endServing(err error) (finished bool) {
	r.mu.Lock()
	isStopped := r.isStopped
	finished = r.isServing && !isStopped && err == nil
	r.mu.Unlock()
	if !isStopped {
		r.windUp(err)
	}
	return finished
}

// serve runs the workers until all have ended, and returns what went wrong.
func (r *run) serve() error {
	var errs []error
	var wg sync.WaitGroup
	reported := make(chan error)
	results := make(chan error)
	for _, m := range r.members {
		wg.Go(func() { results <- r.unlessOutside(m, m.run()) })
		wg.Go(func() {
			select {
			case <-m.done:
			case <-r.winding:
				if err := m.stop(r.softBound()); err != nil {
					reported <- err
				}
			}
		})
	}
	left := len(r.members)
	ended := make(chan struct{})
	for {
		select {
		case err := <-results:
			if err != nil {
				errs = append(errs, err)
				r.windUp(err)
			}
			if left--; left == 0 {
				go func() { wg.Wait(); close(ended) }()
			}
		case err := <-reported:
			errs = append(errs, err)
			r.windUp(err)
		case <-ended:
			return join(errs...)
		}
	}
}

// unlessOutside returns the error with which a worker has ended. If a caller outside the run
// has stopped the worker, that is an error, too, since its source has not ended. Such a caller
// may be another run with the same worker.
func (r *run) unlessOutside(m *member, err error) error {
	if err == nil && m.worker.Stopping() && !r.isEnding() && m.ctx.Err() == nil {
		return m.wrap("failed to run", errOutside)
	}
	return err
}

// isEnding returns true once the run winds up.
func (r *run) isEnding() bool {
	select {
	case <-r.winding:
		return true
	default:
		return false
	}
}

func (r *run) softBound() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.soft
}

// close closes the workers that open has tried to open, at the same time, and then the sinks.
func (r *run) close(tried int) error {
	ctx, cancel := r.closeContext()
	defer cancel()
	errs := make([]error, len(r.members)+len(r.sinks))
	var wg sync.WaitGroup
	closing := r.members[:max(tried-len(r.sinks), 0)]
	for i, m := range closing {
		wg.Go(func() { errs[i] = m.close(ctx) })
	}
	wg.Wait()
	for i, m := range closing {
		if errs[i] != nil {
			r.unclosed.add(m.worker.Close)
		}
	}
	for i, s := range r.sinks[:min(tried, len(r.sinks))] {
		r.doing.set(noWorker, fmt.Sprintf("closing sink %d", i))
		if err := call(func() error { return s.Close(ctx) }); err != nil {
			errs[len(r.members)+i] = fmt.Errorf("failed to close sink %d: %w", i, err)
			r.unclosed.add(s.Close)
		}
		r.doing.clear()
	}
	return join(errs...)
}

// closeContext returns a context for closing. It ends before the run counts as stuck: at
// the soft bound, or half way from now to the hard one if that is later.
func (r *run) closeContext() (context.Context, context.CancelFunc) {
	r.mu.Lock()
	now := time.Now()
	end := now.Add(r.hard.Sub(now) / 2)
	if end.Before(r.soft) {
		end = r.soft
	}
	if !now.Before(r.hard) { // the run is stuck: no bound is left to keep
		end = now.Add(r.bounds.cancelled)
	}
	r.mu.Unlock()
	return context.WithDeadline(context.WithoutCancel(r.ctx), end)
}
