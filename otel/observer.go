package otel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/conduitio/conduit-commons/opencdc"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/conduitio/funnel"
)

// The contexts of a sampled batch's tasks hold the batch, so their events find it there. The
// events of acks and dead letters have the context of Do. They belong to the batch in flight;
// a worker has one at a time. No context holds a batch that is not sampled, so its events find
// nothing, and do nothing.

// scope is the name of the tracer.
const scope = "github.com/conduitio/funnel/otel"

// NewObserver returns an observer that traces a worker, for [funnel.WithObserver]. The
// documentation of the package describes the spans.
//
// The provider makes the tracer; the global provider is never used. The pipeline is part of the
// names of spans, so it should be the same in each run. NewObserver returns an error if the
// provider is nil, the pipeline has no name, or an option is nil or invalid.
//
// The observer is for one worker at a time. A later worker may reuse it.
func NewObserver(provider trace.TracerProvider, pipeline string, opts ...Option) (funnel.Observer, error) {
	if isNil(provider) {
		return nil, errors.New("the tracer provider is nil")
	}
	if pipeline == "" {
		return nil, errors.New("the pipeline has no name")
	}
	var c config
	for i, opt := range opts {
		if isNil(opt) {
			return nil, fmt.Errorf("option %d is nil", i)
		}
		if err := opt.apply(&c); err != nil {
			return nil, fmt.Errorf("option %d is invalid: %w", i, err)
		}
	}
	return &observer{
		tracer: provider.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)),
		name:   "process " + pipeline,
		start: []trace.SpanStartOption{
			trace.WithSpanKind(trace.SpanKindConsumer),
			trace.WithAttributes(slices.Concat([]attribute.KeyValue{
				semconv.MessagingSystemKey.String("funnel"),
				semconv.MessagingOperationName("process"),
				semconv.MessagingOperationTypeProcess,
				PipelineKey.String(pipeline),
			}, c.attributes)...),
		},
		pipeline: pipeline,
		tasks:    map[string]taskStart{},
	}, nil
}

// observer makes the spans of a worker.
type observer struct {
	tracer   trace.Tracer
	pipeline string
	name     string                  // of the span of a batch
	start    []trace.SpanStartOption // of the span of a batch

	current atomic.Pointer[batch] // the batch in flight, if it is sampled

	mu    sync.Mutex
	tasks map[string]taskStart
}

var (
	_ funnel.RecordsObserver = (*observer)(nil)
	_ funnel.AbortObserver   = (*observer)(nil)
)

// taskStart is how the spans of a task start.
type taskStart struct {
	name    string
	options []trace.SpanStartOption
}

// batchKey is the key of a batch in the contexts that an observer returns.
type batchKey struct{ *observer }

// batchOf returns the batch of a context, or nil if it is not sampled.
func (o *observer) batchOf(ctx context.Context) *batch {
	b, _ := ctx.Value(batchKey{o}).(*batch)
	return b
}

// BatchRead starts the span of a batch without its links. Workers call RecordsRead instead.
func (o *observer) BatchRead(ctx context.Context, e funnel.BatchRead) context.Context {
	return o.RecordsRead(ctx, e, nil)
}

// RecordsRead starts the span of a batch, and links it.
func (o *observer) RecordsRead(ctx context.Context, e funnel.BatchRead, records []opencdc.Record) context.Context {
	ctx, span := o.tracer.Start(ctx, o.name, o.start...)
	if !span.IsRecording() {
		return ctx
	}
	span.SetAttributes(semconv.MessagingBatchMessageCount(e.Records))
	linkRecords(span, records)
	b := newBatch(span)
	o.current.Store(b)
	return context.WithValue(ctx, batchKey{o}, b)
}

// TaskBegin starts the span of a call of a task.
func (o *observer) TaskBegin(ctx context.Context, e funnel.TaskBegin) context.Context {
	b := o.batchOf(ctx)
	if b == nil {
		return ctx
	}
	if current := trace.SpanContextFromContext(ctx); current.SpanID() != b.span.SpanContext().SpanID() {
		ctx = trace.ContextWithSpan(ctx, b.span) // another observer has put its own span there
	}
	start := o.startOf(e.TaskID)
	ctx, span := o.tracer.Start(ctx, start.name, start.options...)
	if divided := b.begin(e, span); divided.IsValid() {
		span.AddLink(trace.Link{SpanContext: divided})
	}
	span.SetAttributes(InKey.Int(e.Records))
	return ctx
}

