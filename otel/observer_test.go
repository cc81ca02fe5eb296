package otel_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// A batch is a span, and each call of a task is a child of it. Divided parts are linked.
func TestObserver(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts []funnel.WorkerOption
		want []string
	}{{
		name: "divided",
		want: []string{
			"process p: message_count=5 acked=5 dead_lettered=2 filtered=1 nacked=2 retried=1" +
				" [batch divided parts=5] [records acked acked=1] [dead letters written dead_letters=1 confirmed=1] [records acked acked=1]" +
				" [records acked acked=1] [records acked acked=1]" +
				" [dead letters written dead_letters=1 confirmed=1] [records acked acked=1]",
			"  task p: in=5 out=4 added=2 filtered=1 nacked=1 retried=1",
			"  task out: in=3 out=3 -> task p#1",
			"  task p: in=1 out=1 -> task p#1",
			"  task out: in=1 out=1 -> task p#1",
			"  task out: in=1 out=0 nacked=1 -> task p#1",
			"process p: message_count=1 acked=0 [exception] ERROR",
			"  task p: in=1 out=1",
			"  task out: in=1 out=0 [exception] ERROR",
		},
	}, {
		name: "whole batches", opts: []funnel.WorkerOption{funnel.WithWholeBatches()},
		want: []string{
			"process p: message_count=5 acked=5 dead_lettered=2 filtered=1 nacked=2 retried=1" +
				" [batch divided parts=3] [dead letters written dead_letters=2 confirmed=2] [records acked acked=5]",
			"  task p: in=5 out=4 added=2 filtered=1 nacked=1 retried=1",
			"  task out: in=3 out=3 -> task p#1",
			"  task p: in=1 out=1 -> task p#1",
			"  task out: in=1 out=1 -> task p#1",
			"  task out: in=1 out=0 nacked=1 -> task p#1",
			"process p: message_count=1 acked=0 [exception] ERROR",
			"  task p: in=1 out=1",
			"  task out: in=1 out=0 [exception] ERROR",
		},
	}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j, tr := &fake.Journal{}, newTracing()
				p := fake.ByPosition(fake.Answers{
					"1": fake.Filter, "2": fake.Fail, "3": fake.Split(3), "4": fake.SecondTime(fake.Pass),
				})
				out := fake.NewDestination(j, "out")
				out.Refuse["5"] = fake.ErrTest
				out.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
					if string(recs[0].Position) == "6" {
						return fake.ErrTest
					}
					return nil
				}
				w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2 3 4 5", "6")), fake.Through("p", p), fake.To(out)),
					fake.DLQ(j), append(tt.opts, funnel.WithObserver(tr.observer(t)))...)
				fake.WantError(t, fake.RunWorker(t, w), fake.ErrTest)
				tr.wantTree(t, tt.want...)
			})
		})
	}
}

// A part that is divided again is told apart from those that come after it.
func TestObserver_dividedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, tr := &fake.Journal{}, newTracing()
		p := fake.ByPosition(fake.Answers{"2": fake.SecondTime(fake.Pass), "3": fake.SecondTime(fake.Fail), "4": fake.SecondTime(fake.Pass)})
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2 3 4 5", "6")), fake.Through("p", p), fake.Out(j)),
			fake.DLQ(j), funnel.WithWholeBatches(), funnel.WithObserver(tr.observer(t)))
		fake.WantNoError(t, fake.RunWorker(t, w))
		const acked = " [records acked acked=1]"
		tr.wantTree(t,
			"process p: message_count=5 acked=5 dead_lettered=1 nacked=1 retried=3 [batch divided parts=3]"+
				" [dead letters written dead_letters=1 confirmed=1] [records acked acked=5]",
			"  task p: in=5 out=2 retried=3",
			"  task out: in=1 out=1 -> task p#1",
			"  task p: in=3 out=2 nacked=1 -> task p#1",
			"  task out: in=2 out=2 -> task p#1",
			"  task out: in=1 out=1 -> task p#1",
			"process p: message_count=1 acked=1"+acked,
			"  task p: in=1 out=1",
			"  task out: in=1 out=1",
		)

		tr = newTracing()
		p = fake.ByPosition(fake.Answers{"2": fake.SecondTime(fake.Pass), "3": fake.SecondTime(fake.Fail), "4": fake.SecondTime(fake.Pass)})
		w = fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2 3 4 5")), fake.Through("p", p), fake.Through("q", fake.Each(fake.Pass)), fake.Out(j)),
			fake.DLQ(j), funnel.WithObserver(tr.observer(t)))
		fake.WantNoError(t, fake.RunWorker(t, w))
		tr.wantTree(t,
			"process p: message_count=5 acked=5 dead_lettered=1 nacked=1 retried=3 [batch divided parts=3]"+acked+
				" [batch divided parts=3]"+acked+" [dead letters written dead_letters=1 confirmed=1]"+acked+acked+acked,
			"  task p: in=5 out=2 retried=3",
			"  task q: in=1 out=1 -> task p#1",
			"  task out: in=1 out=1 -> task p#1",
			"  task p: in=3 out=2 nacked=1 -> task p#1",
			"  task q: in=1 out=1 -> task p#2",
			"  task out: in=1 out=1 -> task p#2",
			"  task q: in=1 out=1 -> task p#2",
			"  task out: in=1 out=1 -> task p#2",
			"  task q: in=1 out=1 -> task p#1",
			"  task out: in=1 out=1 -> task p#1",
		)
	})
}

