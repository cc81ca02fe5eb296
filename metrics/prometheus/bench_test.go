package prometheus_test

import (
	"testing"
	"time"

	client "github.com/prometheus/client_golang/prometheus"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/metrics"
)

// BenchmarkHistogram observes 1,000 values per operation: with a histogram of the client
// library, and with one of the exporter, one by one and together.
func BenchmarkHistogram(b *testing.B) {
	values := make([]float64, 1_000)
	for i := range values {
		values[i] = float64(100 + i*7919%4_000) // sizes of records, in three buckets
	}
	bounds := []float64{1024, 2048, 4096, 8192, 16384, 32768}
	perValue := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(values)), "ns/value")
	}
	e, _ := newExporter(b)
	h := metrics.Resolve(e.Set().NewHistogram(metrics.Desc{Name: "h", Help: "H.", Buckets: bounds}).WithValues())
	b.Run("client library", func(b *testing.B) {
		h := client.NewHistogram(client.HistogramOpts{Name: "h", Help: "H.", Buckets: bounds})
		for b.Loop() {
			for _, value := range values {
				h.Observe(value)
			}
		}
		perValue(b)
	})
	b.Run("one by one", func(b *testing.B) {
		for b.Loop() {
			for _, value := range values {
				h.Observe(value)
			}
		}
		perValue(b)
	})
	b.Run("together", func(b *testing.B) {
		for b.Loop() {
			metrics.ObserveAll(h, values)
		}
		perValue(b)
	})
}

// BenchmarkTimer observes the time of 1,000 records per operation.
func BenchmarkTimer(b *testing.B) {
	e, _ := newExporter(b)
	timer := metrics.Resolve(e.Timer("shop"))
	equal, different := make([]time.Duration, 1_000), make([]time.Duration, 1_000)
	for i := range equal {
		equal[i], different[i] = time.Millisecond, time.Duration(i)*time.Microsecond
	}
	b.Run("n times", func(b *testing.B) {
		for b.Loop() {
			metrics.UpdateN(timer, time.Millisecond, 1_000)
		}
	})
	b.Run("equal", func(b *testing.B) {
		for b.Loop() {
			metrics.UpdateAll(timer, equal)
		}
	})
	b.Run("different", func(b *testing.B) {
		for b.Loop() {
			metrics.UpdateAll(timer, different)
		}
	})
}

// BenchmarkObserver reports the events of a batch with two tasks.
func BenchmarkObserver(b *testing.B) {
	e, _ := newExporter(b)
	o := e.Observer("shop")
	b.ReportAllocs()
	for b.Loop() {
		ctx := o.BatchRead(b.Context(), funnel.BatchRead{Records: 1_000})
		for _, id := range []string{"processor", "destination"} {
			o.TaskDone(o.TaskBegin(ctx, funnel.TaskBegin{TaskID: id, Records: 1_000}), funnel.TaskDone{TaskID: id, In: 1_000, Out: 1_000})
		}
		o.RecordsAcked(b.Context(), funnel.RecordsAcked{Records: 1_000})
		o.BatchDone(ctx, funnel.BatchDone{Read: 1_000, Acked: 1_000})
	}
}

// BenchmarkScrape gathers the metrics of a pipeline.
func BenchmarkScrape(b *testing.B) {
	e, registry := newExporter(b)
	e.Observer("shop").TaskDone(b.Context(), funnel.TaskDone{TaskID: "p", In: 1})
	e.Timer("shop").Update(1)
	if err := e.Watch(fixed(map[string]funnel.Stats{"shop": {}})); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
