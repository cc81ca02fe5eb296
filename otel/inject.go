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
// before a destination that writes metadata out, such as one that writes whole records to a
// file. The batch of a pipeline that reads the records then links to this span.
//
// The current span is the one in the context of the task. With an observer of [NewObserver]
// it is the span of the task or, if the batch is sampled out, that of the batch, which says
// so. Without a span, the metadata stays as it is. What is written replaces the trace that a
// record came with, to which the batch links.
//
// The task changes metadata in place, which allocates nothing for a record that has a
// traceparent already. A record without metadata gets a map. The ID is that of the task.
// NewInjectTask returns an error if it is empty.
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
