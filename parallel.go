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

// ConcurrentProcessor is a [Processor] that says whether several goroutines may
// call its Process at a time. [NewParallelProcessor] needs one.
//
// One that says so keeps the contract of [Processor] in each of these calls, and
// more:
//   - Its results do not depend on which records come together in a call, nor on
//     the order of the calls.
//   - Each call returns slices of its own, that of the results and those in a
//     MultiRecord. No other call writes to them, not even a later one.
//   - It changes in place only what no other record of the batch holds. Records
//     share maps or other data only if the source, or a processor before it, has
//     made them so. If they may, it copies what it changes.
//
// Open and Teardown are not called beside Process, nor more often than for any
// other processor.
type ConcurrentProcessor interface {
	Processor
	// IsConcurrent returns true if Process may be called by several goroutines at
	// a time. It may be asked before Open.
	IsConcurrent() bool
}

// NewParallelProcessor returns a processor that runs p over parts of each batch,
// on up to workers goroutines at a time. It is for processors that wait, for a
// service or a disk, or that compute a lot for each record.
//
// p, which hosts mostly know as a Processor only, is a [ConcurrentProcessor] whose
// IsConcurrent, which is asked once, returns true, and workers is at least 1.
// Anything else is an error.
//
// The records that Process is given are divided into contiguous parts, one for
// each worker, or for each record if these are fewer. Their numbers of records
// differ by one at most. p is called once for each part, at the same time and
// with the same context. Its results are put together in order, whatever their
// kinds, and a part with fewer results than records has no answer for the others,
// which are given again. If there is only one part, Process is no more than a
// call of p on the same goroutine. Otherwise each part has a goroutine of its
// own, and what goes wrong on it is known once all of them have ended:
//   - If p panics, so does Process, with a [*PanicError] for the first panic that
//     also holds what has gone wrong in the other parts.
//   - No result at all, more results than records, and the end of the goroutine
//     by [runtime.Goexit], as a test that fails in p brings about, stop the
//     worker with an error. Whoever calls Process without a [ProcessorTask]
//     finds that error as the result for the first record of the part, in place
//     of one of the kinds of the SDK.
//
// The returned processor is used like any other: from one goroutine at a time,
// its results are read until its next call. It is not a ConcurrentProcessor.
// Beyond what p does, a call costs some allocations for each part, but none for
// each record once the largest batch has been seen.
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

	// The buffer of the last call, for the next one, unless garbage was collected in
	// between.
	last weak.Pointer[buffer]
}

type buffer struct {
	results []sdk.ProcessedRecord
	age     reuse.Age
}

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

// takeResults returns n results that are nil. They are in use until the next call.
func (p *parallelProcessor) takeResults(n int) []sdk.ProcessedRecord {
	buf := p.last.Value()
	if buf == nil || cap(buf.results) < n || buf.age.IsOver(n, cap(buf.results)) {
		buf = &buffer{results: make([]sdk.ProcessedRecord, n)}
		p.last = weak.Make(buf)
	}
	clear(buf.results)
	buf.results = buf.results[:n]
	return buf.results
}

// partsOutcome is what has gone wrong in the parts of a batch.
type partsOutcome struct {
	mu sync.Mutex
	outcome
}

// processPart runs the processor over a part and puts the results in their
// place. An error becomes the first result of the part; errors and panics are added
// to failed.
func (p *parallelProcessor) processPart(
	ctx context.Context, recs []opencdc.Record, results []sdk.ProcessedRecord, failed *partsOutcome,
) {
	first := recs[0].Position // which the processor may change
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
			err = fmt.Errorf("the processor was given a part of the batch, %d records from %s on: %w", len(recs), show(first), err)
			results[0] = failedPart{error: err}
		}
		if err != nil || panicked != nil {
			failed.mu.Lock()
			defer failed.mu.Unlock()
			failed.add(err, panicked)
		}
	})
}

// failedPart is the result for the first record of a part for which there are
// none that could be used. It is of no kind that the SDK defines, so that nothing
// takes it for an answer.
type failedPart struct {
	sdk.ProcessedRecord // nil, for its unexported method
	error
}
