package funnel_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// ending is an observer that counts the beginnings and ends of batches, and that fails at an
// event.
type ending struct {
	funnel.NopObserver
	fails        string
	fail         func()
	begun, ended int
	aborted      int
}

func (e *ending) at(event string) {
	if event == e.fails {
		e.fail()
	}
}

func (e *ending) BatchRead(ctx context.Context, _ funnel.BatchRead) context.Context {
	e.at("read")
	e.begun++
	return context.WithValue(ctx, e, true)
}

func (e *ending) TaskBegin(ctx context.Context, _ funnel.TaskBegin) context.Context {
	e.at("begin")
	return ctx
}
func (e *ending) TaskDone(context.Context, funnel.TaskDone)         { e.at("done") }
func (e *ending) RecordsAcked(context.Context, funnel.RecordsAcked) { e.at("acked") }

func (e *ending) BatchDone(ctx context.Context, _ funnel.BatchDone) {
	e.see(ctx)
	e.at("end")
	e.ended++
}

func (e *ending) BatchAborted(ctx context.Context) {
	e.see(ctx)
	e.aborted++
	e.at("aborted")
}

func (e *ending) see(ctx context.Context) {
	if ctx.Value(e) == nil {
		panic("the context is not derived from that of BatchRead")
	}
}

// Each observer gets one end of each batch, whichever fails and where.
func TestWithObserver_oneEnd(t *testing.T) {
	for _, event := range []string{"read", "begin", "done", "acked", "end", "aborted"} {
		for how, fail := range map[string]func(){"panic": func() { panic("observed") }, "goexit": runtime.Goexit} {
			for failing := range 3 {
				t.Run(fmt.Sprint(event, " ", how, " ", failing), func(t *testing.T) {
					fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
						j := &fake.Journal{}
						var all []*ending
						for i := range 3 {
							e := &ending{}
							if i == failing {
								e.fails, e.fail = event, fail
							}
							all = append(all, e)
							opts = append(opts, funnel.WithObserver(e))
						}
						task := fake.Custom("t", func(context.Context, *funnel.Batch) error {
							if event == "aborted" {
								panic("test")
							}
							return nil
						})
						w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1", "2")), task, fake.Out(j)), nil, opts...)
						<-fake.Call(func() error { return w.Do(t.Context()) })
						fake.WantNoError(t, w.Close(t.Context()))
						for i, e := range all {
							if e.begun > 1 || e.ended+e.aborted != e.begun {
								t.Errorf("observer %d has begun %d batches, of which %d were done and %d aborted", i, e.begun, e.ended, e.aborted)
							}
							if event == "read" && e.begun == 1 != (i < failing) {
								t.Errorf("observer %d has begun %d batches", i, e.begun)
							}
							if event == "end" && e.aborted == 1 != (i <= failing) {
								t.Errorf("observer %d: %d batches were aborted", i, e.aborted)
							}
						}
					})
				})
			}
		}
	}
}

// What was acked or dead-lettered before a connector panics is reported, too: the events agree
// with the stats.
func TestWithObserver_releasedBeforePanic(t *testing.T) {
	for _, connector := range []string{"source", "queue"} {
		t.Run(connector, func(t *testing.T) {
			fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
				j, r := &fake.Journal{}, &recorder{}
				source, queue := fake.SourceOf(j, "1 2 3"), fake.NewDestination(j, "dlq")
				source.OnAck = func(_ context.Context, positions []opencdc.Position) error {
					if connector == "source" && string(positions[0]) == "2" {
						panic("test")
					}
					return nil
				}
				queue.OnWrite = func(context.Context, []opencdc.Record) error {
					if connector == "queue" {
						panic("test")
					}
					return nil
				}
				p := fake.ByPosition(fake.Answers{"2": fake.Fail})
				w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.Through("p", p), fake.Out(j)), fake.Queue(queue),
					append(opts, funnel.WithObserver(r))...)
				<-fake.Call(func() error { return w.Do(t.Context()) })
				fake.WantNoError(t, w.Close(t.Context()))
				want := []string{"acked 1", "letters 1/1 false"}
				if connector == "queue" {
					want[1] = "letters 0/1 true"
				}
				var got []string
				for _, event := range r.events {
					if event == want[0] || event == want[1] {
						got = append(got, event)
					}
				}
				fake.WantLines(t, got, want...)
				if s := w.Stats(); s.Acked != 1 || s.DeadLettered > 1 {
					t.Errorf("the stats are %+v", s)
				}
			})
		})
	}
}
