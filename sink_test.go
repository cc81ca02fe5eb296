package funnel_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// newSink returns a sink.
func newSink(t *testing.T, roots ...*funnel.TaskNode) *funnel.Sink {
	t.Helper()
	s, err := funnel.NewSink(roots...)
	fake.WantNoError(t, err)
	return s
}

// into returns a pipeline from a source of batches to the roots of a sink. Its journal
// is that of the source and the queue alone.
func into(t *testing.T, roots []*funnel.TaskNode, batches ...string) (*funnel.Worker, *fake.Journal) {
	t.Helper()
	j := &fake.Journal{}
	return fake.NewWorker(t, fake.Fork(fake.From(fake.SourceOf(j, batches...)), roots...), fake.DLQ(j)), j
}

// Two workers share two destinations. The sink opens and closes them, once. Each worker
// acks its own source.
func TestSink(t *testing.T) {
	for roots := 1; roots <= 2; roots++ {
		t.Run(fmt.Sprint("roots ", roots), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				var nodes []*funnel.TaskNode
				for i := range roots {
					nodes = append(nodes, fake.To(fake.NewDestination(j, fmt.Sprint("out", i))))
				}
				s := newSink(t, nodes...)
				a, ja := into(t, nodes, "1 2", "3")
				b, jb := into(t, nodes, "4 5", "6")
				fake.WantNoError(t, s.Open(t.Context()))
				fake.WantNoError(t, fake.RunWorker(t, a))
				fake.WantNoError(t, fake.RunWorker(t, b))
				fake.WantNoError(t, s.Close(t.Context()))
				for i := range roots {
					name := fmt.Sprint("out", i)
					j.Want(t, name, name+" 1 2", name+" 3", name+" 4 5", name+" 6")
				}
				if roots == 2 {
					j.Want(t, "open", "open out0", "open out1")
					j.Want(t, "teardown", "teardown out1", "teardown out0")
				}
				ja.Want(t, "ack", "ack 1 2", "ack 3")
				jb.Want(t, "ack", "ack 4 5", "ack 6")
			})
		})
	}
}

// Workers get the sink in the order in which they ask for it, one at a time.
func TestSink_order(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		release := make(chan struct{})
		out := fake.NewDestination(j, "out")
		out.OnWrite = func(context.Context, []opencdc.Record) error {
			<-release
			time.Sleep(time.Millisecond) // until the one before has asked again
			return nil
		}
		nodes := []*funnel.TaskNode{fake.To(out), fake.To(fake.NewDestination(j, "other"))}
		newSink(t, nodes...)
		for i := range 5 {
			w, _ := into(t, nodes, fmt.Sprint(i), fmt.Sprint(i+10))
			go func() { _ = w.Do(t.Context()) }()
			synctest.Wait() // until it has the sink, or waits for it
		}
		close(release)
		time.Sleep(time.Second)
		j.Want(t, "out", "out 0", "out 1", "out 2", "out 3", "out 4", "out 10", "out 11", "out 12", "out 13", "out 14")
	})
}

// The sink is given back before anything is acked or dead-lettered, even if a batch is
// divided inside.
func TestSink_releasesOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		p := fake.Through("p", fake.ByPosition(fake.Answers{"1": fake.Fail, "3": fake.SecondTime(fake.Pass), "4": fake.Fail}))
		root := fake.Chain(p, fake.Out(j))
		newSink(t, root)
		source := fake.SourceOf(j, "0 1 2 3 4")
		other, _ := into(t, []*funnel.TaskNode{root}, "9")
		isFirst := true
		source.OnAck = func(context.Context, []opencdc.Position) error {
			if isFirst { // the sink is free, and all parts of the batch have been through it
				isFirst = false
				return fake.RunWorker(t, other)
			}
			return nil
		}
		w := fake.NewWorker(t, fake.Fork(fake.From(source), root), fake.DLQ(j))
		fake.WantNoError(t, fake.RunWorker(t, w))
		j.Want(t, "out ack dlq", "out 0", "out 2", "out 3", "ack 0", "out 9", "dlq 1", "ack 1", "ack 2 3", "dlq 4", "ack 4")
	})
}

// If something goes wrong inside the sink, the worker whose batch it was ends with that
// error, and the others end with ErrSinkFailed, until the sink is opened again.
func TestSink_failure(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(cancel func()) error
		want error
	}{
		"an error":         {func(func()) error { return fake.ErrTest }, fake.ErrTest},
		"a panic":          {func(func()) error { panic(fake.ErrTest) }, fake.ErrTest},
		"a goroutine ends": {func(func()) error { runtime.Goexit(); return nil }, funnel.ErrGoexit},
		"a cancellation":   {func(cancel func()) error { cancel(); return context.Canceled }, context.Canceled},
	} {
		for roots := 1; roots <= 2; roots++ {
			t.Run(fmt.Sprint(name, ", roots ", roots), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					j := &fake.Journal{}
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					out := fake.NewDestination(j, "out")
					out.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
						if string(recs[0].Position) == "1" {
							return tt.end(cancel)
						}
						return nil
					}
					nodes := []*funnel.TaskNode{fake.To(out), fake.To(fake.NewDestination(j, "other"))}[:roots]
					s := newSink(t, nodes...)
					fake.WantNoError(t, s.Open(t.Context()))
					a, ja := into(t, nodes, "1", "2")
					b, jb := into(t, nodes, "3")
					done := make(chan struct{})
					go func() {
						defer close(done)
						defer func() {
							if value := recover(); value != nil && name != "a panic" {
								t.Errorf("panicked with %v", value)
							}
						}()
						if err := a.Do(ctx); err == nil {
							t.Error("there is no error")
						}
					}()
					<-done
					err := fake.RunWorker(t, b)
					fake.WantError(t, err, funnel.ErrSinkFailed)
					fake.WantError(t, err, tt.want)
					ja.Want(t, "ack dlq")
					jb.Want(t, "ack dlq")
					fake.WantNoError(t, s.Open(t.Context()))
					c, jc := into(t, nodes, "4")
					fake.WantNoError(t, fake.RunWorker(t, c))
					jc.Want(t, "ack", "ack 4")
					fake.WantNoError(t, s.Close(t.Context()))
				})
			})
		}
	}
}

