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
	acks := 0
	err := t.write(ctx, b.ActiveRecords(), &acks, func(i int, err error) { b.Nack(i, err) })
	if err != nil {
		return taskError(t.id, err)
	}
	return nil
}

func (t *DestinationTask) validate() error {
	if isNil(t.destination) {
		return errors.New("the destination is nil")
	}
	return nil
}

// write writes the records and collects their acks. It calls refuse for each
// record that the destination refuses, in order. It keeps the number of acks that
// it can rely on, however it ends.
func (t *DestinationTask) write(
	ctx context.Context,
	records []opencdc.Record,
	acks *int,
	refuse func(i int, err error),
) error {
	if len(records) == 0 {
		return nil
	}
	var start time.Time
	isMeasured := t.isMeasured.now()
	if isMeasured {
		start = time.Now()
	}
	if err := t.destination.Write(ctx, records); err != nil {
		return fmt.Errorf("failed to write %d records, from %s on: %w", len(records), show(records[0].Position), err)
	}
	for empty := 0; *acks < len(records); {
		got, err := t.destination.Ack(ctx)
		if err != nil {
			return fmt.Errorf("failed to get the acks of %d records, %d are acked, the next one is %s: %w",
				len(records), *acks, show(records[*acks].Position), err)
		}
		if len(got) == 0 {
			if empty++; empty == maxAckCalls {
				return fmt.Errorf("%w: %d of %d records are acked, the next one is %s",
					ErrAcksStopped, *acks, len(records), show(records[*acks].Position))
			}
			if empty > 1 {
				if _, err := sleep(ctx, pause(empty-1, minAckPause, maxAckPause), nil); err != nil {
					return err
				}
			}
			continue
		}
		empty = 0
		if given := *acks + len(got); given > len(records) {
			*acks = 0
			return fmt.Errorf("%w: the destination was given %d records and has sent more acks, %d, the last one of %s",
				ErrAckMismatch, len(records), given, show(got[len(got)-1].Position))
		}
		for i := range got {
			ack := &got[i]
			if want := records[*acks].Position; !bytes.Equal(ack.Position, want) {
				*acks = 0
				return fmt.Errorf("%w: the destination has acked position %s, expected %s",
					ErrAckMismatch, show(ack.Position), show(want))
			}
			if ack.Error != nil {
				refuse(*acks, ack.Error)
			}
			*acks++
		}
	}
	if isMeasured {
		t.metrics.Observe(records, start)
	}
	return nil
}
