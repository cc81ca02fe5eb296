package otel_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"
	"go.opentelemetry.io/otel/trace"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// However a destination is decorated, it finds the span of its task in the context of Write.
func TestObserver_decoratedDestinations(t *testing.T) {
	for name, decorate := range map[string]func(funnel.Destination) funnel.Destination{
		"plain": func(d funnel.Destination) funnel.Destination { return d },
		"retry": func(d funnel.Destination) funnel.Destination {
			return funnel.NewRetryDestination(d, funnel.DestinationRetry{})
		},
		"limited": func(d funnel.Destination) funnel.Destination {
			return funnel.NewLimitedDestination(d, funnel.WriteLimit{Records: 1})
		},
		"partitioned": func(d funnel.Destination) funnel.Destination {
			return funnel.NewPartitionedDestination(1, func(opencdc.Record) string { return "" }, func(int) (funnel.Destination, error) { return d, nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j, tr := &fake.Journal{}, newTracing()
				out := fake.NewDestination(j, "out")
				if name == "retry" {
					out.Refuse["1"] = fake.ErrTest
				}
				writes := map[string]int{"plain": 1, "retry": 2, "limited": 2, "partitioned": 1}[name]
				var seen []trace.SpanID
				out.OnWrite = func(ctx context.Context, _ []opencdc.Record) error {
					seen = append(seen, trace.SpanContextFromContext(ctx).SpanID())
					delete(out.Refuse, "1") // from the next write on
					return nil
				}
				first := fake.Chain(fake.From(fake.SourceOf(j, "1 2")), fake.Node(funnel.NewDestinationTask("out", decorate(out), log.Nop(), nil)))
				fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, nil, funnel.WithObserver(tr.observer(t)))))
				task := tr.Ended()[0]
				for i, id := range seen {
					if task.Name() != "task out" || id != task.SpanContext().SpanID() {
						t.Errorf("write %d has the span %v, not that of %s", i, id, task.Name())
					}
				}
				if len(seen) != writes {
					t.Errorf("there were %d writes, want %d", len(seen), writes)
				}
			})
		})
	}
}
