package funnel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel/internal/gap"
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
	results := t.processor.Process(ctx, in)
	sum, err := summarize(in, results)
	if err != nil {
		return taskError(t.id, err)
	}
	if isMeasured && sum.answers > 0 {
		t.metrics.Observe(sum.answers, start)
	}
	b.apply(results[:sum.end], sum)
	return nil
}

func (t *ProcessorTask) validate() error {
	if isNil(t.processor) {
		return errors.New("the processor is nil")
	}
	return nil
}

// resultSummary is what is to be known of the results before the first one is
// applied.
type resultSummary struct {
	answers int  // how many results are answers
	end     int  // behind the last answer
	errors  int  // how many results are errors
	filters int  // how many results filter
	splits  int  // how many results split
	added   int  // how many records the splits add
	multi   bool // a MultiRecord holds records, which may be those that the processor was given
}

// summarize checks the results that a processor has returned for records.
func summarize(in []opencdc.Record, results []sdk.ProcessedRecord) (resultSummary, error) {
	if len(results) == 0 {
		return resultSummary{}, fmt.Errorf("%w: the processor was given %d records, from %s on, and returned no result",
			ErrProcessorResults, len(in), show(in[0].Position))
	}
	if len(results) > len(in) {
		return resultSummary{}, fmt.Errorf("%w: the processor was given %d records, from %s on, and returned more results, %d",
			ErrProcessorResults, len(in), show(in[0].Position), len(results))
	}
	var sum resultSummary
	nils := 0
	var failed []error
	for i, result := range results {
		if _, ok := result.(sdk.SingleRecord); ok {
			continue // the most frequent kind
		}
		switch r := result.(type) {
		case nil:
			nils++
		case sdk.FilterRecord:
			sum.filters++
		case sdk.ErrorRecord:
			sum.errors++
		case sdk.MultiRecord:
			switch len(r) {
			case 0:
				sum.filters++
			case 1:
				sum.multi = true
			default:
				sum.multi = true
				sum.splits++
				sum.added += len(r) - 1
			}
		case failedPart:
			failed = append(failed, r.error)
		default:
			return sum, fmt.Errorf("%w: record %s: the processor returned a result of the unknown kind %T", ErrProcessorResults, show(in[i].Position), result)
		}
	}
	if failed != nil {
		return sum, joinErrors(failed...)
	}
	sum.answers, sum.end = len(results)-nils, len(results)
	for sum.end > 0 && results[sum.end-1] == nil {
		sum.end--
	}
	return sum, nil
}

// apply puts the results for the first active records into the batch. The others
// are to be retried.
func (b *Batch) apply(results []sdk.ProcessedRecord, sum resultSummary) {
	if sum.end < b.recs.Len() {
		b.Retry(sum.end, b.recs.Len())
	}
	hasMarks := sum.errors > 0 || sum.answers < sum.end
	switch {
	case !hasMarks && sum.filters == 0 && !sum.multi:
		recs := b.recs.All()
		for i, result := range results {
			recs[i] = opencdc.Record(result.(sdk.SingleRecord))
			recs[i].Position = slices.Clip(recs[i].Position)
		}
	case !hasMarks && b.tracks.Len() == 0 && b.pieces == nil && sum.end == b.recs.Len():
		b.reshape(results, sum)
	default:
		b.touch()
		b.merge(results, sum)
	}
}

// reshape puts results that replace, filter or split the records into a batch
// that is as it was read.
func (b *Batch) reshape(results []sdk.ProcessedRecord, sum resultSummary) {
	recs := b.recs.All()
	out, n := b.roomFor(recs, sum)[:len(recs)+sum.added], 0
	pieces := b.shelf.takePieces(len(recs))[:len(results)]
	for i, result := range results {
		switch r := result.(type) {
		case sdk.SingleRecord:
			out[n] = opencdc.Record(r)
			out[n].Position = slices.Clip(out[n].Position)
			n++
			pieces[i] = 1
		case sdk.MultiRecord:
			copy(out[n:], r)
			clip(out[n : n+len(r)])
			n += len(r)
			pieces[i] = int32(len(r))
		default: // filters
			pieces[i] = 0
		}
	}
	b.recs, b.pieces = gap.Of(out[:n]), pieces
	b.counts[RecordFlagFilter] = sum.filters
	if sum.splits > 0 {
		b.before, b.split = recs, true
	}
}

// roomFor returns an empty slice for what results make of the records. They may
// be overwritten behind those that were handled, unless pieces need more room or
// may be what would be overwritten.
func (b *Batch) roomFor(recs []opencdc.Record, sum resultSummary) []opencdc.Record {
	if sum.multi {
		return b.shelf.takeRecords(len(recs) + sum.added)
	}
	return recs[:0]
}

// merge puts results of any kind into a batch that has tracks.
func (b *Batch) merge(results []sdk.ProcessedRecord, sum resultSummary) {
	recs, tracks := b.recs.All(), b.tracks.All()
	out, outTracks := b.roomFor(recs, sum), tracks[:0]
	if sum.multi {
		outTracks = b.shelf.takeTracks(len(tracks) + sum.added)
	}
	b.notes.grow(sum.errors + sum.splits)
	var run splitRun
	for i, result := range results {
		done := len(out)
		for tracks[0].flag == RecordFlagFilter {
			outTracks = append(outTracks, tracks[0])
			tracks = tracks[1:]
		}
		t := tracks[0]
		tracks = tracks[1:]
		switch r := result.(type) {
		case sdk.SingleRecord:
			out = append(out, opencdc.Record(r))
		case sdk.FilterRecord:
			b.mark(&t, RecordFlagFilter)
		case sdk.ErrorRecord:
			b.nack(&t, r.Error)
			out = append(out, recs[i])
		case nil:
			b.mark(&t, RecordFlagRetry)
			out = append(out, recs[i])
		case sdk.MultiRecord:
			out = append(out, r...)
			switch len(r) {
			case 0:
				b.mark(&t, RecordFlagFilter)
			case 1:
			default:
				if n := b.notes.of(&t); n.original == nil {
					t.note = b.notes.add(note{original: &recs[i], err: n.err})
				}
				b.countPieces(&t, len(r))
				b.retainPieces(&run, int(t.slot), len(r))
				for range r[1:] {
					outTracks = append(outTracks, t)
				}
			}
		}
		outTracks = append(outTracks, t)
		clip(out[done:])
	}
	b.retainRun(&run)
	b.recs = gap.Of(append(out, recs[len(results):]...))
	b.tracks = gap.Of(append(outTracks, tracks...))
	b.marked = b.recs.Len()
}
