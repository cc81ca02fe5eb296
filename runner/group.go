package runner

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
)

// Group supervises named pipelines. All methods may be called at any time from any
// goroutine, also by listeners, connectors and a [Build]. If a connector stops its own
// pipeline, that call waits until its context ends or the pipeline is stuck.
type Group struct {
	logger    log.CtxLogger
	metrics   *families // or nil
	listeners []func(Transition)
	bounds    bounds
	errorText func(string, error) string // or nil

	journal queue                                  // writes to the log
	meter   queue                                  // reports metrics
	calls   queue                                  // of listeners
	logged  map[string]map[*funnel.PanicError]bool // in the journal

	mu        sync.Mutex
	ctx       context.Context // of Run, but never cancelled; nil before Run
	isClosed  bool
	pipelines map[string]*pipeline
	unclosed  map[string]unclosed // by pipelines that were removed, for others of their names
}

// New returns a group without pipelines. It returns an error if an option is invalid.
func New(opts ...Option) (*Group, error) {
	g := &Group{
		logger:    log.Nop(),
		bounds:    bounds{30 * time.Second, 5 * time.Second},
		logged:    make(map[string]map[*funnel.PanicError]bool),
		pipelines: make(map[string]*pipeline),
		unclosed:  make(map[string]unclosed),
	}
	for i, opt := range opts {
		if isNil(opt) {
			return nil, fmt.Errorf("runner: option %d is nil", i)
		}
		if err := opt.apply(g); err != nil {
			return nil, fmt.Errorf("runner: %w", err)
		}
	}
	return g, nil
}

func isNil(v any) bool {
	if v == nil {
		return true
	}
	r := reflect.ValueOf(v)
	return r.Kind() == reflect.Func && r.IsNil()
}