// A worker whose context ends while it waits for the sink leaves it sound, as does one
// that is stopped meanwhile.
func TestSink_endWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		release := make(chan struct{})
		out := fake.NewDestination(j, "out")
		out.OnWrite = func(context.Context, []opencdc.Record) error { <-release; return nil }
		nodes := []*funnel.TaskNode{fake.To(out)}
		newSink(t, nodes...)
		run := func(ctx context.Context, w *funnel.Worker) chan error {
			done := make(chan error, 1)
			go func() { done <- w.Do(ctx) }()
			synctest.Wait()
			return done
		}
		a, _ := into(t, nodes, "1")
		b, jb := into(t, nodes, "2")
		c, jc := into(t, nodes, "3", "4")
		ctx, cancel := context.WithCancel(t.Context())
		doneA, doneB, doneC := run(t.Context(), a), run(ctx, b), run(t.Context(), c)

		cancel()
		fake.WantError(t, <-doneB, context.Canceled)
		jb.Want(t, "ack dlq")
		short, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		fake.WantError(t, c.Stop(short), context.DeadlineExceeded)
		stopped := make(chan error, 1)
		go func() { stopped <- c.Stop(t.Context()) }()
		synctest.Wait()
		close(release)
		fake.WantNoError(t, <-doneA)
		fake.WantNoError(t, <-doneC)
		fake.WantNoError(t, <-stopped)
		jc.Want(t, "ack", "ack 3")
		j.Want(t, "out", "out 1", "out 3")
	})
}

// Neither a nack nor a nack that a worker's queue refuses is a failure of the sink.
func TestSink_nacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, jb := &fake.Journal{}, &fake.Journal{}
		out := fake.NewDestination(j, "out")
		out.Refuse["1"], out.Refuse["3"] = fake.ErrTest, fake.ErrTest
		nodes := []*funnel.TaskNode{fake.To(out), fake.To(fake.NewDestination(j, "other"))}
		newSink(t, nodes...)
		a := fake.NewWorker(t, fake.Fork(fake.From(fake.SourceOf(&fake.Journal{}, "1")), nodes...), nil)
		err := fake.RunWorker(t, a)
		fake.WantError(t, err, fake.ErrTest)
		fake.WantTask(t, err, "out")
		b := fake.NewWorker(t, fake.Fork(fake.From(fake.SourceOf(jb, "2 3 4")), nodes...), fake.DLQ(jb))
		fake.WantNoError(t, fake.RunWorker(t, b))
		jb.Want(t, "ack dlq", "ack 2", "dlq 3", "ack 3", "ack 4")
	})
}

// NewSink and NewWorker reject invalid nodes of a sink and say why.
func TestSink_invalid(t *testing.T) {
	j := &fake.Journal{}
	to := func(name string) *funnel.TaskNode { return fake.To(fake.NewDestination(j, name)) }
	for words, roots := range map[string][]*funnel.TaskNode{
		"needs a root":                 {},
		"root 1 is nil":                {to("a"), nil},
		`"a" occurs more than once`:    {to("a"), to("a")},
		"has a source":                 {fake.From(fake.SourceOf(j))},
		"processor task":               {fake.Through("p", fake.Each(fake.Pass))},
		"all branches at the root":     {bestEffort(to("a")), bestEffort(to("b"))},
		"a single task at the root":    {bestEffort(to("a"))},
		"has no task":                  {{}},
		`task "a": the destination is`: {{Task: funnel.NewDestinationTask("a", nil, log.Nop(), nil)}},
	} {
		_, err := funnel.NewSink(roots...)
		fake.WantError(t, err, nil, "sink", words)
	}

	a, b, inner := to("a"), to("b"), to("inner")
	root := fake.Chain(fake.Through("p", fake.Each(fake.Pass)), inner)
	newSink(t, a, b)
	newSink(t, root)
	from := func(next ...*funnel.TaskNode) *funnel.TaskNode {
		return fake.Fork(fake.From(fake.SourceOf(j)), next...)
	}
	for words, first := range map[string]*funnel.TaskNode{
		`"source" must lead to all 2 roots of the sink`: from(a),
		`"source" must lead to all 2 roots`:             from(a, a),
		`"source" leads into a sink, but not only`:      from(a, b, to("c")),
		`leads into a sink, but not only to its roots`:  from(inner),
		`task ID "a" occurs more than once`:             fake.Chain(fake.From(fake.SourceOf(j)), fake.Custom("a", nil), fake.Fork(fake.Custom("x", nil), a, b)),
		"another task leads into already":               from(fake.Fork(fake.Custom("x", nil), a, b), fake.Fork(fake.Custom("y", nil), a, b)),
	} {
		_, err := funnel.NewWorker(first, nil, log.Nop(), nil)
		fake.WantError(t, err, nil, words)
	}
	_, err := funnel.NewSink(a)
	fake.WantError(t, err, nil, `task "a" belongs to a sink`)
	_, err = funnel.NewSink(fake.Fork(fake.Custom("x", nil), a, b))
	fake.WantError(t, err, nil, "belongs to a sink already")
}
