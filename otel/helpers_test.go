package otel_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/otel"
)

// tracing records the spans of observers.
type tracing struct {
	*tracetest.SpanRecorder
	provider *sdktrace.TracerProvider
}

func newTracing(opts ...sdktrace.TracerProviderOption) *tracing {
	recorder := tracetest.NewSpanRecorder()
	return &tracing{recorder, sdktrace.NewTracerProvider(append(opts, sdktrace.WithSpanProcessor(recorder))...)}
}

// observer returns an observer of the pipeline p.
func (tr *tracing) observer(t testing.TB, opts ...otel.Option) funnel.Observer {
	t.Helper()
	o, err := otel.NewObserver(tr.provider, "p", opts...)
	fake.WantNoError(t, err)
	return o
}

// constant are attributes that all spans have, or all of a kind.
var constant = map[attribute.Key]bool{
	"messaging.system": true, "messaging.operation.name": true, "messaging.operation.type": true,
	otel.PipelineKey: true, otel.TaskKey: true,
}

// tree returns the spans as lines, each below its parent. Spans that begin at the same time
// on branches are sorted by name. It fails if a span has not ended.
func (tr *tracing) tree(t testing.TB) string {
	t.Helper()
	if started, ended := len(tr.Started()), len(tr.Ended()); started != ended {
		t.Errorf("%d of %d spans have ended", ended, started)
	}
	names, count := map[trace.SpanID]string{}, map[string]int{}
	for _, s := range tr.Started() {
		count[s.Name()]++
		names[s.SpanContext().SpanID()] = fmt.Sprintf("%s#%d", s.Name(), count[s.Name()])
	}
	var out strings.Builder
	var show func(parent trace.SpanID, indent string)
	show = func(parent trace.SpanID, indent string) {
		for _, s := range tr.Started() {
			if s.Parent().SpanID() != parent {
				continue
			}
			fmt.Fprintf(&out, "%s%s\n", indent, line(s, names))
			show(s.SpanContext().SpanID(), indent+"  ")
		}
	}
	show(trace.SpanID{}, "")
	return out.String()
}

// line describes a span.
func line(s sdktrace.ReadOnlySpan, names map[trace.SpanID]string) string {
	parts := []string{s.Name() + ":"}
	parts = append(parts, short(s.Attributes())...)
	for _, l := range s.Links() {
		name, ok := names[l.SpanContext.SpanID()]
		if !ok {
			name = l.SpanContext.TraceID().String()
		}
		parts = append(parts, "-> "+name)
	}
	for _, e := range s.Events() {
		parts = append(parts, fmt.Sprintf("[%s]", strings.Join(append([]string{e.Name}, short(e.Attributes)...), " ")))
	}
	if s.Status().Code == codes.Error {
		parts = append(parts, "ERROR")
	}
	return strings.Join(parts, " ")
}

// short returns attributes without constant ones, and without texts and types of errors.
func short(attributes []attribute.KeyValue) []string {
	var parts []string
	for _, a := range attributes {
		name := string(a.Key)
		if constant[a.Key] || strings.HasPrefix(name, "exception.") || name == "error.type" {
			continue
		}
		parts = append(parts, name[strings.LastIndexByte(name, '.')+1:]+"="+a.Value.String())
	}
	return parts
}

// wantTree compares the tree with lines.
func (tr *tracing) wantTree(t testing.TB, want ...string) {
	t.Helper()
	if got, want := tr.tree(t), strings.Join(want, "\n")+"\n"; got != want {
		t.Errorf("the spans are\n%s\nwant\n%s", got, want)
	}
}

// wantSorted compares the lines of the tree with lines, in any order.
func (tr *tracing) wantSorted(t testing.TB, want ...string) {
	t.Helper()
	got := strings.Split(strings.TrimSpace(tr.tree(t)), "\n")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the spans are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
