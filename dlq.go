package funnel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/nackwindow"
	"github.com/conduitio/funnel/log"
)

// DLQ is a dead-letter queue: the destination of the records that were nacked.
// It remembers the last outcomes, one for each source record, and refuses a nack
// if there are too many among them.
//
// A record in the queue has the position of the failed record, the operation
// create and the failed record as structured data in its payload (after), as
// [opencdc.Record.Map] returns it. Its metadata holds the time, the ID of the
// source connector, the error and the ID of the task that nacked the record, see
// the Get methods of [opencdc.Metadata].
//
// A DLQ belongs to one worker, which uses it from one goroutine at a time.
type DLQ struct {
	task      *DestinationTask
	window    *nackwindow.Window
	size      int
	threshold int
}

// NewDLQ returns a queue that writes to destination. Its window holds the last
// windowSize outcomes. A nack that makes more than windowNackThreshold nacks in
// the window is refused, which stops the worker. With a threshold of 0 no nack
// is tolerated; with a size of 0 there is no window, and every nack is. Negative
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
		window:    nackwindow.New(windowSize, windowNackThreshold),
		size:      windowSize,
		threshold: windowNackThreshold,
	}
}

// ID returns the ID of the queue.
func (d *DLQ) ID() string {
	return d.task.ID()
}

// Open opens the destination.
func (d *DLQ) Open(ctx context.Context) error {
	return d.task.Open(ctx)
}

// Close tears the destination down.
func (d *DLQ) Close(ctx context.Context) error {
	return d.task.Close(ctx)
}

// Ack records that the source records of the batch were acked.
func (d *DLQ) Ack(_ context.Context, batch *Batch) {
	n := 0
	_ = batch.eachRun(func(from, to, _ int) error {
		n += to - from
		return nil
	})
	d.window.Ack(n)
}

// Nack writes the records of the batch to the queue, with the errors that they
// were nacked with. Of a record that was split goes there what it was before,
// once; filtered records do not go there. It returns how many of the source
// records of the batch, counted from the first one, were accepted. If these are
// not all, it returns an error that says why.
//
// If the window refuses a nack and its threshold is 0, the error is that of the
// record; else it is fatal (see [FatalError]) and wraps that of the record. An
// error of the destination is fatal, too.
func (d *DLQ) Nack(ctx context.Context, batch *Batch, taskID string) (int, error) {
	failures, sources := batch.failures(taskID)
	written, err := d.nack(ctx, failures, "")
	return sources[written], err
}

// nack writes the failures to the queue, until one is refused. It returns how
// many of them are there.
func (d *DLQ) nack(ctx context.Context, failures []failure, sourceID string) (int, error) {
	tolerated := d.window.Tolerates(len(failures))
	written, err := d.write(ctx, failures[:tolerated], sourceID)
	d.window.Nack(written)
	if err != nil {
		return written, FatalError(fmt.Errorf("failed to write to the dead-letter queue %q: %w", d.ID(), err))
	}
	if tolerated == len(failures) {
		return written, nil
	}
	err = failures[tolerated].asError()
	if d.threshold > 0 {
		err = FatalError(fmt.Errorf("more than %d nacks among the last %d records: %w", d.threshold, d.size, err))
	}
	return written, err
}

// write writes the failures to the destination. It returns how many of them,
// counted from the first one, are confirmed.
func (d *DLQ) write(ctx context.Context, failures []failure, sourceID string) (int, error) {
	now := time.Now()
	records := make([]opencdc.Record, len(failures))
	for i := range failures {
		records[i] = failures[i].deadLetter(now, sourceID)
	}
	refused, refusal := len(records), error(nil)
	acks, err := d.task.write(ctx, records, func(i int, err error) {
		if refusal == nil {
			refused, refusal = i, fmt.Errorf("record %q: %w", records[i].Position, err)
		}
	})
	return min(acks, refused), errors.Join(refusal, err)
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

// asError returns the error with which a worker stops that cannot nack the
// record.
func (f *failure) asError() error {
	return taskError(f.taskID, fmt.Errorf("record %q was nacked: %w", f.record.Position, f.err))
}

// deadLetter returns the record that goes to the queue.
func (f *failure) deadLetter(now time.Time, sourceID string) opencdc.Record {
	if id := f.record.Metadata[opencdc.MetadataConduitSourceConnectorID]; id != "" {
		sourceID = id
	}
	metadata := opencdc.Metadata{}
	metadata.SetCreatedAt(now)
	if sourceID != "" {
		metadata.SetConduitSourceConnectorID(sourceID)
	}
	metadata.SetConduitDLQNackError(f.err.Error())
	metadata.SetConduitDLQNackNodeID(f.taskID)
	return opencdc.Record{
		Position:  f.record.Position,
		Operation: opencdc.OperationCreate,
		Metadata:  metadata,
		Payload:   opencdc.Change{After: opencdc.StructuredData(f.record.Map())},
	}
}
