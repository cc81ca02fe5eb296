package measure_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/funnel/benchmarks/internal/fake"
	"github.com/conduitio/funnel/benchmarks/internal/measure"
)

// size is the number of records per batch.
const size = 4

// start starts what reads batches and does something with each.
func start(t *testing.T, do func()) *measure.Session {
	t.Helper()
	gate := fake.NewGate()
	source := fake.NewSource(gate, fake.Records(size, fake.Raw), []int{size}, true)
	s, err := measure.Start(t.Context(), "test", gate, func(ctx context.Context) error {
		for {
			if _, err := source.Read(ctx); errors.Is(err, io.EOF) {
				return nil
			}
			do()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// The time of a round is that of its batches, but for the one that warms up. What
// happens between rounds does not count.
func TestSession_Run(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		batches := 0
		s := start(t, func() {
			batches++
			time.Sleep(time.Second)
		})
		for round := 1; round <= 3; round++ {
			elapsed, err := s.Run(5)
			if err != nil || elapsed != 5*time.Second {
				t.Errorf("a round has taken %v, %v", elapsed, err)
			}
			if batches != 6*round {
				t.Errorf("there were %d batches after %d rounds", batches, round)
			}
			time.Sleep(time.Hour)
		}
	})
}

func TestSession_Allocs(t *testing.T) {
	var sink []*int
	s := start(t, func() { sink = []*int{new(int), new(int)} })
	got, err := s.Allocs(100)
	if err != nil || got < 3 || got > 3.5 {
		t.Errorf("got %v allocations per batch, %v, want 3 for %d things", got, err, len(sink))
	}
}

// A pipeline that ends by itself is an error, not a round.
func TestSession_endsEarly(t *testing.T) {
	want := errors.New("broken")
	gate := fake.NewGate()
	if _, err := measure.Start(t.Context(), "test", gate, func(context.Context) error { return want }); !errors.Is(err, want) {
		t.Errorf("started, got %v", err)
	}
	gate = fake.NewGate()
	source := fake.NewSource(gate, fake.Records(size, fake.Raw), []int{size}, false)
	s, err := measure.Start(t.Context(), "test", gate, func(ctx context.Context) error {
		_, err := source.Read(ctx)
		return errors.Join(err, want)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(2); !errors.Is(err, want) {
		t.Errorf("run, got %v", err)
	}
	if err := s.Stop(); !errors.Is(err, want) {
		t.Errorf("stopped, got %v", err)
	}
}

func TestCompare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := start(t, func() { time.Sleep(2 * time.Millisecond) })
		subject := start(t, func() { time.Sleep(3 * time.Millisecond) })
		c, err := measure.Compare(base, subject, size, measure.Effort{Rounds: 4, Length: 30 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if c.Base.NS != 500_000 || c.Subject.NS != 750_000 || c.Ratio != 1.5 || c.More != 250_000 {
			t.Errorf("got %+v", c)
		}
	})
}

func TestCompareJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		job := func(records int, took time.Duration) measure.Job {
			return measure.Job{Records: records, Prepare: func() (func(context.Context) error, error) {
				time.Sleep(time.Hour) // does not count
				return func(context.Context) error {
					runs++
					time.Sleep(took)
					return nil
				}, nil
			}}
		}
		c, err := measure.CompareJobs(t.Context(), job(10, time.Second), job(1_000, 2*time.Second), 3)
		if err != nil {
			t.Fatal(err)
		}
		if runs != 6 || c.Base.NS != 1e8 || c.Subject.NS != 2e6 || c.Ratio != 0.02 || c.More != -98e6 {
			t.Errorf("got %+v after %d runs", c, runs)
		}
	})
}

func TestCompareJobs_errors(t *testing.T) {
	want := errors.New("broken")
	fine := measure.Job{Records: 1, Prepare: func() (func(context.Context) error, error) {
		return func(context.Context) error { return nil }, nil
	}}
	for name, job := range map[string]measure.Job{
		"prepare": {Records: 1, Prepare: func() (func(context.Context) error, error) { return nil, want }},
		"run": {Records: 1, Prepare: func() (func(context.Context) error, error) {
			return func(context.Context) error { return want }, nil
		}},
	} {
		if _, err := measure.CompareJobs(t.Context(), fine, job, 1); !errors.Is(err, want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
