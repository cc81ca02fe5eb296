package runner

import (
	"context"
	"errors"
	"fmt"

	"github.com/conduitio/funnel"
)

// Parts is what a [Build] returns.
type Parts struct {
	// Workers run at the same time. There must be at least one, and each must be new: a
	// worker runs once.
	Workers []*funnel.Worker
	// Sinks are the sinks that the workers share. They are opened before the workers and
	// closed after them.
	Sinks []*funnel.Sink
}

// Build makes the workers for a run of a pipeline. It is called for each run, on a
// goroutine of its own. It makes new workers, whose connectors are new or can be opened again
// after a teardown. It does not open the workers.
//
// The context ends when the run is over or cancelled. A stop cancels a run at once while it
// builds or opens, and later only when the graceful bound has passed.
//
// If Build returns an error or panics, the run has failed.
type Build func(context.Context) (Parts, error)

// Single returns a Build for a pipeline of one worker.
//
//	runner.Single(func(ctx context.Context) (*funnel.Worker, error) {
//		return funnel.From("orders", newOrders(ctx)).To("table", newTable(ctx)).Worker()
//	})
func Single(build func(context.Context) (*funnel.Worker, error)) Build {
	if build == nil {
		return nil
	}
	return func(ctx context.Context) (Parts, error) {
		w, err := build(ctx)
		if err != nil {
			return Parts{}, err
		}
		return Parts{Workers: []*funnel.Worker{w}}, nil
	}
}

func (p Parts) check() error {
	if len(p.Workers) == 0 {
		return funnel.FatalError(errors.New("Build has returned no workers"))
	}
	seen := make(map[any]bool)
	for i, w := range p.Workers {
		switch {
		case w == nil || seen[w]:
			return funnel.FatalError(fmt.Errorf("Build has returned worker %d as nil, or twice", i))
		case w.FirstTask == nil || w.Source == nil:
			return funnel.FatalError(fmt.Errorf("Build has returned worker %d, which NewWorker has not made", i))
		}
		seen[w] = true
	}
	for i, s := range p.Sinks {
		if s == nil || seen[s] {
			return funnel.FatalError(fmt.Errorf("Build has returned sink %d as nil, or twice", i))
		}
		seen[s] = true
	}
	return nil
}
