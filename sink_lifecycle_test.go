package funnel_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// waysToEnd are the ways in which a call may end badly.
var waysToEnd = map[string]func() error{
	"an error":       func() error { return fake.ErrTest },
	"a panic":        func() error { panic(fake.ErrTest) },
	"runtime.Goexit": func() error { runtime.Goexit(); return nil },
}

// If opening fails, the open tasks are closed in reverse order. If closing fails, the
// other tasks are still closed, and another Close or Open closes what is left. However a
// call ends, the sink stays usable.
func TestSink_openAndClose(t *testing.T) {
	for name, end := range waysToEnd {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				b := fake.NewDestination(j, "b")
				s := newSink(t, fake.To(fake.NewDestination(j, "a")), fake.To(b), fake.To(fake.NewDestination(j, "c")))
				call := func(f func(context.Context) error, isBad bool, want ...string) {
					t.Helper()
					j.Clear()
					e := <-fake.Call(func() error { return f(t.Context()) })
					if got := e.Err != nil || e.Panic != nil || e.Exited; got != isBad {
						t.Errorf("the call ended with %+v", e)
					}
					j.Want(t, "", want...)
				}
				bad := func(context.Context) error { return end() }

				b.OnOpen = bad
				call(s.Open, true, "open a", "open b", "teardown a")
				call(s.Close, false)
				b.OnOpen = nil
				call(s.Open, false, "open a", "open b", "open c")
				call(s.Open, true)
				b.OnTeardown = bad
				call(s.Close, true, "teardown c", "teardown b", "teardown a")
				call(s.Open, true, "teardown b")
				b.OnTeardown = nil
				call(s.Close, false, "teardown b")
				call(s.Close, false)
				call(s.Open, false, "open a", "open b", "open c")
			})
		})
	}
}

// A free sink is opened and closed even if the context has ended, like a worker that does
// not run.
func TestSink_endedContext(t *testing.T) {
	j := &fake.Journal{}
	s := newSink(t, fake.Out(j))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	fake.WantNoError(t, s.Open(ctx))
	fake.WantNoError(t, s.Close(ctx))
	j.Want(t, "", "open out", "teardown out")
}

// A worker that enters a closed sink, or one that failed to open, ends. So does one that
// waits while the sink is closed. Closing waits for the worker that has the sink.
func TestSink_notOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		release := make(chan struct{})
		out := fake.NewDestination(j, "out")
		out.OnWrite = func(context.Context, []opencdc.Record) error { <-release; return nil }
		nodes := []*funnel.TaskNode{fake.To(out)}
		s := newSink(t, nodes...)
		fake.WantNoError(t, s.Open(t.Context()))
		a, _ := into(t, nodes, "1")
		b, jb := into(t, nodes, "2")
		doneA := fake.Start(t.Context(), a)
		synctest.Wait() // a has the sink
		short, cancel := context.WithTimeout(t.Context(), 1)
		defer cancel()
		fake.WantError(t, s.Close(short), context.DeadlineExceeded)
		closed := fake.Call(func() error { return s.Close(t.Context()) })
		synctest.Wait()
		doneB := fake.Start(t.Context(), b)
		synctest.Wait()
		j.Want(t, "teardown")
		close(release)
		(<-doneA).Want(t, nil)
		(<-closed).Want(t, nil)
		(<-doneB).Want(t, funnel.ErrNotOpen, "the sink was closed")
		jb.Want(t, "ack dlq")

		out.OnOpen = func(context.Context) error { return fake.ErrTest }
		fake.WantError(t, s.Open(t.Context()), fake.ErrTest)
		c, _ := into(t, nodes, "3")
		fake.WantError(t, fake.RunWorker(t, c), funnel.ErrNotOpen, "opening the sink has failed")
	})
}

