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
	"github.com/conduitio/funnel/position"
	"github.com/conduitio/funnel/runner"
)

// brokenStore is a store whose saves fail until a given time.
type brokenStore struct {
	position.Store
	until time.Time
}

type brokenClaim struct {
	position.Claim
	store *brokenStore
}

func (s *brokenStore) Claim(ctx context.Context, id string) (position.Claim, error) {
	claim, err := s.Store.Claim(ctx, id)
	if err != nil {
		return nil, err
	}
	return brokenClaim{claim, s}, nil
}

func (c brokenClaim) Save(ctx context.Context, p opencdc.Position) error {
	if time.Now().Before(c.store.until) {
		return errors.New("the disk is full")
	}
	return c.Claim.Save(ctx, p)
}

// A source that could not save its position keeps the claim. As soon as the position can be
// saved, a later run gets the claim.
func TestGroup_closesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &brokenStore{position.NewMemory(), time.Now().Add(20 * time.Second)}
		written := 0
		w.add("p", runner.Single(func(context.Context) (*funnel.Worker, error) {
			source := position.Track("in", store, func(from opencdc.Position) (funnel.Source, error) {
				if len(from) > 0 {
					return newSource().single(), nil
				}
				return newSource().single("1"), nil
			})
			d := newDestination()
			d.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
				written += len(recs)
				return nil
			}
			return newWorker(source, d)
		}))
		time.Sleep(15 * time.Second)
		if s := w.status("p"); s.State != runner.Recovering || !strings.Contains(s.Cause, position.ErrClaimed.Error()) ||
			!strings.Contains(s.Cause, "could not close") || !strings.Contains(s.Cause, "the disk is full") {
			t.Errorf("meanwhile it is %+v", s)
		}
		time.Sleep(time.Minute)
		if s := w.status("p"); s.State != runner.Running || written != 1 {
			t.Errorf("in the end, %d records were written, and it is %+v", written, s)
		}
		want(t, w.end())
	})
}

// So does a pipeline that takes the name of one that was removed.
func TestGroup_closesAgainAfterRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &brokenStore{position.NewMemory(), time.Now().Add(20 * time.Second)}
		build := runner.Single(func(context.Context) (*funnel.Worker, error) {
			return newWorker(position.Track("in", store, func(from opencdc.Position) (funnel.Source, error) {
				if len(from) > 0 {
					return newSource().single(), nil
				}
				return newSource().single("1"), nil
			}), newDestination())
		})
		w.add("p", build)
		time.Sleep(100 * time.Millisecond)
		want(t, w.Remove(t.Context(), "p"))
		w.add("p", build)
		time.Sleep(3 * time.Minute)
		if s := w.status("p"); s.State != runner.Running {
			t.Errorf("it is %+v", s)
		}
		want(t, w.end())
	})
}

// A connector that never closes without an error does not keep its pipeline from being
// restarted. Before each run, at most 16 such connectors are closed again.
func TestGroup_closesAgainInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		runs, most, closed := 0, 0, 0
		w.add("p", func(context.Context) (runner.Parts, error) {
			runs++
			most = max(most, closed)
			closed = 0
			s, d := newSource(), newDestination()
			s.OnRead = func(context.Context) ([]opencdc.Record, error) { return nil, errors.New("lost") }
			d.OnTeardown = func(context.Context) error { closed++; return errors.New("not closed") }
			worker, err := newWorker(s, d)
			return runner.Parts{Workers: []*funnel.Worker{worker}}, err
		}, runner.WithRestart(runner.Restart{Attempts: -1, MaxInterval: time.Second}))
		time.Sleep(time.Minute)
		want(t, w.Stop(t.Context(), "p"))
		if runs < 40 {
			t.Errorf("there were %d runs", runs)
		}
		if most != 1+16 {
			t.Errorf("between two runs, up to %d connectors were closed", most)
		}
		want(t, w.end())
	})
}

// If closing again hangs, that is part of the run that waits for it.
func TestGroup_closesAgainAndHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		isFirst := true
		w.add("p", func(context.Context) (runner.Parts, error) {
			s, d := newSource(), newDestination()
			s.OnRead = func(context.Context) ([]opencdc.Record, error) { return nil, errors.New("lost") }
			d.OnTeardown = func(context.Context) error {
				if isFirst {
					isFirst = false
					return errors.New("not closed")
				}
				<-release
				return nil
			}
			worker, err := newWorker(s, d)
			return runner.Parts{Workers: []*funnel.Worker{worker}}, err
		})
		time.Sleep(10 * time.Second)
		if s := w.status("p"); s.State != runner.Starting {
			t.Errorf("it is %+v", s)
		}
		err := w.Stop(t.Context(), "p")
		if !errors.Is(err, runner.ErrStuck) || !strings.Contains(err.Error(), "closing what an earlier run could not close") {
			t.Errorf("Stop returns %v", err)
		}
		close(release)
		synctest.Wait()
		if s := w.status("p"); s.State != runner.Stopped {
			t.Errorf("it is %+v", s)
		}
		want(t, w.end())
	})
}

// A sink is closed again, too.
func TestGroup_closesSinkAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		calls := 0
		w.add("p", func(context.Context) (runner.Parts, error) {
			d := newDestination()
			d.OnTeardown = func(context.Context) error {
				if calls++; calls == 1 {
					return errors.New("not closed")
				}
				return nil
			}
			sink, err := funnel.NewSink(&funnel.TaskNode{Task: funnel.NewDestinationTask("out", d, nop, nil)})
			if err != nil {
				return runner.Parts{}, err
			}
			worker, err := funnel.From("in", newSource().ending("1")).Into(sink).Worker()
			return runner.Parts{Workers: []*funnel.Worker{worker}, Sinks: []*funnel.Sink{sink}}, err
		})
		time.Sleep(time.Minute)
		if s := w.status("p"); s.State != runner.Done || s.Restarts != 1 || calls != 3 {
			t.Errorf("after %d calls of Teardown it is %+v", calls, s)
		}
		want(t, w.end())
	})
}