// startOf returns how the spans of a task start.
func (o *observer) startOf(taskID string) taskStart {
	o.mu.Lock()
	defer o.mu.Unlock()
	start, ok := o.tasks[taskID]
	if !ok {
		start = taskStart{name: "task " + taskID, options: []trace.SpanStartOption{
			trace.WithAttributes(PipelineKey.String(o.pipeline), TaskKey.String(taskID)),
		}}
		o.tasks[taskID] = start
	}
	return start
}

// TaskDone ends the span of a call of a task.
func (o *observer) TaskDone(ctx context.Context, e funnel.TaskDone) {
	b := o.batchOf(ctx)
	if b == nil {
		return
	}
	span := b.done(e.TaskID)
	if span == nil {
		return
	}
	setCounts(span, OutKey.Int(e.Out),
		AddedKey.Int(e.Added), FilteredKey.Int(e.Filtered), NackedKey.Int(e.Nacked), RetriedKey.Int(e.Retried))
	setError(span, e.Err)
	span.End()
}

// BatchDivided adds an event to the span of the batch.
func (o *observer) BatchDivided(ctx context.Context, e funnel.BatchDivided) {
	b := o.batchOf(ctx)
	if b == nil {
		return
	}
	b.divide(e)
	b.span.AddEvent("batch divided", trace.WithAttributes(TaskKey.String(e.TaskID), PartsKey.Int(e.Parts)))
}

// DeadLettersWritten adds an event to the span of the batch.
func (o *observer) DeadLettersWritten(ctx context.Context, e funnel.DeadLettersWritten) {
	span := o.spanOf(ctx, e.Outside)
	if span == nil {
		return
	}
	attributes := []attribute.KeyValue{DeadLettersKey.Int(e.Records), ConfirmedKey.Int(e.Confirmed)}
	if e.Err != nil {
		text, kind := describe(e.Err)
		attributes = append(attributes, semconv.ErrorTypeKey.String(kind), semconv.ExceptionMessage(text))
	}
	span.AddEvent("dead letters written", trace.WithAttributes(attributes...))
}

// RecordsAcked adds an event to the span of the batch.
func (o *observer) RecordsAcked(ctx context.Context, e funnel.RecordsAcked) {
	if span := o.spanOf(ctx, e.Outside); span != nil {
		span.AddEvent("records acked", trace.WithAttributes(AckedKey.Int(e.Records)))
	}
}

// spanOf returns the span for an event of acks or dead letters, or nil if none is sampled. For
// a call of Worker.Ack or Worker.Nack it is the span in the context of that call, or the span of
// the batch if a task makes the call. Otherwise it is the span of the batch in flight.
func (o *observer) spanOf(ctx context.Context, outside bool) trace.Span {
	b := o.current.Load()
	if outside {
		b = o.batchOf(ctx)
	}
	if b != nil {
		return b.span
	}
	if span := trace.SpanFromContext(ctx); outside && span.IsRecording() {
		return span
	}
	return nil
}

// BatchDone ends the span of the batch.
func (o *observer) BatchDone(ctx context.Context, e funnel.BatchDone) {
	b := o.batchOf(ctx)
	if b == nil {
		return
	}
	setCounts(b.span, AckedKey.Int(e.Acked),
		DeadLetteredKey.Int(e.DeadLettered), FilteredKey.Int(e.Filtered), NackedKey.Int(e.Nacked), RetriedKey.Int(e.Retried))
	setError(b.span, e.Err)
	o.end(b)
}

// BatchAborted ends the span of the batch and those of the tasks that are still open.
func (o *observer) BatchAborted(ctx context.Context) {
	if b := o.batchOf(ctx); b != nil {
		setError(b.span, errAborted)
		o.end(b)
	}
}

// end ends the spans of a batch.
func (o *observer) end(b *batch) {
	b.endOpen()
	b.span.End()
	o.current.CompareAndSwap(b, nil)
}

// setCounts sets the first attribute, and the others unless they are 0.
func setCounts(span trace.Span, counts ...attribute.KeyValue) {
	n := 1
	for _, c := range counts[1:] {
		if c.Value.AsInt64() != 0 {
			counts[n] = c
			n++
		}
	}
	span.SetAttributes(counts[:n]...)
}
