package otel_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/otel"
)

// traced returns a record of a trace with this number.
func traced(n int) opencdc.Record {
	rec := fake.Records(fmt.Sprint(n))[0]
	rec.Metadata = opencdc.Metadata{"traceparent": fmt.Sprintf("00-%032x-%016x-01", n, n)}
	return rec
}

// runTraced takes records through a worker in one batch, and returns the span of the batch.
func runTraced(t *testing.T, records ...opencdc.Record) sdktrace.ReadOnlySpan {
	t.Helper()
	j, tr := &fake.Journal{}, newTracing()
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.NewSource(j, fake.Read{Records: records})), fake.Out(j)), nil, funnel.WithObserver(tr.observer(t)))
	fake.WantNoError(t, fake.RunWorker(t, w))
	if spans := tr.Ended(); len(spans) == 2 {
		return spans[1]
	}
	t.Fatalf("the spans are %v", tr.Ended())
	return nil
}

// omitted returns the attribute for records without a link.
func omitted(s sdktrace.ReadOnlySpan) string {
	for _, a := range s.Attributes() {
		if a.Key == otel.OmittedLinksKey {
			return a.Value.String()
		}
	}
	return ""
}

// A batch links to the traces of its records, each once, 32 at most.
func TestObserver_links(t *testing.T) {
	invalid := traced(3)
	invalid.Metadata["traceparent"] = "00-nonsense"
	stateful := traced(5)
	stateful.Metadata["tracestate"] = "a=b"
	s := runTraced(t, fake.Records("0")[0], traced(1), traced(2), traced(1), invalid, invalid, stateful)
	want := []string{traced(1).Metadata["traceparent"][3:35], traced(2).Metadata["traceparent"][3:35], traced(5).Metadata["traceparent"][3:35]}
	var got []string
	for _, l := range s.Links() {
		got = append(got, l.SpanContext.TraceID().String())
		if !l.SpanContext.IsRemote() || !l.SpanContext.IsSampled() {
			t.Errorf("the link %v is not remote, or not sampled", l.SpanContext)
		}
	}
	fake.WantLines(t, got, want...)
	if l := s.Links()[2].SpanContext; l.SpanID().String() != fmt.Sprintf("%016x", 5) || l.TraceState().Get("a") != "b" {
		t.Errorf("the link is %v", l)
	}
	if n := omitted(s); n != "" {
		t.Errorf("%s links are omitted", n)
	}

	for n, want := range map[int]string{32: "", 33: "1", 1_000: "968"} {
		var records []opencdc.Record
		for i := range n {
			records = append(records, traced(i+1))
		}
		s := runTraced(t, append(records, traced(1))...) // has a link already
		if len(s.Links()) != 32 || omitted(s) != want {
			t.Errorf("of %d traces %d are linked, %q omitted", n, len(s.Links()), omitted(s))
		}
	}
}

// Read ahead, a batch of several reads links to the traces of all.
func TestObserver_linksReadAhead(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j, tr := &fake.Journal{}, newTracing()
		source := fake.NewSource(j, fake.Read{Records: []opencdc.Record{traced(1)}}, fake.Read{Records: []opencdc.Record{traced(2)}})
		w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.Out(j)), nil, append(opts, funnel.WithObserver(tr.observer(t)))...)
		fake.WantNoError(t, fake.RunWorker(t, w))
		var links []string
		for _, s := range tr.Ended() {
			for _, l := range s.Links() {
				links = append(links, l.SpanContext.SpanID().String())
			}
		}
		fake.WantLines(t, links, fmt.Sprintf("%016x", 1), fmt.Sprintf("%016x", 2))
	})
}

// inject returns a node with a task that passes the trace on.
func inject(t *testing.T) *funnel.TaskNode {
	t.Helper()
	task, err := otel.NewInjectTask("inject")
	fake.WantNoError(t, err)
	return fake.Node(task)
}

// A pipeline that reads what another one has written links to it.
func TestNewInjectTask(t *testing.T) {
	for _, sampled := range []bool{true, false} {
		sampler := sdktrace.AlwaysSample()
		if !sampled {
			sampler = sdktrace.NeverSample()
		}
		j, tr := &fake.Journal{}, newTracing(sdktrace.WithSampler(sampler))
		out := fake.NewDestination(j, "out")
		var written []opencdc.Record
		out.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
			for _, rec := range recs {
				written = append(written, rec.Clone())
			}
			return nil
		}
		plain, stateful := fake.Records("0")[0], traced(1)
		plain.Metadata = nil
		stateful.Metadata["tracestate"], stateful.Metadata["other"] = "a=b", "kept"
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.NewSource(j, fake.Read{Records: []opencdc.Record{plain, stateful}})), inject(t), fake.To(out)),
			nil, funnel.WithObserver(tr.observer(t)))
		fake.WantNoError(t, fake.RunWorker(t, w))
		if len(written) != 2 || written[1].Metadata["other"] != "kept" {
			t.Fatalf("written is %v", written)
		}
		for _, rec := range written {
			if _, ok := rec.Metadata["tracestate"]; ok {
				t.Error("the state of the old trace is still there")
			}
			if flag := strings.HasSuffix(rec.Metadata["traceparent"], "-01"); flag != sampled {
				t.Errorf("the trace is %q", rec.Metadata["traceparent"])
			}
		}
		next := runTraced(t, written...)
		if len(next.Links()) != 1 {
			t.Fatalf("the links are %v", next.Links())
		}
		if !sampled {
			continue
		}
		for _, s := range tr.Ended() {
			if s.Name() == "task inject" && !next.Links()[0].SpanContext.Equal(s.SpanContext().WithRemote(true)) {
				t.Errorf("linked is %v, not %v", next.Links()[0].SpanContext, s.SpanContext())
			}
		}
	}
}

// The state of a trace is passed on. Without a span the metadata stays as it is, and records
// on other branches have no part in it.
func TestNewInjectTask_context(t *testing.T) {
	state, err := trace.ParseTraceState("vendor=x")
	fake.WantNoError(t, err)
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceState: state})
	for _, tt := range []struct {
		ctx  context.Context
		want string
	}{
		{trace.ContextWithSpanContext(t.Context(), sc), "00-01000000000000000000000000000000-0200000000000000-00 vendor=x"},
		{t.Context(), traced(1).Metadata["traceparent"] + " "},
	} {
		j := &fake.Journal{}
		first := fake.From(fake.NewSource(j, fake.Read{Records: []opencdc.Record{traced(1)}}))
		record := func(name string) *funnel.TaskNode {
			d := fake.NewDestination(j, name)
			d.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
				j.Add("to-"+name, recs[0].Metadata["traceparent"], recs[0].Metadata["tracestate"])
				return nil
			}
			return fake.To(d)
		}
		w := fake.NewWorker(t, fake.Fork(first, fake.Chain(inject(t), record("with")), record("without")), nil)
		fake.WantNoError(t, w.Do(tt.ctx))
		fake.WantNoError(t, w.Close(t.Context()))
		j.Want(t, "to-with", "to-with "+tt.want)
		j.Want(t, "to-without", "to-without "+traced(1).Metadata["traceparent"]+" ")
	}
	if _, err := otel.NewInjectTask(""); err == nil {
		t.Error("a task without an ID is accepted")
	}
}
