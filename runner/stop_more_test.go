package runner_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/rs/zerolog"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/runner"
)

// A run that is building or opening is cancelled at once.
func TestStop_starting(t *testing.T) {
	untilEnd := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for where, b := range map[string]runner.Build{
		"build": runner.Single(func(ctx context.Context) (*funnel.Worker, error) { return nil, untilEnd(ctx) }),
		"open":  build(func(_ *source, d *destination) { d.OnOpen = untilEnd }),
	} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.add("x", b)
				synctest.Wait()
				begun := time.Now()
				want(t, w.Stop(t.Context(), "x"))
				if s := w.status("x"); time.Since(begun) != 0 || s.State != runner.Stopped || s.Cause != "" {
					t.Errorf("after %v: %+v", time.Since(begun), s)
				}
				want(t, w.end())
			})
		})
	}
}

// If opening succeeds after a stop, nothing is read, and open connectors are closed.
func TestStop_openedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		closed := false
		w.add("x", build(func(s *source, d *destination) {
			d.OnOpen = func(context.Context) error { time.Sleep(5 * time.Second); return nil }
			d.OnTeardown = func(context.Context) error { closed = true; return nil }
			s.OnRead = func(context.Context) ([]opencdc.Record, error) { t.Error("read"); return nil, errTest }
		}))
		time.Sleep(time.Second)
		want(t, w.Stop(t.Context(), "x"))
		if !closed {
			t.Error("the destination was not closed")
		}
		synctest.Wait()
		w.wantPath("x", "starting draining stopped")
		want(t, w.end())
	})
}

// A context that has ended starts nothing.
func TestRun_ended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := runner.New()
		want(t, err)
		want(t, g.Add("x", runner.Single(func(context.Context) (*funnel.Worker, error) {
			t.Error("built")
			return nil, errTest
		})))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		want(t, g.Run(ctx))
	})
}

// Run stops all pipelines at the same time, and says what is stuck in which task of each.
func TestRun_stuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		w.add("writes", build(func(s *source, d *destination) {
			s.single("1")
			d.OnWrite = func(context.Context, []opencdc.Record) error { <-release; return nil }
		}))
		w.add("closes", build(func(s *source, _ *destination) { s.OnTeardown = hang(release) }))
		w.add("good", build(nil))
		time.Sleep(time.Second)
		begun := time.Now()
		wantError(t, w.end(), runner.ErrStuck,
			`pipeline "writes" is stuck: worker 0: task "out" is working for 15s`,
			`pipeline "closes" is stuck: worker 0: task "in" is closing for 14s`)
		if d := time.Since(begun); d != graceful+cancelled {
			t.Errorf("Run took %v", d)
		}
		w.wantState("good", runner.Stopped)
		close(release)
		synctest.Wait()
		w.wantState("writes", runner.Stopped)
	})
}

// slowWriter takes almost a second for each line.
type slowWriter struct{ lines int }

func (w *slowWriter) Write(p []byte) (int, error) {
	time.Sleep(time.Second - 1)
	w.lines++
	return len(p), nil
}

// Run waits until the listeners and the log have got all transitions, but not for long.
func TestRun_listeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &slowWriter{}
		w := newWorld(t, runner.WithLogger(log.New(zerolog.New(out))))
		w.add("x", build(nil))
		synctest.Wait()
		want(t, w.end())
		if out.lines != 4 {
			t.Errorf("%d lines", out.lines)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		told := 0
		w := newWorld(t, runner.WithListener(func(runner.Transition) {
			time.Sleep(time.Second - 1)
			told++
		}))
		w.add("x", build(nil))
		synctest.Wait()
		want(t, w.end())
		if told != 4 {
			t.Errorf("the listener was called %d times", told)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w := newWorld(t, runner.WithListener(func(runner.Transition) { <-release }))
		w.add("x", build(nil))
		synctest.Wait()
		w.wantState("x", runner.Running)
		begun := time.Now()
		want(t, w.end())
		if d := time.Since(begun); d != cancelled {
			t.Errorf("Run took %v", d)
		}
		close(release)
	})
}