// If a task gets records again, that call links to the call that retried them, even if another
// part was divided again meanwhile.
func TestObserver_retries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, tr := &fake.Journal{}, newTracing()
		p := fake.ByPosition(fake.Answers{"1": fake.SecondTime(fake.Pass), "2": fake.SecondTime(fake.Fail), "4": fake.SecondTime(fake.Pass)})
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2 3 4")), fake.Through("p", p), fake.Out(j)),
			fake.DLQ(j), funnel.WithObserver(tr.observer(t)))
		fake.WantNoError(t, fake.RunWorker(t, w))
		const acked = " [records acked acked=1]"
		tr.wantTree(t,
			"process p: message_count=4 acked=4 dead_lettered=1 nacked=1 retried=3 [batch divided parts=3] [batch divided parts=2]"+
				acked+" [dead letters written dead_letters=1 confirmed=1]"+acked+acked+acked,
			"  task p: in=4 out=1 retried=3",
			"  task p: in=2 out=1 nacked=1 -> task p#1",
			"  task out: in=1 out=1 -> task p#2",
			"  task out: in=1 out=1 -> task p#1",
			"  task p: in=1 out=1 -> task p#1",
			"  task out: in=1 out=1 -> task p#1",
		)
	})
}

// Spans of branches are children of the batch. A division on one is not linked on another,
// and not in a part that comes later; a division before the branches is.
func TestObserver_branches(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j, tr, divided := &fake.Journal{}, newTracing(), make(chan bool, 5)
		before := fake.Through("p", fake.ByPosition(fake.Answers{"3": fake.Fail}))
		q := fake.Through("q", fake.ByPosition(fake.Answers{"1": fake.Fail, "2": fake.SecondTime(fake.Pass)}))
		b := fake.NewDestination(j, "b")
		b.OnWrite = func(context.Context, []opencdc.Record) error { divided <- true; return nil }
		fake.Chain(q, fake.To(b))
		waits := fake.Custom("waits", func(context.Context, *funnel.Batch) error { <-divided; return nil })
		fake.Chain(waits, fake.Out(j))
		first := fake.From(fake.SourceOf(j, "1 2 3 4"))
		fake.Chain(first, fake.Fork(before, waits, q))
		w := fake.NewWorker(t, first, fake.DLQ(j), append(opts, funnel.WithObserver(tr.observer(t)))...)
		fake.WantNoError(t, fake.RunWorker(t, w))
		dead := " [dead letters written dead_letters=1 confirmed=1] [records acked acked=1]"
		tr.wantSorted(t,
			"process p: message_count=4 acked=4 dead_lettered=2 nacked=2 retried=1 [batch divided parts=3] [batch divided parts=2]"+
				dead+" [records acked acked=1]"+dead+" [records acked acked=1]",
			"  task p: in=4 out=3 nacked=1",
			"  task waits: in=2 out=2 -> task p#1",
			"  task out: in=2 out=2 -> task p#1",
			"  task q: in=2 out=0 nacked=1 retried=1 -> task p#1",
			"  task q: in=1 out=1 -> task q#1",
			"  task b: in=1 out=1 -> task q#1",
			"  task waits: in=1 out=1 -> task p#1",
			"  task out: in=1 out=1 -> task p#1",
			"  task q: in=1 out=1 -> task p#1",
			"  task b: in=1 out=1 -> task p#1",
		)
	})
}

