package otel

import (
	"sync"

	"go.opentelemetry.io/otel/trace"

	"github.com/conduitio/funnel"
)

// batch is the state of a sampled batch: its span, the last call of each task, and the calls
// that have divided it. The events say which call divided a part last, so their order does not
// matter here.
type batch struct {
	span trace.Span

	mu      sync.Mutex
	calls   map[string]*call          // by task ID; a task has one at a time
	divided map[int]trace.SpanContext // by the number of the call
}

// call is the last call of a task.
type call struct {
	span    trace.Span // nil once it has ended
	context trace.SpanContext
}

func newBatch(span trace.Span) *batch {
	return &batch{span: span, calls: map[string]*call{}, divided: map[int]trace.SpanContext{}}
}

// begin adds a call with its span. It returns the span of the call that last divided the
// records from others, if there is one.
func (b *batch) begin(e funnel.TaskBegin, span trace.Span) trace.SpanContext {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := b.calls[e.TaskID]
	if !ok {
		c = &call{}
		b.calls[e.TaskID] = c
	}
	c.span, c.context = span, span.SpanContext()
	return b.divided[e.DividedBy]
}

// done ends the last call of a task, and returns its span.
func (b *batch) done(taskID string) trace.Span {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.calls[taskID]
	if c == nil {
		return nil
	}
	span := c.span
	c.span = nil
	return span
}

// divide remembers that the last call of a task has divided the batch. The first task has no
// span.
func (b *batch) divide(e funnel.BatchDivided) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.calls[e.TaskID]; c != nil {
		b.divided[e.Call] = c.context
	}
}

// endOpen ends the spans of the calls that have not ended.
func (b *batch) endOpen() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.calls {
		c.endOpen()
	}
}

func (c *call) endOpen() {
	if c.span != nil {
		setError(c.span, errNotReturned)
		c.span.End()
		c.span = nil
	}
}
