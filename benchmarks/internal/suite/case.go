package suite

import (
	"context"
	"errors"

	client "github.com/prometheus/client_golang/prometheus"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/metrics"
	"github.com/conduitio/funnel/metrics/prometheus"

	"github.com/conduitio/funnel/benchmarks/internal/fake"
	"github.com/conduitio/funnel/benchmarks/internal/measure"
	"github.com/conduitio/funnel/benchmarks/internal/pipeline"
)

// Case is a row whose series run the same pipeline of fakes.
type Case struct {
	Row
	Spec pipeline.Spec
}

// Start starts the pipeline for a series. The source waits at the gate of the session.
func (c *Case) Start(ctx context.Context, series string) (*measure.Session, error) {
	gate := fake.NewGate()
	return measure.Start(ctx, series, gate, Runner(series, c.Build(series, gate)))
}

// Build prepares the fakes of the pipeline for a series. The source waits at the gate.
func (c *Case) Build(series string, gate *fake.Gate) *pipeline.Pipeline {
	p := c.Spec.Build(gate)
	if series == Lanes {
		p.Destinations = []funnel.Destination{partitioned(0)}
	}
	return p
}

// Runner returns a function that runs a pipeline for a series until the source ends.
func Runner(series string, p *pipeline.Pipeline) func(context.Context) error {
	return func(ctx context.Context) error {
		switch series {
		case Loop:
			return pipeline.Loop{}.Run(ctx, p)
		case Engine, Lanes:
			return pipeline.Engine{}.Run(ctx, p)
		case WholeBatches:
			return withOption(funnel.WithWholeBatches()).Run(ctx, p)
		case Observer:
			return withOption(funnel.WithObserver(funnel.NopObserver{})).Run(ctx, p)
		case Traces, SampledOut:
			option, err := traced(series == Traces)
			if err != nil {
				return err
			}
			return withOption(option).Run(ctx, p)
		case Stats:
			return withOption(funnel.WithStats()).Run(ctx, p)
		case Sink:
			return pipeline.Engine{OverSink: true}.Run(ctx, p)
		case Metrics:
			set := metrics.NewSet()
			set.Register(&fake.Registry{})
			return pipeline.Engine{Metrics: set}.Run(ctx, p)
		case Prometheus:
			e, err := prometheus.New(client.NewRegistry())
			if err != nil {
				return err
			}
			return pipeline.Engine{
				Metrics: e.Set(),
				Options: []funnel.WorkerOption{funnel.WithObserver(e.Observer("benchmark")), funnel.WithStats()},
			}.Run(ctx, p)
		case Everything:
			return supervised(ctx, p)
		default:
			return errors.New("unknown series " + series)
		}
	}
}

func withOption(option funnel.WorkerOption) pipeline.Engine {
	return pipeline.Engine{Options: []funnel.WorkerOption{option}}
}

// Measure compares the two series, per record.
func (c *Case) Measure(ctx context.Context, effort measure.Effort) (cmp measure.Comparison, err error) {
	var sessions [2]*measure.Session
	for i, series := range []string{c.Base, c.Subject} {
		if sessions[i], err = c.Start(ctx, series); err != nil {
			return cmp, err
		}
		defer func() { err = errors.Join(err, sessions[i].Stop()) }()
	}
	return measure.Compare(sessions[0], sessions[1], c.Spec.Records(), effort)
}
