package otel_test

import (
	"context"
	"io"
	"strconv"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/otel"
)

// dropping is an exporter that drops the spans.
type dropping struct{}

func (dropping) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (dropping) Shutdown(context.Context) error                             { return nil }

// BenchmarkObserver compares workers with several observers: a batch goes through a
// processor to a destination. An op is a batch.
func BenchmarkObserver(b *testing.B) {
	observer := func(sampler sdktrace.Sampler) funnel.Observer {
		provider := sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler), sdktrace.WithSyncer(dropping{}))
		o, err := otel.NewObserver(provider, "p")
		if err != nil {
			b.Fatal(err)
		}
		return o
	}
	for _, records := range []int{1, 1_000} {
		for _, c := range []struct {
			name     string
			observer funnel.Observer
			traced   bool // the records have traces
		}{
			{"none", nil, false},
			{"nop", funnel.NopObserver{}, false},
			{"sampled out", observer(sdktrace.NeverSample()), false},
			{"sampled", observer(sdktrace.AlwaysSample()), false},
			{"sampled out, traced records", observer(sdktrace.NeverSample()), true},
			{"sampled, traced records", observer(sdktrace.AlwaysSample()), true},
		} {
			b.Run(c.name+"/"+strconv.Itoa(records), func(b *testing.B) {
				b.ReportAllocs()
				benchmark(b, records, c.observer, c.traced)
			})
		}
	}
}

func benchmark(b *testing.B, n int, observer funnel.Observer, isTraced bool) {
	records, batch := make([]opencdc.Record, n), make([]opencdc.Record, n)
	for i := range records {
		records[i] = opencdc.Record{Position: opencdc.Position(strconv.Itoa(i)), Payload: opencdc.Change{After: opencdc.RawData("x")}}
		if isTraced {
			records[i].Metadata = traced(i + 1).Metadata
		}
	}
	left := b.N
	source := funnel.SourceFunc(func(context.Context) ([]opencdc.Record, error) {
		if left == 0 {
			return nil, io.EOF
		}
		left--
		copy(batch, records)
		return batch, nil
	})
	ignore := funnel.DestinationFunc(func(context.Context, []opencdc.Record) error { return nil })
	p := funnel.From("in", source).Through("keep", funnel.Filter(func(opencdc.Record) bool { return true })).To("out", ignore)
	if observer != nil {
		p = p.Options(funnel.WithObserver(observer))
	}
	w, err := p.Worker()
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	if err := w.Run(b.Context()); err != nil {
		b.Fatal(err)
	}
}
