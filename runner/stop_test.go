package runner_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/runner"
)

// A stop lets the worker finish the batch in flight within the graceful bound.
func TestStop_graceful(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("x", build(func(s *source, d *destination) {
			s.single("1")
			d.OnWrite = func(context.Context, []opencdc.Record) error { time.Sleep(graceful - 1); return nil }
		}))
		synctest.Wait()
		want(t, w.Stop(t.Context(), "x"))
		s := w.status("x")
		if s.State != runner.Stopped || s.Records.Acked != 1 || s.Cause != "" {
			t.Errorf("got %+v", s)
		}
		want(t, w.end())
	})
}

// After the graceful bound the context of Do ends, and the cause says so.
func TestStop_cancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("x", build(func(s *source, d *destination) {
			s.single("1")
			d.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { <-ctx.Done(); return ctx.Err() }
			d.OnTeardown = func(ctx context.Context) error { return ctx.Err() }
		}))
		synctest.Wait()
		begun := time.Now()
		want(t, w.Stop(t.Context(), "x"))
		if d := time.Since(begun); d != graceful {
			t.Errorf("Stop took %v", d)
		}
		s := w.status("x")
		if s.State != runner.Stopped || s.Records.Acked != 0 || !strings.Contains(s.Cause, "graceful") {
			t.Errorf("got %+v", s)
		}
		want(t, w.end())
	})
}

// A run that cannot be ended is stuck, says where, and becomes stopped when it ends.
func TestStop_stuck(t *testing.T) {
	for where, b := range map[string]func(release chan struct{}) runner.Build{
		"building": func(release chan struct{}) runner.Build {
			return runner.Single(func(ctx context.Context) (*funnel.Worker, error) {
				<-release
				return nil, ctx.Err()
			})
		},
		`worker 0: task "out" is opening for 14s`: func(release chan struct{}) runner.Build {
			return build(func(_ *source, d *destination) { d.OnOpen = hang(release) })
		},
		`worker 0: task "in" is reading`: func(release chan struct{}) runner.Build {
			return build(func(s *source, _ *destination) {
				s.OnRead = func(ctx context.Context) ([]opencdc.Record, error) { <-release; return nil, ctx.Err() }
			})
		},
		`worker 0: task "out" is working for 15s`: func(release chan struct{}) runner.Build {
			return build(func(s *source, d *destination) {
				s.single("1")
				d.OnWrite = func(context.Context, []opencdc.Record) error { <-release; return nil }
			})
		},
		`worker 0: task "in" is closing for 14s`: func(release chan struct{}) runner.Build {
			return build(func(s *source, _ *destination) { s.OnTeardown = hang(release) })
		},
		`worker 0: task "out" is closing for 14s`: func(release chan struct{}) runner.Build {
			return build(func(_ *source, d *destination) { d.OnTeardown = hang(release) })
		},
	} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				w := newWorld(t)
				w.add("x", b(release))
				w.add("other", build(nil))
				time.Sleep(time.Second)
				begun := time.Now()
				err := w.Stop(t.Context(), "x")
				wantError(t, err, runner.ErrStuck, `"x"`)
				var stuck *runner.StuckError
				if !errors.As(err, &stuck) || stuck.Pipeline != "x" || len(stuck.Tasks) == 0 {
					t.Fatalf("got %v", err)
				}
				since := strings.NewReplacer("opening for 14s", "opening for 15s").Replace(where)
				if d := time.Since(begun); d != graceful+cancelled {
					t.Errorf("Stop took %v", d)
				}
				if !strings.Contains(err.Error(), since) {
					t.Errorf("%q lacks %q", err, since)
				}
				for _, err := range []error{
					w.Start("x"), w.Stop(t.Context(), "x"), w.Restart(t.Context(), "x"), w.Remove(t.Context(), "x"),
				} {
					wantError(t, err, runner.ErrStuck)
				}
				w.wantState("x", runner.Stuck)
				w.wantState("other", runner.Running)
				wantError(t, w.end(), runner.ErrStuck)
				close(release)
				synctest.Wait()
				w.wantState("x", runner.Stopped)
			})
		})
	}
}

// A failed run that cannot be ended is not restarted, and degrades when it ends.
func TestStuck_failed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w := newWorld(t)
		w.add("x", build(func(s *source, d *destination) {
			s.OnRead = func(context.Context) ([]opencdc.Record, error) { return nil, errTest }
			d.OnTeardown = hang(release)
		}))
		time.Sleep(time.Hour)
		w.wantPath("x", "starting running draining stuck")
		if s := w.status("x"); !strings.Contains(s.Cause, "test error") {
			t.Errorf("got %s", s.Cause)
		}
		close(release)
		synctest.Wait()
		w.wantState("x", runner.Degraded)
		want(t, w.Start("x"))
		want(t, w.end())
	})
}

