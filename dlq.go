package funnel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/rs/zerolog"

	"github.com/conduitio/funnel/internal/batch"
	"github.com/conduitio/funnel/internal/nackwindow"
	"github.com/conduitio/funnel/log"
)

// DLQ is a dead-letter queue: the destination of nacked records. Its window remembers
// the outcomes of the last source records. If there are too many nacks among them, the
// window refuses further nacks.
//
// A record in the queue has the position of the failed record, the operation create, and
// the failed record as structured data in its payload (after), as [opencdc.Record.Map]
// returns it. Its metadata holds the time, the ID of the source connector, the error, and
// the ID of the task that nacked the record; [opencdc.Metadata] has a Get method for
// each. The field [MetadataDeadLetter] says which version of the record the letter holds,
// and names the types that JSON does not carry. [ParseDeadLetter] returns all of this,
// and the record with its original types.
//
// The failed record is the one that the task was given, with the changes that the task
// made in place before it nacked the record. If a piece of a split record was nacked, it
// is the record from before its first split; changes in place to data that it shares with
// its pieces show. With [WithDeadLettersAsRead] it is always the record as it was read.
//
// A DLQ belongs to one worker, which uses it from one goroutine at a time.
type DLQ struct {
	task      *DestinationTask
	logger    log.CtxLogger
	lines     queueLines
	letters   letterWriter
	window    *nackwindow.Window
	size      int
	threshold int
}

// NewDLQ returns a queue that writes to destination. Its window holds the last
// windowSize outcomes. A nack that makes more than windowNackThreshold nacks in the
// window is refused, which stops the worker. With a size of 0 there is no window, and
// every nack is tolerated. With a window and a threshold of 0, no nack is. Negative
// numbers count as 0. Nil metrics count as [NoOpConnectorMetrics].
func NewDLQ(
	id string,
	destination Destination,
	logger log.CtxLogger,
	metrics ConnectorMetrics,
	windowSize int,
	windowNackThreshold int,
) *DLQ {
	return &DLQ{
		task:      NewDestinationTask(id, destination, logger, metrics),
		logger:    logger.WithComponent("dlq").WithField(log.ConnectorIDField, id),
		window:    nackwindow.New(windowSize, windowNackThreshold),
		size:      windowSize,
		threshold: windowNackThreshold,
	}
}

// ID returns the ID of the queue.
func (d *DLQ) ID() string {
	return d.task.ID()
}

// Errors returns the channel of the destination's background errors, for the host. The
// engine never reads it.
func (d *DLQ) Errors() <-chan error {
	return d.task.Errors()
}

// Open opens the destination and empties the window.
func (d *DLQ) Open(ctx context.Context) error {
	if err := d.task.Open(ctx); err != nil {
		return err
	}
	d.window.Reset()
	return nil
}

// Close tears the destination down.
func (d *DLQ) Close(ctx context.Context) error {
	return d.task.Close(ctx)
}

// Ack counts the source records of the batch as acked in the window.
func (d *DLQ) Ack(_ context.Context, batch *Batch) {
	d.window.CountAcks(batch.copies.SourceRecords())
}

// Nack writes the records of the batch to the queue, with the errors they were nacked
// with. A split record's original is written, once; filtered records are not written.
// Nack returns how many source records of the batch, counted from the first, were
// accepted. If not all were, the error says why.
//
// Once the window refuses a nack, it refuses every nack until the queue is opened
// again. With a threshold of 0 the error is the record's own; otherwise it is fatal
// (see [FatalError]) and wraps [ErrNackThreshold] and the record's own. If the
// destination fails, the error also wraps the error of the first record that was not
// written, and is fatal unless it only says that the context has ended.
func (d *DLQ) Nack(ctx context.Context, batch *Batch, taskID string) (int, error) {
	nacked, sources := batch.copies.NackedRecords(taskID)
	tolerated := d.window.Tolerates(len(nacked))
	isStored := make([]bool, tolerated+1)
	err := d.store(ctx, d.task, nacked[:tolerated], "", func(i int) { isStored[i] = true })
	stored := slices.Index(isStored, false)
	d.window.CountNacks(stored)
	if tolerated < len(nacked) {
		err = joinErrors(err, d.refuse(nacked[tolerated]))
	}
	return sources[stored], err
}

