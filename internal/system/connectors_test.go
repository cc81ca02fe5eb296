package system_test

import (
	"context"
	"runtime"
	"slices"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
)

// quietSource and quietDestination allocate nothing.
type quietSource struct {
	funnel.Source
	read func() ([]opencdc.Record, error)
}

func (s quietSource) Read(context.Context) ([]opencdc.Record, error) { return s.read() }

func (s quietSource) Ack(context.Context, []opencdc.Position) error { return nil }

type quietDestination struct {
	funnel.Destination
	acks []connector.DestinationAck
}

func (d quietDestination) Write(context.Context, []opencdc.Record) error { return nil }

func (d quietDestination) Ack(context.Context) ([]connector.DestinationAck, error) {
	return d.acks, nil
}

// quietAcks is a destination that acks everything and allocates nothing.
type quietAcks struct {
	funnel.Destination
	acks    []connector.DestinationAck // of positions "p"
	pending int
	write   func(n int)
}

func (d *quietAcks) Write(_ context.Context, recs []opencdc.Record) error {
	d.pending = len(recs)
	if d.write != nil {
		d.write(len(recs))
	}
	return nil
}

func (d *quietAcks) Ack(context.Context) ([]connector.DestinationAck, error) {
	return d.acks[:d.pending], nil
}

// newQuietAcks returns a destination for up to n records per write.
func newQuietAcks(n int) *quietAcks {
	acks := slices.Repeat([]connector.DestinationAck{{Position: opencdc.Position("p")}}, n)
	return &quietAcks{acks: acks}
}

// refusingDestination refuses every other record from the index start on, 0 or 1, or
// none if start is -1. It keeps nothing but positions.
type refusingDestination struct {
	funnel.Destination
	start  int
	atMost int // how many acks a call of Ack returns, or 0 for all of them
	acks   []connector.DestinationAck
}

func (d *refusingDestination) Write(_ context.Context, recs []opencdc.Record) error {
	d.acks = make([]connector.DestinationAck, len(recs))
	for i := range recs {
		d.acks[i].Position = recs[i].Position
		if i%2 == d.start {
			d.acks[i].Error = fake.ErrTest
		}
	}
	return nil
}

func (d *refusingDestination) Ack(context.Context) ([]connector.DestinationAck, error) {
	if d.atMost == 0 {
		return d.acks, nil
	}
	acks := d.acks[:min(d.atMost, len(d.acks))]
	d.acks = d.acks[len(acks):]
	return acks, nil
}

// forgetful is a destination that keeps nothing but its acks.
type forgetful struct {
	funnel.Destination
	acks    []connector.DestinationAck
	written func()
}

func (d *forgetful) Write(_ context.Context, recs []opencdc.Record) error {
	if d.written != nil {
		d.written()
	}
	d.acks = make([]connector.DestinationAck, len(recs))
	for i := range recs {
		d.acks[i].Position = recs[i].Position
	}
	return nil
}

func (d *forgetful) Ack(context.Context) ([]connector.DestinationAck, error) {
	acks := d.acks
	d.acks = nil
	return acks, nil
}

func (d *forgetful) Open(context.Context) error { return nil }

func (d *forgetful) Teardown(context.Context) error { return nil }

// listening is an enabled timer that does nothing.
type listening struct{}

func (listening) Update(time.Duration) {}

func (listening) UpdateSince(time.Time) {}

// heap returns how much memory is in use.
func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
