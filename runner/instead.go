package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// instead is a run that takes the place of a pipeline's own ones, once.
type instead struct {
	build     Build
	isRunning bool
	isStuck   bool       // and the caller knows
	done      chan error // has room for the result
}

// RunInstead runs other workers once in the place of a pipeline, under its name, and then
// starts the pipeline again. It is for what must not run beside the pipeline, such as a
// replay of its dead letters into the same destinations:
//
//	err := g.RunInstead(ctx, "orders", runner.Single(newReplay))
//
// RunInstead stops the pipeline as [Group.Stop] does, and whatever its run ends with, starts
// the one that build makes. When that is over, whether its sources have ended or it has
// failed, the pipeline is started, also if it was stopped, degraded or done before. A failed
// run is not restarted: RunInstead returns its error.
//
// Until then, a further RunInstead returns [ErrRunning]. If [Group.Stop], [Group.Restart] or
// [Group.Remove] is called meanwhile, or the group is closed, the run is stopped or does not
// begin, the pipeline is what that call makes of it, and RunInstead returns an error. If the
// pipeline's own run cannot be ended, RunInstead returns a [*StuckError], and nothing is
// started. If the other run cannot be ended, RunInstead returns one, too; the pipeline is
// started if that run ends after all. If ctx ends first, RunInstead returns an error, and all
// of this goes on. It returns an error before [Group.Run].
func (g *Group) RunInstead(ctx context.Context, name string, build Build) error {
	if build == nil {
		return fmt.Errorf("runner: the function that builds a run in the place of pipeline %q is nil", name)
	}
	p, isHeld, err := g.pipeline(name, func(*pipeline) {})
	switch {
	case err != nil:
		return err
	case isHeld:
		return errors.New("runner: the group does not run yet")
	}
	in := &instead{build: build, done: make(chan error, 1)}
	if err := p.ask(func() { p.runInstead(in) }); err != nil {
		return err
	}
	return p.await(ctx, in.done)
}

// runInstead stops the pipeline. When that is done, settle begins the run.
func (p *pipeline) runInstead(in *instead) {
	switch {
	case p.isClosing:
		in.done <- ErrClosed
		return
	case p.machine.state == Stuck:
		in.done <- p.machine.cause
		return
	case p.instead != nil:
		in.done <- fmt.Errorf("%w: %q, other workers in its place", ErrRunning, p.name)
		return
	}
	p.instead = in
	p.end(waiter{waitInstead, in.done})
}

// nextBuild returns what makes the next run.
func (p *pipeline) nextBuild() Build {
	if p.instead == nil {
		return p.build
	}
	p.instead.isRunning = true
	return p.instead.build
}

// dropInstead gives up a run that was to begin in the place of the pipeline, because of err.
func (p *pipeline) dropInstead(err error) {
	if p.instead == nil || p.instead.isRunning {
		return
	}
	p.waiters = slices.DeleteFunc(p.waiters, func(w waiter) bool { return w.kind == waitInstead })
	p.instead.done <- err
	p.instead = nil
}

// endInstead says how a run has ended, if it was one in the place of the pipeline. Unless a
// call has stopped it, it returns true: the pipeline is to be started.
func (p *pipeline) endInstead(err error, wasStopped bool) bool {
	in := p.instead
	if in == nil || !in.isRunning {
		return false
	}
	p.instead = nil
	switch {
	case p.isClosing:
		err = join(ErrClosed, err)
	case wasStopped:
		err = join(fmt.Errorf("%w: %q", ErrStopped, p.name), err)
	}
	if !in.isStuck {
		in.done <- err
	}
	return !p.isClosing && !wasStopped
}