// windowStats returns what Stats say about the window. It may be called from any goroutine.
func (d *DLQ) windowStats() NackWindow {
	return NackWindow{
		Size:      max(d.size, 0),
		Threshold: max(d.threshold, 0),
		Nacks:     d.window.Nacks(),
		Refusing:  d.window.IsFrozen(),
	}
}

// refuse freezes the window and returns the error for the record whose nack it refuses.
func (d *DLQ) refuse(n *batch.NackedRecord) error {
	d.window.Freeze()
	if d.threshold <= 0 {
		return nackError(n)
	}
	return FatalError(fmt.Errorf("%w: at most %d of the last %d records may be nacked: %w", ErrNackThreshold, d.threshold, d.size, nackError(n)))
}

// store writes the dead letters of the nacked records with the task of the queue, which
// may be one with ownership checks. It calls confirm, in order, for each dead letter that
// the destination confirms. If the destination then panics or ends the goroutine, the
// letters that it has confirmed still count.
func (d *DLQ) store(ctx context.Context, task *DestinationTask, nacked []*batch.NackedRecord, sourceID string, confirm func(i int)) error {
	if len(nacked) == 0 {
		return nil
	}
	now := time.Now()
	letters, tooDeep := d.letters.deadLetters(now, nacked, sourceID)
	missing := 0 // the first one that is not confirmed
	err := d.writeLetters(ctx, task, nacked, letters, func(i int) {
		if missing == i {
			missing++
		}
		d.lines.add(nacked[i])
		confirm(i)
	})
	d.lines.write(ctx, d.logger, now)
	if missing == len(nacked) {
		return nil
	}
	err = joinErrors(err, tooDeep)
	isEnd := ctx.Err() != nil && isOnly(err, ctx.Err(), context.Cause(ctx))
	err = fmt.Errorf("failed to write to the dead-letter queue %q: %w (not written: %w)", d.ID(), err, nackError(nacked[missing]))
	if isEnd {
		return err // the queue may accept the record next time
	}
	return FatalError(err)
}

// writeLetters writes the dead letters of the nacked records and calls confirm for those
// that the destination confirms, however the call ends. If it panics, the panic also
// holds the error of the first nacked record.
func (d *DLQ) writeLetters(ctx context.Context, task *DestinationTask, nacked []*batch.NackedRecord, letters []opencdc.Record, confirm func(i int)) error {
	if len(letters) == 0 {
		return nil
	}
	written := delivery{records: letters}
	defer func() {
		refused := written.refused
		for i := range written.acked {
			if len(refused) > 0 && refused[0].index == i {
				refused = refused[1:]
			} else {
				confirm(i)
			}
		}
		if value := recover(); value != nil {
			panic(newPanicError(value).with(nackError(nacked[0])))
		}
	}()
	err := task.deliver(ctx, &written)
	if len(written.refused) > 0 {
		first := written.refused[0]
		err = joinErrors(fmt.Errorf("record %s: %w", quotePosition(nacked[first.index].Position), first.err), err)
	}
	return err
}

func (d *DLQ) validate() error {
	if d.task == nil {
		return errors.New("the dead-letter queue was not made by NewDLQ")
	}
	if err := d.task.validate(); err != nil {
		return fmt.Errorf("dead-letter queue %q: %w", d.ID(), err)
	}
	return nil
}

// queueLines logs writes to a queue: at most one line per lineInterval.
type queueLines struct {
	last    time.Time          // when the last line was written
	records int                // records written since then
	first   batch.NackedRecord // the first of these, without the record itself
}

// lineInterval is the shortest time between two lines.
const lineInterval = time.Second

// add counts a record that was written.
func (l *queueLines) add(n *batch.NackedRecord) {
	if l.records++; l.records == 1 {
		l.first = batch.NackedRecord{Position: n.Position, TaskID: n.TaskID, Err: n.Err}
	}
}

// write writes a line if one is due.
func (l *queueLines) write(ctx context.Context, logger log.CtxLogger, now time.Time) {
	if l.records == 0 || !l.last.IsZero() && now.Sub(l.last) < lineInterval {
		return
	}
	if e := logger.Warn(ctx); e != nil {
		e.Int("records", l.records).
			Str(log.RecordPositionField, shortPosition(l.first.Position)).
			Str(log.TaskIDField, l.first.TaskID).
			Str(zerolog.ErrorFieldName, causeText(&l.first)).
			Msg("records were written to the dead-letter queue")
	}
	*l = queueLines{last: now}
}
