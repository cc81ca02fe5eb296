package funnel_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

type ctxKey string

// recorder is an observer that records events, with the batch and the task from their
// contexts.
type recorder struct {
	funnel.NopObserver
	mu      sync.Mutex
	events  []string
	batches int
	onEvent func(event string)
}

func (r *recorder) add(ctx context.Context, format string, args ...any) {
	event := fmt.Sprintf(format, args...)
	for _, key := range []ctxKey{"batch", "task"} {
		if v := ctx.Value(key); v != nil {
			event += fmt.Sprintf(" %s=%v", key, v)
		}
	}
	r.mu.Lock()
	r.events = append(r.events, event)
	r.mu.Unlock()
	if r.onEvent != nil {
		r.onEvent(event)
	}
}

func (r *recorder) BatchRead(ctx context.Context, e funnel.BatchRead) context.Context {
	r.batches++
	r.add(ctx, "read %d", e.Records)
	return context.WithValue(ctx, ctxKey("batch"), r.batches)
}

func (r *recorder) TaskBegin(ctx context.Context, e funnel.TaskBegin) context.Context {
	r.add(ctx, "begin %s %d", e.TaskID, e.Records)
	return context.WithValue(ctx, ctxKey("task"), e.TaskID)
}

func (r *recorder) TaskDone(ctx context.Context, e funnel.TaskDone) {
	text := fmt.Sprintf("done %s %d->%d", e.TaskID, e.In, e.Out)
	if e.Added > 0 {
		text += fmt.Sprintf(" +%d", e.Added)
	}
	if e.Filtered+e.Nacked+e.Retried > 0 {
		text += fmt.Sprintf(" f%d n%d r%d", e.Filtered, e.Nacked, e.Retried)
	}
	if e.Err != nil {
		text += " failed"
	}
	r.add(ctx, "%s", text)
}

func (r *recorder) BatchDivided(ctx context.Context, e funnel.BatchDivided) {
	r.add(ctx, "divided %s %d", e.TaskID, e.Parts)
}

func (r *recorder) DeadLettersWritten(ctx context.Context, e funnel.DeadLettersWritten) {
	r.add(ctx, "letters %d/%d %t", e.Confirmed, e.Records, e.Err != nil)
}

func (r *recorder) RecordsAcked(ctx context.Context, e funnel.RecordsAcked) {
	r.add(ctx, "acked %d", e.Records)
}

func (r *recorder) BatchDone(ctx context.Context, e funnel.BatchDone) {
	r.add(ctx, "end %d acked %d dead %d f%d n%d r%d %t", e.Read, e.Acked, e.DeadLettered, e.Filtered, e.Nacked, e.Retried, e.Err != nil)
}

// The observer gets each event of a batch, in order, with the contexts that it has made.
func TestWithObserver(t *testing.T) {
	for _, tt := range []struct {
		name  string
		whole bool
		want  []string
	}{{
		name: "divided",
		want: []string{
			"read 5",
			"begin p 5 batch=1", "done p 5->4 +2 f1 n1 r1 batch=1 task=p", "divided p 5 batch=1",
			// 1 was filtered, 2 goes to the queue
			"acked 1", "letters 1/1 false", "acked 1",
			// the pieces of 3
			"begin out 3 batch=1", "done out 3->3 batch=1 task=out", "acked 1",
			// 4 is given again
			"begin p 1 batch=1", "done p 1->1 batch=1 task=p", "begin out 1 batch=1", "done out 1->1 batch=1 task=out", "acked 1",
			"begin out 1 batch=1", "done out 1->0 f0 n1 r0 batch=1 task=out", "letters 1/1 false", "acked 1",
			"end 5 acked 5 dead 2 f1 n2 r1 false batch=1",
			"read 1", "begin p 1 batch=2", "done p 1->1 batch=2 task=p", "begin out 1 batch=2", "done out 1->0 failed batch=2 task=out",
			"end 1 acked 0 dead 0 f0 n0 r0 true batch=2",
		},
	}, {
		name: "whole", whole: true,
		want: []string{
			"read 5",
			"begin p 5 batch=1", "done p 5->4 +2 f1 n1 r1 batch=1 task=p", "divided p 3 batch=1",
			"begin out 3 batch=1", "done out 3->3 batch=1 task=out",
			"begin p 1 batch=1", "done p 1->1 batch=1 task=p", "begin out 1 batch=1", "done out 1->1 batch=1 task=out",
			"begin out 1 batch=1", "done out 1->0 f0 n1 r0 batch=1 task=out",
			"letters 2/2 false", "acked 5",
			"end 5 acked 5 dead 2 f1 n2 r1 false batch=1",
			"read 1", "begin p 1 batch=2", "done p 1->1 batch=2 task=p", "begin out 1 batch=2", "done out 1->0 failed batch=2 task=out",
			"end 1 acked 0 dead 0 f0 n0 r0 true batch=2",
		},
	}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j, r := &fake.Journal{}, &recorder{}
				p := fake.ByPosition(fake.Answers{
					"1": fake.Filter, "2": fake.Fail, "3": fake.Split(3), "4": fake.SecondTime(fake.Pass),
				})
				out := fake.NewDestination(j, "out")
				out.Refuse["5"] = fake.ErrTest
				out.OnWrite = func(ctx context.Context, recs []opencdc.Record) error {
					if ctx.Value(ctxKey("task")) != "out" {
						t.Errorf("the task's context is another one")
					}
					if string(recs[0].Position) == "6" {
						return fake.ErrTest
					}
					return nil
				}
				opts := []funnel.WorkerOption{funnel.WithObserver(r)}
				if tt.whole {
					opts = append(opts, funnel.WithWholeBatches())
				}
				w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2 3 4 5", "", "6")), fake.Through("p", p), fake.To(out)), fake.DLQ(j), opts...)
				fake.WantError(t, fake.RunWorker(t, w), fake.ErrTest)
				got, want := strings.Join(r.events, "\n"), strings.Join(tt.want, "\n")
				if got != want {
					t.Errorf("the events are\n%s\nwant\n%s", got, want)
				}
			})
		})
	}
}

