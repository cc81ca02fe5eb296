package suite

import (
	"context"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/otel"

	"github.com/conduitio/funnel/benchmarks/internal/pipeline"
)

// tracedCases returns the cases with traces. A batch of a linear pipeline has two spans; if
// it is sampled out, it has one that records nothing.
func tracedCases() []Case {
	var cases []Case
	for _, size := range []int{1, usual} {
		of := func(name, title, subject string, batch float64) Case {
			return Case{
				Row: Row{
					Case: name, X: size, Title: title + ", batches of " + Thousands(size), Base: Engine, Subject: subject,
					Target: Target{More: max(batch/float64(size), 1)},
				},
				Spec: pipeline.Spec{Sizes: []int{size}, Destinations: 1},
			}
		}
		cases = append(cases,
			of("traces, sampled out", "traces, sampled out", SampledOut, 2_000),
			of("traces", "traces of all batches", Traces, 20_000),
		)
	}
	return cases
}

// traced returns an option that traces a worker: all batches, or none. The spans are dropped.
func traced(isSampled bool) (funnel.WorkerOption, error) {
	sampler := sdktrace.NeverSample()
	if isSampled {
		sampler = sdktrace.AlwaysSample()
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler), sdktrace.WithSyncer(dropped{}))
	observer, err := otel.NewObserver(provider, "benchmark")
	if err != nil {
		return nil, err
	}
	return funnel.WithObserver(observer), nil
}

// dropped is an exporter that drops spans.
type dropped struct{}

func (dropped) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }

func (dropped) Shutdown(context.Context) error { return nil }
