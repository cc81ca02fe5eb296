package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
)

// run runs a pipeline of a source and one destination to its end.
func run(ctx context.Context, source funnel.Source, destination funnel.Destination) error {
	first := &funnel.TaskNode{
		Task: funnel.NewSourceTask("source", source, log.Nop(), nil),
		Next: []*funnel.TaskNode{{Task: funnel.NewDestinationTask("destination", destination, log.Nop(), nil)}},
	}
	worker, err := funnel.NewWorker(first, nil, log.Nop(), nil)
	if err != nil {
		return err
	}
	if err := worker.Open(ctx); err != nil {
		return err
	}
	return errors.Join(worker.Do(ctx), worker.Close(ctx))
}

// A function that returns records is a source, and one that writes them a destination.
func ExampleSourceFunc() {
	pages := []string{"one", "two"}
	source := funnel.SourceFunc(func(context.Context) ([]opencdc.Record, error) {
		if len(pages) == 0 {
			return nil, io.EOF
		}
		page := pages[0]
		pages = pages[1:]
		return []opencdc.Record{{
			Position: opencdc.Position(page),
			Payload:  opencdc.Change{After: opencdc.RawData("page " + page)},
		}}, nil
	})
	destination := funnel.DestinationFunc(func(_ context.Context, records []opencdc.Record) error {
		for _, record := range records {
			fmt.Printf("%s\n", record.Payload.After.Bytes())
		}
		return nil
	})
	if err := run(context.Background(), source, destination); err != nil {
		fmt.Println(err)
	}
	// Output:
	// page one
	// page two
}