// Add adds a pipeline. The name must be neither empty nor taken ([ErrExists]). The pipeline
// starts when [Group.Run] begins, or at once if that has begun, unless [WithoutAutoStart] is
// given. Add returns an error, and adds nothing, if an argument is invalid or the group is
// closed.
func (g *Group) Add(name string, build Build, opts ...PipelineOption) error {
	c := pipelineConfig{isAutoStart: true}
	c.restart, _ = Restart{}.withDefaults()
	switch {
	case name == "":
		return errors.New("runner: the name of a pipeline is empty")
	case build == nil:
		return fmt.Errorf("runner: the function that builds pipeline %q is nil", name)
	}
	for i, opt := range opts {
		if isNil(opt) {
			return fmt.Errorf("runner: option %d of pipeline %q is nil", i, name)
		}
		if err := opt.apply(&c); err != nil {
			return fmt.Errorf("runner: pipeline %q: %w", name, err)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.isClosed:
		return ErrClosed
	case g.pipelines[name] != nil:
		return fmt.Errorf("%w: %q", ErrExists, name)
	}
	p := newPipeline(g, name, build, c)
	p.unclosed = g.unclosed[name]
	delete(g.unclosed, name)
	g.pipelines[name] = p
	g.report(name, Stopped)
	if g.ctx != nil {
		go p.act()
	}
	return nil
}

// Run starts the pipelines and supervises them until ctx ends. It then stops all of them
// at the same time, within the bounds of [WithStopTimeout]. It returns nil, or the joined
// errors of the pipelines that are stuck (a [*StuckError] each) and of those whose last batch
// or teardown has failed. Before Run returns it waits for the metrics, the listeners and the
// log, at most for the second time of [WithStopTimeout].
//
// The contexts of the runs have the values of ctx. Run can be called once.
func (g *Group) Run(ctx context.Context) error {
	g.mu.Lock()
	switch {
	case g.isClosed:
		g.mu.Unlock()
		return ErrClosed
	case g.ctx != nil:
		g.mu.Unlock()
		return errors.New("runner: the group runs already")
	}
	g.ctx = context.WithoutCancel(ctx)
	for _, p := range g.pipelines {
		p.isAutoStart = p.isAutoStart && ctx.Err() == nil
		go p.act()
	}
	g.mu.Unlock()

	<-ctx.Done()

	g.mu.Lock()
	g.isClosed = true
	all := g.sorted()
	g.mu.Unlock()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, p := range all {
		wg.Go(func() { errs[i] = p.shutDown() })
	}
	wg.Wait()
	quit := make(chan struct{})
	timer := time.AfterFunc(g.bounds.cancelled, func() { close(quit) })
	defer timer.Stop()
	g.meter.wait(quit)
	g.calls.wait(quit) // what fails there is logged
	g.journal.wait(quit)
	return errors.Join(errs...)
}

// shutDown stops the pipeline for good.
func (p *pipeline) shutDown() error {
	w := waiter{waitStop, make(chan error, 1)}
	if p.ask(func() { p.isClosing = true; p.end(w) }) != nil {
		return nil // it was removed
	}
	return named(p.name, <-w.done)
}

// named adds the name of the pipeline to err, unless err has it already.
func named(pipeline string, err error) error {
	switch err.(type) {
	case nil, *StuckError:
		return err
	}
	return fmt.Errorf("pipeline %q: %w", pipeline, err)
}

// Start starts a pipeline that is stopped, degraded or done. If the pipeline is recovering,
// Start ends its pause. It does not wait until the pipeline is running. The back-off and the
// window begin anew. If there is a run, Start returns [ErrRunning], or a [*StuckError] if that
// run is stuck. Before [Group.Run], Start makes Run start the pipeline.
func (g *Group) Start(name string) error {
	p, isHeld, err := g.pipeline(name, func(p *pipeline) { p.autoStart(true) })
	if isHeld || err != nil {
		return err
	}
	result := make(chan error, 1)
	if err := p.ask(func() {
		switch state := p.machine.state; {
		case p.isClosing:
			result <- ErrClosed
		case state == Stuck:
			result <- p.machine.cause
		case !p.machine.isOver():
			result <- fmt.Errorf("%w: %q is %v", ErrRunning, name, state)
		default:
			p.start()
			result <- nil
		}
	}); err != nil {
		return err
	}
	return <-result
}

// Stop stops a pipeline and waits until its run is over. The workers finish the batches in
// flight; after the graceful bound of [WithStopTimeout] their context is cancelled. A run
// that is still starting is cancelled at once. If the run does not end, the pipeline is
// stuck after the second bound, and Stop returns a [*StuckError]. If the run ends with
// another error, Stop returns it, and the pipeline is stopped.
//
// If ctx ends first, Stop returns an error that wraps the context's, and the stop continues.
//
// A pipeline that is recovering or degraded becomes stopped. A pipeline that is stopped or
// done stays so. Before [Group.Run], Stop keeps Run from starting the pipeline.
func (g *Group) Stop(ctx context.Context, name string) error {
	p, isHeld, err := g.pipeline(name, func(p *pipeline) { p.autoStart(false) })
	if isHeld || err != nil {
		return err
	}
	return p.wait(ctx, waitStop)
}

// Restart stops a pipeline as [Group.Stop] does, and starts it again. It returns nil once
// the new run begins, even if the old one has ended with an error, which [Group.Status]
// shows. Concurrent calls cause one restart. If Stop is called meanwhile, the pipeline stays
// stopped, and Restart returns [ErrStopped]. If the run is stuck, there is no new one, and
// Restart returns a [*StuckError]. If ctx ends first, Restart returns an error, and the
// restart continues. Before [Group.Run], Restart makes Run start the pipeline.
func (g *Group) Restart(ctx context.Context, name string) error {
	p, isHeld, err := g.pipeline(name, func(p *pipeline) { p.autoStart(true) })
	if isHeld || err != nil {
		return err
	}
	return p.wait(ctx, waitRestart)
}

// Remove stops a pipeline as [Group.Stop] does, and removes it. If the run ends with an
// error, Remove returns it, and the pipeline is removed all the same. A pipeline that is
// stuck is not removed. If ctx ends first, Remove returns an error, and the removal continues.
func (g *Group) Remove(ctx context.Context, name string) error {
	p, isHeld, err := g.pipeline(name, func(p *pipeline) {
		delete(g.pipelines, name)
		g.report(name, "")
	})
	if isHeld || err != nil {
		return err
	}
	return p.wait(ctx, waitRemove)
}

// pipeline returns the pipeline of a name. Before Run it instead calls held, under the lock,
// and returns true.
func (g *Group) pipeline(name string, held func(*pipeline)) (_ *pipeline, isHeld bool, _ error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.pipelines[name]
	switch {
	case g.isClosed:
		return nil, false, ErrClosed
	case p == nil:
		return nil, false, fmt.Errorf("%w %q", ErrUnknown, name)
	case g.ctx == nil:
		held(p)
		return nil, true, nil
	}
	return p, false, nil
}

// forget removes a pipeline.
func (g *Group) forget(p *pipeline) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.pipelines, p.name)
	if len(p.unclosed) > 0 {
		g.unclosed[p.name] = p.unclosed
	}
	g.report(p.name, "")
}

// context returns the context for runs.
func (g *Group) context() context.Context {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ctx
}

// sorted returns the pipelines in the order of their names. The caller holds the lock.
func (g *Group) sorted() []*pipeline {
	all := make([]*pipeline, 0, len(g.pipelines))
	for _, p := range g.pipelines {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *pipeline) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return all
}