// Behind a fan-out, parts link to the last division before it.
func TestObserver_dividedAgainBeforeBranches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, tr := &fake.Journal{}, newTracing()
		p := fake.Through("p", fake.ByPosition(fake.Answers{"1": fake.SecondTime(fake.Pass), "2": fake.SecondTime(fake.Fail)}))
		first := fake.From(fake.SourceOf(j, "1 2 3"))
		fake.Chain(first, fake.Fork(p, fake.Out(j), fake.To(fake.NewDestination(j, "b"))))
		w := fake.NewWorker(t, first, fake.DLQ(j), funnel.WithWholeBatches(), funnel.WithObserver(tr.observer(t)))
		fake.WantNoError(t, fake.RunWorker(t, w))
		tr.wantSorted(t,
			"process p: message_count=3 acked=3 dead_lettered=1 nacked=1 retried=2 [batch divided parts=2]"+
				" [dead letters written dead_letters=1 confirmed=1] [records acked acked=3]",
			"  task p: in=3 out=1 retried=2",
			"  task p: in=2 out=1 nacked=1 -> task p#1",
			"  task out: in=1 out=1 -> task p#1", "  task b: in=1 out=1 -> task p#1",
			"  task out: in=1 out=1 -> task p#1", "  task b: in=1 out=1 -> task p#1",
		)
		tr = newTracing()
		j = &fake.Journal{}
		p = fake.Through("p", fake.ByPosition(fake.Answers{"1": fake.SecondTime(fake.Pass), "2": fake.SecondTime(fake.Fail)}))
		first = fake.From(fake.SourceOf(j, "1 2 3"))
		fake.Chain(first, fake.Fork(p, fake.Out(j), fake.To(fake.NewDestination(j, "b"))))
		w = fake.NewWorker(t, first, fake.DLQ(j), funnel.WithObserver(tr.observer(t)))
		fake.WantNoError(t, fake.RunWorker(t, w))
		tr.wantSorted(t,
			"process p: message_count=3 acked=3 dead_lettered=1 nacked=1 retried=2 [batch divided parts=2] [batch divided parts=2]"+
				" [records acked acked=1] [dead letters written dead_letters=1 confirmed=1] [records acked acked=1] [records acked acked=1]",
			"  task p: in=3 out=1 retried=2",
			"  task p: in=2 out=1 nacked=1 -> task p#1",
			"  task out: in=1 out=1 -> task p#2", "  task b: in=1 out=1 -> task p#2",
			"  task out: in=1 out=1 -> task p#1", "  task b: in=1 out=1 -> task p#1",
		)
	})
}

// A best-effort branch that fails is in the trace, and the batch goes on.
func TestObserver_bestEffort(t *testing.T) {
	j, tr := &fake.Journal{}, newTracing()
	fails := fake.Custom("fails", func(context.Context, *funnel.Batch) error { return fake.ErrTest })
	fails.BestEffort = true
	exits := fake.Custom("exits", func(context.Context, *funnel.Batch) error { runtime.Goexit(); return nil })
	exits.BestEffort = true
	w := fake.NewWorker(t, fake.Fork(fake.From(fake.SourceOf(j, "1", "2")), fake.Out(j), fails, exits), nil, funnel.WithObserver(tr.observer(t)))
	fake.WantNoError(t, fake.RunWorker(t, w))
	tr.wantSorted(t,
		"process p: message_count=1 acked=1 [records acked acked=1]",
		"  task out: in=1 out=1",
		"  task fails: in=1 out=0 [exception] ERROR",
		"  task exits: in=1 [exception] ERROR",
		"process p: message_count=1 acked=1 [records acked acked=1]",
		"  task out: in=1 out=1",
	)
}