// A best-effort branch of a sink that has failed is used again once the sink was opened
// again, also by the worker for which it has failed.
func TestSink_bestEffortGoesOn(t *testing.T) {
	nested := func(name string, branch *funnel.TaskNode) *funnel.TaskNode {
		return fake.Fork(fake.Custom(name, fake.Nothing), branch, fake.Custom("beside "+name, fake.Nothing))
	}
	for name, wrap := range map[string]func(*funnel.TaskNode) *funnel.TaskNode{
		"":                   func(branch *funnel.TaskNode) *funnel.TaskNode { return branch },
		", on a fan-out":     func(branch *funnel.TaskNode) *funnel.TaskNode { return nested("x", branch) },
		", on two, in a row": func(branch *funnel.TaskNode) *funnel.TaskNode { return nested("x", nested("y", branch)) },
	} {
		for _, end := range []string{"an error", "runtime.Goexit"} {
			t.Run(end+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testBestEffortGoesOn(t, wrap, waysToEnd[end]) })
			})
		}
	}
}

func testBestEffortGoesOn(t *testing.T, wrap func(*funnel.TaskNode) *funnel.TaskNode, end func() error) {
	j, js := &fake.Journal{}, &fake.Journal{}
	roots := []*funnel.TaskNode{fake.Out(j), bestEffort(wrap(failing(j, "best", 2, end)))}
	s := newSink(t, roots...)
	source, next := fake.NewSource(js), make(chan string)
	source.OnRead = func(context.Context) ([]opencdc.Record, error) {
		if p := <-next; p != "" {
			return fake.Records(p), nil
		}
		return nil, io.EOF
	}
	w := fake.NewWorker(t, fake.Fork(fake.From(source), roots...), fake.DLQ(js))
	fake.WantNoError(t, s.Open(t.Context()))
	done := fake.Start(t.Context(), w)
	for _, p := range []string{"1", "2", "3"} {
		next <- p
		synctest.Wait()
	}
	other, _ := into(t, roots, "4")
	fake.WantNoError(t, fake.RunWorker(t, other)) // the branch is skipped for others, too
	fake.WantNoError(t, s.Close(t.Context()))
	fake.WantNoError(t, s.Open(t.Context()))
	next <- "5"
	synctest.Wait()
	close(next)
	(<-done).Want(t, nil)
	j.WantGiven(t, "1 2 3 4 5", "", "")
	j.Want(t, "best", "best 1", "best 2", "best 5")
	js.Want(t, "ack dlq", "ack 1", "ack 2", "ack 3", "ack 5")
}

// If the context of a worker has ended in the sink, the others get its cause.
func TestSink_cause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		ctx, cancel := context.WithCancelCause(t.Context())
		root := failing(j, "out", 1, func() error { cancel(fake.ErrTest); return context.Canceled })
		newSink(t, root)
		a, _ := into(t, []*funnel.TaskNode{root}, "1")
		fake.WantError(t, a.Do(ctx), fake.ErrTest)
		b, _ := into(t, []*funnel.TaskNode{root}, "2")
		err := fake.RunWorker(t, b)
		fake.WantError(t, err, funnel.ErrSinkFailed)
		fake.WantError(t, err, fake.ErrTest)
	})
}

// A worker has one sink on each of two branches. If one sink fails, the worker ends, and
// the other sink has failed only if the worker had it at that time.
func TestSink_two(t *testing.T) {
	for _, isBusy := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			left := failing(j, "left", 2, func() error { synctest.Wait(); return fake.ErrTest })
			out := fake.NewDestination(j, "right")
			out.OnWrite = func(ctx context.Context, recs []opencdc.Record) error {
				if isBusy && string(recs[0].Position) == "2" {
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			}
			right := fake.To(out)
			newSink(t, left)
			newSink(t, right)
			js := &fake.Journal{}
			first := fake.Fork(fake.From(fake.SourceOf(js, "1", "2", "3")),
				fake.Chain(fake.Custom("to left", fake.Nothing), left), fake.Chain(fake.Custom("to right", fake.Nothing), right))
			err := fake.RunWorker(t, fake.NewWorker(t, first, fake.DLQ(js)))
			fake.WantError(t, err, fake.ErrTest)
			fake.WantTask(t, err, "left")
			js.Want(t, "ack dlq", "ack 1")

			a, _ := into(t, []*funnel.TaskNode{left}, "4")
			fake.WantError(t, fake.RunWorker(t, a), funnel.ErrSinkFailed)
			b, _ := into(t, []*funnel.TaskNode{right}, "5")
			if err := fake.RunWorker(t, b); errors.Is(err, funnel.ErrSinkFailed) != isBusy {
				t.Errorf("the other sink was busy: %t, a worker ends there with %v", isBusy, err)
			}
		})
	}
}

