package funneltest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector"
)

// Destination is a destination that keeps its records. A test sets its fields before the
// destination is opened, and asks it afterwards what was written. The zero value acks every
// record. The methods may be called concurrently.
type Destination struct {
	// Refuse returns the error with which a record is acked, or nil. It may call methods such
	// as Writes. A nil function refuses nothing.
	Refuse func(opencdc.Record) error
	// AckAtMost is the maximum number of acks that a call of Ack returns. The default is
	// all that are due.
	AckAtMost int
	// Delay is how long each Write takes, unless its context ends or the destination is torn
	// down first.
	Delay time.Duration
	// If Hangs is true, Ack blocks until its context ends or the destination is torn down.
	Hangs bool
	// OpenErr, WriteErr, AckErr and TeardownErr are the errors of Open, Write, Ack and
	// Teardown. If they are not nil, the calls do nothing else.
	OpenErr, WriteErr, AckErr, TeardownErr error

	mu       sync.Mutex
	torn     chan struct{} // closed by Teardown; nil before the first call
	due      []result
	writes   [][]opencdc.Record
	stored   []opencdc.Record
	opened   int
	tornDown int
}

// result is a record and the error of its ack.
type result struct {
	record opencdc.Record
	err    error
}

// ID returns "destination".
func (d *Destination) ID() string { return "destination" }

// Errors returns nil.
func (d *Destination) Errors() <-chan error { return nil }

// Open forgets acks that are still due.
func (d *Destination) Open(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.OpenErr != nil {
		return d.OpenErr
	}
	d.opened++
	d.torn, d.due = make(chan struct{}), nil
	return nil
}

// Write keeps the records.
func (d *Destination) Write(ctx context.Context, records []opencdc.Record) error {
	if err := d.wait(ctx, d.Delay); err != nil {
		return err
	}
	if d.WriteErr != nil {
		return d.WriteErr
	}
	results := make([]result, len(records))
	for i, r := range records {
		results[i].record = r
		if d.Refuse != nil {
			results[i].err = d.Refuse(r) // which may ask the destination
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes = append(d.writes, slices.Clone(records))
	d.due = append(d.due, results...)
	return nil
}

// wait waits unless the context ends or the destination is torn down.
func (d *Destination) wait(ctx context.Context, delay time.Duration) error {
	d.mu.Lock()
	if d.torn == nil {
		d.torn = make(chan struct{}) // it is used without Open
	}
	torn := d.torn
	d.mu.Unlock()
	if isClosed(torn) {
		return errTornDown
	}
	if delay <= 0 {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-torn:
		return errTornDown
	case <-ctx.Done():
		return ctx.Err()
	}
}

// forever is longer than any test.
const forever = 1<<63 - 1

// Ack returns the acks that are due, if there are any.
func (d *Destination) Ack(ctx context.Context) ([]connector.DestinationAck, error) {
	var delay time.Duration
	if d.Hangs {
		delay = forever
	}
	if err := d.wait(ctx, delay); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.AckErr != nil {
		return nil, d.AckErr
	}
	n := len(d.due)
	if d.AckAtMost > 0 {
		n = min(n, d.AckAtMost)
	}
	acks := make([]connector.DestinationAck, n)
	for i, r := range d.due[:n] {
		acks[i] = connector.DestinationAck{Position: r.record.Position, Error: r.err}
		if r.err == nil {
			d.stored = append(d.stored, r.record)
		}
	}
	d.due = d.due[n:]
	return acks, nil
}

// Teardown ends pending calls.
func (d *Destination) Teardown(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.TeardownErr != nil {
		return d.TeardownErr
	}
	d.tornDown++
	if d.torn == nil {
		d.torn = make(chan struct{})
	}
	if !isClosed(d.torn) {
		close(d.torn)
	}
	return nil
}

// Writes returns the records of each Write, in order.
func (d *Destination) Writes() [][]opencdc.Record {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.writes)
}

// Records returns the records that were acked without an error, in order.
func (d *Destination) Records() []opencdc.Record {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.stored)
}

// Want fails the test unless Records have exactly these payloads, in this order, see
// [Payload].
func (d *Destination) Want(t testing.TB, payloads ...string) {
	t.Helper()
	wantSame(t, "the payloads of the written records", Payloads(d.Records()), payloads)
}

// IsOpen returns true if the destination was opened more often than it was torn down.
func (d *Destination) IsOpen() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.opened > d.tornDown
}