// All spans end, however the batch does.
func TestObserver_ends(t *testing.T) {
	const task = "  task t: in=1 [exception] ERROR"
	for _, tt := range []struct {
		name          string
		do            func()
		batch, forked string // the spans of the batch, on no branch and on one
	}{
		{"panic", func() { panic("test") }, "process p: message_count=1 [exception] ERROR", "process p: message_count=1 [exception] ERROR"},
		{"goexit", runtime.Goexit, "process p: message_count=1 [exception] ERROR", "process p: message_count=1 acked=0 [exception] ERROR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
				for _, onBranch := range []bool{false, true} {
					j, tr, written := &fake.Journal{}, newTracing(), make(chan bool)
					node := fake.Custom("t", func(context.Context, *funnel.Batch) error {
						if onBranch {
							<-written
						}
						tt.do()
						return nil
					})
					first, want := fake.From(fake.SourceOf(j, "1")), []string{tt.batch, task}
					if onBranch {
						out := fake.NewDestination(j, "out")
						out.OnWrite = func(context.Context, []opencdc.Record) error { close(written); return nil }
						fake.Fork(first, node, fake.To(out))
						want = []string{tt.forked, task, "  task out: in=1 out=1"}
					} else {
						fake.Chain(first, node)
					}
					w := fake.NewWorker(t, first, nil, append(opts, funnel.WithObserver(tr.observer(t)))...)
					<-fake.Call(func() error { return w.Do(t.Context()) })
					fake.WantNoError(t, w.Close(t.Context()))
					tr.wantSorted(t, want...)
				}
			})
		})
	}
}

// The end of the context ends the spans, with its error.
func TestObserver_contextEnds(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j, tr := &fake.Journal{}, newTracing()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		task := fake.Custom("t", func(ctx context.Context, _ *funnel.Batch) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		})
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), task), nil, append(opts, funnel.WithObserver(tr.observer(t)))...)
		fake.WantError(t, w.Do(ctx), context.Canceled)
		fake.WantNoError(t, w.Close(t.Context()))
		tr.wantTree(t, "process p: message_count=1 acked=0 [exception] ERROR", "  task t: in=1 out=0 [exception] ERROR")
	})
}

// Tasks of a sink are children of the batch that is there. Workers do not mix.
func TestObserver_sink(t *testing.T) {
	j := &fake.Journal{}
	roots := []*funnel.TaskNode{fake.Out(j), fake.To(fake.NewDestination(j, "b"))}
	sink, err := funnel.NewSink(roots...)
	fake.WantNoError(t, err)
	fake.WantNoError(t, sink.Open(t.Context()))
	var traces []*tracing
	var endings []<-chan fake.Ending
	for range 2 {
		tr := newTracing()
		traces = append(traces, tr)
		w := fake.NewWorker(t, fake.Fork(fake.From(fake.SourceOf(j, "1", "2")), roots...), nil, funnel.WithObserver(tr.observer(t)))
		endings = append(endings, fake.Call(func() error { return fake.RunWorker(t, w) }))
	}
	for i, tr := range traces {
		(<-endings[i]).Want(t, nil)
		tr.wantSorted(t,
			"process p: message_count=1 acked=1 [records acked acked=1]", "process p: message_count=1 acked=1 [records acked acked=1]",
			"  task out: in=1 out=1", "  task out: in=1 out=1", "  task b: in=1 out=1", "  task b: in=1 out=1",
		)
	}
	fake.WantNoError(t, sink.Close(t.Context()))
}

// Records that the host settles are an event of the span in the context of its call, not of a
// batch in flight. Records that a task settles are an event of its batch.
func TestObserver_outside(t *testing.T) {
	j, tr := &fake.Journal{}, newTracing()
	ctx, span := tr.provider.Tracer("host").Start(t.Context(), "host")
	var w *funnel.Worker
	task := fake.Custom("t", func(taskCtx context.Context, b *funnel.Batch) error {
		fake.WantNoError(t, w.Nack(ctx, funnel.NewBatch(fake.Records("7", "8")), "t"))
		fake.WantNoError(t, w.Ack(t.Context(), funnel.NewBatch(fake.Records("9")))) // without a span
		if string(b.ActiveRecords()[0].Position) == "1" {
			return w.Nack(taskCtx, b, "t")
		}
		return nil
	})
	w = fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), task), fake.DLQ(j), funnel.WithObserver(tr.observer(t)))
	fake.WantNoError(t, fake.RunWorker(t, w))
	fake.WantNoError(t, w.Ack(ctx, funnel.NewBatch(fake.Records("10"))))
	span.End()
	tr.wantTree(t,
		"host: [dead letters written dead_letters=2 confirmed=2] [records acked acked=2] [records acked acked=1]",
		"process p: message_count=1 acked=0 [dead letters written dead_letters=1 confirmed=1] [records acked acked=1]",
		"  task t: in=1 out=0",
	)
}

