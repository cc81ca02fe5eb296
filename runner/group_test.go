package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
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

var errTest = errors.New("test error")

// hang waits for ever, whatever its context, until it is released.
func hang(release chan struct{}) func(context.Context) error {
	return func(context.Context) error { <-release; return nil }
}

func TestGroup_lifecycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("ends", build(func(s *source, _ *destination) { s.ending("1", "2") }))
		w.add("runs", build(nil))
		w.add("waits", build(nil), runner.WithoutAutoStart())
		synctest.Wait()
		w.wantPath("ends", "starting running draining done")
		w.wantState("waits", runner.Stopped)
		if s := w.status("ends"); s.Records.Acked != 2 || s.Records.Read != 2 {
			t.Errorf("got %+v", s.Records)
		}
		wantError(t, w.Start("runs"), runner.ErrRunning, "runs")
		want(t, w.Start("waits"))
		synctest.Wait()
		want(t, w.Stop(t.Context(), "runs"))
		want(t, w.Restart(t.Context(), "waits"))
		want(t, w.Remove(t.Context(), "ends"))
		wantError(t, w.Start("ends"), runner.ErrUnknown, "ends")
		wantError(t, w.Add("runs", build(nil)), runner.ErrExists, "runs")
		synctest.Wait()
		w.wantPath("runs", "starting running draining stopped")
		w.wantPath("waits", "starting running draining stopped starting running")
		want(t, w.end())
		w.wantState("waits", runner.Stopped)
		for _, err := range []error{
			w.Start("runs"), w.Stop(t.Context(), "runs"), w.Restart(t.Context(), "runs"),
			w.Remove(t.Context(), "runs"), w.Add("new", build(nil)), w.Run(t.Context()),
		} {
			wantError(t, err, runner.ErrClosed)
		}
	})
}

// Before Run, methods change what Run will start.
func TestGroup_beforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := runner.New()
		want(t, err)
		for _, name := range []string{"a", "b", "c"} {
			want(t, g.Add(name, build(nil), runner.WithoutAutoStart()))
		}
		want(t, g.Add("d", build(nil)))
		want(t, g.Start("a"))
		want(t, g.Restart(t.Context(), "b"))
		want(t, g.Stop(t.Context(), "d"))
		want(t, g.Remove(t.Context(), "c"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		synctest.Wait()
		var got []string
		for _, s := range g.Status() {
			got = append(got, s.Name+" "+s.State.String())
		}
		if s := strings.Join(got, ", "); s != "a running, b running, d stopped" {
			t.Error(s)
		}
		if err := g.Run(ctx); err == nil {
			t.Error("Run was called twice")
		}
		want(t, <-done)
	})
}

func TestGroup_arguments(t *testing.T) {
	g, err := runner.New()
	want(t, err)
	nan := 0.0
	nan /= nan
	for words, err := range map[string]error{
		"name":            g.Add("", build(nil)),
		"nil":             g.Add("x", nil),
		"option 0":        g.Add("x", build(nil), nil),
		"classifier":      g.Add("x", build(nil), runner.WithClassifier(nil)),
		"InitialInterval": g.Add("x", build(nil), runner.WithRestart(runner.Restart{InitialInterval: -1})),
		"MaxInterval":     g.Add("x", build(nil), runner.WithRestart(runner.Restart{InitialInterval: 2, MaxInterval: 1})),
		"Window":          g.Add("x", build(nil), runner.WithRestart(runner.Restart{Window: -1})),
		"Healthy":         g.Add("x", build(nil), runner.WithRestart(runner.Restart{Healthy: -1})),
		"Multiplier":      g.Add("x", build(nil), runner.WithRestart(runner.Restart{Multiplier: 0.5})),
		"at least 1":      g.Add("x", build(nil), runner.WithRestart(runner.Restart{Multiplier: nan})),
		"Jitter":          g.Add("x", build(nil), runner.WithRestart(runner.Restart{Jitter: 1.1})),
	} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v, want an error with %q", err, words)
		}
	}
	if n := len(g.Status()); n != 0 {
		t.Errorf("%d pipelines were added", n)
	}
	for _, opt := range []runner.Option{
		nil, runner.WithListener(nil), runner.WithMetrics(nil), runner.WithErrorText(nil),
		runner.WithStopTimeout(0, 1), runner.WithStopTimeout(1, 0),
	} {
		if _, err := runner.New(opt); err == nil {
			t.Error("New took an invalid option")
		}
	}
}

