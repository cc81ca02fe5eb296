package runner_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/runner"
)

// pair is a pipeline that reads one record in each run, and a run in its place. Both must
// never run at once.
type pair struct {
	own, other atomic.Int32 // records that each has written
	alive      atomic.Int32
	overlaps   atomic.Int32
}

func (p *pair) build(n *atomic.Int32, change func(*source, *destination)) runner.Build {
	return build(func(s *source, d *destination) {
		s.single("1")
		d.OnOpen = func(context.Context) error {
			if p.alive.Add(1) > 1 {
				p.overlaps.Add(1)
			}
			return nil
		}
		d.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
			n.Add(int32(len(recs)))
			return nil
		}
		d.OnTeardown = func(context.Context) error { p.alive.Add(-1); return nil }
		if change != nil {
			change(s, d)
		}
	})
}

// slowEnd lets the teardown of the destination take a second.
func (p *pair) slowEnd(_ *source, d *destination) {
	d.OnTeardown = func(context.Context) error {
		time.Sleep(time.Second)
		p.alive.Add(-1)
		return nil
	}
}

func newPair(w *world) *pair {
	p := &pair{}
	w.add("p", p.build(&p.own, nil))
	synctest.Wait()
	return p
}

func TestGroup_RunInstead(t *testing.T) {
	lost := errors.New("lost")
	for name, tc := range map[string]struct {
		change func(*source, *destination)
		before func(*world) // what the host does before
		want   error
		path   string
	}{
		"done": {change: func(s *source, _ *destination) { s.ending("1", "2") },
			path: "starting running draining stopped starting running draining done starting running"},
		"failed": {change: func(s *source, _ *destination) {
			s.OnRead = func(context.Context) ([]opencdc.Record, error) { return nil, lost }
		}, want: lost,
			path: "starting running draining stopped starting running draining recovering starting running"},
		"panicked": {change: func(*source, *destination) { panic(lost) }, want: lost,
			path: "starting running draining stopped starting recovering starting running"},
		"stopped before": {change: func(s *source, _ *destination) { s.ending("1", "2") },
			before: func(w *world) { want(w.t, w.Stop(w.t.Context(), "p")) },
			path:   "starting running draining stopped starting running draining done starting running"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := newPair(w)
				if tc.before != nil {
					tc.before(w)
				}
				if err := w.RunInstead(t.Context(), "p", p.build(&p.other, tc.change)); !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
					t.Errorf("RunInstead returns %v", err)
				}
				synctest.Wait()
				if got := w.path("p"); got != tc.path {
					t.Errorf("the path is %s, want %s", got, tc.path)
				}
				if own, other := p.own.Load(), p.other.Load(); own != 2 || tc.want == nil && other != 2 {
					t.Errorf("own workers have written %d records, the others %d", own, other)
				}
				if s := w.status("p"); s.State != runner.Running || !s.ShouldRun || s.Attempt != 0 || s.Restarts != 0 {
					t.Errorf("it is %+v", s)
				}
				want(t, w.end())
				if n := p.overlaps.Load(); n != 0 {
					t.Errorf("%d runs have begun beside another one", n)
				}
			})
		})
	}
}

// The pipeline stays what another call makes of it.
func TestGroup_RunInstead_stopped(t *testing.T) {
	for name, tc := range map[string]struct {
		call  func(*world) error
		want  error
		state runner.State // or empty if it is gone
	}{
		"Stop":    {func(w *world) error { return w.Stop(w.t.Context(), "p") }, runner.ErrStopped, runner.Stopped},
		"Restart": {func(w *world) error { return w.Restart(w.t.Context(), "p") }, runner.ErrStopped, runner.Running},
		"Remove":  {func(w *world) error { return w.Remove(w.t.Context(), "p") }, runner.ErrStopped, ""},
		"end":     {func(w *world) error { return w.end() }, runner.ErrClosed, runner.Stopped},
	} {
		for _, early := range []bool{true, false} { // while the pipeline's own run still ends
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					p := &pair{}
					w.add("p", p.build(&p.own, p.slowEnd))
					synctest.Wait()
					result := make(chan error, 1)
					go func() { result <- w.RunInstead(t.Context(), "p", p.build(&p.other, nil)) }()
					if early {
						synctest.Wait()
					} else {
						time.Sleep(10 * time.Second)
						if err := w.RunInstead(t.Context(), "p", p.build(&p.other, nil)); !errors.Is(err, runner.ErrRunning) {
							t.Errorf("a second one returns %v", err)
						}
					}
					calls := make(chan error, 1)
					go func() { calls <- tc.call(w) }()
					err := <-result
					if !errors.Is(err, tc.want) {
						t.Errorf("RunInstead returns %v, want %v", err, tc.want)
					}
					want(t, <-calls)
					synctest.Wait()
					if s, err := w.StatusOf("p"); s.State != tc.state || (err != nil) != (tc.state == "") {
						t.Errorf("it is %+v, %v", s, err)
					}
					if other := p.other.Load(); early != (other == 0) || p.overlaps.Load() != 0 {
						t.Errorf("the others have written %d records, and %d runs overlap", other, p.overlaps.Load())
					}
					if name != "end" {
						want(t, w.end())
					}
				})
			})
		}
	}
}

