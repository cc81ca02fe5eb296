package otel_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/otel"
)

// Each batch is a span, with a child for each task.
func ExampleNewObserver() {
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	observer, err := otel.NewObserver(provider, "orders")
	if err != nil {
		panic(err)
	}
	orders := funnel.SliceSource(
		opencdc.Record{Position: opencdc.Position("1"), Payload: opencdc.Change{After: opencdc.RawData("two apples")}},
		opencdc.Record{Position: opencdc.Position("2"), Payload: opencdc.Change{After: opencdc.RawData("")}},
	)
	check := funnel.Map(func(order opencdc.Record) (opencdc.Record, error) {
		if len(order.Payload.After.Bytes()) == 0 {
			return order, errors.New("the order is empty")
		}
		return order, nil
	})
	ignore := funnel.DestinationFunc(func(context.Context, []opencdc.Record) error { return nil })
	err = funnel.From("shop", orders).Through("check", check).To("table", ignore).
		DeadLetters("refused", ignore, 0, 0).
		Options(funnel.WithObserver(observer)).
		Run(context.Background())
	if err != nil {
		panic(err)
	}
	for _, span := range recorder.Started() { // the children of a batch follow it
		if span.Parent().IsValid() {
			fmt.Print("  ")
		}
		fmt.Print(span.Name(), ":")
		for _, a := range span.Attributes() {
			if a.Key != otel.PipelineKey && a.Key != otel.TaskKey && a.Value.Type().String() == "INT64" {
				fmt.Printf(" %s=%d", a.Key, a.Value.AsInt64())
			}
		}
		fmt.Println()
	}
	// Output:
	// process orders: messaging.batch.message_count=2 funnel.records.acked=2 funnel.records.dead_lettered=1 funnel.records.nacked=1
	//   task check: funnel.records.in=2 funnel.records.out=1 funnel.records.nacked=1
	//   task table: funnel.records.in=1 funnel.records.out=1
}
