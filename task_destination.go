package funnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
)

// Destination is where records go. The engine uses it from one goroutine at a
// time.
type Destination interface {
	// ID identifies the connector. The engine does not call it, the host does.
	ID() string
	// Open prepares the destination for Write. A destination that fails to open
	// is not torn down: it cleans up behind itself.
	Open(context.Context) error
	// Write takes records. It is never called without any, and not again before
	// all of them are acked.
	//
	// The records may be those that other destinations are given at the same
	// time: a destination changes neither the slice nor what the records hold.
	// It may keep the records, but not the slice.
	Write(context.Context, []opencdc.Record) error
	// Ack returns acks for the records of the last Write that have none yet, in
	// their order, as many as there are. It blocks until there is at least one.
	// It may return none, and is called again, but five empty answers in a row
	// mean that it has stopped.
	//
	// The destination may use the slice again at its next call.
	Ack(context.Context) ([]connector.DestinationAck, error)
	// Teardown stops the destination. It is called again if it failed.
	Teardown(context.Context) error
	// Errors are errors that happen in the background. The engine does not call
	// it, the host does.
	Errors() <-chan error
}

// DestinationTask writes batches to a destination.
type DestinationTask struct {
	id          string
	destination Destination
	logger      log.CtxLogger
	metrics     ConnectorMetrics
	isMeasured  listener
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
		id:          id,
		destination: destination,
		logger:      logger.WithComponent("task:destination").WithField(log.ConnectorIDField, id),
		metrics:     metrics,
		isMeasured:  listenerOf(metrics),
	}
}

// ID returns the ID of the task.
func (t *DestinationTask) ID() string {
	return t.id
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

// Do writes the active records of the batch to the destination, waits for their
// acks, and nacks those that the destination has refused. It returns an error if
// writing fails, or if the acks are not what they must be: one for each record,
// in order.
func (t *DestinationTask) Do(ctx context.Context, b *Batch) error {
	records := b.ActiveRecords()
	if len(records) == 0 {
		return nil
	}
	d := delivery{records: records}
	if err := t.deliver(ctx, &d); err != nil {
		return taskError(t.id, err)
	}
	for _, r := range d.refused {
		b.copies.Nack(r.index, r.err)
	}
	return nil
}

func (t *DestinationTask) validate() error {
	if isNil(t.destination) {
		return errors.New("the destination is nil")
	}
	return nil
}

// delivery is a write of records to a destination, and what it has said about them.
type delivery struct {
	records []opencdc.Record
	acked   int       // how many records, from the first one on, have an ack
	refused []refusal // those whose ack is an error, in order
	empty   int       // consecutive calls that have returned no acks
}

// refusal is the ack of a record that the destination refuses.
type refusal struct {
	index int
	err   error
}

// deliver writes the records, at least one, and collects their acks. However it ends, the
// acks that d counts can be relied on.
func (t *DestinationTask) deliver(ctx context.Context, d *delivery) error {
	var start time.Time
	isMeasured := t.isMeasured.now()
	if isMeasured {
		start = time.Now()
	}
	if err := t.destination.Write(ctx, d.records); err != nil {
		return fmt.Errorf("failed to write %d records, from %s on: %w", len(d.records), show(d.records[0].Position), err)
	}
	for d.acked < len(d.records) {
		acks, err := t.destination.Ack(ctx)
		if err != nil {
			return fmt.Errorf("failed to get the acks of %d records, %d are acked, the next one is %s: %w",
				len(d.records), d.acked, show(d.next()), err)
		}
		if len(acks) == 0 {
			err = d.wait(ctx)
		} else {
			err = d.take(acks)
		}
		if err != nil {
			return err
		}
	}
	if isMeasured {
		t.metrics.Observe(d.records, start)
	}
	return nil
}

// next returns the position whose ack is due.
func (d *delivery) next() opencdc.Position { return d.records[d.acked].Position }

// wait waits until the destination may be asked again, after it has returned no acks.
func (d *delivery) wait(ctx context.Context) error {
	d.empty++
	switch d.empty {
	case 1:
		return nil
	case maxAckCalls:
		return fmt.Errorf("%w: %d of %d records are acked, the next one is %s", ErrAcksStopped, d.acked, len(d.records), show(d.next()))
	}
	_, err := sleep(ctx, pause(d.empty-1, minAckPause, maxAckPause), nil)
	return err
}

// take checks acks and counts them. If one is wrong, none of the delivery counts.
func (d *delivery) take(acks []connector.DestinationAck) error {
	d.empty = 0
	if given := d.acked + len(acks); given > len(d.records) {
		d.acked = 0
		return fmt.Errorf("%w: the destination was given %d records and has sent more acks, %d, the last one of %s",
			ErrAckMismatch, len(d.records), given, show(acks[len(acks)-1].Position))
	}
	for i := range acks {
		ack := &acks[i]
		if want := d.next(); !bytes.Equal(ack.Position, want) {
			d.acked = 0
			return fmt.Errorf("%w: the destination has acked position %s, expected %s",
				ErrAckMismatch, show(ack.Position), show(want))
		}
		if ack.Error != nil {
			d.refused = append(d.refused, refusal{d.acked, ack.Error})
		}
		d.acked++
	}
	return nil
}
