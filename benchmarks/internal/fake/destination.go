package fake

import (
	"context"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector"
)

// Destination acks records with prepared acks. It must be given the same records over
// and over, in portions of any size.
type Destination struct {
	acks    []connector.DestinationAck
	perCall int
	next    int // the next ack to return
	end     int // end of the acks of the last write
}

// NewDestination returns a destination that returns the acks in turn: perCall of them
// per call or, if it is 0, all that are due.
func NewDestination(acks []connector.DestinationAck, perCall int) *Destination {
	return &Destination{acks: acks, perCall: perCall}
}

// ID returns the name of the fake.
func (d *Destination) ID() string { return "fake destination" }

// Open does nothing.
func (d *Destination) Open(context.Context) error { return nil }

// Write makes the acks of the records due.
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

// Errors returns nil.
func (d *Destination) Errors() <-chan error { return nil }
