// Package measure measures the time and the allocations of pipelines.
package measure

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/conduitio/funnel/benchmarks/internal/fake"
)

// Session is a pipeline that runs in rounds. Between rounds it waits and keeps what it
// has allocated for later batches.
type Session struct {
	gate     *fake.Gate
	finished chan error
}

// Start starts a pipeline whose source waits at the gate. The name labels the samples
// of a CPU profile. The caller must call Stop.
func Start(ctx context.Context, name string, gate *fake.Gate, run func(context.Context) error) (*Session, error) {
	s := &Session{gate: gate, finished: make(chan error, 1)}
	go pprof.Do(ctx, pprof.Labels("side", name), func(ctx context.Context) {
		s.finished <- run(ctx)
	})
	return s, s.wait()
}

// Run runs one batch to warm up, then n batches, and returns the time of the n batches.
func (s *Session) Run(n int) (time.Duration, error) {
	s.gate.Begin(n)
	if err := s.wait(); err != nil {
		return 0, err
	}
	return s.gate.Elapsed(), nil
}

// Allocs runs a round of n batches and returns the number of allocations per batch.
func (s *Session) Allocs(n int) (float64, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := s.Run(n - 1); err != nil {
		return 0, err
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(n), nil
}

// Stop ends the pipeline and returns its error.
func (s *Session) Stop() error {
	s.gate.Close()
	return <-s.finished
}

// wait waits until the source waits at the gate again.
func (s *Session) wait() error {
	select {
	case <-s.gate.Ended():
		return nil
	case err := <-s.finished:
		s.finished <- err // for Stop
		if err == nil {
			err = errors.New("no error")
		}
		return fmt.Errorf("the pipeline has ended in the middle of a round: %w", err)
	}
}
