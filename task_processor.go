package funnel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel/internal/batch"
	"github.com/conduitio/funnel/internal/reuse"
	"github.com/conduitio/funnel/log"
)

// Processor processes records between source and destination. One goroutine at a time
// calls its methods; [NewParallelProcessor] makes use of several.
type Processor interface {
	// Open configures and opens a processor plugin. If Open fails, Teardown is not
	// called.
	Open(ctx context.Context) error
	// Process returns a result for each record, at the same index:
	//   - sdk.SingleRecord replaces the record.
	//   - sdk.FilterRecord filters it: no later task gets it, and it is acked with the
	//     others.
	//   - sdk.ErrorRecord nacks it.
	//   - sdk.MultiRecord splits it into pieces, each with maps of its own. A single
	//     piece replaces the record; an empty MultiRecord filters it.
	//   - nil means no answer yet: the record is passed again. A short result means
	//     the same for the records beyond its end.
	// Returning no results, more results than records, or a result of another type
	// (including a pointer to one of these) stops the worker with an error. So do 16
	// consecutive calls without an answer; the pauses between them add up to about six
	// seconds.
	//
	// After the context of Process has ended, an ErrorRecord with a context error is no
	// answer either: the batch stops there, and the call settles nothing.
	//
	// Process is never called without records. It may change the records in place and
	// return them. To change a position it must assign a new one; nobody may write to
	// the bytes of a position. The engine owns the slice of records and writes to it
	// after Process returns. The engine reads the results, and the slices in a
	// MultiRecord, until the next call and never writes to them; it owns the records in
	// them.
	Process(context.Context, []opencdc.Record) []sdk.ProcessedRecord
	// Teardown tears down a processor plugin.
	// In case of standalone plugins, that means stopping the WASM module.
	Teardown(context.Context) error
}

// ProcessorTask runs a processor.
type ProcessorTask struct {
	id             string
	processor      Processor
	logger         log.CtxLogger
	metrics        ProcessorMetrics
	metricsEnabled enablement
	results        reuse.Buffer[sdk.ProcessedRecord] // of an inPlaceProcessor
}

// inPlaceProcessor is a Processor of the engine that may change the slice of records. It
// appends its results to results. Among them may be batch.Kept.
type inPlaceProcessor interface {
	processInPlace(ctx context.Context, records []opencdc.Record, results []sdk.ProcessedRecord) []sdk.ProcessedRecord
}

// NewProcessorTask returns a task that runs processor. Nil metrics count as
// [NoOpProcessorMetrics].
func NewProcessorTask(
	id string,
	processor Processor,
	logger log.CtxLogger,
	metrics ProcessorMetrics,
) *ProcessorTask {
	if isNil(metrics) {
		metrics = NoOpProcessorMetrics{}
	}
	return &ProcessorTask{
		id:             id,
		processor:      processor,
		logger:         logger.WithComponent("task:processor").WithField(log.ProcessorIDField, id),
		metrics:        metrics,
		metricsEnabled: enablementOf(metrics),
	}
}

// ID returns the ID of the task.
func (t *ProcessorTask) ID() string {
	return t.id
}

// Open opens the processor.
func (t *ProcessorTask) Open(ctx context.Context) error {
	t.logger.Debug(ctx).Msg("opening processor")
	if err := t.processor.Open(ctx); err != nil {
		return err
	}
	t.logger.Debug(ctx).Msg("processor open")
	return nil
}

// Close tears the processor down.
func (t *ProcessorTask) Close(ctx context.Context) error {
	return t.processor.Teardown(ctx)
}

// Do processes a batch of records using the processor plugin. It returns an
// error if the processor fails to process the records, or if the processor
// returns an invalid number of records.
//
// If the batch contains filtered records, the processor will only process the
// active records. For instance:
//   - Consider a batch with 5 records, 2 of which are filtered. A represents the
//     active records, and F represents the filtered records: [A, A, F, A, F]
//   - The processor will only process the active records, so it will receive
//     [A, A, A].
//   - The processor will return the processed records, which will be [X, X, X],
//     where X represents the processed records. The records are either
//     processed, filtered or errored.
//   - When marking the records in the batch as processed, filtered or errored,
//     the ProcessorTask takes into account the indices of the filtered records,
//     so it marks the correct records in the batch. In the example that we used,
//     the processor will mark the batch as [X, X, F, X, F], leaving the filtered
//     records as is.
func (t *ProcessorTask) Do(ctx context.Context, b *Batch) error {
	in := b.ActiveRecords()
	if len(in) == 0 {
		return nil
	}
	var start time.Time
	isMeasured := t.metricsEnabled.now()
	if isMeasured {
		start = time.Now()
	}
	var returned []sdk.ProcessedRecord
	if p, ok := t.processor.(inPlaceProcessor); ok {
		returned = p.processInPlace(ctx, in, t.results.Take(len(in)))
		defer func() { t.results.Put(returned) }()
	} else {
		returned = t.processor.Process(ctx, in)
	}
	var results batch.Results
	if err := checkResults(&results, in, returned); err != nil {
		return taskError(t.id, err)
	}
	if isMeasured && results.Answers > 0 {
		t.metrics.Observe(results.Answers, start)
	}
	b.copies.Apply(&results)
	return nil
}

func (t *ProcessorTask) validate() error {
	if isNil(t.processor) {
		return errors.New("the processor is nil")
	}
	return validate(t.processor)
}

// checkResults counts the results that a processor has returned for records. It returns
// an error if they break the contract of Process.
func checkResults(results *batch.Results, in []opencdc.Record, returned []sdk.ProcessedRecord) error {
	switch {
	case len(returned) == 0:
		return fmt.Errorf("%w: the processor was given %d records, from %s on, and returned no result",
			ErrProcessorResults, len(in), quotePosition(in[0].Position))
	case len(returned) > len(in):
		return fmt.Errorf("%w: the processor was given %d records, from %s on, and returned more results, %d",
			ErrProcessorResults, len(in), quotePosition(in[0].Position), len(returned))
	}
	results.Count(returned)
	if results.Unknown < 0 {
		return nil
	}
	return unknownResults(in, returned)
}

// unknownResults returns an error for the results of types that the SDK does not
// define: the errors of all failed parts of a parallel processor, and one for the first
// other result.
func unknownResults(in []opencdc.Record, returned []sdk.ProcessedRecord) error {
	var failed []error
	var unknown error
	for i, result := range returned {
		if part, ok := result.(failedPart); ok {
			failed = append(failed, part.error)
		} else if unknown == nil && !batch.IsKnown(result) {
			unknown = fmt.Errorf("%w: record %s: the processor returned a result of the unknown kind %T",
				ErrProcessorResults, quotePosition(in[i].Position), result)
		}
	}
	return joinErrors(append(failed, unknown)...)
}
