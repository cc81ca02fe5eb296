package funnel_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
)

// A bulk call says for each record whether it was written.
func ExampleDestinationFunc() {
	index := funnel.DestinationFunc(func(_ context.Context, records []opencdc.Record) error {
		errs := make(funnel.RecordErrors, len(records))
		for i, record := range records {
			if record.Key == nil {
				errs[i] = errors.New("a document needs a key")
			}
		}
		return errs
	})
	task := funnel.NewDestinationTask("index", index, log.Nop(), nil)

	batch := funnel.NewBatch([]opencdc.Record{
		{Position: opencdc.Position("1"), Key: opencdc.RawData("a")},
		{Position: opencdc.Position("2")},
		{Position: opencdc.Position("3"), Key: opencdc.RawData("c")},
	})
	if err := task.Do(context.Background(), batch); err != nil {
		fmt.Println(err)
	}
	for i, record := range batch.ActiveRecords() {
		fmt.Printf("%s: %v\n", record.Position, batch.Status(i))
	}
	// Output:
	// 1: {ack <nil>}
	// 2: {nack a document needs a key}
	// 3: {ack <nil>}
}
