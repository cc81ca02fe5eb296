package otel

import (
	"slices"
	"sync"

	"go.opentelemetry.io/otel/trace"

	"github.com/conduitio/funnel"
)

// batch is the state of a sampled batch: its span, the last call of each task, and the
// divisions whose parts are still on their way.
//
// The parts of a divided batch continue one after the other, each to the end, before the
// next one starts. So a call of a task belongs to the last division at this task or before
// it in the pipeline, unless all parts of that division have ended. They have ended if
//   - a part comes to the task of the division that the task has not asked for again; or
//   - fewer parts wait, on the same branch, than waited at the division.
//
// Behind a fan-out the second rule does not help, since nobody says there how many parts
// wait before the fan-out.
type batch struct {
	span trace.Span

	mu        sync.Mutex
	calls     map[string]*call // by task ID; a task has one at a time
	divisions []division       // in the order in which they happened
}

// call is the last call of a task.
type call struct {
	node    *funnel.TaskNode
	waiting int        // parts that wait, as the call began
	span    trace.Span // nil once it has ended
	context trace.SpanContext
	retried int // records that the task has still to get again
}

// division says that the outcome of a call was divided.
type division struct {
	node    *funnel.TaskNode
	waiting int // parts that wait until all parts of this division have ended
	context trace.SpanContext
}

func newBatch(span trace.Span) *batch {
	return &batch{span: span, calls: map[string]*call{}}
}

// begin adds a call with its span. It returns the span of the call that has divided the
// batch, if one has.
func (b *batch) begin(e funnel.TaskBegin, span trace.Span) trace.SpanContext {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := b.calls[e.TaskID]
	if !ok {
		c = &call{node: e.Node}
		b.calls[e.TaskID] = c
	}
	isRetry := c.retried > 0
	c.retried = max(c.retried-e.Records, 0)
	c.waiting, c.span, c.context = e.Waiting, span, span.SpanContext()
	b.divisions = slices.DeleteFunc(b.divisions, func(d division) bool { return d.hasEnded(c, isRetry) })
	for _, d := range slices.Backward(b.divisions) {
		if isBefore(d.node, c.node) {
			return d.context
		}
	}
	return trace.SpanContext{}
}

// hasEnded returns true if, when a call begins, all parts of the division have ended.
func (d division) hasEnded(c *call, isRetry bool) bool {
	if d.node == c.node && !isRetry {
		return true
	}
	return d.waiting > c.waiting && isInLine(d.node, c.node)
}

// done ends a call, and returns its span.
func (b *batch) done(e funnel.TaskDone) trace.Span {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.calls[e.TaskID]
	if c == nil {
		return nil
	}
	span := c.span
	c.span = nil
	c.retried += e.Retried
	return span
}

// divide adds a division of the outcome of a task's last call. It takes the place of the
// division whose last part this was.
func (b *batch) divide(taskID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.calls[taskID]
	if c == nil {
		return // the first task has no span
	}
	d := division{node: c.node, waiting: c.waiting, context: c.context}
	if i := slices.IndexFunc(b.divisions, func(o division) bool { return o.node == d.node && o.waiting == d.waiting }); i >= 0 {
		b.divisions = slices.Delete(b.divisions, i, i+1)
	}
	b.divisions = append(b.divisions, d)
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

// isBefore returns true if records come from a node to another one, or if they are the same.
func isBefore(node, other *funnel.TaskNode) bool {
	return node == other || slices.ContainsFunc(node.Next, func(next *funnel.TaskNode) bool { return isBefore(next, other) })
}

// isInLine returns true if records come from a node to another one without a fan-out.
func isInLine(node, other *funnel.TaskNode) bool {
	for node != other {
		if len(node.Next) != 1 {
			return false
		}
		node = node.Next[0]
	}
	return true
}