// A worker that enters the sink on a best-effort branch survives its failure. Others do
// not.
func TestSink_onBestEffortBranch(t *testing.T) {
	for _, end := range []string{"an error", "runtime.Goexit"} { // a panic ends the worker
		t.Run(end, func(t *testing.T) {
			j, js := &fake.Journal{}, &fake.Journal{}
			roots := []*funnel.TaskNode{failing(j, "out", 2, waysToEnd[end]), fake.To(fake.NewDestination(j, "other"))}
			newSink(t, roots...)
			into1 := bestEffort(fake.Fork(fake.Custom("into", fake.Nothing), roots...))
			first := fake.Fork(fake.From(fake.SourceOf(js, "1", "2", "3")), fake.To(fake.NewDestination(js, "own")), into1)
			fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, fake.DLQ(js))))
			js.Want(t, "own ack dlq", "own 1", "ack 1", "own 2", "ack 2", "own 3", "ack 3")
			j.Want(t, "out", "out 1", "out 2")
			b, jb := into(t, roots, "4")
			fake.WantError(t, fake.RunWorker(t, b), funnel.ErrSinkFailed)
			jb.Want(t, "ack dlq")
		})
	}
}

// A task of the sink may settle its batch, with the worker whose batch it is.
func TestSink_taskSettles(t *testing.T) {
	for roots := 1; roots <= 2; roots++ {
		j := &fake.Journal{}
		var w *funnel.Worker
		settle := fake.Custom("settle", func(ctx context.Context, b *funnel.Batch) error {
			if string(b.ActiveRecords()[0].Position) == "1" {
				return w.Ack(ctx, b)
			}
			return w.Nack(ctx, b, "settle")
		})
		nodes := []*funnel.TaskNode{fake.Chain(settle, fake.Out(j)), fake.To(fake.NewDestination(j, "other"))}[:roots]
		newSink(t, nodes...)
		for range 2 {
			var jw *fake.Journal
			w, jw = into(t, nodes, "1 2", "3")
			fake.WantNoError(t, fake.RunWorker(t, w))
			jw.Want(t, "ack dlq", "ack 1 2", "dlq 3", "ack 3")
		}
		j.Want(t, "out")
	}
}

// An error whose methods end the goroutine does not block the sink.
func TestSink_badError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		root := failing(j, "out", 1, func() error { return exitingError{} })
		s := newSink(t, root)
		for range 3 {
			w, jw := into(t, []*funnel.TaskNode{root}, "1")
			if e := <-fake.Start(t.Context(), w); e.Err == nil && !e.Exited {
				t.Error("Do returns no error")
			}
			jw.Want(t, "ack")
		}
		fake.WantNoError(t, s.Open(t.Context()))
		fake.WantNoError(t, s.Close(t.Context()))
	})
}

// exitingError is an error whose methods end the goroutine.
type exitingError struct{}

func (exitingError) Error() string { runtime.Goexit(); return "" }
func (exitingError) Is(error) bool { runtime.Goexit(); return false }

// The nodes of a sink must stay as they are, and must not be those of a worker.
func TestSink_changed(t *testing.T) {
	j := &fake.Journal{}
	a, b := fake.Out(j), fake.To(fake.NewDestination(j, "b"))
	w := fake.NewWorker(t, fake.Fork(fake.From(fake.SourceOf(j)), a, b), nil)
	newSink(t, a, b)
	fake.WantError(t, w.Open(t.Context()), nil, `task "out" now belongs to a sink`)
	fake.WantError(t, w.Do(t.Context()), nil, `task "out" now belongs to a sink`)

	first := fake.Fork(fake.From(fake.SourceOf(j)), a, b)
	w = fake.NewWorker(t, first, nil)
	for words, change := range map[string]func(){
		`whether task "b" is best effort`: func() { b.BestEffort = true },
		"there is another task node":      func() { b.Next = []*funnel.TaskNode{fake.Custom("c", nil)} },
	} {
		change()
		_, err := funnel.NewWorker(first, nil, log.Nop(), nil)
		fake.WantError(t, err, nil, "the sink has changed", words)
		fake.WantError(t, w.Open(t.Context()), nil, "has changed")
		b.BestEffort, b.Next = false, nil
	}
	j.Want(t, "open")
}