func TestGroup_RunInstead_stuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		p := newPair(w)
		result := make(chan error, 1)
		go func() {
			result <- w.RunInstead(t.Context(), "p", p.build(&p.other, func(_ *source, d *destination) {
				d.OnWrite = func(context.Context, []opencdc.Record) error { <-release; return nil }
			}))
		}()
		time.Sleep(time.Minute)
		if err := w.Stop(t.Context(), "p"); !errors.Is(err, runner.ErrStuck) {
			t.Errorf("Stop returns %v", err)
		}
		if err := <-result; !errors.Is(err, runner.ErrStuck) {
			t.Errorf("RunInstead returns %v", err)
		}
		if err := w.RunInstead(t.Context(), "p", p.build(&p.other, nil)); !errors.Is(err, runner.ErrStuck) {
			t.Errorf("RunInstead of a stuck pipeline returns %v", err)
		}
		close(release)
		synctest.Wait()
		if s := w.status("p"); s.State != runner.Stopped || s.ShouldRun {
			t.Errorf("it is %+v", s)
		}
		want(t, w.RunInstead(t.Context(), "p", p.build(&p.other, func(s *source, _ *destination) { s.ending() })))
		want(t, w.end())
	})
}

// What could not begin because the pipeline's own run is stuck does not begin later.
func TestGroup_RunInstead_ownStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		p := &pair{}
		w.add("p", p.build(&p.own, func(_ *source, d *destination) {
			d.OnTeardown = func(context.Context) error { <-release; p.alive.Add(-1); return nil }
		}))
		synctest.Wait()
		if err := w.RunInstead(t.Context(), "p", p.build(&p.other, nil)); !errors.Is(err, runner.ErrStuck) {
			t.Errorf("RunInstead returns %v", err)
		}
		close(release)
		synctest.Wait()
		want(t, w.Start("p"))
		synctest.Wait()
		if own, other := p.own.Load(), p.other.Load(); own != 2 || other != 0 {
			t.Errorf("own workers have written %d records, the others %d", own, other)
		}
		want(t, w.end())
	})
}

// When a stuck run in the place of the pipeline ends after all, the pipeline is started.
func TestGroup_RunInstead_stuckForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		p := newPair(w)
		err := w.RunInstead(t.Context(), "p", p.build(&p.other, func(s *source, d *destination) {
			s.ending("1")
			d.OnTeardown = func(context.Context) error { <-release; p.alive.Add(-1); return nil }
		}))
		if !errors.Is(err, runner.ErrStuck) {
			t.Errorf("RunInstead returns %v", err)
		}
		close(release)
		synctest.Wait()
		if s := w.status("p"); s.State != runner.Running || p.own.Load() != 2 || p.overlaps.Load() != 0 {
			t.Errorf("it is %+v", s)
		}
		want(t, w.end())
	})
}

// A call of Stop ends what has not begun yet, also if another call follows.
func TestGroup_RunInstead_dropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := &pair{}
		w.add("p", p.build(&p.own, p.slowEnd))
		synctest.Wait()
		results := make(chan error, 3)
		go func() { results <- w.RunInstead(t.Context(), "p", p.build(&p.other, nil)) }()
		synctest.Wait()
		go func() { results <- w.Stop(t.Context(), "p") }()
		synctest.Wait()
		if err := <-results; !errors.Is(err, runner.ErrStopped) {
			t.Errorf("RunInstead returns %v", err)
		}
		want(t, w.Restart(t.Context(), "p"))
		want(t, <-results)
		synctest.Wait()
		if s := w.status("p"); s.State != runner.Running || p.own.Load() != 2 || p.other.Load() != 0 {
			t.Errorf("it is %+v", s)
		}
		want(t, w.end())
	})
}

// A context that ends only ends the wait.
func TestGroup_RunInstead_context(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := newPair(w)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := w.RunInstead(ctx, "p", p.build(&p.other, func(s *source, _ *destination) {
			s.OnRead = func(context.Context) ([]opencdc.Record, error) {
				time.Sleep(time.Minute)
				return s.ending("1").OnRead(ctx)
			}
		}))
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `"p"`) {
			t.Errorf("RunInstead returns %v", err)
		}
		time.Sleep(time.Hour)
		if s := w.status("p"); s.State != runner.Running || p.own.Load() != 2 || p.other.Load() != 1 {
			t.Errorf("%d and %d records were written, and it is %+v", p.own.Load(), p.other.Load(), s)
		}
		want(t, w.end())
	})
}

func TestGroup_RunInstead_invalid(t *testing.T) {
	g, err := runner.New()
	want(t, err)
	want(t, g.Add("p", build(nil)))
	if err := g.RunInstead(t.Context(), "p", build(nil)); err == nil || !strings.Contains(err.Error(), "does not run yet") {
		t.Errorf("before Run: %v", err)
	}
	if err := g.RunInstead(t.Context(), "q", build(nil)); !errors.Is(err, runner.ErrUnknown) {
		t.Errorf("an unknown pipeline: %v", err)
	}
	if err := g.RunInstead(t.Context(), "p", nil); err == nil || !strings.Contains(err.Error(), "is nil") {
		t.Errorf("no build: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want(t, g.Run(ctx))
	if err := g.RunInstead(t.Context(), "p", build(nil)); !errors.Is(err, runner.ErrClosed) {
		t.Errorf("after Run: %v", err)
	}
}