// With branches, each batch has a context of its own, which ends for all branches when
// one fails. Source and queue get the context of Do.
func TestWithObserver_branches(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j, r := &fake.Journal{}, &recorder{}
		source := fake.SourceOf(j, "1 2")
		source.OnAck = func(ctx context.Context, _ []opencdc.Position) error {
			if ctx.Value(ctxKey("batch")) != nil {
				t.Error("the source got a context of the observer")
			}
			return nil
		}
		inner := fake.Fork(fake.Through("p", fake.Each(fake.Pass)), fake.To(fake.NewDestination(j, "b")), fake.To(fake.NewDestination(j, "c")))
		w := fake.NewWorker(t, fake.Fork(fake.From(source), fake.Out(j), inner), fake.DLQ(j), append(opts, funnel.WithObserver(r))...)
		fake.WantNoError(t, fake.RunWorker(t, w))
		for _, event := range []string{"done out 2->2 batch=1 task=out", "done p 2->2 batch=1 task=p", "done b 2->2 batch=1 task=b", "done c 2->2 batch=1 task=c"} {
			if !strings.Contains(strings.Join(r.events, "\n"), event) {
				t.Errorf("no event %q in %q", event, r.events)
			}
		}

		waits := fake.NewDestination(j, "waits")
		waits.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { <-ctx.Done(); return ctx.Err() }
		isFirst := true
		fails := fake.Custom("fails", func(context.Context, *funnel.Batch) error {
			if isFirst {
				isFirst = false
				return nil
			}
			return fake.ErrTest
		})
		waits.OnWrite = func(ctx context.Context, recs []opencdc.Record) error {
			if string(recs[0].Position) == "2" {
				<-ctx.Done()
			}
			return ctx.Err()
		}
		reads := fake.SourceOf(j, "1")
		w = fake.NewWorker(t, fake.Fork(fake.From(reads), fails, fake.To(waits)), nil, append(opts, funnel.WithObserver(&recorder{}))...)
		reads.OnAck = func(context.Context, []opencdc.Position) error {
			reads.Reads = []fake.Read{{Records: fake.Records("2")}}
			return nil
		}
		if len(opts) > 0 {
			return // the source must not be changed while it is read
		}
		fake.WantError(t, fake.RunWorker(t, w), fake.ErrTest)
	})
}

