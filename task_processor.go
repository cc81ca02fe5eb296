package funnel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel/internal/batch"
	"github.com/conduitio/funnel/log"
)

// Processor changes records on their way. The engine uses it from one goroutine
// at a time; see [NewParallelProcessor] for one that is to use several.
type Processor interface {
	// Open configures and opens a processor plugin. A processor that fails to
	// open is not torn down.
	Open(ctx context.Context) error
	// Process returns a result for each record, at the same index:
	//   - sdk.SingleRecord replaces the record.
	//   - sdk.FilterRecord takes it out; it is acked with the others.
	//   - sdk.ErrorRecord nacks it.
	//   - sdk.MultiRecord splits it into pieces, each with maps of its own. With
	//     one record it replaces the record, with none it filters it.
	//   - nil means no answer yet: the record is passed again. A short result means
	//     the same for the records beyond its end.
	// Returning nothing, or a result of another kind (a pointer to one of these
	// included), stops the worker with an error. So do 16 calls in a row without an
	// answer; the pauses between them add up to about six seconds.
	//
	// Once the context of Process has ended, an ErrorRecord with a context's error
	// is no answer either: the batch stops there, and the call settles nothing.
	//
	// It is never called without records. It may change the records in place and
	// may return them; to change a position it assigns a new one, whose bytes
	// nobody writes to. The slice of records belongs to the engine, which writes to
	// it once Process has returned. The results and the slices in a MultiRecord are
	// read until the next call and never written to; the records in them belong to
	// the engine.
	Process(context.Context, []opencdc.Record) []sdk.ProcessedRecord
	// Teardown tears down a processor plugin.
	// In case of standalone plugins, that means stopping the WASM module.
	Teardown(context.Context) error
}

// ProcessorTask runs a processor.
type ProcessorTask struct {
	id         string
	processor  Processor
	logger     log.CtxLogger
	metrics    ProcessorMetrics
	isMeasured listener
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
		id:         id,
		processor:  processor,
		logger:     logger.WithComponent("task:processor").WithField(log.ProcessorIDField, id),
		metrics:    metrics,
		isMeasured: listenerOf(metrics),
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
	isMeasured := t.isMeasured.now()
	if isMeasured {
		start = time.Now()
	}
	var results batch.Results
	if err := checkResults(&results, in, t.processor.Process(ctx, in)); err != nil {
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
	return nil
}

// checkResults counts what a processor has returned for records. It returns an error if
// the processor must not return that.
func checkResults(results *batch.Results, in []opencdc.Record, returned []sdk.ProcessedRecord) error {
	switch {
	case len(returned) == 0:
		return fmt.Errorf("%w: the processor was given %d records, from %s on, and returned no result",
			ErrProcessorResults, len(in), show(in[0].Position))
	case len(returned) > len(in):
		return fmt.Errorf("%w: the processor was given %d records, from %s on, and returned more results, %d",
			ErrProcessorResults, len(in), show(in[0].Position), len(returned))
	}
	results.Count(returned)
	if results.Unknown < 0 {
		return nil
	}
	return unknownResults(in, returned)
}

// unknownResults returns an error for results of which some are of kinds that the SDK
// does not define: that of each part of a parallel processor that has failed, and one
// for the first result of another kind.
func unknownResults(in []opencdc.Record, returned []sdk.ProcessedRecord) error {
	var failed []error
	var unknown error
	for i, result := range returned {
		var one batch.Results
		if one.Count(returned[i : i+1]); one.Unknown < 0 {
			continue
		}
		if part, ok := result.(failedPart); ok {
			failed = append(failed, part.error)
		} else if unknown == nil {
			unknown = fmt.Errorf("%w: record %s: the processor returned a result of the unknown kind %T",
				ErrProcessorResults, show(in[i].Position), result)
		}
	}
	return joinErrors(append(failed, unknown)...)
}
