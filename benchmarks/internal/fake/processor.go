package fake

import (
	"context"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"
)

// Processor returns prepared results. It must be given the same records over and over,
// in portions of any size.
type Processor struct {
	results []sdk.ProcessedRecord
	next    int // the next result to return
}

// NewProcessor returns a processor that returns the results in turn.
func NewProcessor(results []sdk.ProcessedRecord) *Processor {
	return &Processor{results: results}
}

// Open does nothing.
func (p *Processor) Open(context.Context) error { return nil }

// Process returns the next results, or none if it is given too many records.
func (p *Processor) Process(_ context.Context, records []opencdc.Record) []sdk.ProcessedRecord {
	begin, end := p.next, p.next+len(records)
	if end > len(p.results) {
		return nil
	}
	if p.next = end; p.next == len(p.results) {
		p.next = 0
	}
	return p.results[begin:end]
}

// Teardown does nothing.
func (p *Processor) Teardown(context.Context) error { return nil }
