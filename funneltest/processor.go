package funneltest

import (
	"context"
	"slices"
	"sync"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"
)

// Processor is a processor that calls a function for each record. A test sets its fields
// before the processor is opened, and asks it afterwards which records it has seen. The
// methods may be called concurrently.
type Processor struct {
	// Answer returns the result for a record. A nil function passes each record on.
	Answer func(opencdc.Record) sdk.ProcessedRecord
	// AnswersAtMost is the maximum number of records that a call answers for. The default
	// is all.
	AnswersAtMost int
	// OpenErr and TeardownErr are the errors of Open and Teardown.
	OpenErr, TeardownErr error

	answering sync.Mutex
	mu        sync.Mutex // guards seen
	seen      []opencdc.Record
}

// Open returns OpenErr.
func (p *Processor) Open(context.Context) error { return p.OpenErr }

// Teardown returns TeardownErr.
func (p *Processor) Teardown(context.Context) error { return p.TeardownErr }

// IsConcurrent returns true. Even so, Answer is called for one record at a time.
func (p *Processor) IsConcurrent() bool { return true }

// Process answers for the records.
func (p *Processor) Process(_ context.Context, records []opencdc.Record) []sdk.ProcessedRecord {
	p.answering.Lock()
	defer p.answering.Unlock()
	if p.AnswersAtMost > 0 {
		records = records[:min(p.AnswersAtMost, len(records))]
	}
	results := make([]sdk.ProcessedRecord, len(records))
	for i, r := range records {
		p.see(records[i : i+1])
		if p.Answer == nil {
			results[i] = sdk.SingleRecord(r)
		} else {
			results[i] = p.Answer(r)
		}
	}
	return results
}

func (p *Processor) see(records []opencdc.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, clones(records)...)
}

// Seen returns copies of the records that the processor has answered for, in order and as
// they were when it got them.
func (p *Processor) Seen() []opencdc.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.seen)
}