// An observer may call the worker, also where records are released: it is called under
// no lock. A panic in it is a panic of Do.
func TestWithObserver_foreignCode(t *testing.T) {
	for _, event := range []string{"read", "begin out", "begin b", "done out", "done b", "divided", "letters", "acked", "end"} {
		t.Run(event, func(t *testing.T) {
			fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
				j, r := &fake.Journal{}, &recorder{}
				p := fake.ByPosition(fake.Answers{"2": fake.Fail})
				first := fake.From(fake.SourceOf(j, "1 2 3"))
				fake.Chain(first, fake.Fork(fake.Through("p", p), fake.Out(j), fake.To(fake.NewDestination(j, "b"))))
				w := fake.NewWorker(t, first, fake.DLQ(j), append(opts, funnel.WithObserver(r))...)
				r.onEvent = func(got string) {
					if !strings.HasPrefix(got, event) {
						return
					}
					fake.WantNoError(t, w.Ack(t.Context(), funnel.NewBatch(nil)))
					w.Stats()
					panic("observed")
				}
				defer func() {
					switch value := recover().(type) {
					case string:
					case *funnel.PanicError:
						if value.Value != "observed" {
							t.Errorf("panicked with %v", value.Value)
						}
					default:
						t.Errorf("panicked with %v", value)
					}
					fake.WantNoError(t, w.Close(t.Context()))
				}()
				fake.WantNoError(t, w.Open(t.Context()))
				_ = w.Do(t.Context())
			})
		})
	}
}

// Acks and nacks by the host are reported, too. A nil context means the given one.
func TestWithObserver_outsideAndNil(t *testing.T) {
	j, r := &fake.Journal{}, &recorder{}
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j)), fake.Out(j)), fake.DLQ(j), funnel.WithObserver(r))
	fake.WantNoError(t, w.Nack(t.Context(), funnel.NewBatch(fake.Records("1", "2")), "task"))
	fake.WantNoError(t, w.Ack(t.Context(), funnel.NewBatch(fake.Records("3"))))
	fake.WantLines(t, r.events, "letters 2/2 false", "acked 2", "acked 1")

	w = fake.NewWorker(t, fake.Fork(fake.From(fake.SourceOf(j, "4", "5")), fake.Out(j), fake.To(fake.NewDestination(j, "b"))), nil, funnel.WithObserver(nilContexts{}))
	fake.WantNoError(t, fake.RunWorker(t, w))
	for _, observer := range []funnel.Observer{nil, (*recorder)(nil)} {
		_, err := funnel.NewWorker(fake.Chain(fake.From(fake.SourceOf(j)), fake.Out(j)), nil, log.Nop(), nil, funnel.WithObserver(observer))
		fake.WantError(t, err, nil, "the observer is nil")
	}
}

// nilContexts is an observer that returns nil contexts.
type nilContexts struct{ funnel.NopObserver }

func (nilContexts) BatchRead(context.Context, funnel.BatchRead) context.Context { return nil }
func (nilContexts) TaskBegin(context.Context, funnel.TaskBegin) context.Context { return nil }

// A nack that only says that the context which the observer gave the task has ended is no
// answer.
func TestWithObserver_contextEnds(t *testing.T) {
	for _, ends := range []string{"batch", "task"} {
		t.Run(ends, func(t *testing.T) {
			fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
				for _, onBranch := range []bool{false, true} {
					j := &fake.Journal{}
					p := fake.Processor(func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
						<-ctx.Done()
						return fake.Each(fake.FailWith(ctx.Err()))(ctx, recs)
					})
					first := fake.Chain(fake.From(fake.SourceOf(j, "1 2")), fake.Through("p", p), fake.Out(j))
					if onBranch {
						fake.Fork(first, fake.To(fake.NewDestination(j, "b")))
					}
					o := &hasty{ends: ends}
					w := fake.NewWorker(t, first, fake.DLQ(j), append(opts, funnel.WithObserver(o))...)
					err := fake.RunWorker(t, w)
					o.end()
					fake.WantError(t, err, context.DeadlineExceeded)
					fake.WantTask(t, err, "p")
					j.Want(t, "ack")
					j.Want(t, "dlq")
				}
			})
		})
	}
}

// hasty is an observer that gives batches or tasks a context with a deadline.
type hasty struct {
	funnel.NopObserver
	ends string

	mu      sync.Mutex
	cancels []context.CancelFunc
}

func (h *hasty) begin(ctx context.Context, what string) context.Context {
	if what != h.ends {
		return ctx
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	h.cancels = append(h.cancels, cancel)
	return ctx
}

// end ends all contexts.
func (h *hasty) end() {
	for _, cancel := range h.cancels {
		cancel()
	}
}

func (h *hasty) BatchRead(ctx context.Context, _ funnel.BatchRead) context.Context {
	return h.begin(ctx, "batch")
}

func (h *hasty) TaskBegin(ctx context.Context, _ funnel.TaskBegin) context.Context {
	return h.begin(ctx, "task")
}