// What Build returns is checked; a mistake in it is fatal.
func TestGroup_parts(t *testing.T) {
	for name, b := range map[string]runner.Build{
		"no workers":               func(context.Context) (runner.Parts, error) { return runner.Parts{}, nil },
		"NewWorker":                runner.Single(func(context.Context) (*funnel.Worker, error) { return new(funnel.Worker), nil }),
		"worker 0":                 runner.Single(func(context.Context) (*funnel.Worker, error) { return nil, nil }),
		"sink that is nil, sink 0": withParts(func(p *runner.Parts) { p.Sinks = append(p.Sinks, nil) }),
		"worker 1 twice":           withParts(func(p *runner.Parts) { p.Workers = append(p.Workers, p.Workers[0]) }),
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.add("x", b)
			synctest.Wait()
			w.wantPath("x", "starting degraded")
			if s := w.status("x"); !strings.Contains(s.Cause, name) {
				t.Errorf("%q lacks %q", s.Cause, name)
			}
			want(t, w.end())
			w.wantState("x", runner.Degraded)
		})
	}
}

func withParts(change func(*runner.Parts)) runner.Build {
	return func(ctx context.Context) (runner.Parts, error) {
		p, err := build(nil)(ctx)
		change(&p)
		return p, err
	}
}

// A failed run is reported with its cause, whatever has failed in whatever way.
func TestGroup_failures(t *testing.T) {
	fails := func(context.Context) error { return errTest }
	panics := func(context.Context) error { panic(errTest) }
	exits := func(context.Context) error { runtime.Goexit(); return nil }
	for how, f := range map[string]func(context.Context) error{"error": fails, "panic": panics, "exit": exits} {
		for where, b := range map[string]runner.Build{
			"build": runner.Single(func(ctx context.Context) (*funnel.Worker, error) { return nil, f(ctx) }),
			"open":  build(func(_ *source, d *destination) { d.OnOpen = f }),
			"read": build(func(s *source, _ *destination) {
				s.OnRead = func(ctx context.Context) ([]opencdc.Record, error) { return nil, f(ctx) }
			}),
			"write": build(func(s *source, d *destination) {
				s.single("1")
				d.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { return f(ctx) }
			}),
			"teardown": build(func(s *source, d *destination) { s.ending("1"); d.OnTeardown = f }),
		} {
			t.Run(where+" "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var out buffer
					w := newWorld(t, runner.WithLogger(log.New(zerolog.New(&out))))
					w.add("x", b, runner.WithRestart(runner.Restart{Attempts: 1}))
					synctest.Wait()
					target := errTest
					if how == "exit" {
						target = funnel.ErrGoexit
					}
					last := w.transitions()[len(w.transitions())-1]
					if last.To != runner.Recovering || last.Attempt != 1 {
						t.Errorf("got %+v", last)
					}
					wantError(t, last.Cause, target)
					var p *funnel.PanicError
					if errors.As(last.Cause, &p) != (how == "panic") {
						t.Errorf("the cause is %#v", last.Cause)
					}
					if s := w.status("x"); strings.Contains(s.Cause, ".go:") || s.Cause == "" ||
						strings.Contains(last.Cause.Error(), ".go:") {
						t.Errorf("the cause is %s", s.Cause)
					}
					wantStacks := 0
					if how == "panic" {
						wantStacks = 1
					}
					if n := strings.Count(out.String(), `"stack"`); n != wantStacks {
						t.Errorf("%d stacks in the log: %s", n, &out)
					}
					time.Sleep(time.Minute)
					w.wantState("x", runner.Degraded)
					last = w.transitions()[len(w.transitions())-1]
					wantError(t, last.Cause, runner.ErrAttempts)
					wantError(t, last.Cause, target)
					want(t, w.end())
					if got, want := strings.Count(out.String(), "\n"), len(w.transitions()); got != want {
						t.Errorf("%d lines for %d transitions", got, want)
					}
				})
			})
		}
	}
}

// An error from the channel of a connector ends the run, and is the cause of the context.
func TestGroup_background(t *testing.T) {
	for _, where := range []string{"in", "out", "queue"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			s, d, q := newSource(), newDestination(), newDestination()
			var cause error
			s.OnRead = func(ctx context.Context) ([]opencdc.Record, error) {
				<-ctx.Done()
				cause = context.Cause(ctx)
				return nil, ctx.Err()
			}
			w.add("x", runner.Single(func(context.Context) (*funnel.Worker, error) {
				return funnel.From("in", s).To("out", d).DeadLetters("queue", q, 1, 1).Worker()
			}))
			synctest.Wait()
			c := map[string]chan error{"in": s.Background, "out": d.Background, "queue": q.Background}[where]
			c <- nil // says nothing
			synctest.Wait()
			w.wantState("x", runner.Running)
			c <- errTest
			synctest.Wait()
			w.wantState("x", runner.Recovering)
			last := w.transitions()[len(w.transitions())-1]
			wantError(t, last.Cause, errTest, where)
			wantError(t, cause, errTest)
			if strings.Count(last.Cause.Error(), errTest.Error()) != 1 {
				t.Errorf("the cause is %v", last.Cause)
			}
			want(t, w.end())
		})
	}
}

