package runner_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/runner"
)

var errBackground = errors.New("lost in the background")

// A connector may block until all its errors are received, and its teardown may wait for that.
func TestBackground_severalErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("x", build(func(s *source, _ *destination) {
			s.Background = make(chan error)
			var wg sync.WaitGroup
			s.OnOpen = func(context.Context) error {
				wg.Go(func() {
					for range 3 {
						s.Background <- errBackground
					}
				})
				return nil
			}
			s.OnTeardown = func(context.Context) error { wg.Wait(); return nil }
		}), runner.WithRestart(runner.Restart{InitialInterval: time.Hour}))
		synctest.Wait()
		w.wantPath("x", "starting running draining recovering")
		if s := w.status("x"); strings.Count(s.LastError, errBackground.Error()) != 1 {
			t.Errorf("the last error is %q, want it to say the first error only", s.LastError)
		}
		want(t, w.end())
	})
}

func TestBackground_whileClosing(t *testing.T) {
	teardown := func(err error) runner.Build {
		return build(func(s *source, d *destination) {
			s.ending("1")
			d.Background = make(chan error)
			d.OnTeardown = func(context.Context) error { d.Background <- err; return nil }
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		restart := runner.WithRestart(runner.Restart{InitialInterval: time.Hour})
		w.add("lost", teardown(errBackground), restart)
		w.add("cancelled", teardown(context.Canceled), restart)
		synctest.Wait()
		w.wantPath("lost", "starting running draining recovering")
		w.wantPath("cancelled", "starting running draining done")
		want(t, w.end())
	})
}

// The errors of open connectors are received, even if others fail to open.
func TestBackground_failedOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("x", func(context.Context) (runner.Parts, error) {
			one, two := newSource(), newSource()
			one.Background = make(chan error)
			one.OnTeardown = func(context.Context) error { one.Background <- errBackground; return nil }
			two.OnOpen = func(context.Context) error { return errors.New("refused") }
			a, err := newWorker(one, newDestination())
			want(t, err)
			b, err := newWorker(two, newDestination())
			want(t, err)
			return runner.Parts{Workers: []*funnel.Worker{a, b}}, nil
		}, runner.WithRestart(runner.Restart{InitialInterval: time.Hour}))
		synctest.Wait()
		w.wantState("x", runner.Recovering)
		for _, word := range []string{"refused", errBackground.Error()} {
			if s := w.status("x"); !strings.Contains(s.Cause, word) {
				t.Errorf("the cause is %q, want %q in it", s.Cause, word)
			}
		}
		want(t, w.end())
	})
}

// An error in the background of one worker cancels that one. The others finish what is in
// flight.
func TestBackground_siblings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		bad, d := newSource(), newDestination()
		isWritten := false
		d.OnWrite = func(ctx context.Context, _ []opencdc.Record) error {
			time.Sleep(5 * time.Second)
			isWritten = ctx.Err() == nil
			return nil
		}
		w.add("x", func(context.Context) (runner.Parts, error) {
			a, err := newWorker(bad, newDestination())
			want(t, err)
			b, err := newWorker(newSource().single("1"), d)
			want(t, err)
			return runner.Parts{Workers: []*funnel.Worker{a, b}}, nil
		}, runner.WithRestart(runner.Restart{InitialInterval: time.Hour}))
		synctest.Wait()
		bad.Background <- errBackground
		synctest.Wait()
		w.wantPath("x", "starting running draining")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		w.wantPath("x", "starting running draining recovering")
		if s := w.status("x"); !isWritten || s.Records.Acked != 1 || !strings.Contains(s.Cause, "worker 0") {
			t.Errorf("written: %t, %+v", isWritten, s)
		}
		want(t, w.end())
	})
}

// A run ends even if a connector sends errors for ever.
func TestBackground_endless(t *testing.T) {
	w := newWorld(t)
	stop := make(chan struct{})
	defer close(stop)
	w.add("x", build(func(s *source, d *destination) {
		s.ending("1")
		go func() {
			for {
				select {
				case d.Background <- nil:
				case <-stop:
					return
				}
			}
		}()
	}))
	for w.status("x").State != runner.Done {
		time.Sleep(time.Millisecond)
	}
	want(t, w.end())
}
