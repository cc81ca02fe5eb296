package funnel_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// After an error, the next worker reads the records that were not acked again.
func ExampleSliceSource() {
	source := funnel.SliceSource(
		opencdc.Record{Payload: opencdc.Change{After: opencdc.RawData("apple")}},
		opencdc.Record{Payload: opencdc.Change{After: opencdc.RawData("pear")}},
	)
	isDown := true
	destination := funnel.DestinationFunc(func(_ context.Context, records []opencdc.Record) error {
		if isDown {
			return errors.New("connection refused")
		}
		for _, record := range records {
			fmt.Printf("%s: %s\n", record.Position, record.Payload.After.Bytes())
		}
		return nil
	})
	fmt.Println(run(context.Background(), source, destination))
	isDown = false
	fmt.Println(run(context.Background(), source, destination))
	fmt.Println(run(context.Background(), source, destination)) // nothing is left
	// Output:
	// task "destination": failed to write 2 records, from "0" on: connection refused
	// 0: apple
	// 1: pear
	// <nil>
	// <nil>
}
