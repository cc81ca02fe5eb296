package runner

import (
	"context"
	"fmt"
	"time"
)

// A pipeline is an actor: one goroutine owns the state machine, the run, the timer and
// the waiting callers. All others send it functions to call. It never waits for a connector,
// a listener or the log, so it answers at once. It lives until the pipeline is removed, or
// the group is closed and the last run is over.
type pipeline struct {
	g      *Group
	name   string
	build  Build
	config pipelineConfig

	inbox chan func()
	gone  chan struct{} // closed when the actor has ended

	// Owned by the actor. Before the group runs, guarded by the lock of the group.
	machine      *machine
	run          *run // nil if there is none
	isAutoStart  bool
	alarm        *time.Timer // of the pause or of the hard bound
	isAlarmed    bool
	waiters      []waiter
	isRestarting bool // start again when the run is over
	isRemoved    bool
	isClosing    bool // the group is closing
	unclosed     unclosed
	instead      *instead // nil unless one is running or is to begin
	lag          lagMeter

	status snapshot
	texts  texts
	lags   lagCalls
}

// waiter is a call that waits until the run is over.
type waiter struct {
	kind waiterKind
	done chan error // has room for the result
}

type waiterKind int

const (
	waitStop waiterKind = iota
	waitRestart
	waitInstead // until other workers have run in the place of the pipeline
	waitRemove
)

// starts returns true if the pipeline is started again when its run is over.
func (k waiterKind) starts() bool { return k == waitRestart || k == waitInstead }

func newPipeline(g *Group, name string, build Build, c pipelineConfig) *pipeline {
	now := time.Now()
	p := &pipeline{
		g: g, name: name, build: build, config: c,
		inbox: make(chan func()), gone: make(chan struct{}),
		machine: newMachine(name, c.restart, now), isAutoStart: c.isAutoStart,
	}
	p.status.init(now, c.isAutoStart)
	return p
}

// autoStart sets whether Run is to start the pipeline. It is called before Run, under the
// lock of the group.
func (p *pipeline) autoStart(yes bool) {
	p.isAutoStart = yes
	p.status.expect(yes)
}

// act is the goroutine of the actor.
func (p *pipeline) act() {
	defer close(p.gone)
	p.alarm = time.NewTimer(time.Hour)
	p.alarm.Stop()
	tick := time.NewTicker(samplePeriod)
	tick.Stop()
	defer tick.Stop()
	isTicking := false
	if p.isAutoStart {
		p.start()
	}
	for !p.isRemoved && !(p.isClosing && p.run == nil) {
		if serves := p.machine.state == Running; serves != isTicking {
			isTicking = serves
			if serves {
				tick.Reset(samplePeriod)
			} else {
				tick.Stop()
			}
		}
		select {
		case f := <-p.inbox:
			f()
		case <-tick.C:
			now := time.Now()
			p.machine.checkHealth(now)
			p.status.sample(now, p.machine.attempt)
			p.lag.tick(p, now)
		case <-p.alarm.C:
			if p.isAlarmed {
				p.isAlarmed = false
				p.alarmed()
			}
		}
	}
	p.disarm()
}

// ask has the actor call f. It returns an error if the pipeline is gone.
func (p *pipeline) ask(f func()) error {
	select {
	case p.inbox <- f:
		return nil
	case <-p.gone:
		return p.goneError()
	}
}

// goneError returns why there is no actor.
func (p *pipeline) goneError() error {
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	if p.g.isClosed {
		return ErrClosed
	}
	return fmt.Errorf("%w %q", ErrUnknown, p.name)
}

func (p *pipeline) arm(at time.Time) {
	p.isAlarmed = true
	p.alarm.Reset(time.Until(at))
}

func (p *pipeline) disarm() {
	p.isAlarmed = false
	p.alarm.Stop()
}

// alarmed is called when the pause is over or the hard bound has passed.
func (p *pipeline) alarmed() {
	if p.machine.state == Recovering {
		p.begin(p.machine.pauseOver(time.Now()))
		return
	}
	if at := p.run.stuckAt(); time.Now().Before(at) {
		p.arm(at)
		return
	}
	p.run.mu.Lock()
	reason := p.run.reason
	p.run.mu.Unlock()
	now := time.Now()
	err := &StuckError{Pipeline: p.name, Tasks: p.run.tasks(true), Err: reason, now: now}
	p.publish(p.machine.stuck(now, err))
	if in := p.instead; in != nil && in.isRunning {
		in.isStuck = true
		in.done <- err
	}
	p.settle(err)
}