// After a run has failed, none of its records are waiting.
func TestStatus_waiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, d := newSource(), newDestination()
		s.OnRead = func(context.Context) ([]opencdc.Record, error) {
			time.Sleep(time.Second)
			return records("1"), nil
		}
		d.OnWrite = func(context.Context, []opencdc.Record) error { time.Sleep(time.Minute); return errTest }
		w.add("x", runner.Single(func(context.Context) (*funnel.Worker, error) {
			return funnel.From("in", s).To("out", d).Options(funnel.WithReadAhead(3)).Worker()
		}), runner.WithClassifier(func(error) runner.Class { return runner.Fatal }))
		time.Sleep(30 * time.Second)
		if r := w.status("x").Records; r.Waiting == 0 || r.InFlight != 1 {
			t.Errorf("got %+v", r)
		}
		time.Sleep(time.Minute)
		w.wantState("x", runner.Degraded)
		if r := w.status("x").Records; r.Waiting != 0 || r.InFlight != 0 || r.Read == 0 {
			t.Errorf("got %+v", r)
		}
		want(t, w.end())
	})
}

// A worker cannot run twice: a Build that returns it again has failed.
func TestGroup_workerAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		worker, err := newWorker(newSource(), newDestination())
		want(t, err)
		w.add("x", runner.Single(func(context.Context) (*funnel.Worker, error) { return worker, nil }))
		synctest.Wait()
		want(t, w.Restart(t.Context(), "x"))
		synctest.Wait()
		w.wantState("x", runner.Recovering)
		want(t, w.end())
	})
}

// An error in the background of a shared destination ends all workers.
func TestGroup_sinkBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		out := newDestination()
		causes := make(chan error, 2)
		w.add("x", func(context.Context) (parts runner.Parts, err error) {
			sink, err := funnel.NewSink(&funnel.TaskNode{Task: funnel.NewDestinationTask("out", out, nop, nil)})
			if err != nil {
				return parts, err
			}
			parts.Sinks = append(parts.Sinks, sink)
			for range 2 {
				s := newSource()
				s.OnRead = func(ctx context.Context) ([]opencdc.Record, error) {
					<-ctx.Done()
					causes <- context.Cause(ctx)
					return nil, ctx.Err()
				}
				worker, err := funnel.From("in", s).Into(sink).Worker()
				if err != nil {
					return parts, err
				}
				parts.Workers = append(parts.Workers, worker)
			}
			return parts, nil
		})
		synctest.Wait()
		w.wantState("x", runner.Running)
		out.Background <- errTest
		synctest.Wait()
		w.wantState("x", runner.Recovering)
		wantError(t, <-causes, errTest, "out")
		wantError(t, <-causes, errTest, "out")
		want(t, w.end())
	})
}

// A classifier that hangs is part of the run.
func TestStuck_classifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w := newWorld(t)
		w.add("x", runner.Single(func(context.Context) (*funnel.Worker, error) { return nil, errTest }),
			runner.WithClassifier(func(error) runner.Class { <-release; return runner.Transient }))
		synctest.Wait()
		wantError(t, w.Stop(t.Context(), "x"), runner.ErrStuck, "classifying its error for 14s")
		close(release)
		synctest.Wait()
		w.wantState("x", runner.Stopped)
		want(t, w.end())
	})
}

// hostileError is an error whose methods panic.
type hostileError struct{}

func (hostileError) Error() string   { panic("text") }
func (hostileError) Is(error) bool   { panic("is") }
func (hostileError) Unwrap() []error { panic("unwrap") }

func TestGroup_hostileErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("background", build(func(s *source, _ *destination) { s.Background <- hostileError{} }))
		w.add("teardown", build(func(s *source, _ *destination) {
			s.OnTeardown = func(ctx context.Context) error { <-ctx.Done(); return hostileError{} }
		}))
		w.add("build", runner.Single(func(context.Context) (*funnel.Worker, error) { return nil, hostileError{} }))
		synctest.Wait()
		w.wantState("background", runner.Recovering)
		w.wantState("build", runner.Recovering)
		if err := w.end(); err == nil {
			t.Error("no error")
		}
		w.wantState("teardown", runner.Stopped)
	})
}

// A worker that is stopped from elsewhere has not come to the end of its source.
func TestGroup_stoppedFromElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var worker *funnel.Worker
		w := newWorld(t)
		w.add("x", runner.Single(func(context.Context) (_ *funnel.Worker, err error) {
			worker, err = newWorker(newSource(), newDestination())
			return worker, err
		}), runner.WithRestart(runner.Restart{InitialInterval: time.Hour}))
		synctest.Wait()
		want(t, worker.Stop(t.Context()))
		synctest.Wait()
		w.wantPath("x", "starting running draining recovering")
		if s := w.status("x"); !strings.Contains(s.Cause, "not by the runner") {
			t.Errorf("the cause is %q", s.Cause)
		}
		want(t, w.end())
	})
}
