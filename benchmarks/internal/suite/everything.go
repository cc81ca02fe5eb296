package suite

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	client "github.com/prometheus/client_golang/prometheus"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics/prometheus"
	"github.com/conduitio/funnel/runner"

	"github.com/conduitio/funnel/benchmarks/internal/pipeline"
)

// everythingCases returns the cases of a pipeline as a service runs it.
func everythingCases() []Case {
	of := func(size int, target Target) Case {
		return Case{
			Row: Row{
				Case: "everything, raw", X: size, Title: "supervisor, slog, Prometheus and traces, batches of " + Thousands(size),
				Base: Engine, Subject: Everything, Target: target,
			},
			Spec: pipeline.Spec{Sizes: []int{size}, Destinations: 1},
		}
	}
	return []Case{of(usual, Target{More: 40}), of(1, Target{})}
}

// supervised runs a pipeline in a group until its source ends, and has all that one can see
// of it switched on. All batches are traced.
func supervised(ctx context.Context, p *pipeline.Pipeline) error {
	const name = "benchmark"
	logger := log.FromSlog(slog.NewJSONHandler(io.Discard, nil))
	exporter, err := prometheus.New(client.NewRegistry())
	if err != nil {
		return err
	}
	traces, err := traced(true)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var end runner.Transition
	group, err := runner.New(runner.WithLogger(logger), runner.WithMetrics(exporter.Set()), runner.WithListener(func(t runner.Transition) {
		switch t.To {
		case runner.Done, runner.Recovering, runner.Degraded, runner.Stuck:
			end = t
			cancel()
		}
	}))
	if err != nil {
		return err
	}
	if err := exporter.Watch(group.Stats); err != nil {
		return err
	}
	engine := pipeline.Engine{
		Metrics: exporter.Set(),
		Options: []funnel.WorkerOption{funnel.WithStats(), funnel.WithObserver(exporter.Observer(name)), traces},
		Logger:  logger,
	}
	err = group.Add(name, runner.Single(func(context.Context) (*funnel.Worker, error) { return engine.Worker(p) }))
	if err != nil {
		return err
	}
	if err := group.Run(ctx); err != nil {
		return err
	}
	if end.To != runner.Done {
		return fmt.Errorf("the pipeline is %s: %w", end.To, end.Cause)
	}
	return nil
}