// A closed channel, and an error that is sent while the worker ends, are both handled.
func TestGroup_backgroundAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("x", build(func(s *source, d *destination) {
			close(d.Background)
			s.ending("1")
			read := s.OnRead
			s.OnRead = func(ctx context.Context) ([]opencdc.Record, error) {
				recs, err := read(ctx)
				if err != nil {
					s.Background <- errTest
				}
				return recs, err
			}
		}))
		synctest.Wait()
		w.wantState("x", runner.Recovering)
		want(t, w.end())
	})
}

// If one worker fails, the others finish their batches in flight.
func TestGroup_siblings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var written bool
		w.add("x", func(context.Context) (runner.Parts, error) {
			bad, _ := newWorker(&source{OnRead: func(context.Context) ([]opencdc.Record, error) {
				time.Sleep(time.Second)
				return nil, errTest
			}, tornDown: make(chan struct{})}, newDestination())
			d := newDestination()
			d.OnWrite = func(ctx context.Context, _ []opencdc.Record) error {
				time.Sleep(5 * time.Second)
				written = ctx.Err() == nil
				return nil
			}
			good, _ := newWorker(newSource().single("1"), d)
			return runner.Parts{Workers: []*funnel.Worker{bad, good}}, nil
		})
		time.Sleep(4 * time.Second)
		synctest.Wait()
		w.wantPath("x", "starting running draining")
		time.Sleep(time.Second + time.Millisecond)
		w.wantState("x", runner.Recovering)
		if s := w.status("x"); !written || s.Records.Acked != 1 || !strings.Contains(s.Cause, "worker 0") {
			t.Errorf("written: %t, %+v", written, s)
		}
		want(t, w.end())
	})
}

// A listener may call every method, even those that wait.
func TestGroup_listenerCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *world
		var err error
		w = newWorld(t, runner.WithListener(func(tr runner.Transition) {
			if tr.To == runner.Running {
				err = w.Remove(context.Background(), "x")
				panic("listener")
			}
		}))
		w.add("x", build(nil))
		synctest.Wait()
		want(t, err)
		w.wantPath("x", "starting running draining stopped")
		want(t, w.end())
	})
}

func TestStatus_texts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, runner.WithErrorText(func(_ string, err error) string {
			return "<secret>\xff" + strings.Repeat("é", 5000)
		}))
		w.add("x", build(func(s *source, d *destination) {
			d.OnOpen = func(context.Context) error { panic("password") }
		}))
		synctest.Wait()
		s := w.status("x")
		if !strings.HasPrefix(s.Cause, "<secret>\uFFFDé") || len(s.Cause) > 2048 || s.LastError != s.Cause ||
			strings.ToValidUTF8(s.Cause, "") != s.Cause {
			t.Errorf("%d bytes: %.100s", len(s.Cause), s.Cause)
		}
		text, err := json.Marshal(w.Status())
		want(t, err)
		for _, key := range []string{`"name":"x"`, `"state":"recovering"`, `"next":`, `"attempt":1`, `"last_error_at"`, `"records":{"read":0`} {
			if !strings.Contains(string(text), key) {
				t.Errorf("%s lacks %s", text, key)
			}
		}
		if strings.Contains(string(text), "password") || strings.Contains(string(text), "last_ack") {
			t.Errorf("got %s", text)
		}
		want(t, w.end())
	})
}

// badError is an error whose text cannot be made.
type badError struct{}

func (*badError) Error() string { panic("no text") }

func TestStatus_badError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("x", build(func(s *source, _ *destination) {
			s.OnOpen = func(context.Context) error { return &badError{} }
		}))
		synctest.Wait()
		w.wantState("x", runner.Recovering)
		want(t, w.end())
	})
}

// A healthy run ends the series of failed runs.
func TestStatus_healthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		runs := 0
		w.add("x", runner.Single(func(context.Context) (*funnel.Worker, error) {
			if runs++; runs == 1 {
				return nil, errors.New("not yet")
			}
			return newWorker(newSource(), newDestination())
		}), runner.WithRestart(runner.Restart{Healthy: time.Minute}))
		time.Sleep(30 * time.Second)
		if s := w.status("x"); s.State != runner.Running || s.Attempt != 1 {
			t.Errorf("before: %+v", s)
		}
		time.Sleep(time.Minute)
		if s := w.status("x"); s.State != runner.Running || s.Attempt != 0 || s.LastError == "" {
			t.Errorf("after: %+v", s)
		}
		want(t, w.end())
	})
}
