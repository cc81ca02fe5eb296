package funneltest

import (
	"context"
	"slices"
	"sync"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"
)

// Processor is a processor that is a function. A test fills in its fields before the
// processor is opened, and asks afterwards what it was given. The methods may be called
// concurrently.
type Processor struct {
	// Answer returns the result for a record. A nil function passes each record on.
	Answer func(opencdc.Record) sdk.ProcessedRecord
	// AnswersAtMost is the maximum number of records that a call answers for. The default
	// is all.
	AnswersAtMost int
	// OpenErr and TeardownErr are what Open and Teardown return.
	OpenErr, TeardownErr error

	mu   sync.Mutex
	seen []opencdc.Record
}

// Open does nothing.
func (p *Processor) Open(context.Context) error { return p.OpenErr }

// Teardown does nothing.
func (p *Processor) Teardown(context.Context) error { return p.TeardownErr }

// IsConcurrent returns true: Answer is called for one record at a time nevertheless.
func (p *Processor) IsConcurrent() bool { return true }

// Process answers for the records.
func (p *Processor) Process(_ context.Context, records []opencdc.Record) []sdk.ProcessedRecord {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.AnswersAtMost > 0 {
		records = records[:min(p.AnswersAtMost, len(records))]
	}
	results := make([]sdk.ProcessedRecord, len(records))
	for i, r := range records {
		p.seen = append(p.seen, clones(records[i:i+1])...)
		if p.Answer == nil {
			results[i] = sdk.SingleRecord(r)
		} else {
			results[i] = p.Answer(r)
		}
	}
	return results
}

// Seen returns copies of the records that the processor has answered for, as they were
// when it got them, in order.
func (p *Processor) Seen() []opencdc.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.seen)
}
