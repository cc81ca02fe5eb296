package fake

import (
	"context"
	"io"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel/connector"
)

// WaitingSource waits before it returns a batch. It returns each of its records once
// and then ends. Ack may be called during Read.
type WaitingSource struct {
	Source
	WaitInAck time.Duration // for each call of Ack

	left  []opencdc.Record
	size  int
	wait  time.Duration
	acked int
}

// NewWaitingSource returns a source of n records in batches of this size, each of which
// takes this long.
func NewWaitingSource(n, size int, wait time.Duration) *WaitingSource {
	return &WaitingSource{left: Records(n, Raw), size: size, wait: wait}
}

// Read returns the next batch, or [io.EOF] if there is none.
func (s *WaitingSource) Read(context.Context) ([]opencdc.Record, error) {
	if len(s.left) == 0 {
		return nil, io.EOF
	}
	time.Sleep(s.wait)
	n := min(s.size, len(s.left))
	batch := s.left[:n:n]
	s.left = s.left[n:]
	return batch, nil
}

// Ack waits and counts the positions.
func (s *WaitingSource) Ack(_ context.Context, positions []opencdc.Position) error {
	if s.WaitInAck > 0 {
		time.Sleep(s.WaitInAck)
	}
	s.acked += len(positions)
	return nil
}

// Left returns the number of records still to be read.
func (s *WaitingSource) Left() int { return len(s.left) }

// Acked returns the number of acked records.
func (s *WaitingSource) Acked() int { return s.acked }

// WaitingDestination waits in each write, and acks all records.
type WaitingDestination struct {
	Destination
	call, each time.Duration
}

// NewWaitingDestination returns a destination that waits this long in each call of
// Write, and this long for each record.
func NewWaitingDestination(call, each time.Duration) *WaitingDestination {
	return &WaitingDestination{call: call, each: each}
}

// Write waits.
func (d *WaitingDestination) Write(_ context.Context, records []opencdc.Record) error {
	time.Sleep(d.call)
	d.acks = d.acks[:0]
	for i := range records {
		time.Sleep(d.each)
		d.acks = append(d.acks, connector.DestinationAck{Position: records[i].Position})
	}
	return nil
}

// Ack returns all acks.
func (d *WaitingDestination) Ack(context.Context) ([]connector.DestinationAck, error) {
	return d.acks, nil
}

// WaitingProcessor waits for each record and passes it through. It is safe for
// concurrent use.
type WaitingProcessor struct {
	wait time.Duration
}

// NewWaitingProcessor returns a processor that waits this long for each record.
func NewWaitingProcessor(wait time.Duration) *WaitingProcessor {
	return &WaitingProcessor{wait: wait}
}

// Open does nothing.
func (p *WaitingProcessor) Open(context.Context) error { return nil }

// Process waits for each record.
func (p *WaitingProcessor) Process(_ context.Context, records []opencdc.Record) []sdk.ProcessedRecord {
	results := make([]sdk.ProcessedRecord, len(records))
	for i := range records {
		time.Sleep(p.wait)
		results[i] = sdk.SingleRecord(records[i])
	}
	return results
}

// IsConcurrent returns true.
func (p *WaitingProcessor) IsConcurrent() bool { return true }

// Teardown does nothing.
func (p *WaitingProcessor) Teardown(context.Context) error { return nil }
