package prometheus_test

import (
	"context"
	"iter"
	"maps"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	client "github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics/prometheus"
)

// newExporter returns an exporter with a registry of its own.
func newExporter(t testing.TB, opts ...prometheus.Option) (*prometheus.Exporter, *client.Registry) {
	t.Helper()
	registry := client.NewPedanticRegistry()
	e, err := prometheus.New(registry, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return e, registry
}

// gather returns the families of a registry by name.
func gather(t testing.TB, g client.Gatherer) map[string]*dto.MetricFamily {
	t.Helper()
	list, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	families := make(map[string]*dto.MetricFamily)
	for _, f := range list {
		families[f.GetName()] = f
	}
	return families
}

// statsOf yields the stats of workers.
func statsOf(workers map[string]*funnel.Worker) func() iter.Seq2[string, funnel.Stats] {
	return func() iter.Seq2[string, funnel.Stats] {
		return func(yield func(string, funnel.Stats) bool) {
			for name, w := range workers {
				if !yield(name, w.Stats()) {
					return
				}
			}
		}
	}
}

// fixed yields the same stats at each scrape.
func fixed(stats map[string]funnel.Stats) func() iter.Seq2[string, funnel.Stats] {
	return func() iter.Seq2[string, funnel.Stats] { return maps.All(stats) }
}

// newWorld returns a worker that does everything that can be measured, for a synctest
// bubble: it filters, splits, nacks and retries records, divides batches, writes dead
// letters in a window, and gives up a best-effort branch. Each write takes 20 ms. All
// metrics go to the exporter, under the name shop.
//
// It has 6 source records: 1 is filtered, 2 is nacked by p, 3 becomes three pieces, one of which
// is nacked by b, 4 is answered at the third call, and 5 is nacked by b.
func newWorld(t testing.TB, e *prometheus.Exporter, opts ...funnel.WorkerOption) *funnel.Worker {
	t.Helper()
	const pipeline = "shop"
	j, m := &fake.Journal{}, e.Metrics()
	to := func(d *fake.Destination) *funnel.TaskNode {
		return fake.Node(funnel.NewDestinationTask(d.Name, d, log.Nop(), m.Connector(pipeline, d.Name, connector.TypeDestination)))
	}
	p := fake.ByPosition(fake.Answers{
		"1": fake.Filter, "2": fake.Fail, "3": fake.Split(3), "4": fake.SecondTime(fake.SecondTime(fake.Pass)),
	})
	out := fake.SlowDestination(j, "out", 20*time.Millisecond)
	b := fake.NewDestination(j, "b")
	b.Refuse["3b"], b.Refuse["5"] = fake.ErrTest, fake.ErrTest
	failing := fake.NewDestination(j, "failing")
	failing.OnWrite = func(context.Context, []opencdc.Record) error { return fake.ErrTest }
	bestEffort := to(failing)
	bestEffort.BestEffort = true

	first := fake.Node(funnel.NewSourceTask("source", fake.SourceOf(j, "1 2 3", "4 5", "6"), log.Nop(),
		m.Connector(pipeline, "source", connector.TypeSource)))
	fake.Chain(first, fake.Fork(fake.Node(funnel.NewProcessorTask("p", p, log.Nop(), m.Processor(pipeline, "p"))),
		to(out), to(b), bestEffort))
	dlq := funnel.NewDLQ("dlq", fake.NewDestination(j, "dlq"), log.Nop(), m.DLQ(pipeline, "dlq"), 100, 10)
	opts = append(opts, funnel.WithObserver(e.Observer(pipeline)), funnel.WithStats())
	return fake.NewTimedWorker(t, first, dlq, e.Timer(pipeline), opts...)
}

// workersOf returns the only worker, under the name shop.
func workersOf(w *funnel.Worker) map[string]*funnel.Worker {
	return map[string]*funnel.Worker{"shop": w}
}