// publish makes a transition known. It does nothing for nil.
func (p *pipeline) publish(t *Transition) {
	if t == nil {
		return
	}
	if t.To != Running {
		p.lag.stop(p)
	}
	p.status.change(t, p.statusText(t.Cause), p.machine)
	p.g.publish(t)
}

func (p *pipeline) start() {
	p.status.expect(true)
	p.begin(p.machine.start(time.Now()))
}

// begin begins a run, unless the transition is nil.
func (p *pipeline) begin(t *Transition) {
	if t == nil {
		return
	}
	p.disarm()
	r := &run{pipeline: p.name, build: p.nextBuild(), classify: p.config.classify, bounds: p.g.bounds, unclosed: p.unclosed}
	// The actor lives as long as a run, so a run can always send.
	r.opened = func() {
		p.inbox <- func() { p.publish(p.machine.opened(time.Now())) }
	}
	r.winds = func(hard time.Time, reason error) {
		p.inbox <- func() {
			p.publish(p.machine.winding(time.Now(), reason))
			p.arm(hard)
		}
	}
	r.ended = func(e ending) {
		p.inbox <- func() { p.ended(e) }
	}
	r.prepare(p.g.context())
	p.run = r
	p.status.setRun(r)
	p.publish(t)
	go r.main()
}

// ended is called when the run is over.
func (p *pipeline) ended(e ending) {
	p.disarm()
	p.unclosed = p.run.unclosed
	p.run = nil
	p.status.setRun(nil)
	wasStopped := p.machine.isStopping
	p.publish(p.machine.ended(time.Now(), e))
	isStarting := p.endInstead(e.err, wasStopped)
	if p.machine.state == Recovering {
		p.arm(p.machine.next)
	}
	p.settle(e.err)
	if isStarting {
		p.start()
	}
}

// settle answers the waiting callers: the run is over, with err, or it is stuck.
func (p *pipeline) settle(err error) {
	isStuck := p.machine.state == Stuck
	isRestarting := p.isRestarting && !isStuck && !p.isClosing
	if p.isRestarting && isStuck {
		p.status.expect(false) // it was stopped, and will not be started
	}
	p.isRestarting = false
	if isStuck {
		p.dropInstead(err)
	}
	waiters := p.waiters
	p.waiters = nil
	for _, w := range waiters {
		if w.kind == waitRemove && !isStuck {
			p.remove()
		}
	}
	for _, w := range waiters {
		switch {
		case isStuck || !w.kind.starts():
			w.done <- err
		case p.isRemoved:
			w.done <- fmt.Errorf("%w %q", ErrUnknown, p.name)
		case p.isClosing:
			w.done <- ErrClosed
		case !isRestarting:
			w.done <- fmt.Errorf("%w: %q", ErrStopped, p.name)
		}
	}
	if isRestarting && !p.isRemoved {
		p.start()
		for _, w := range waiters {
			if w.kind == waitRestart {
				w.done <- nil
			}
		}
	}
}

// end makes the run end, and answers w when it is over.
func (p *pipeline) end(w waiter) {
	if p.isClosing && w.kind.starts() {
		w.done <- ErrClosed
		return
	}
	if w.kind != waitInstead && !p.isClosing {
		p.dropInstead(fmt.Errorf("%w: %q", ErrStopped, p.name))
	}
	p.isRestarting = w.kind.starts()
	if p.isClosing && w.kind == waitStop && p.machine.isOver() && p.machine.state != Recovering {
		w.done <- nil // a pipeline that has ended by itself keeps its state
		return
	}
	p.status.expect(p.isRestarting)
	p.waiters = append(p.waiters, w)
	switch t := p.machine.stop(time.Now()); {
	case p.machine.isOver():
		p.disarm()
		p.publish(t)
		p.settle(nil)
	case p.machine.state == Stuck:
		p.settle(p.machine.cause)
	default:
		p.arm(p.run.stop())
		p.publish(t)
	}
}

// remove takes the pipeline out of the group. The actor ends.
func (p *pipeline) remove() {
	if p.isRemoved {
		return
	}
	p.isRemoved = true
	p.g.forget(p)
}

// wait has the actor end the run, and waits until that is done or the context ends.
func (p *pipeline) wait(ctx context.Context, kind waiterKind) error {
	w := waiter{kind, make(chan error, 1)}
	if err := p.ask(func() { p.end(w) }); err != nil {
		return err
	}
	return p.await(ctx, w.done)
}

// await waits for a result of the actor, or until the context ends.
func (p *pipeline) await(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		select {
		case err := <-done:
			return err
		default:
		}
		return fmt.Errorf("gave up waiting for pipeline %q: %w", p.name, ctx.Err())
	}
}
