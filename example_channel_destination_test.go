package funnel_test

import (
	"context"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// A program receives the records of a pipeline from a channel.
func ExampleNewChannelDestination() {
	source := funnel.SliceSource(
		opencdc.Record{Payload: opencdc.Change{After: opencdc.RawData("apple")}},
		opencdc.Record{Payload: opencdc.Change{After: opencdc.RawData("pear")}},
	)
	records, done := make(chan opencdc.Record), make(chan error, 1)
	go func() {
		defer close(records) // once the worker is closed
		done <- run(context.Background(), source, funnel.NewChannelDestination(records))
	}()
	for record := range records {
		fmt.Printf("%s\n", record.Payload.After.Bytes())
	}
	fmt.Println(<-done)
	// Output:
	// apple
	// pear
	// <nil>
}
