package funnel_test

import (
	"context"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
)

// stamping is a destination that changes the records that it gets, which is not allowed.
type stamping struct{ printer }

func (d *stamping) Write(ctx context.Context, records []opencdc.Record) error {
	for i := range records {
		records[i].Metadata["stamp"] = d.name
	}
	return d.printer.Write(ctx, records)
}

// stamped is a source of words with metadata.
type stamped struct{ words }

func (s *stamped) Read(ctx context.Context) ([]opencdc.Record, error) {
	records, err := s.words.Read(ctx)
	for i := range records {
		records[i].Metadata = opencdc.Metadata{}
	}
	return records, err
}

// A test with ownership checks finds a destination that writes to shared memory.
func ExampleWithOwnershipChecks() {
	source := &stamped{words{list: []string{"apple"}}}
	first := &funnel.TaskNode{Task: funnel.NewSourceTask("words", source, log.Nop(), nil)}
	first.Next = []*funnel.TaskNode{{Task: funnel.NewDestinationTask("table", &stamping{printer{name: "table"}}, log.Nop(), nil)}}
	report := func(err error) { fmt.Println(err) } // in a test, t.Error
	worker, err := funnel.NewWorker(first, nil, log.Nop(), nil, funnel.WithOwnershipChecks(report))
	if err != nil {
		panic(err)
	}
	if err := worker.Do(context.Background()); err != nil {
		panic(err)
	}
	// Output:
	// table: apple
	// task "table": the destination has changed, during Write, what a record holds, which others may share: record 0 of 1, "0"
}
