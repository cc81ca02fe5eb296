package fake

import (
	"context"
	"fmt"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
)

// Destination acks all records of a write in one call of Ack. It acks a record whose
// position is in Refuse with the error given there.
type Destination struct {
	*Journal
	Name   string
	Refuse map[string]error

	OnOpen     func(context.Context) error
	OnWrite    func(context.Context, []opencdc.Record) error
	OnAck      func(context.Context) ([]connector.DestinationAck, error)
	OnTeardown func(context.Context) error

	Written []opencdc.Record           // by all writes
	Pending []connector.DestinationAck // of the last write, until Ack returns them
}

// NewDestination returns a destination.
func NewDestination(j *Journal, name string) *Destination {
	return &Destination{Journal: j, Name: name, Refuse: make(map[string]error)}
}

// SlowDestination returns a destination whose writes take the given time each.
func SlowDestination(j *Journal, name string, each time.Duration) *Destination {
	d := NewDestination(j, name)
	d.OnWrite = func(context.Context, []opencdc.Record) error { time.Sleep(each); return nil }
	return d
}

// ID panics: the engine never asks a destination for its ID.
func (d *Destination) ID() string { panic("the engine asked a destination for its ID") }

// Errors panics: the engine never asks a destination for its errors.
func (d *Destination) Errors() <-chan error { panic("the engine asked a destination for its errors") }

// Open adds "open" and the name to the journal.
func (d *Destination) Open(ctx context.Context) error {
	d.Add("open", d.Name)
	if d.OnOpen != nil {
		return d.OnOpen(ctx)
	}
	return nil
}

// Write adds the name and the positions to the journal.
func (d *Destination) Write(ctx context.Context, recs []opencdc.Record) error {
	d.AddRecords(d.Name, recs)
	d.Written = append(d.Written, recs...)
	d.Pending = nil
	for _, rec := range recs {
		d.Pending = append(d.Pending, connector.DestinationAck{
			Position: rec.Position, Error: d.Refuse[string(rec.Position)],
		})
	}
	if d.OnWrite != nil {
		return d.OnWrite(ctx, recs)
	}
	return nil
}

// Ack returns the acks of the last write.
func (d *Destination) Ack(ctx context.Context) ([]connector.DestinationAck, error) {
	if d.OnAck != nil {
		return d.OnAck(ctx)
	}
	acks := d.Pending
	d.Pending = nil
	return acks, nil
}

// Teardown adds "teardown" and the name to the journal.
func (d *Destination) Teardown(ctx context.Context) error {
	d.Add("teardown", d.Name)
	if d.OnTeardown != nil {
		return d.OnTeardown(ctx)
	}
	return nil
}

// Acks returns an ack for each position.
func Acks(positions ...string) []connector.DestinationAck {
	acks := make([]connector.DestinationAck, len(positions))
	for i, p := range positions {
		acks[i].Position = opencdc.Position(p)
	}
	return acks
}

// QueueWithErrors returns a dead-letter queue that adds a line to the journal for
// each write: "dlq", and the position and error of each record.
func QueueWithErrors(j *Journal) *funnel.DLQ {
	d := NewDestination(&Journal{}, "dlq")
	d.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
		words := []string{"dlq"}
		for _, rec := range recs {
			text, err := rec.Metadata.GetConduitDLQNackError()
			if err != nil {
				return err
			}
			words = append(words, fmt.Sprintf("%s:%s", rec.Position, text))
		}
		j.Add(words...)
		return nil
	}
	return Queue(d)
}
