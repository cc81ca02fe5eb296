package funnel_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
)

// smallAPI is a destination that accepts at most two records per call.
type smallAPI struct {
	funnel.Destination
	acks []connector.DestinationAck
}

func (d *smallAPI) Write(_ context.Context, recs []opencdc.Record) error {
	if len(recs) > 2 {
		return errors.New("413 Content Too Large")
	}
	d.acks = d.acks[:0]
	fmt.Print("POST")
	for _, rec := range recs {
		fmt.Printf(" %s", rec.Position)
		d.acks = append(d.acks, connector.DestinationAck{Position: rec.Position})
	}
	fmt.Println()
	return nil
}

func (d *smallAPI) Ack(context.Context) ([]connector.DestinationAck, error) { return d.acks, nil }

// A destination that accepts only a limited amount at a time gets large batches in
// chunks.
func ExampleNewLimitedDestination() {
	d := funnel.NewLimitedDestination(&smallAPI{}, funnel.WriteLimit{Records: 2})
	task := funnel.NewDestinationTask("api", d, log.Nop(), nil)

	var recs []opencdc.Record
	for _, p := range []string{"a", "b", "c", "d", "e"} {
		recs = append(recs, opencdc.Record{Position: opencdc.Position(p)})
	}
	if err := task.Do(context.Background(), funnel.NewBatch(recs)); err != nil {
		panic(err)
	}
	// Output:
	// POST a b
	// POST c d
	// POST e
}
