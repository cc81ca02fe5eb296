package otel_test

import (
	"context"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/otel"
)

// The batch of the second pipeline links to the batch of the first that wrote its records.
func ExampleNewInjectTask() {
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	run := func(name string, records []opencdc.Record, write func(context.Context, []opencdc.Record) error) {
		observer, err := otel.NewObserver(provider, name)
		if err != nil {
			panic(err)
		}
		inject, err := otel.NewInjectTask("trace")
		if err != nil {
			panic(err)
		}
		err = funnel.From("in", funnel.SliceSource(records...)).Step(inject).To("out", funnel.DestinationFunc(write)).
			Options(funnel.WithObserver(observer)).
			Run(context.Background())
		if err != nil {
			panic(err)
		}
	}

	var between []opencdc.Record
	run("first", []opencdc.Record{{Position: opencdc.Position("1")}}, func(_ context.Context, records []opencdc.Record) error {
		between = append(between, records...)
		return nil
	})
	run("second", between, func(context.Context, []opencdc.Record) error { return nil })

	spans := recorder.Started()
	fmt.Println(spans[3].Name(), "has", len(spans[3].Links()), "link")
	fmt.Println("to", spans[1].Name(), "of", spans[0].Name(), spans[3].Links()[0].SpanContext.SpanID() == spans[1].SpanContext().SpanID())
	// Output:
	// process second has 1 link
	// to task trace of process first true
}
