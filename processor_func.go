package funnel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel/internal/batch"
	"github.com/conduitio/funnel/internal/deepcopy"
)

// ProcessorFunc returns a processor that calls process for each record, in order. process
// returns the result for the record, see [Processor]; nil means no answer yet.
//
// process may change the record in place and return it. If it splits the record, it must
// give each piece its own maps. Once the context has ended, process is not called anymore:
// the remaining records have no answer, so nothing happens to them.
//
// Open and Teardown do nothing. If process is nil, [NewWorker] and Open return an error.
// One goroutine at a time calls process, unless the processor is declared [Concurrent].
// The processor keeps nothing from call to call. So several pipelines, or several places in
// one, may use it if several goroutines may call process at a time.
//
// Besides process, a record costs about 15 ns. An sdk.SingleRecord or sdk.MultiRecord that is
// returned as an sdk.ProcessedRecord costs an allocation, an sdk.FilterRecord none.
func ProcessorFunc(process func(context.Context, opencdc.Record) sdk.ProcessedRecord) Processor {
	if process == nil {
		return &processorFunc{invalid: errors.New("the function of ProcessorFunc is nil")}
	}
	return &processorFunc{apply: func(ctx context.Context, record *opencdc.Record) sdk.ProcessedRecord {
		return process(ctx, *record)
	}}
}

// Filter returns a processor that keeps the records for which keep returns true, unchanged,
// and filters the others. keep must not change the record. A [ProcessorTask] allocates
// nothing for a record. Everything else is as with [ProcessorFunc].
func Filter(keep func(opencdc.Record) bool) Processor {
	if keep == nil {
		return &processorFunc{invalid: errors.New("the function of Filter is nil")}
	}
	return &processorFunc{apply: func(_ context.Context, record *opencdc.Record) sdk.ProcessedRecord {
		if !keep(*record) {
			return sdk.FilterRecord{}
		}
		return batch.Kept
	}}
}

// Map returns a processor that replaces each record with the result of f. f may change the
// record in place and return it. If it makes another record, it copies the position, which
// a dead letter would otherwise lack. A record for which f returns an error is nacked. A
// [ProcessorTask] allocates nothing for a record, besides what f does. Everything else is as
// with [ProcessorFunc].
func Map(f func(opencdc.Record) (opencdc.Record, error)) Processor {
	if f == nil {
		return &processorFunc{invalid: errors.New("the function of Map is nil")}
	}
	return &processorFunc{apply: func(_ context.Context, record *opencdc.Record) sdk.ProcessedRecord {
		mapped, err := f(*record)
		if err != nil {
			return sdk.ErrorRecord{Error: err}
		}
		*record = mapped
		return batch.Kept
	}}
}

// Split returns a processor that replaces each record with the records that f returns. If
// f returns several, they are the pieces of the record; if it returns none, the record is
// filtered. A record for which f returns an error is nacked. Everything else is as with
// [ProcessorFunc].
//
// f may build pieces that share maps with each other or with the record, and may keep the
// slice: if there are several pieces, Split copies them deeply. That takes time linear in
// the size of the pieces, a few microseconds for a row of ten columns. To avoid the copies,
// use ProcessorFunc and give each piece its own maps. If a piece is nested too deeply to be
// copied, the record is nacked with an error that wraps [ErrTooDeep].
func Split(f func(opencdc.Record) ([]opencdc.Record, error)) Processor {
	if f == nil {
		return &processorFunc{invalid: errors.New("the function of Split is nil")}
	}
	return ProcessorFunc(func(_ context.Context, record opencdc.Record) sdk.ProcessedRecord {
		pieces, err := f(record)
		switch {
		case err != nil:
			return sdk.ErrorRecord{Error: err}
		case len(pieces) == 0:
			return sdk.FilterRecord{}
		case len(pieces) == 1:
			return sdk.SingleRecord(pieces[0])
		}
		copies := make(sdk.MultiRecord, len(pieces))
		for i := range pieces {
			if copies[i], err = deepcopy.Record(pieces[i]); err != nil {
				return sdk.ErrorRecord{Error: fmt.Errorf("piece %d of %d cannot be copied: %w", i, len(pieces), err)}
			}
		}
		return copies
	})
}

// Concurrent declares that p keeps the contract of [ConcurrentProcessor], so that
// [NewParallelProcessor] accepts it:
//
//	p, err := NewParallelProcessor(Concurrent(Map(lookUp)), 16)
//
// Nothing checks the declaration. For a processor made by [ProcessorFunc], [Filter], [Map]
// or [Split], it concerns the function alone: several goroutines may call the function at a
// time, and it changes in place only data that no other record holds. If p is nil, so is
// the result.
func Concurrent(p Processor) ConcurrentProcessor {
	if isNil(p) {
		return nil
	}
	return concurrentProcessor{p}
}

// processorFunc calls a function for each record. Calls share nothing else.
type processorFunc struct {
	// apply returns the result for a record, which it may change. batch.Kept means the record
	// as apply leaves it.
	apply   func(context.Context, *opencdc.Record) sdk.ProcessedRecord
	invalid error // why there is no function
}

func (p *processorFunc) validate() error { return p.invalid }

func (p *processorFunc) Open(context.Context) error { return p.invalid }

func (p *processorFunc) Teardown(context.Context) error { return nil }

// Process leaves the slice of records as it is, and returns results of the SDK's types.
func (p *processorFunc) Process(ctx context.Context, records []opencdc.Record) []sdk.ProcessedRecord {
	records = slices.Clone(records)
	results := p.processInPlace(ctx, records, make([]sdk.ProcessedRecord, 0, len(records)))
	for i, result := range results {
		if result == batch.Kept {
			results[i] = sdk.SingleRecord(records[i])
		}
	}
	return results
}

// processInPlace stops when the context ends. If there would then be no results, which is an
// error, the first record gets the context's error, which counts as no answer.
func (p *processorFunc) processInPlace(
	ctx context.Context, records []opencdc.Record, results []sdk.ProcessedRecord,
) []sdk.ProcessedRecord {
	done := ctx.Done()
	for i := range records {
		select {
		case <-done:
			if i == 0 {
				results = append(results, sdk.ErrorRecord{Error: ctx.Err()})
			}
			return results
		default:
		}
		results = append(results, p.apply(ctx, &records[i]))
	}
	return results
}

// concurrentProcessor is any other processor that was declared concurrent.
type concurrentProcessor struct{ Processor }

func (concurrentProcessor) IsConcurrent() bool { return true }

func (p concurrentProcessor) validate() error { return validate(p.Processor) }