// Two observers of a worker make a tree each, and the span of the context of Do is the
// parent of the batch.
func TestObserver_several(t *testing.T) {
	j, a, b := &fake.Journal{}, newTracing(), newTracing()
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.Out(j)), nil,
		funnel.WithObserver(a.observer(t)), funnel.WithObserver(b.observer(t)))
	ctx, span := a.provider.Tracer("host").Start(t.Context(), "host")
	fake.WantNoError(t, w.Do(ctx))
	fake.WantNoError(t, w.Close(t.Context()))
	span.End()
	a.wantTree(t, "host:", "  process p: message_count=1 acked=1 [records acked acked=1]", "    task out: in=1 out=1")
	spans := b.Ended()
	if len(spans) != 2 || spans[0].Parent().SpanID() != spans[1].SpanContext().SpanID() {
		t.Errorf("the second observer has made %v", spans)
	}
	if spans[1].SpanKind() != trace.SpanKindConsumer {
		t.Errorf("the kind is %v", spans[1].SpanKind())
	}
}

// unsampled drops the batches, and keeps the spans of the host.
type unsampled struct{}

func (unsampled) Description() string { return "unsampled" }

func (unsampled) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	decision := sdktrace.RecordAndSample
	if strings.HasPrefix(p.Name, "process ") {
		decision = sdktrace.Drop
	}
	return sdktrace.SamplingResult{Decision: decision}
}

// The events of a batch that is not sampled do not go to another span.
func TestObserver_sampledOutBelow(t *testing.T) {
	j, tr := &fake.Journal{}, newTracing(sdktrace.WithSampler(unsampled{}))
	p := fake.ByPosition(fake.Answers{"2": fake.Fail})
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2 3")), fake.Through("p", p), fake.Out(j)), fake.DLQ(j), funnel.WithObserver(tr.observer(t)))
	ctx, span := tr.provider.Tracer("host").Start(t.Context(), "host")
	fake.WantNoError(t, w.Do(ctx))
	fake.WantNoError(t, w.Close(t.Context()))
	span.End()
	tr.wantTree(t, "host:")
}

// panicking is an observer that panics at an event.
type panicking struct {
	funnel.NopObserver
	event string
}

func (p panicking) at(event string) {
	if p.event == event {
		panic(event)
	}
}

func (p panicking) BatchRead(ctx context.Context, _ funnel.BatchRead) context.Context {
	p.at("read")
	return ctx
}

func (p panicking) TaskBegin(ctx context.Context, _ funnel.TaskBegin) context.Context {
	p.at("begin")
	return ctx
}
func (p panicking) TaskDone(context.Context, funnel.TaskDone)         { p.at("done") }
func (p panicking) RecordsAcked(context.Context, funnel.RecordsAcked) { p.at("acked") }
func (p panicking) BatchDone(context.Context, funnel.BatchDone)       { p.at("end") }

// All spans end if another observer panics, before or after this one was told.
func TestObserver_anotherPanics(t *testing.T) {
	for _, event := range []string{"read", "begin", "done", "acked", "end"} {
		for _, isFirst := range []bool{true, false} {
			j, tr := &fake.Journal{}, newTracing()
			opts := []funnel.WorkerOption{funnel.WithObserver(tr.observer(t)), funnel.WithObserver(panicking{event: event})}
			if isFirst {
				opts[0], opts[1] = opts[1], opts[0]
			}
			w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.Out(j)), nil, opts...)
			if fake.PanicOf(func() { _ = w.Do(t.Context()) }) == nil {
				t.Errorf("%s: Do does not panic", event)
			}
			fake.WantNoError(t, w.Close(t.Context()))
			tr.tree(t)
			if n := len(tr.Started()); n == 0 && !(event == "read" && isFirst) {
				t.Errorf("%s: there is no span", event)
			}
		}
	}
}
