package funneltest

import (
	"context"
	"fmt"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
	"time"
)

// A conformance suite is a list of checks. A check runs on the goroutine of its subtest, so
// that the functions in the user's configuration may end the test. Each call of a connector
// runs on a goroutine of its own, so that a call that hangs can be abandoned. A check adds
// findings to its run; the subtest prints them.

// conformDefaultTimeout is the time that a subtest has by default.
const conformDefaultTimeout = 10 * time.Second

// conformSuite is the checks of one kind of connector.
type conformSuite struct {
	name    string // of the exported function
	checks  []conformCheck
	err     error // what is wrong with the configuration
	skip    []string
	timeout time.Duration
}

// conformCheck checks a promise of the contract.
type conformCheck struct {
	name    string
	promise string // what the contract says, and why
	advice  string // to the author of a connector that breaks the promise
	missing string // why the check cannot run, or ""
	run     func(*conformRun)
}

// test runs each check as a subtest.
func (s *conformSuite) test(t *testing.T) {
	t.Helper()
	if err := s.validate(); err != nil {
		t.Fatalf("funneltest.%s: %v", s.name, err)
	}
	for _, check := range s.checks {
		t.Run(check.name, func(t *testing.T) {
			switch {
			case slices.Contains(s.skip, check.name):
				t.Skip("its name is in Skip")
			case check.missing != "":
				t.Skip(check.missing)
			}
			r := check.perform(t, s.timeout)
			for _, finding := range r.findings {
				t.Error(check.report(finding))
			}
			if r.unchecked != "" && !t.Failed() {
				t.Skip("nothing to check: " + r.unchecked)
			}
		})
	}
}

// validate fills in the default timeout. It returns an error if the configuration is
// invalid.
func (s *conformSuite) validate() error {
	var names []string
	for _, check := range s.checks {
		names = append(names, check.name)
	}
	switch {
	case s.err != nil:
		return s.err
	case s.timeout < 0:
		return fmt.Errorf("the Timeout %v is negative", s.timeout)
	case s.timeout == 0:
		s.timeout = conformDefaultTimeout
	}
	for _, name := range s.skip {
		if !slices.Contains(names, name) {
			return fmt.Errorf("the name %q in Skip is not that of a subtest; the subtests are:\n  %s",
				name, strings.Join(names, "\n  "))
		}
	}
	return nil
}

// report returns the text of a finding.
func (c *conformCheck) report(finding string) string {
	return fmt.Sprintf("%s\n\nThe promise: %s\nWhat to do: %s\nTo leave this subtest out: Skip: []string{%q}",
		finding, c.promise, c.advice, c.name)
}

// perform runs the check. If a function of the user ends the test, so does perform.
func (c *conformCheck) perform(t testing.TB, timeout time.Duration) *conformRun {
	clock, stop := context.WithTimeout(context.Background(), timeout)
	defer stop()
	r := &conformRun{t: t, timeout: timeout, clock: clock}
	var cancel context.CancelFunc
	r.ctx, cancel = context.WithCancel(context.Background())
	defer r.tearDownRest()
	defer cancel()
	r.labelled(func() { r.protect(c.run) })
	return r
}

// conformRun is one run of a check.
type conformRun struct {
	t       testing.TB
	timeout time.Duration
	clock   context.Context // ends when the check must
	ctx     context.Context // for calls of connectors; ends after the check
	label   string          // of the goroutines of calls

	findings  []string
	unchecked string             // why there was nothing to check, or ""
	open      []conformConnector // the connectors that are not torn down
	pending   *conformCall       // the last Read, which Teardown may overlap
	isStuck   bool               // a call hangs that Teardown must not overlap
}

// conformConnector is what sources, destinations and processors have in common.
type conformConnector interface {
	Open(context.Context) error
	Teardown(context.Context) error
}

// conformStop is the value of the panic that ends a check.
type conformStop struct{}

// note adds a finding. The check goes on.
func (r *conformRun) note(format string, args ...any) {
	r.findings = append(r.findings, fmt.Sprintf(format, args...))
}

// fail adds a finding and ends the check.
func (r *conformRun) fail(format string, args ...any) {
	r.note(format, args...)
	panic(conformStop{})
}

// skip ends the check because there is nothing to check.
func (r *conformRun) skip(format string, args ...any) {
	r.unchecked = fmt.Sprintf(format, args...)
	panic(conformStop{})
}

