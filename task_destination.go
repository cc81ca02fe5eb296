package funnel

import (
	"context"
	"errors"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
)

// Destination is where records go. One goroutine at a time calls its methods.
type Destination interface {
	// ID identifies the connector. It is for the host; the engine never calls it.
	ID() string
	// Open prepares the destination for Write. If Open fails, it cleans up after
	// itself: Teardown is not called.
	Open(context.Context) error
	// Write writes records, at least one. It is not called again before all of them are
	// acked.
	//
	// Other destinations may get the same records at the same time: a destination must
	// not modify the slice or the data in the records. It may keep the records, but not
	// the slice.
	Write(context.Context, []opencdc.Record) error
	// Ack returns acks for the records of the last Write, in order: those that are
	// available and were not returned yet. It blocks until there is at least one. If it
	// returns none anyway, it is called again; after five consecutive empty results the
	// destination counts as having stopped acking.
	//
	// The destination may reuse the slice in its next call.
	Ack(context.Context) ([]connector.DestinationAck, error)
	// Teardown stops the destination. It is called again if it fails.
	Teardown(context.Context) error
	// Errors returns errors that happen in the background. It is for the host; the
	// engine never calls it.
	Errors() <-chan error
}

// DestinationTask writes batches to a destination.
type DestinationTask struct {
	id             string
	destination    Destination
	logger         log.CtxLogger
	metrics        ConnectorMetrics
	metricsEnabled enablement
}

// NewDestinationTask returns a task that writes to destination. Nil metrics
// count as [NoOpConnectorMetrics].
func NewDestinationTask(
	id string,
	destination Destination,
	logger log.CtxLogger,
	metrics ConnectorMetrics,
) *DestinationTask {
	if isNil(metrics) {
		metrics = NoOpConnectorMetrics{}
	}
	return &DestinationTask{
		id:             id,
		destination:    destination,
		logger:         logger.WithComponent("task:destination").WithField(log.ConnectorIDField, id),
		metrics:        metrics,
		metricsEnabled: enablementOf(metrics),
	}
}

// ID returns the ID of the task.
func (t *DestinationTask) ID() string {
	return t.id
}

// Errors returns the channel of the destination's background errors, for the host. The
// engine never reads it.
func (t *DestinationTask) Errors() <-chan error {
	return t.destination.Errors()
}

// Open opens the destination.
func (t *DestinationTask) Open(ctx context.Context) error {
	t.logger.Debug(ctx).Msg("opening destination")
	if err := t.destination.Open(ctx); err != nil {
		return err
	}
	t.logger.Debug(ctx).Msg("destination open")
	return nil
}

// Close tears the destination down.
func (t *DestinationTask) Close(ctx context.Context) error {
	return t.destination.Teardown(ctx)
}

// Do writes the active records of the batch to the destination, waits for their acks,
// and nacks the records that the destination refuses. It returns an error if Write or
// Ack fails, or if the acks are not one for each record, in order.
func (t *DestinationTask) Do(ctx context.Context, b *Batch) error {
	records := b.ActiveRecords()
	if len(records) == 0 {
		return nil
	}
	d := delivery{records: records}
	err := t.deliver(ctx, &d)
	for _, r := range d.refused {
		b.copies.Nack(r.index, r.err)
	}
	if err != nil {
		return taskError(t.id, err)
	}
	return nil
}

func (t *DestinationTask) validate() error {
	if isNil(t.destination) {
		return errors.New("the destination is nil")
	}
	return validate(t.destination)
}

// validate returns an error if a connector or processor is of this package and was made
// with invalid arguments.
func validate(connector any) error {
	if c, ok := connector.(interface{ validate() error }); ok {
		return c.validate()
	}
	return nil
}

// deliver writes the records, at least one, and collects their acks. The acks that d
// counts are valid however deliver ends, even by a panic.
func (t *DestinationTask) deliver(ctx context.Context, d *delivery) error {
	var start time.Time
	isMeasured := t.metricsEnabled.now()
	if isMeasured {
		start = time.Now()
	}
	if err := d.run(ctx, t.destination); err != nil {
		return err
	}
	if isMeasured {
		t.metrics.Observe(d.records, start)
	}
	return nil
}