// If its context ends, Stop returns, and stopping goes on.
func TestStop_context(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("x", build(func(s *source, d *destination) {
			s.single("1")
			d.OnWrite = func(context.Context, []opencdc.Record) error { time.Sleep(5 * time.Second); return nil }
		}))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantError(t, w.Stop(ctx, "x"), context.DeadlineExceeded, `"x"`)
		w.wantState("x", runner.Draining)
		wantError(t, w.Start("x"), runner.ErrRunning)
		time.Sleep(5 * time.Second)
		w.wantState("x", runner.Stopped)
		want(t, w.end())
	})
}

// The last of several calls decides.
func TestStop_several(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("x", build(func(s *source, d *destination) {
			s.single("1")
			d.OnWrite = func(context.Context, []opencdc.Record) error { time.Sleep(5 * time.Second); return nil }
		}))
		synctest.Wait()
		results := make(map[string]chan error)
		ask := func(name string, f func(context.Context, string) error) {
			c := make(chan error, 1)
			results[name] = c
			go func() { c <- f(context.Background(), "x") }()
			synctest.Wait()
		}
		ask("restart", w.Restart)
		ask("stop", w.Stop)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		wantError(t, <-results["restart"], runner.ErrStopped)
		want(t, <-results["stop"])
		w.wantState("x", runner.Stopped)

		want(t, w.Start("x"))
		synctest.Wait()
		ask("stop", w.Stop)
		ask("restart", w.Restart)
		ask("restart 2", w.Restart)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		want(t, errors.Join(<-results["stop"], <-results["restart"], <-results["restart 2"]))
		w.wantState("x", runner.Running)

		ask("remove", w.Remove)
		ask("restart", w.Restart)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		want(t, <-results["remove"])
		wantError(t, <-results["restart"], runner.ErrUnknown)
		want(t, w.end())
	})
}

// The error of a run that fails while it is stopped is returned by Stop and by Run.
func TestStop_error(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, name := range []string{"x", "y"} {
			w.add(name, build(func(_ *source, d *destination) {
				d.OnTeardown = func(context.Context) error { return errTest }
			}))
		}
		synctest.Wait()
		wantError(t, w.Stop(t.Context(), "x"), errTest)
		w.wantState("x", runner.Stopped)
		wantError(t, w.end(), errTest, `pipeline "y"`)
		if s := w.status("y"); s.State != runner.Stopped || !strings.Contains(s.LastError, "test error") {
			t.Errorf("got %+v", s)
		}
	})
}

// Teardown gets a context that lives on, and ends before the run counts as stuck.
func TestStop_teardownContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("x", build(func(_ *source, d *destination) {
			d.OnTeardown = func(ctx context.Context) error {
				if ctx.Err() != nil {
					t.Error("the context of Teardown has ended")
				}
				<-ctx.Done()
				return ctx.Err()
			}
		}))
		synctest.Wait()
		begun := time.Now()
		wantError(t, w.Stop(t.Context(), "x"), context.DeadlineExceeded)
		if d := time.Since(begun); d != graceful {
			t.Errorf("the context of Teardown has ended after %v", d)
		}
		w.wantState("x", runner.Stopped)
		want(t, w.end())
	})
}

// Stop from within a connector waits until its context ends, or the pipeline is stuck.
func TestStop_within(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		errs := make(chan error, 1)
		w.add("x", runner.Single(func(context.Context) (*funnel.Worker, error) {
			errs <- w.Stop(context.Background(), "x")
			return newWorker(newSource(), newDestination())
		}))
		time.Sleep(time.Minute)
		wantError(t, <-errs, runner.ErrStuck)
		w.wantPath("x", "starting draining stuck stopped")
		want(t, w.end())
	})
}

// A restart that finds a stuck run only stops the pipeline: it should not run anymore.
func TestRestart_stuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w := newWorld(t)
		w.add("x", build(func(s *source, _ *destination) {
			s.OnTeardown = func(context.Context) error { <-release; return nil }
		}))
		synctest.Wait()
		wantError(t, w.Restart(t.Context(), "x"), runner.ErrStuck)
		close(release)
		synctest.Wait()
		w.wantState("x", runner.Stopped)
		if w.status("x").ShouldRun {
			t.Error("it should run, but nothing starts it")
		}
		want(t, w.end())
	})
}
