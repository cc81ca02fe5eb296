package otel

import (
	"testing"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/conduitio/funnel"
)

// spanContext returns a span context with this number.
func spanContext(n int) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{byte(n >> 8), byte(n), 1}})
}

// numbered is a span with a number.
type numbered struct {
	noop.Span
	n int
}

func (s numbered) SpanContext() trace.SpanContext { return spanContext(s.n) }

// A task that answers for one record per call divides what is left each time. The batch
// keeps only the last division, and each call links to the one before it.
func TestBatch_manyRounds(t *testing.T) {
	const rounds = 1_000
	out := &funnel.TaskNode{}
	node := &funnel.TaskNode{Next: []*funnel.TaskNode{out}}
	b := newBatch(noop.Span{})
	for i := range rounds {
		left := rounds - i
		from := b.begin(funnel.TaskBegin{TaskID: "p", Node: node, Records: left}, numbered{n: i})
		if i > 0 && !from.Equal(spanContext(i-1)) || i == 0 && from.IsValid() {
			t.Fatalf("call %d links to %v", i, from)
		}
		b.done(funnel.TaskDone{TaskID: "p", In: left, Out: 1, Retried: left - 1})
		b.divide("p")
		if got := b.begin(funnel.TaskBegin{TaskID: "out", Node: out, Records: 1, Waiting: 1}, numbered{n: -1}); !got.Equal(spanContext(i)) {
			t.Fatalf("the part of call %d links to %v", i, got)
		}
		b.done(funnel.TaskDone{TaskID: "out", In: 1, Out: 1})
		if len(b.divisions) != 1 {
			t.Fatalf("after call %d there are %d divisions", i, len(b.divisions))
		}
	}
}
