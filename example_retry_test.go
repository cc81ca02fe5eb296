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

var (
	errLocked  = errors.New("the row is locked")
	errInvalid = errors.New("the value is invalid")
)

// database is a destination that refuses rows. A lock is temporary, an invalid value is
// not.
type database struct {
	funnel.Destination
	locked map[string]bool
	acks   []connector.DestinationAck
}

func (d *database) Write(_ context.Context, recs []opencdc.Record) error {
	d.acks = d.acks[:0]
	for _, rec := range recs {
		ack := connector.DestinationAck{Position: rec.Position}
		switch row := string(rec.Position); {
		case d.locked[row]:
			delete(d.locked, row)
			ack.Error = errLocked
		case row == "bad":
			ack.Error = errInvalid
		}
		fmt.Printf("write %s: %v\n", rec.Position, ack.Error)
		d.acks = append(d.acks, ack)
	}
	return nil
}

func (d *database) Ack(context.Context) ([]connector.DestinationAck, error) { return d.acks, nil }

// Records whose refusal may be temporary are written again before they count as refused.
func ExampleNewRetryDestination() {
	d := funnel.NewRetryDestination(&database{locked: map[string]bool{"b": true}}, funnel.DestinationRetry{
		MaxAttempts: 5,
		Retryable:   func(err error) bool { return errors.Is(err, errLocked) },
	})
	task := funnel.NewDestinationTask("database", d, log.Nop(), nil)

	batch := funnel.NewBatch([]opencdc.Record{
		{Position: opencdc.Position("a")}, {Position: opencdc.Position("b")}, {Position: opencdc.Position("bad")},
	})
	if err := task.Do(context.Background(), batch); err != nil {
		panic(err)
	}
	for i, rec := range batch.ActiveRecords() {
		fmt.Printf("%s is nacked: %t\n", rec.Position, batch.Status(i).Flag == funnel.RecordFlagNack)
	}
	// Output:
	// write a: <nil>
	// write b: the row is locked
	// write bad: the value is invalid
	// write b: <nil>
	// a is nacked: false
	// b is nacked: false
	// bad is nacked: true
}
