package fake

import (
	"context"
	"io"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel/connector"
)

// WaitingSource takes its time for each batch. It ends when it has returned all
// of its records, each once. Ack may run beside Read.
type WaitingSource struct {
	Source
	left  []opencdc.Record
	size  int
	wait  time.Duration
	acked int
}

// NewWaitingSource returns a source of n records in batches of that size.
func NewWaitingSource(n, size int, wait time.Duration) *WaitingSource {
	return &WaitingSource{left: Records(n, Raw), size: size, wait: wait}
}

// Read returns the next batch, [io.EOF] when there is none.
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

// Ack counts the positions.
func (s *WaitingSource) Ack(_ context.Context, positions []opencdc.Position) error {
	s.acked += len(positions)
	return nil
}

// Left returns how many records are still to be read.
func (s *WaitingSource) Left() int { return len(s.left) }

// Acked returns how many records were acked.
func (s *WaitingSource) Acked() int { return s.acked }

// WaitingDestination takes its time for each write, and acks whatever it is
// given.
type WaitingDestination struct {
	Destination
	wait time.Duration
}

// NewWaitingDestination returns a destination that waits that long in each call
// of Write.
func NewWaitingDestination(wait time.Duration) *WaitingDestination {
	return &WaitingDestination{wait: wait}
}

// Write waits.
func (d *WaitingDestination) Write(_ context.Context, records []opencdc.Record) error {
	time.Sleep(d.wait)
	d.acks = d.acks[:0]
	for i := range records {
		d.acks = append(d.acks, connector.DestinationAck{Position: records[i].Position})
	}
	return nil
}

// Ack returns all acks.
func (d *WaitingDestination) Ack(context.Context) ([]connector.DestinationAck, error) {
	return d.acks, nil
}

// WaitingProcessor takes its time for each record, and passes it through. It may
// process several batches at a time.
type WaitingProcessor struct {
	wait time.Duration
}

// NewWaitingProcessor returns a processor that waits that long for each record.
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
