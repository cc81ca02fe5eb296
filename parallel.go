package funnel

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"weak"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel/internal/reuse"
)

// ConcurrentProcessor is a [Processor] that says whether Process may be called by
// several goroutines at a time, as [NewParallelProcessor] needs.
//
// If it says so, each of these calls keeps the contract of [Processor], and in
// addition:
//   - Its results depend neither on which records are passed in the same call, nor on
//     the order of the calls.
//   - Its slices, the results and those in a MultiRecord, are its own. No other call
//     writes to them, not even a later one.
//   - It changes in place only data that no other record of the batch holds. Records
//     share maps or other data only if the source or an earlier processor makes them do
//     so. If they may, the processor copies what it changes.
//
// Open and Teardown are not called during Process, nor more often than for any other
// processor.
type ConcurrentProcessor interface {
	Processor
	// IsConcurrent returns true if Process may be called by several goroutines at a
	// time. It may be called before Open.
	IsConcurrent() bool
}

// NewParallelProcessor returns a processor that runs p on parts of each batch, on up to
// workers goroutines at a time. It is for processors that wait for a service or a disk,
// or that compute a lot for each record.
//
// NewParallelProcessor returns an error unless p is a [ConcurrentProcessor] whose
// IsConcurrent returns true, and workers is at least 1. It calls IsConcurrent once. The
// type of p is Processor because hosts mostly hold it as one. [Concurrent] declares a
// processor to be a ConcurrentProcessor.
//
// Process divides its records into contiguous parts whose lengths differ by at most
// one: one part for each worker or, if there are fewer records, for each record. It
// calls p once for each part, at the same time and with the same context, and puts the
// results together in order, whatever their types. If a part returns fewer results than
// records, the others have no answer and are passed again. A single part runs on the
// goroutine of the caller. Otherwise each part runs on a goroutine of its own, and what
// goes wrong is reported after all of them have ended:
//   - If p panics, Process panics with a [*PanicError] for the first panic, which also
//     holds what went wrong in the other parts.
//   - If p returns no results or more results than records, or ends the goroutine by
//     [runtime.Goexit], as a test that fails in p does, the worker stops with an error.
//     A caller of Process other than a [ProcessorTask] finds that error as the result
//     for the first record of the part, in place of a type of the SDK.
//
// The returned processor is used like any other: by one goroutine at a time, and its
// results are valid until its next call. It is not a ConcurrentProcessor. Beyond what p
// does, a call makes some allocations for each part, but none for each record once it
// has seen the largest batch.
func NewParallelProcessor(p Processor, workers int) (Processor, error) {
	if isNil(p) {
		return nil, errors.New("cannot run a processor in parallel: it is nil")
	}
	if workers < 1 {
		return nil, fmt.Errorf("cannot run a processor in parallel on %d workers: at least 1 is needed", workers)
	}
	concurrent, ok := p.(ConcurrentProcessor)
	if !ok {
		return nil, fmt.Errorf("cannot run a %T in parallel: it is not a ConcurrentProcessor", p)
	}
	if !concurrent.IsConcurrent() {
		return nil, fmt.Errorf("cannot run a %T in parallel: its IsConcurrent returns false", p)
	}
	return &parallelProcessor{Processor: p, workers: workers}, nil
}

// parallelProcessor runs a processor over parts of each batch at the same time.
type parallelProcessor struct {
	Processor
	workers int

	// last is the buffer of the last call. The next call reuses it unless garbage was
	// collected in between.
	last weak.Pointer[buffer]
}

type buffer struct {
	results []sdk.ProcessedRecord
	age     reuse.Age
}

func (p *parallelProcessor) validate() error { return validate(p.Processor) }

func (p *parallelProcessor) Process(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
	n := min(p.workers, len(recs))
	switch n {
	case 0:
		return nil
	case 1:
		return p.Processor.Process(ctx, recs)
	}
	results := p.takeResults(len(recs))
	var parts sync.WaitGroup
	var failed partsOutcome
	for i := range n {
		from, to := i*len(recs)/n, (i+1)*len(recs)/n
		parts.Go(func() {
			p.processPart(ctx, recs[from:to:to], results[from:to], &failed)
		})
	}
	parts.Wait()
	if failed.panicked != nil {
		_ = failed.result()
	}
	return results
}

// takeResults returns n nil results, valid until the next call.
func (p *parallelProcessor) takeResults(n int) []sdk.ProcessedRecord {
	buf := p.last.Value()
	if buf == nil || cap(buf.results) < n || buf.age.EndRound(n, cap(buf.results)) {
		buf = &buffer{results: make([]sdk.ProcessedRecord, n)}
		p.last = weak.Make(buf)
	}
	clear(buf.results)
	buf.results = buf.results[:n]
	return buf.results
}

// partsOutcome collects the failures of the parts of a batch.
type partsOutcome struct {
	mu sync.Mutex
	outcome
}

// processPart runs the processor on a part and puts the results in their place. An
// error becomes the first result of the part. Errors and panics are added to failed.
func (p *parallelProcessor) processPart(
	ctx context.Context, recs []opencdc.Record, results []sdk.ProcessedRecord, failed *partsOutcome,
) {
	first := recs[0].Position // the processor may change it
	guard(func() error {
		returned := p.Processor.Process(ctx, recs)
		switch {
		case len(returned) == 0:
			return fmt.Errorf("%w: it returned no result", ErrProcessorResults)
		case len(returned) > len(recs):
			return fmt.Errorf("%w: it returned more results, %d", ErrProcessorResults, len(returned))
		}
		copy(results, returned)
		return nil
	}, func(err error, panicked *PanicError) {
		if err != nil {
			err = fmt.Errorf("the processor was given a part of the batch, %d records from %s on: %w", len(recs), quotePosition(first), err)
			results[0] = failedPart{error: err}
		}
		if err != nil || panicked != nil {
			failed.mu.Lock()
			defer failed.mu.Unlock()
			failed.add(err, panicked)
		}
	})
}

// failedPart is the result for the first record of a part without usable results. It is
// of no type that the SDK defines, so nothing mistakes it for an answer.
type failedPart struct {
	sdk.ProcessedRecord // nil, for its unexported method
	error
}
