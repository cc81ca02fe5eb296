package funnel

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/batch"
	"github.com/conduitio/funnel/log"
)

// Source is where records come from. The engine uses it from one goroutine at a
// time, except that Teardown may run beside Read. (So may Ack, if the worker has
// the option [WithReadAhead], or if the host calls [Worker.Ack] or [Worker.Nack]
// itself while the worker runs.)
type Source interface {
	// ID identifies the connector. The engine does not call it, the host does.
	ID() string
	// Open prepares the source for Read. A source that fails to open is not torn
	// down: it cleans up behind itself.
	Open(context.Context) error
	// Read returns the next records and blocks until there is at least one. It
	// may return none, and is called again. While it returns none, each call starts
	// at least 1 ms after the one before, an interval that grows to 100 ms. Each
	// record needs a position that is not empty.
	//
	// It returns [io.EOF] if there are no more records, alone or together with
	// the last ones. Only io.EOF itself means that; an error that wraps it is an
	// ordinary error. Records returned with any other error are dropped.
	//
	// The slice and the records belong to the engine from then on. The bytes of
	// the positions are shared: nobody writes to them.
	Read(context.Context) ([]opencdc.Record, error)
	// Ack is told the positions of records that are done: each once, as Read has
	// returned it, in the order of reading. The slice belongs to the source.
	//
	// It returns [io.EOF] if its stream has closed. The next Read says why.
	Ack(context.Context, []opencdc.Position) error
	// Teardown stops the source. A pending Read returns, and so does one that
	// begins later. Teardown is called again if it failed, and never after it
	// has succeeded.
	Teardown(context.Context) error
	// Errors are errors that happen in the background. The engine does not call
	// it, the host does.
	Errors() <-chan error
}

// SourceTask reads batches from a source. It is the first task of a pipeline.
type SourceTask struct {
	id         string
	source     Source
	logger     log.CtxLogger
	metrics    ConnectorMetrics
	isMeasured listener
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
		id:         id,
		source:     source,
		logger:     logger.WithComponent("task:source").WithField(log.ConnectorIDField, id),
		metrics:    metrics,
		isMeasured: listenerOf(metrics),
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

// Close does nothing. The source is torn down by the worker, which has to do so
// before the tasks are closed, to stop reading.
func (t *SourceTask) Close(context.Context) error {
	return nil
}

// Do reads records from the source into b, which must be empty. If the source
// returns [io.EOF], so does Do, and b holds the records that came with it. With
// any other error b stays empty.
func (t *SourceTask) Do(ctx context.Context, b *Batch) error {
	if !b.copies.IsEmpty() {
		return errors.New("cannot read records into a batch that holds records already")
	}
	var start time.Time
	isMeasured := t.isMeasured.now()
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
	b.copies.Fill(records, batch.Positions(records))
	return err
}
