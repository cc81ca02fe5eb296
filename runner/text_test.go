package runner_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/runner"
)

func failingRead(err error) runner.Build {
	return build(func(s *source, _ *destination) {
		s.OnRead = func(context.Context) ([]opencdc.Record, error) { return nil, err }
	})
}

func TestErrorText_hangs(t *testing.T) {
	const noText = "whose text cannot be made"
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		isReleased := func() bool {
			select {
			case <-release:
				return true
			default:
				return false
			}
		}
		var calls atomic.Int32
		w := newWorld(t, runner.WithErrorText(func(_ string, err error) string {
			if !isReleased() {
				calls.Add(1)
			}
			<-release
			return "in time"
		}))
		w.add("x", failingRead(errors.New("secret")), runner.WithRestart(runner.Restart{Attempts: -1}))
		w.add("lag", buildLagging(func(context.Context) (int64, time.Duration, error) {
			return 0, 0, errors.New("secret")
		}))
		time.Sleep(10 * time.Minute)
		if s := w.status("x"); s.Restarts < 5 || !strings.Contains(s.LastError, noText) {
			t.Errorf("the pipeline waits for the text of its error: %+v", s)
		}
		for range 3 {
			start := time.Now()
			page := httptest.NewRecorder()
			w.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/status.json", nil))
			if took := time.Since(start); took > 2*time.Second || !strings.Contains(page.Body.String(), noText) {
				t.Errorf("the page took %v: %s", took, page.Body)
			}
		}
		if n := calls.Load(); n != 2 {
			t.Errorf("%d calls hang, want one for each pipeline", n)
		}
		close(release)
		time.Sleep(10 * time.Minute)
		if s := w.status("x"); s.LastError != "in time" {
			t.Errorf("the last error is %q after the function has returned", s.LastError)
		}
		want(t, w.end())
	})
}

// The stack of a panic that a connector returns as an error, as deep as it may be, is in the
// log, and in no text.
func TestErrorText_stacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		w := newWorld(t, runner.WithLogger(log.New(zerolog.New(&out))))
		inner := &funnel.PanicError{Value: "inner", Stack: []byte("inner.go:1")}
		outer := &funnel.PanicError{Value: "outer", Stack: []byte("outer.go:2"), Err: inner}
		w.add("x", failingRead(errors.Join(errTest, fmt.Errorf("wrapped: %w", outer))))
		w.add("lag", buildLagging(func(context.Context) (int64, time.Duration, error) { return 0, 0, outer }))
		synctest.Wait()
		w.wantState("x", runner.Recovering)
		for _, path := range []string{"/", "/status.json"} {
			body := serve(w.Handler(), http.MethodGet, path).Body.String()
			if !strings.Contains(body, "inner") || !strings.Contains(body, "outer") || strings.Contains(body, ".go:") {
				t.Errorf("%s: %s", path, body)
			}
		}
		logged := out.String()
		for _, stack := range []string{"inner.go:1", "outer.go:2"} {
			if n := strings.Count(logged, stack); n != 1 {
				t.Errorf("%s is %d times in the log: %s", stack, n, logged)
			}
		}
		want(t, w.end())
	})
}

// A failure in a logger ends neither the process nor the listeners.
func TestListener_panicsAndLogger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := newWorld(t,
			runner.WithLogger(log.New(zerolog.New(panicWriter{}))),
			runner.WithListener(func(runner.Transition) { n++; panic("listener") }),
		)
		w.add("x", build(nil))
		synctest.Wait()
		want(t, w.end())
		if n < 3 {
			t.Errorf("the listener was called %d times", n)
		}
	})
}

type panicWriter struct{}

func (panicWriter) Write([]byte) (int, error) { panic("disk") }

// The texts of several errors are made at the same time.
func TestErrorText_slow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, runner.WithErrorText(func(string, error) string {
			time.Sleep(900 * time.Millisecond)
			return "slow"
		}))
		w.add("x", func(context.Context) (p runner.Parts, err error) {
			for range 5 {
				worker, err := newWorker(&lagging{newSource(), func(context.Context) (int64, time.Duration, error) {
					return 0, 0, errTest
				}}, newDestination())
				want(t, err)
				p.Workers = append(p.Workers, worker)
			}
			return p, nil
		})
		synctest.Wait()
		start := time.Now()
		all, err := w.Lag(t.Context(), "x")
		want(t, err)
		if took := time.Since(start); took > time.Second || len(all) != 5 || all[4].Error != "slow" {
			t.Errorf("after %v: %+v", took, all)
		}
		want(t, w.end())
	})
}

// A log that hangs holds up no listener, even if the listener panics, which must be logged.
func TestListener_logHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		n := 0
		w := newWorld(t,
			runner.WithLogger(log.New(zerolog.New(hangingWriter{release}))),
			runner.WithListener(func(runner.Transition) { n++; panic("listener") }),
		)
		w.add("x", build(nil))
		synctest.Wait()
		want(t, w.Stop(t.Context(), "x"))
		synctest.Wait()
		if n != 4 {
			t.Errorf("the listener was called %d times, want 4", n)
		}
		want(t, w.end())
		close(release)
	})
}

type hangingWriter struct{ release chan struct{} }

func (w hangingWriter) Write(p []byte) (int, error) { <-w.release; return len(p), nil }
