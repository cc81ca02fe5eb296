package funneltest

import "context"

// conformLifecycle tells the checks of opening and tearing down how to use a kind of
// connector.
type conformLifecycle struct {
	fresh func(*conformRun) conformConnector
	// use makes ordinary calls of an open connector. It can be called again after the
	// connector was opened again.
	use func(*conformRun, conformConnector)
	// leave makes calls whose work is not finished when they return. It may be nil.
	leave func(*conformRun, conformConnector)
}

// checks returns the checks.
func (l conformLifecycle) checks() []conformCheck {
	return []conformCheck{
		{
			name:    "opens_again_after_teardown",
			promise: "After Teardown, the same connector can be opened and used again. A host does so to restart a pipeline.",
			advice:  "In Open, make everything anew that Teardown destroys: connections, channels, goroutines, sync.Once values. Also clear everything that is left from the last session.",
			run:     l.opensAgain,
		},
		{
			name:    "failed_teardown_can_be_repeated",
			promise: "Teardown is called again if it has failed, for example because its context had ended. A later call finishes the work.",
			advice:  "Mark the connector as torn down only when everything is closed. Let the next Teardown close what is still open.",
			run:     l.teardownCanBeRepeated,
		},
		{
			name:    "failed_open_cleans_up",
			promise: "If Open fails, it cleans up after itself: Teardown is not called. A host may open the connector again.",
			advice:  "Before Open returns an error, close everything that it has opened, and stop the goroutines that it has started.",
			run:     l.failedOpenCleansUp,
		},
		{
			name:    "leaves_no_goroutines",
			promise: "When Teardown returns, the goroutines that the connector has started end, even if records are not acked yet.",
			advice:  "Tell each goroutine to end, by a context or a closed channel, and wait for it in Teardown. A goroutine that sends to a channel must also wait for that signal.",
			run:     l.leavesNoGoroutines,
		},
	}
}

func (l conformLifecycle) opensAgain(r *conformRun) {
	c := l.fresh(r)
	for i := range 4 {
		r.mustOpen(c)
		if i%2 == 1 && l.leave != nil {
			l.leave(r, c) // nothing of this may show in the next session
		} else {
			l.use(r, c)
		}
		r.mustTearDown(c)
	}
}

func (l conformLifecycle) teardownCanBeRepeated(r *conformRun) {
	c := l.fresh(r)
	r.mustOpen(c)
	l.use(r, c)
	err := r.tearDown(conformEnded(r.ctx), c)
	if err == nil {
		r.skip("Teardown succeeds although its context has ended")
	}
	if again := r.tearDown(r.ctx, c); again != nil {
		r.fail("Teardown has failed because its context had ended (%v), and failed again with a context that lives: %v", err, again)
	}
	r.mustOpen(c)
	l.use(r, c)
}

func (l conformLifecycle) failedOpenCleansUp(r *conformRun) {
	c := l.fresh(r)
	r.checkLeaks("After an Open that has failed", func() {
		var err error
		r.call("Open", func(ctx context.Context) { err = c.Open(conformEnded(ctx)) })
		if err == nil {
			r.open = append(r.open, c)
			r.skip("Open succeeds although its context has ended")
		}
	})
	r.mustOpen(c)
	l.use(r, c)
}

func (l conformLifecycle) leavesNoGoroutines(r *conformRun) {
	cycle := func(use func(*conformRun, conformConnector)) func() {
		return func() {
			c := l.fresh(r)
			r.mustOpen(c)
			use(r, c)
			r.mustTearDown(c)
		}
	}
	r.checkLeaks("After Teardown", cycle(l.use))
	if l.leave != nil {
		r.checkLeaks("After a Teardown with unfinished work", cycle(l.leave))
	}
}
