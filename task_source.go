package funnel

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/batch"
	"github.com/conduitio/funnel/log"
)

// Source is where records come from. One goroutine at a time calls its methods, except
// that Teardown may be called during Read. (So may Ack, with the option [WithReadAhead]
// or if the host calls [Worker.Ack] or [Worker.Nack] while the worker runs.)
type Source interface {
	// ID identifies the connector. It is for the host; the engine never calls it.
	ID() string
	// Open prepares the source for Read. If Open fails, it cleans up after itself:
	// Teardown is not called.
	Open(context.Context) error
	// Read returns the next records. It blocks until there is at least one. If it
	// returns none anyway, it is called again: consecutive empty reads start at least 1
	// ms apart, an interval that grows to 100 ms. Each record needs a position that is
	// not empty.
	//
	// Read returns [io.EOF] if there are no more records, alone or together with the
	// last ones. Only io.EOF itself means that; an error that wraps it is an ordinary
	// error. Records returned with any other error are dropped unacked.
	//
	// The engine owns the returned slice and records. The bytes of the positions are
	// shared: nobody may write to them.
	Read(context.Context) ([]opencdc.Record, error)
	// Ack receives the positions of finished records: each once, as Read returned it,
	// in read order. The source owns the slice.
	//
	// Ack returns [io.EOF] if the source's stream has closed. The next Read then says
	// why.
	Ack(context.Context, []opencdc.Position) error
	// Teardown stops the source. A pending Read must return, and so must one that
	// begins later. Teardown is called again if it fails. After it has succeeded, it is
	// only called again if the source is opened again.
	Teardown(context.Context) error
	// Errors returns errors that happen in the background. It is for the host; the
	// engine never calls it.
	Errors() <-chan error
}

// SourceTask reads batches from a source. It is the first task of a pipeline.
type SourceTask struct {
	id             string
	source         Source
	logger         log.CtxLogger
	metrics        ConnectorMetrics
	metricsEnabled enablement
}

// NewSourceTask returns a task that reads from source. Nil metrics count as
// [NoOpConnectorMetrics].
func NewSourceTask(
	id string,
	source Source,
	logger log.CtxLogger,
	metrics ConnectorMetrics,
) *SourceTask {
	if isNil(metrics) {
		metrics = NoOpConnectorMetrics{}
	}
	return &SourceTask{
		id:             id,
		source:         source,
		logger:         logger.WithComponent("task:source").WithField(log.ConnectorIDField, id),
		metrics:        metrics,
		metricsEnabled: enablementOf(metrics),
	}
}

// ID returns the ID of the task.
func (t *SourceTask) ID() string {
	return t.id
}

// GetSource returns the source.
func (t *SourceTask) GetSource() Source {
	return t.source
}

// Open opens the source.
func (t *SourceTask) Open(ctx context.Context) error {
	t.logger.Debug(ctx).Msg("opening source")
	if err := t.source.Open(ctx); err != nil {
		return err
	}
	t.logger.Debug(ctx).Msg("source open")
	return nil
}

// Close does nothing. The worker tears the source down itself, before it closes the
// tasks, so that reading stops.
func (t *SourceTask) Close(context.Context) error {
	return nil
}

// Do reads records from the source into b, which must be empty. If the source returns
// [io.EOF], Do returns it, too, and b holds the records that came with it. With any
// other error b stays empty.
func (t *SourceTask) Do(ctx context.Context, b *Batch) error {
	if !b.copies.IsEmpty() {
		return errors.New("cannot read records into a batch that holds records already")
	}
	var start time.Time
	isMeasured := t.metricsEnabled.now()
	if isMeasured {
		start = time.Now()
	}
	records, err := t.source.Read(ctx)
	if err != nil && err != io.EOF {
		return err
	}
	if isMeasured && len(records) > 0 {
		t.metrics.Observe(records, start)
	}
	// What is behind the records may be the next ones of a source that reads from a slice.
	records = slices.Clip(records)
	b.copies.Fill(records, batch.Positions(records))
	return err
}
