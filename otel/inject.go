package otel

import (
	"context"
	"errors"

	"github.com/conduitio/conduit-commons/opencdc"
	"go.opentelemetry.io/otel/propagation"

	"github.com/conduitio/funnel"
)

// NewInjectTask returns a task that passes the trace on: it writes the current span into the
// metadata of the records, as traceparent and tracestate of W3C Trace Context. It belongs
// before a destination that stores metadata, for example of whole records in a file. When a
// pipeline reads these records, its batch links to that span.
//
// The current span is the one in the context of the task. With an observer of [NewObserver]
// it is the span of the task. If the batch is not sampled, it is the span of the batch, and the
// traceparent says that it is not sampled. Without a span, the metadata stays as it is. The
// trace that a record came with is replaced; the batch still links to it.
//
// The task changes metadata in place, which allocates nothing for a record that has a
// traceparent already. A record without metadata gets a map. The argument is the ID of the
// task. NewInjectTask returns an error if it is empty.
func NewInjectTask(id string) (funnel.Task, error) {
	if id == "" {
		return nil, errors.New("the task has no ID")
	}
	return injectTask{id: id}, nil
}

type injectTask struct{ id string }

func (t injectTask) ID() string { return t.id }

func (injectTask) Open(context.Context) error { return nil }

func (injectTask) Close(context.Context) error { return nil }

func (injectTask) Do(ctx context.Context, b *funnel.Batch) error {
	headers := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, headers)
	if len(headers) == 0 {
		return nil
	}
	for i, record := range b.ActiveRecords() {
		if record.Metadata == nil {
			record.Metadata = make(opencdc.Metadata, len(headers))
			b.SetRecords(i, []opencdc.Record{record})
		}
		record.Metadata[traceparent] = headers[traceparent]
		if state := headers[tracestate]; state != "" {
			record.Metadata[tracestate] = state
		} else {
			delete(record.Metadata, tracestate)
		}
	}
	return nil
}
