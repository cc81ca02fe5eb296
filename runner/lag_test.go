package runner_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/runner"
)

func buildLagging(lag func(context.Context) (int64, time.Duration, error)) runner.Build {
	return runner.Single(func(context.Context) (*funnel.Worker, error) {
		return newWorker(&lagging{newSource(), lag}, newDestination())
	})
}

// A source is asked for its lag once at a time, even if it serves several runs.
func TestLag_sameSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var mu sync.Mutex
		asked, most := 0, 0
		s := &lagging{newSource(), func(context.Context) (int64, time.Duration, error) {
			mu.Lock()
			asked++
			most = max(most, asked)
			mu.Unlock()
			time.Sleep(time.Minute) // whatever its context says
			mu.Lock()
			asked--
			mu.Unlock()
			return 1, 0, nil
		}}
		w.add("x", runner.Single(func(context.Context) (*funnel.Worker, error) {
			s.tornDown, s.once = make(chan struct{}), sync.Once{}
			return newWorker(s, newDestination())
		}))
		for range 4 {
			synctest.Wait()
			_, err := w.Lag(t.Context(), "x")
			want(t, err)
			want(t, w.Restart(t.Context(), "x"))
		}
		if most != 1 {
			t.Errorf("%d goroutines asked the source at the same time", most)
		}
		want(t, w.end())
		time.Sleep(time.Minute)
	})
}

// A source is asked only while its pipeline is running.
func TestLag_notRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		asked := 0
		w.add("x", runner.Single(func(context.Context) (*funnel.Worker, error) {
			s, d := newSource(), newDestination()
			slow := func(context.Context) error { time.Sleep(3 * time.Second); return nil }
			d.OnOpen, d.OnTeardown = slow, slow
			return newWorker(&lagging{s, func(context.Context) (int64, time.Duration, error) { asked++; return 1, 0, nil }}, d)
		}))
		check := func(state runner.State, n int) {
			t.Helper()
			synctest.Wait()
			w.wantState("x", state)
			lag, err := w.Lag(t.Context(), "x")
			if len(lag) != n || err != nil || asked != n {
				t.Errorf("asked %d times: %v, %v", asked, lag, err)
			}
		}
		check(runner.Starting, 0)
		time.Sleep(3 * time.Second)
		check(runner.Running, 1)
		asked = 0
		done := make(chan error, 1)
		go func() { done <- w.Stop(t.Context(), "x") }()
		check(runner.Draining, 0)
		want(t, <-done)
		check(runner.Stopped, 0)
		want(t, w.end())
	})
}

// structSource cannot be compared.
type structSource struct {
	*source
	_ []int
}

func (structSource) Lag(context.Context) (int64, time.Duration, error) { return 7, 0, nil }

func TestLag_incomparableSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("x", runner.Single(func(context.Context) (*funnel.Worker, error) {
			return newWorker(structSource{source: newSource()}, newDestination())
		}))
		synctest.Wait()
		lag, err := w.Lag(t.Context(), "x")
		want(t, err)
		if len(lag) != 1 || lag[0].Records != 7 || lag[0].Error != "" {
			t.Errorf("got %+v", lag)
		}
		want(t, w.end())
	})
}

// endless is a wrapper that returns itself.
type endless struct{ funnel.Source }

func (s *endless) Unwrap() funnel.Source { return s }

// A wrapper that returns itself has no lag, and hangs nothing.
func TestLag_endlessWrapper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("x", runner.Single(func(context.Context) (*funnel.Worker, error) {
			return newWorker(&endless{newSource()}, newDestination())
		}))
		synctest.Wait()
		w.wantState("x", runner.Running)
		lag, err := w.Lag(t.Context(), "x")
		if len(lag) != 0 || err != nil {
			t.Errorf("got %v and the error %v", lag, err)
		}
		want(t, w.end())
	})
}
