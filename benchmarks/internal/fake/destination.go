package fake

import (
	"context"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector"
)

// Destination acks what it is given with acks that were prepared. It relies on
// being given the same records over and over, in whatever portions.
type Destination struct {
	acks    []connector.DestinationAck
	perCall int
	next    int // the first ack that was not returned
	end     int // behind the acks of the last write
}

// NewDestination returns a destination that returns the acks in turn: so many
// per call, or with 0 all that there are.
func NewDestination(acks []connector.DestinationAck, perCall int) *Destination {
	return &Destination{acks: acks, perCall: perCall}
}

// ID returns the name of the fake.
func (d *Destination) ID() string { return "fake destination" }

// Open does nothing.
func (d *Destination) Open(context.Context) error { return nil }

// Write prepares the acks of the records.
func (d *Destination) Write(_ context.Context, records []opencdc.Record) error {
	if d.end = d.next + len(records); d.end > len(d.acks) {
		return fmt.Errorf("got %d records where %d were left", len(records), len(d.acks)-d.next)
	}
	return nil
}

// Ack returns the next acks.
func (d *Destination) Ack(context.Context) ([]connector.DestinationAck, error) {
	begin, end := d.next, d.end
	if d.perCall > 0 {
		end = min(end, begin+d.perCall)
	}
	if d.next = end; d.next == len(d.acks) {
		d.next, d.end = 0, 0
	}
	return d.acks[begin:end], nil
}

// Teardown does nothing.
func (d *Destination) Teardown(context.Context) error { return nil }

// Errors returns no channel.
func (d *Destination) Errors() <-chan error { return nil }