// protect runs a check to its end. It makes a panic a finding.
func (r *conformRun) protect(run func(*conformRun)) {
	defer func() {
		switch v := recover(); v {
		case nil, conformStop{}:
		default:
			r.note("a function of the configuration panicked: %v\n%s", v, debug.Stack())
		}
	}()
	run(r)
}

// tearDownRest tears down the connectors that the check has left open, and waits for a
// pending Read, without looking at the results. It waits for the rest of the check's time,
// and a little more. If Teardown must not be called, it does nothing.
func (r *conformRun) tearDownRest() {
	if r.isStuck {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), r.timeout)
	defer cancel()
	var calls []*conformCall
	for _, c := range r.open {
		calls = append(calls, r.start("Teardown", func(context.Context) { _ = c.Teardown(ctx) }))
	}
	if r.pending != nil {
		calls = append(calls, r.pending)
	}
	for _, call := range calls {
		if !conformEndsBefore(call, r.clock.Done()) {
			conformEndsBefore(call, time.After(r.quiet()))
		}
	}
}

// conformCall is a call of a connector.
type conformCall struct {
	what    string
	done    chan struct{}
	failure string // how the call ended, if it did not return
}

// start calls f with the current context, on a goroutine of its own. what names the call in
// findings.
func (r *conformRun) start(what string, f func(context.Context)) *conformCall {
	ctx := r.ctx
	c := &conformCall{what: what, done: make(chan struct{})}
	go func() {
		pprof.SetGoroutineLabels(ctx)
		defer close(c.done)
		hasReturned := false
		defer func() {
			if hasReturned {
				return
			}
			if v := recover(); v != nil {
				c.failure = fmt.Sprintf("%s panicked: %v\n%s", what, v, debug.Stack())
			} else {
				c.failure = what + " ended its goroutine (runtime.Goexit), as t.Fatal does"
			}
		}()
		f(ctx)
		hasReturned = true
	}()
	return c
}

// wait waits until the call has returned. Anything else ends the check with a finding.
func (r *conformRun) wait(c *conformCall) {
	if !conformEndsBefore(c, r.clock.Done()) {
		r.isStuck = c != r.pending
		r.fail("%s has not returned; the subtest had %v (Timeout). The goroutine that hangs is abandoned:\n%s",
			c.what, r.timeout, r.goroutines())
	}
	if c.failure != "" {
		r.fail("%s", c.failure)
	}
}

// conformEndsBefore waits until the call has ended or the channel delivers or is closed.
// It returns true if the call has ended.
func conformEndsBefore[T any](c *conformCall, limit <-chan T) bool {
	select {
	case <-c.done:
		return true
	case <-limit:
	}
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// isOver returns true if the check has no time left.
func (r *conformRun) isOver() bool { return r.clock.Err() != nil }

// pause waits, but not longer than the check has time.
func (r *conformRun) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.clock.Done():
	}
}

// quiet is how long a call must be pending before it counts as waiting.
func (r *conformRun) quiet() time.Duration { return r.timeout / 20 }

// patience is how long a check waits for records that ought to come, but whose absence
// another check reports.
func (r *conformRun) patience() time.Duration { return r.timeout / 4 }

// call calls f and waits until it has returned.
func (r *conformRun) call(what string, f func(context.Context)) { r.wait(r.start(what, f)) }

// mustOpen opens a connector.
func (r *conformRun) mustOpen(c conformConnector) {
	var err error
	r.call("Open", func(ctx context.Context) { err = c.Open(ctx) })
	if err != nil {
		r.fail("Open failed: %v", err)
	}
	r.open = append(r.open, c)
}

// tearDown calls Teardown.
func (r *conformRun) tearDown(ctx context.Context, c conformConnector) error {
	var err error
	r.call("Teardown", func(context.Context) { err = c.Teardown(ctx) })
	if err == nil {
		r.forget(c)
	}
	return err
}

// mustTearDown tears a connector down, and waits for a Read that is pending.
func (r *conformRun) mustTearDown(c conformConnector) {
	if err := r.tearDown(r.ctx, c); err != nil {
		r.fail("Teardown failed: %v", err)
	}
	if r.pending != nil {
		r.wait(r.pending)
	}
}

// forget records that a connector was torn down.
func (r *conformRun) forget(c conformConnector) {
	r.open = slices.DeleteFunc(r.open, func(other conformConnector) bool { return other == c })
}

// conformEnded returns a context that has ended.
func conformEnded(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}
