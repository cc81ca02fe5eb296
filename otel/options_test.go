package otel_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/otel"
)

func TestNewObserver_invalid(t *testing.T) {
	provider := newTracing().provider
	for _, tt := range []struct {
		provider trace.TracerProvider
		pipeline string
		opts     []otel.Option
		want     string
	}{
		{nil, "p", nil, "the tracer provider is nil"},
		{(*sdktrace.TracerProvider)(nil), "p", nil, "the tracer provider is nil"},
		{provider, "", nil, "the pipeline has no name"},
		{provider, "p", []otel.Option{otel.WithAttributes(), nil}, "option 1 is nil"},
		{provider, "p", []otel.Option{otel.WithAttributes(attribute.String("", "x"))}, `option 0 is invalid: the attribute "" has no key or no value`},
	} {
		if o, err := otel.NewObserver(tt.provider, tt.pipeline, tt.opts...); o != nil || err == nil || err.Error() != tt.want {
			t.Errorf("the error is %v, want %s", err, tt.want)
		}
	}
}

// The spans have the documented attributes, and those that the host adds.
func TestNewObserver_attributes(t *testing.T) {
	j, tr := &fake.Journal{}, newTracing()
	o := tr.observer(t, otel.WithAttributes(attribute.String("a", "1"), attribute.String("messaging.system", "mine")), otel.WithAttributes(attribute.Bool("b", true)))
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2")), fake.Out(j)), nil, funnel.WithObserver(o))
	fake.WantNoError(t, fake.RunWorker(t, w))
	var got []string
	for _, s := range tr.Ended() {
		got = append(got, s.Name()+" "+s.SpanKind().String()+" "+s.InstrumentationScope().Name)
		for _, a := range s.Attributes() {
			got = append(got, string(a.Key)+"="+a.Value.String())
		}
	}
	fake.WantLines(t, got,
		"task out internal github.com/conduitio/funnel/otel", "funnel.pipeline=p", "funnel.task.id=out", "funnel.records.in=2", "funnel.records.out=2",
		"process p consumer github.com/conduitio/funnel/otel", "messaging.system=mine", "messaging.operation.name=process",
		"messaging.operation.type=process", "funnel.pipeline=p", "a=1", "b=true", "messaging.batch.message_count=2", "funnel.records.acked=2",
	)
}

// ownError is an error of a type of its own.
type ownError struct{ text string }

func (e *ownError) Error() string { return e.text }

// typedError is an error whose method for its type panics.
type typedError struct{}

func (typedError) Error() string     { return "typed" }
func (typedError) ErrorType() string { panic("no type") }

// Errors are described in bounded, valid texts, with the type of the task's own error.
func TestObserver_errors(t *testing.T) {
	for _, tt := range []struct {
		name       string
		err        error
		text, kind string
	}{
		{"plain", &ownError{"no disk"}, `task "t": no disk`, "*otel_test.ownError"},
		{"long", errors.New(strings.Repeat("é", 1_000_000)), `task "t": é`, "*errors.errorString"},
		{"invalid", errors.New("a\xffb"), `task "t": a?b`, "*errors.errorString"},
		{"panics", typedError{}, `task "t": typed`, "_OTHER"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j, tr := &fake.Journal{}, newTracing()
			task := fake.Custom("t", func(context.Context, *funnel.Batch) error { return tt.err })
			w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), task), nil, funnel.WithObserver(tr.observer(t)))
			if err := w.Do(t.Context()); err == nil {
				t.Error("there is no error")
			}
			fake.WantNoError(t, w.Close(t.Context()))
			for _, s := range tr.Ended() {
				event := map[attribute.Key]string{}
				for _, a := range s.Events()[0].Attributes {
					event[a.Key] = a.Value.String()
				}
				text := s.Status().Description
				if !strings.HasPrefix(text, tt.text) || len(text) > 1_024 || !utf8.ValidString(text) {
					t.Errorf("the status is %.100q of %d bytes", text, len(text))
				}
				if event["exception.message"] != text || event["exception.type"] != tt.kind {
					t.Errorf("the event is %.200v", event)
				}
			}
		})
	}
}

// A batch that is not sampled is not recorded, and allocates nothing for its tasks.
func TestObserver_sampledOut(t *testing.T) {
	tr := newTracing(sdktrace.WithSampler(sdktrace.NeverSample()))
	o := tr.observer(t)
	ctx := o.BatchRead(t.Context(), funnel.BatchRead{Records: 1})
	if trace.SpanContextFromContext(ctx).IsSampled() || !trace.SpanContextFromContext(ctx).IsValid() {
		t.Error("the tasks see no span, or a sampled one")
	}
	allocs := testing.AllocsPerRun(100, func() {
		taskCtx := o.TaskBegin(ctx, funnel.TaskBegin{TaskID: "t", Records: 1})
		o.TaskDone(taskCtx, funnel.TaskDone{TaskID: "t", In: 1, Out: 1})
		o.BatchDivided(ctx, funnel.BatchDivided{TaskID: "t", Parts: 2})
		o.DeadLettersWritten(t.Context(), funnel.DeadLettersWritten{Records: 1, Confirmed: 1})
		o.RecordsAcked(t.Context(), funnel.RecordsAcked{Records: 1})
		o.BatchDone(ctx, funnel.BatchDone{Read: 1})
	})
	if allocs != 0 {
		t.Errorf("the events of a batch allocate %v times", allocs)
	}
	o.(funnel.AbortObserver).BatchAborted(ctx)
	if n := len(tr.Started()); n != 0 {
		t.Errorf("%d spans were started", n)
	}
}
