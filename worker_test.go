package funnel_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
	"github.com/conduitio/funnel/metrics/noop"
)

func TestNewWorker_invalid(t *testing.T) {
	j := &journal{}
	out := func() *funnel.TaskNode { return to(newDestination(j, "out")) }
	source := func() *funnel.TaskNode { return from(batchesOf(j)) }
	cycle := source()
	cycle.Next = []*funnel.TaskNode{through("p", each(single))}
	cycle.Next[0].Next = []*funnel.TaskNode{cycle.Next[0]}
	twice := source()
	both := out()
	twice.Next = []*funnel.TaskNode{both, both}
	for _, tt := range []struct {
		name  string
		first *funnel.TaskNode
		dlq   *funnel.DLQ
		words []string
	}{
		{"a nil first node", nil, nil, []string{"first", "nil"}},
		{"a first node without a task", &funnel.TaskNode{}, nil, []string{"no task"}},
		{"a node without a task", chain(source(), &funnel.TaskNode{}), nil, []string{"no task"}},
		{"a node with a nil task", chain(source(), node((*funnel.ProcessorTask)(nil))), nil, []string{"no task"}},
		{"a nil next node", &funnel.TaskNode{Task: source().Task, Next: []*funnel.TaskNode{out(), nil}}, nil, []string{"nil", "1", `"source"`}},
		{"a cycle", cycle, nil, []string{"cycle", `"p"`}},
		{"an ID twice", chain(source(), through("x", each(single)), through("x", each(single)), out()), nil, []string{`"x"`, "more than once"}},
		{"an ID on two branches", &funnel.TaskNode{Task: source().Task, Next: []*funnel.TaskNode{out(), out()}}, nil, []string{`"out"`, "more than once"}},
		{"a node twice", twice, nil, []string{`"out"`, "more than once"}},
		{"a first task without a source", chain(through("p", each(single)), out()), nil, []string{`"p"`, "GetSource"}},
		{"a nil source", chain(from(nil), out()), nil, []string{`"source"`, "nil"}},
		{"a nil source pointer", chain(from((*fakeSource)(nil)), out()), nil, []string{`"source"`, "nil"}},
		{"a second source", chain(source(), node(funnel.NewSourceTask("second", batchesOf(j), log.Nop(), nil))), nil, []string{`"second"`, "first"}},
		{"a nil processor", chain(source(), through("p", nil), out()), nil, []string{`"p"`, "nil"}},
		{"a nil destination", chain(source(), node(funnel.NewDestinationTask("d", nil, log.Nop(), nil))), nil, []string{`"d"`, "nil"}},
		{"a DLQ that was not made", chain(source(), out()), &funnel.DLQ{}, []string{"dead-letter queue", "NewDLQ"}},
		{"a DLQ without a destination", chain(source(), out()), funnel.NewDLQ("q", nil, log.Nop(), nil, 1, 0), []string{`"q"`, "nil"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, err := funnel.NewWorker(tt.first, tt.dlq, log.Nop(), noop.Timer{})
			if w != nil {
				t.Error("there is a worker")
			}
			wantError(t, err, nil, tt.words...)
		})
	}
}

func TestNewWorker_nilOption(t *testing.T) {
	j := &journal{}
	_, err := funnel.NewWorker(chain(from(batchesOf(j)), to(newDestination(j, "out"))), nil, log.Nop(), nil, nil)
	wantError(t, err, nil, "option 0", "nil")
}

func TestNewWorker_fields(t *testing.T) {
	j := &journal{}
	source, dlq := batchesOf(j), queue(newDestination(j, "dlq"))
	first := chain(from(source), to(newDestination(j, "out")))
	w := newWorker(t, first, dlq)
	if w.Source != funnel.Source(source) || w.FirstTask != first || w.DLQ != dlq {
		t.Errorf("the worker has %v, %v, %v", w.Source, w.FirstTask, w.DLQ)
	}
	if !first.IsFirst() || first.Next[0].IsFirst() {
		t.Error("only the first node is first")
	}
}

// Nil metrics and timers, typed or not, count as those that do nothing.
func TestNewWorker_nilMetrics(t *testing.T) {
	j := &journal{}
	first := chain(
		node(funnel.NewSourceTask("s", batchesOf(j, "1 2"), log.Nop(), (*funnel.NoOpConnectorMetrics)(nil))),
		node(funnel.NewProcessorTask("p", byPosition(does{"1": fail}), log.Nop(), (*funnel.NoOpProcessorMetrics)(nil))),
		node(funnel.NewDestinationTask("d", newDestination(j, "d"), log.Nop(), nil)),
	)
	dlq := funnel.NewDLQ("q", newDestination(j, "q"), log.Nop(), (*funnel.NoOpConnectorMetrics)(nil), 0, 0)
	w, err := funnel.NewWorker(first, dlq, log.CtxLogger{}, (*noop.Timer)(nil))
	if err != nil {
		t.Fatal(err)
	}
	wantNoError(t, runWorker(t, w))
	j.want(t, []string{"ack"}, "ack 1", "ack 2")
}

// lifeOf returns a worker whose tasks write to the journal what is done with
// them. Those in fail fail.
func lifeOf(t *testing.T, j *journal, source *fakeSource, fail map[string]error) *funnel.Worker {
	out, dead := newDestination(j, "out"), newDestination(j, "dlq")
	failing := func(what string) func(context.Context) error {
		return func(context.Context) error { return fail[what] }
	}
	source.open, source.teardown = failing("open source"), failing("teardown source")
	out.open, out.teardown = failing("open out"), failing("teardown out")
	dead.open, dead.teardown = failing("open dlq"), failing("teardown dlq")
	task := node(&fakeTask{
		id:      "task",
		process: func(context.Context, *funnel.Batch) error { return nil },
		opened:  func() error { j.add("open task"); return fail["open task"] },
		closed:  func() error { j.add("close task"); return fail["close task"] },
	})
	return newWorker(t, chain(from(source), task, to(out)), queue(dead))
}

func TestWorker_openAndClose(t *testing.T) {
	j := &journal{}
	w := lifeOf(t, j, batchesOf(j), nil)
	ctx := t.Context()
	wantNoError(t, w.Open(ctx))
	wantError(t, w.Open(ctx), nil, "opened already")
	wantNoError(t, w.Close(ctx))
	wantNoError(t, w.Close(ctx))
	wantNoError(t, w.Stop(ctx))
	wantError(t, w.Open(ctx), nil, "opened already")
	wantNoError(t, w.Do(ctx))
	j.want(t, nil,
		"open source", "open task", "open out", "open dlq",
		"teardown source", "teardown dlq", "teardown out", "close task")
}

// A worker that was stopped and closed before Do has started ends gracefully, and
// is not opened any more.
func TestWorker_stopCloseDo(t *testing.T) {
	j := &journal{}
	w := lifeOf(t, j, batchesOf(j, "1"), nil)
	wantNoError(t, w.Open(t.Context()))
	wantNoError(t, w.Stop(t.Context()))
	wantNoError(t, w.Close(t.Context()))
	wantNoError(t, w.Do(t.Context()))
	wantNoError(t, w.Close(t.Context()))
	j.want(t, []string{"ack", "teardown"}, "teardown source", "teardown dlq", "teardown out")
}

// A worker that could not be opened does not run. It can be opened again.
func TestWorker_doAfterFailedOpen(t *testing.T) {
	j := &journal{}
	failing := map[string]error{"open out": errTest}
	w := lifeOf(t, j, batchesOf(j, "1"), failing)
	wantError(t, w.Open(t.Context()), errTest)
	clear(failing)
	wantNoError(t, w.Open(t.Context()))
	wantNoError(t, w.Do(t.Context()))
	wantNoError(t, w.Close(t.Context()))
	j.want(t, []string{"ack", "teardown"}, "teardown source", "ack 1", "teardown source", "teardown dlq", "teardown out")

	j = &journal{}
	w = lifeOf(t, j, batchesOf(j, "1"), map[string]error{"open out": errTest})
	wantError(t, w.Open(t.Context()), errTest)
	wantError(t, w.Do(t.Context()), nil, "not open")
	wantNoError(t, w.Close(t.Context()))
	j.want(t, []string{"ack", "teardown"}, "teardown source")
}

// A worker that runs is not opened.
func TestWorker_openWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		source := newSource(j)
		source.endless = true
		w := lifeOf(t, j, source, nil)
		done := make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-source.reading
		wantError(t, w.Open(t.Context()), nil, "opened already")
		wantNoError(t, w.Close(t.Context()))
		wantNoError(t, <-done)
		j.want(t, nil, "teardown source")
	})
}

// A first task of one's own is closed when it is no longer at work.
func TestWorker_closeWhileTheFirstTaskWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		source := newSource(j)
		source.endless = true
		goOn := make(chan struct{})
		first := &slowSource{SourceTask: funnel.NewSourceTask("source", source, log.Nop(), nil), journal: j, goOn: goOn}
		w := newWorker(t, chain(node(first), to(newDestination(j, "out"))), nil)
		wantNoError(t, w.Open(t.Context()))
		done, closed := make(chan error), make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-source.reading

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantError(t, w.Close(ctx), context.DeadlineExceeded, `"source"`)
		go func() { closed <- w.Close(t.Context()) }()
		synctest.Wait()
		close(goOn)
		wantNoError(t, <-closed)
		wantNoError(t, <-done)
		j.want(t, []string{"teardown", "done", "close"}, "teardown source", "teardown out", "done first", "close first")
	})
}

// Nor is it closed, or waited for, while nothing makes it return.
func TestWorker_closeWhileTheFirstTaskReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		source := newSource(j)
		source.endless = true
		failing := errTest
		source.teardown = func(context.Context) error { return failing }
		goOn := make(chan struct{})
		close(goOn)
		first := &slowSource{SourceTask: funnel.NewSourceTask("source", source, log.Nop(), nil), journal: j, goOn: goOn}
		w := newWorker(t, chain(node(first), to(newDestination(j, "out"))), nil)
		wantNoError(t, w.Open(t.Context()))
		done := make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-source.reading

		wantError(t, w.Close(t.Context()), errTest, `"source"`, "not torn down")
		j.want(t, []string{"done", "close"})
		failing = nil
		wantNoError(t, w.Stop(t.Context()))
		wantNoError(t, <-done)
		wantNoError(t, w.Close(t.Context()))
		j.want(t, []string{"done", "close"}, "done first", "close first")
	})
}

type slowSource struct {
	*funnel.SourceTask
	*journal
	goOn chan struct{}
}

func (s *slowSource) Do(ctx context.Context, b *funnel.Batch) error {
	err := s.SourceTask.Do(ctx, b)
	<-s.goOn
	s.add("done first")
	return err
}

func (s *slowSource) Close(context.Context) error {
	s.add("close first")
	return nil
}

// If one fails to open, what was opened is closed again, in reverse.
func TestWorker_openFails(t *testing.T) {
	opens := []string{"open source", "open task", "open out", "open dlq"}
	closes := []string{"teardown source", "close task", "teardown out"}
	for i, what := range opens {
		t.Run(what, func(t *testing.T) {
			j := &journal{}
			w := lifeOf(t, j, batchesOf(j), map[string]error{what: errTest})
			wantError(t, w.Open(t.Context()), errTest, []string{`"source"`, `"task"`, `"out"`, `"dlq"`}[i])
			want := append([]string(nil), opens[:i+1]...)
			for k := i - 1; k >= 0; k-- {
				want = append(want, closes[k])
			}
			j.want(t, nil, want...)
			wantNoError(t, w.Close(t.Context()))
			j.want(t, nil, want...)
		})
	}
}

// What fails to close after a failed Open is in the error, and closed by Close.
func TestWorker_openAndCleanUpFail(t *testing.T) {
	j := &journal{}
	closing := errors.New("closing failed")
	failing := map[string]error{"open dlq": errTest, "close task": closing, "teardown source": closing}
	w := lifeOf(t, j, batchesOf(j), failing)
	err := w.Open(t.Context())
	wantError(t, err, errTest)
	wantError(t, err, closing, `"task"`, "tear down")
	clear(failing)
	j.lines = nil
	wantNoError(t, w.Close(t.Context()))
	j.want(t, nil, "teardown source", "close task")
}

// Close closes all, joins the errors and retries only what has failed.
func TestWorker_closeFails(t *testing.T) {
	j := &journal{}
	errs := map[string]error{
		"teardown source": errors.New("error 1"), "close task": errors.New("error 2"), "teardown dlq": errors.New("error 3"),
	}
	w := lifeOf(t, j, batchesOf(j), errs)
	wantNoError(t, w.Open(t.Context()))
	wantNoError(t, w.Do(t.Context()))
	err := w.Close(t.Context())
	for _, e := range errs {
		wantError(t, err, e)
	}
	j.want(t, []string{"teardown", "close"}, "teardown source", "teardown dlq", "teardown out", "close task")
	j.lines = nil
	delete(errs, "teardown dlq")
	wantError(t, w.Close(t.Context()), errs["close task"])
	j.want(t, nil, "teardown source", "teardown dlq", "close task")
	j.lines = nil
	clear(errs)
	wantNoError(t, w.Close(t.Context()))
	j.want(t, nil, "teardown source", "close task")
}

func TestWorker_runsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		source := batchesOf(j, "1")
		source.endless = true
		w := lifeOf(t, j, source, nil)
		wantNoError(t, w.Open(t.Context()))
		done := make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-source.reading
		wantError(t, w.Do(t.Context()), nil, "once")
		wantNoError(t, w.Stop(t.Context()))
		wantNoError(t, <-done)
		wantError(t, w.Do(t.Context()), nil, "once")
		wantNoError(t, w.Close(t.Context()))
		j.want(t, []string{"ack", "teardown"}, "ack 1", "teardown source", "teardown dlq", "teardown out")
	})
}

// A stop while a read is pending ends Do without an error, whatever the read
// returns.
func TestWorker_stopWhileReading(t *testing.T) {
	for _, readErr := range []error{context.Canceled, io.EOF, io.ErrUnexpectedEOF, errTest, nil} {
		synctest.Test(t, func(t *testing.T) {
			j := &journal{}
			source := newSource(j)
			reading := make(chan struct{}, 1)
			source.read = func(context.Context) ([]opencdc.Record, error) {
				reading <- struct{}{}
				<-source.torn
				return records("1"), readErr // dropped
			}
			w := lifeOf(t, j, source, nil)
			wantNoError(t, w.Open(t.Context()))
			done := make(chan error)
			go func() { done <- w.Do(t.Context()) }()
			<-reading
			wantNoError(t, w.Stop(t.Context()))
			wantNoError(t, <-done)
			wantNoError(t, w.Stop(t.Context()))
			wantNoError(t, w.Close(t.Context()))
			j.want(t, []string{"out", "ack", "teardown"}, "teardown source", "teardown dlq", "teardown out")
		})
	}
}

// Stop waits for the batch that is on its way.
func TestWorker_stopWhileProcessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		source := batchesOf(j, "1", "2")
		source.endless = true
		writing, goOn := make(chan struct{}), make(chan struct{})
		w := lifeOf(t, j, source, nil)
		out := newDestination(j, "out")
		out.write = func(context.Context, []opencdc.Record) error { writing <- struct{}{}; <-goOn; return nil }
		w = newWorker(t, chain(from(source), to(out)), nil)
		done, stopped := make(chan error), make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-writing

		// A stop that does not wait long enough leaves no trace.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Stop(ctx); err != context.DeadlineExceeded {
			t.Errorf("Stop: %v", err)
		}
		if err := w.Close(ctx); err != context.DeadlineExceeded {
			t.Errorf("Close: %v", err)
		}

		for range 3 {
			go func() { stopped <- w.Stop(t.Context()) }()
		}
		synctest.Wait()
		j.want(t, []string{"ack", "teardown"})
		close(goOn)
		for range 3 {
			wantNoError(t, <-stopped)
		}
		wantNoError(t, <-done)
		j.want(t, []string{"ack", "teardown"}, "ack 1", "teardown source")
	})
}

// After a stop that has given up, a failed read is a failure.
func TestWorker_stopLeavesNoTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		source := newSource(j, fakeRead{recs: records("1")}, fakeRead{err: errTest})
		out := newDestination(j, "out")
		var w *funnel.Worker
		ctx, cancel := context.WithCancel(t.Context())
		out.write = func(context.Context, []opencdc.Record) error {
			go func() { time.Sleep(time.Second); cancel() }()
			if err := w.Stop(ctx); err != context.Canceled {
				t.Errorf("Stop: %v", err)
			}
			return nil
		}
		w = newWorker(t, chain(from(source), to(out)), nil)
		wantError(t, w.Do(t.Context()), errTest, `"source"`)
		j.want(t, []string{"ack", "teardown"}, "ack 1")
		wantNoError(t, w.Close(t.Context()))
		j.want(t, []string{"ack", "teardown"}, "ack 1", "teardown source")
	})
}

// A stop whose context has ended does nothing while the worker runs. After it
// has run, there is nothing to wait for.
func TestWorker_stopWithAnEndedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		j := &journal{}
		source := newSource(j)
		source.endless = true
		w := lifeOf(t, j, source, nil)
		wantNoError(t, w.Open(t.Context()))
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Do(ctx) }()
		<-source.reading
		if err := w.Stop(ended); err != context.Canceled {
			t.Errorf("Stop: %v", err)
		}
		j.want(t, []string{"teardown"})
		end()
		if err := <-done; err != context.Canceled {
			t.Errorf("Do: %v", err)
		}
		wantNoError(t, w.Stop(ended))
		wantNoError(t, w.Close(ended))
		j.want(t, []string{"teardown"}, "teardown source", "teardown dlq", "teardown out")
	})
}

// A stop before Do makes it return at once, and one before Open does not keep
// the source from being torn down.
func TestWorker_stopEarly(t *testing.T) {
	for _, beforeOpen := range []bool{false, true} {
		j := &journal{}
		w := lifeOf(t, j, batchesOf(j, "1"), nil)
		if beforeOpen {
			wantNoError(t, w.Stop(t.Context()))
			j.want(t, nil)
		}
		wantNoError(t, w.Open(t.Context()))
		wantNoError(t, w.Stop(t.Context()))
		wantNoError(t, w.Do(t.Context()))
		wantNoError(t, w.Close(t.Context()))
		wantNoError(t, w.Stop(t.Context()))
		j.want(t, []string{"out", "ack", "teardown"}, "teardown source", "teardown dlq", "teardown out")
	}
}

// A teardown that fails is tried again by the next Stop or Close, and the worker
// has stopped all the same.
func TestWorker_teardownFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		source := newSource(j)
		failing := map[string]error{"teardown source": errTest}
		w := lifeOf(t, j, source, failing)
		reading := make(chan struct{})
		unblock := make(chan struct{})
		source.read = func(context.Context) ([]opencdc.Record, error) {
			close(reading)
			<-unblock
			return records("1"), nil
		}
		wantNoError(t, w.Open(t.Context()))
		done := make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-reading
		wantError(t, w.Stop(t.Context()), errTest)
		close(unblock)
		wantNoError(t, <-done)
		wantError(t, w.Stop(t.Context()), errTest)
		clear(failing)
		wantNoError(t, w.Close(t.Context()))
		wantNoError(t, w.Close(t.Context()))
		j.want(t, []string{"out", "ack", "teardown"},
			"teardown source", "teardown source", "teardown source", "teardown dlq", "teardown out")
	})
}

// A batch that was read is dropped, a failed read is no failure, and Do returns,
// even while the teardown hangs.
func TestWorker_teardownHangs(t *testing.T) {
	for _, readErr := range []error{nil, errTest} {
		testTeardownHangs(t, readErr)
	}
}

func testTeardownHangs(t *testing.T, readErr error) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		source := newSource(j)
		reading, tearing, goOn := make(chan struct{}), make(chan struct{}), make(chan struct{})
		source.read = func(context.Context) ([]opencdc.Record, error) {
			close(reading)
			<-tearing
			return records("1"), readErr
		}
		source.teardown = func(context.Context) error { close(tearing); <-goOn; return nil }
		w := newWorker(t, chain(from(source), to(newDestination(j, "out"))), nil)
		done, stopped := make(chan error), make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-reading
		go func() { stopped <- w.Stop(t.Context()) }()
		wantNoError(t, <-done)
		close(goOn)
		wantNoError(t, <-stopped)
		j.want(t, []string{"out", "ack"})
	})
}

// Close during Do first stops the worker.
func TestWorker_closeWhileProcessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		source := batchesOf(j, "1")
		source.endless = true
		writing, goOn := make(chan struct{}), make(chan struct{})
		out := newDestination(j, "out")
		out.write = func(context.Context, []opencdc.Record) error { close(writing); <-goOn; return nil }
		w := newWorker(t, chain(from(source), to(out)), nil)
		wantNoError(t, w.Open(t.Context()))
		done, closed := make(chan error), make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-writing
		go func() { closed <- w.Close(t.Context()) }()
		synctest.Wait()
		j.want(t, []string{"ack", "teardown"})
		close(goOn)
		wantNoError(t, <-closed)
		wantNoError(t, <-done)
		j.want(t, []string{"ack", "teardown"}, "ack 1", "teardown source", "teardown out")
	})
}

// The ends of a worker that is not stopped.
func TestWorker_doEnds(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reads []fakeRead
		err   error
		want  []string
	}{
		{"no more records", []fakeRead{{recs: records("1")}, {err: io.EOF}}, nil, []string{"out 1", "ack 1"}},
		{"the last records", []fakeRead{{recs: records("1"), err: io.EOF}}, nil, []string{"out 1", "ack 1"}},
		{"a wrapped io.EOF", []fakeRead{{recs: records("1"), err: errors.Join(io.EOF)}}, io.EOF, nil},
		{"a failed read drops its records", []fakeRead{{recs: records("1")}, {recs: records("2"), err: errTest}}, errTest, []string{"out 1", "ack 1"}},
		{"a cancellation that nobody asked for", []fakeRead{{err: context.Canceled}, {recs: records("1")}}, context.Canceled, nil},
		{"another end of file", []fakeRead{{err: io.ErrUnexpectedEOF}}, io.ErrUnexpectedEOF, nil},
		{"an empty position", []fakeRead{{recs: records("1", "", "3")}}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := &journal{}
			err := run(t, nil, from(newSource(j, tt.reads...)), to(newDestination(j, "out")))
			switch {
			case tt.name == "an empty position":
				wantError(t, err, nil, "record 1", "empty position", `"source"`)
				if !funnel.IsFatalError(err) {
					t.Errorf("error is not fatal: %v", err)
				}
			case tt.err != nil:
				wantError(t, err, tt.err, `"source"`)
			default:
				wantNoError(t, err)
			}
			j.want(t, []string{"out", "ack"}, tt.want...)
		})
	}
}

// The context of Do ends while the worker works, reads, or before.
func TestWorker_contextEnds(t *testing.T) {
	for _, tt := range []struct {
		name     string
		canceled func(cancel func(), source *fakeSource, out *fakeDestination)
		want     []string
		also     error
	}{{
		name:     "before Do",
		canceled: func(cancel func(), _ *fakeSource, _ *fakeDestination) { cancel() },
	}, {
		name: "in a source that does not care",
		canceled: func(cancel func(), s *fakeSource, _ *fakeDestination) {
			i := 0
			s.read = func(context.Context) ([]opencdc.Record, error) {
				if i++; i == 3 {
					cancel()
				}
				return records(strconv.Itoa(i)), nil
			}
		},
		want: []string{"out 1", "ack 1", "out 2", "ack 2", "out 3", "ack 3"},
	}, {
		name: "in a read",
		canceled: func(cancel func(), s *fakeSource, _ *fakeDestination) {
			s.read = func(ctx context.Context) ([]opencdc.Record, error) {
				cancel()
				return nil, errors.Join(errTest, ctx.Err())
			}
		},
		also: errTest,
	}, {
		name: "in a destination that fails for another reason",
		canceled: func(cancel func(), _ *fakeSource, d *fakeDestination) {
			d.write = func(context.Context, []opencdc.Record) error { cancel(); return errTest }
		},
		want: []string{"out 1"},
		also: errTest,
	}} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			j := &journal{}
			source, out := batchesOf(j, "1", "2"), newDestination(j, "out")
			tt.canceled(cancel, source, out)
			err := newWorker(t, chain(from(source), to(out)), nil).Do(ctx)
			wantError(t, err, context.Canceled)
			if tt.also != nil {
				wantError(t, err, tt.also)
			} else if err != context.Canceled {
				t.Errorf("the error is %v, not that of the context", err)
			}
			j.want(t, []string{"out", "ack"}, tt.want...)
		})
	}
}

// If acking reports io.EOF, the next read says why the stream has closed.
func TestWorker_ackReportsEOF(t *testing.T) {
	ackErr := errors.Join(errors.New("the stream of acks"), io.EOF)
	for _, tt := range []struct {
		name string
		next fakeRead
		ack  error
		want error
	}{
		{"and the read has a reason", fakeRead{err: errTest}, ackErr, errTest},
		{"and the read has none", fakeRead{recs: records("2")}, ackErr, ackErr},
		{"and so does the read", fakeRead{err: io.EOF}, ackErr, ackErr},
		{"and the read is empty", fakeRead{}, ackErr, ackErr},
		{"not, it is another error", fakeRead{err: context.Canceled}, errTest, errTest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := &journal{}
			source := newSource(j, fakeRead{recs: records("1")}, tt.next)
			source.ack = func(context.Context, []opencdc.Position) error { return tt.ack }
			err := run(t, nil, from(source), to(newDestination(j, "out")))
			wantError(t, err, tt.want)
			j.want(t, []string{"out"}, "out 1")
			if read := len(source.reads) == 0; read != (tt.ack == ackErr) {
				t.Errorf("the source was read again: %v", read)
			}
		})
	}
}

// What else went wrong is not forgotten over the reason.
func TestWorker_ackReportsEOFAfterAnotherError(t *testing.T) {
	reason := errors.New("the stream broke")
	t.Run("on a branch", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			j := &journal{}
			source := newSource(j, fakeRead{recs: records("1", "2")}, fakeRead{err: reason})
			source.ack = func(context.Context, []opencdc.Position) error { return io.EOF }
			a, b := newDestination(j, "a"), newDestination(j, "b")
			delivered := make(chan struct{})
			b.teardown = func(context.Context) error { return nil }
			b.acks = func(context.Context) ([]connector.DestinationAck, error) {
				defer close(delivered)
				return b.pending, nil
			}
			a.write = func(_ context.Context, recs []opencdc.Record) error {
				if string(recs[0].Position) == "2" {
					<-delivered
					return funnel.FatalError(errTest)
				}
				return nil
			}
			first := from(source)
			first.Next = []*funnel.TaskNode{chain(through("p", byPosition(does{"2": once(single)})), to(a)), to(b)}
			err := runWorker(t, newWorker(t, first, nil))
			wantError(t, err, errTest)
			wantError(t, err, reason)
			if !funnel.IsFatalError(err) {
				t.Errorf("error is not fatal: %v", err)
			}
		})
	})
	t.Run("in the DLQ", func(t *testing.T) {
		j := &journal{}
		source := newSource(j, fakeRead{recs: records("1", "2")}, fakeRead{err: reason})
		source.ack = func(context.Context, []opencdc.Position) error { return io.EOF }
		dlq := funnel.NewDLQ("dlq", newDestination(j, "dlq"), log.Nop(), nil, 10, 1)
		err := run(t, dlq, from(source), through("p", each(fail)), to(newDestination(j, "out")))
		wantError(t, err, errTest, `"2"`)
		wantError(t, err, reason)
		if !funnel.IsFatalError(err) {
			t.Errorf("error is not fatal: %v", err)
		}
	})
}

// An io.EOF of a destination is no end of the source.
func TestWorker_destinationReportsEOF(t *testing.T) {
	j := &journal{}
	source, out := batchesOf(j, "1", "2"), newDestination(j, "out")
	out.write = func(context.Context, []opencdc.Record) error { return io.EOF }
	wantError(t, run(t, nil, from(source), to(out)), io.EOF, `"out"`)
	if len(source.reads) != 1 {
		t.Error("the source was read again")
	}
}

// A stop that comes while the reason of a closed stream is read.
func TestWorker_stopWhileReadingTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		source := batchesOf(j, "1")
		source.endless = true
		source.ack = func(context.Context, []opencdc.Position) error { return io.EOF }
		w := newWorker(t, chain(from(source), to(newDestination(j, "out"))), nil)
		done := make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-source.reading
		wantNoError(t, w.Stop(t.Context()))
		wantError(t, <-done, io.EOF)
	})
}

// A panic reaches the caller of Do as it is, and leaves no lock behind.
func TestWorker_panic(t *testing.T) {
	for _, where := range []string{"read", "write", "ack"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &journal{}
				source, out := batchesOf(j, "1"), newDestination(j, "out")
				switch where {
				case "read":
					source.read = func(context.Context) ([]opencdc.Record, error) { panic(errTest) }
				case "write":
					out.write = func(context.Context, []opencdc.Record) error { panic(errTest) }
				case "ack":
					source.ack = func(context.Context, []opencdc.Position) error { panic(errTest) }
				}
				w := newWorker(t, chain(from(source), to(out)), nil)
				wantNoError(t, w.Open(t.Context()))
				func() {
					defer func() {
						if p := recover(); p != errTest {
							t.Errorf("Do panicked with %v", p)
						}
					}()
					_ = w.Do(t.Context())
				}()
				wantNoError(t, w.Ack(t.Context(), funnel.NewBatch(nil)))
				wantNoError(t, w.Stop(t.Context()))
				wantNoError(t, w.Close(t.Context()))
				j.want(t, []string{"teardown"}, "teardown source", "teardown out")
			})
		})
	}
}

// The same for a goroutine that ends.
func TestWorker_goexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		source, out := batchesOf(j, "1"), newDestination(j, "out")
		out.write = func(context.Context, []opencdc.Record) error { runtime.Goexit(); return nil }
		w := newWorker(t, chain(from(source), to(out)), nil)
		wantNoError(t, w.Open(t.Context()))
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = w.Do(t.Context())
			t.Error("Do has returned")
		})
		wg.Wait()
		wantNoError(t, w.Close(t.Context()))
		j.want(t, []string{"ack", "teardown"}, "teardown source", "teardown out")
	})
}

// Opening a task that panics leaves a worker that can be closed.
func TestWorker_openPanics(t *testing.T) {
	j := &journal{}
	source, out := batchesOf(j), newDestination(j, "out")
	out.open = func(context.Context) error { panic(errTest) }
	w := newWorker(t, chain(from(source), to(out)), nil)
	func() {
		defer func() { _ = recover() }()
		_ = w.Open(t.Context())
	}()
	wantError(t, w.Do(t.Context()), nil, "not open")
	wantNoError(t, w.Close(t.Context()))
	j.want(t, []string{"teardown"}, "teardown source")
}

// Any number of workers run side by side.
func TestWorker_many(t *testing.T) {
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			j := &journal{}
			first := from(batchesOf(j, "1 2", "3", "4 5 6"))
			first.Next = []*funnel.TaskNode{to(newDestination(j, "a")), to(newDestination(j, "b"))}
			wantNoError(t, newWorker(t, first, nil).Do(t.Context()))
			j.want(t, []string{"ack"}, "ack 1 2", "ack 3", "ack 4 5 6")
		})
	}
	wg.Wait()
}

// The positions that the source was given stay its own.
func TestWorker_positionsBelongToTheSource(t *testing.T) {
	j := &journal{}
	var batches []string
	for i := range 50 {
		batches = append(batches, strconv.Itoa(3*i)+" "+strconv.Itoa(3*i+1)+" "+strconv.Itoa(3*i+2))
	}
	source := batchesOf(j, batches...)
	var kept [][]opencdc.Position
	source.ack = func(_ context.Context, positions []opencdc.Position) error {
		kept = append(kept, positions)
		_ = append(positions, opencdc.Position("written by the source"))
		return nil
	}
	p := byPosition(does{"4": fail, "7": split(2), "9": filter})
	wantNoError(t, run(t, queue(newDestination(j, "dlq")), from(source), through("p", p), to(newDestination(j, "out"))))
	i := 0
	for _, positions := range kept {
		for _, p := range positions {
			if string(p) != strconv.Itoa(i) {
				t.Fatalf("position %d is %q", i, p)
			}
			i++
		}
	}
	if i != 150 {
		t.Errorf("%d positions were acked", i)
	}
}

// A processor may rewrite positions. The source is acked with its own.
func TestWorker_rewrittenPositions(t *testing.T) {
	j := &journal{}
	dead := newDestination(j, "dlq")
	rewrite := byPosition(does{"1": split(1), "2": split(2), "3": split(1)})
	failing := byPosition(does{"2b": fail, "3a": fail})
	wantNoError(t, run(t, queue(dead), from(batchesOf(j, "1 2 3")), through("rewrite", rewrite), through("fail", failing), to(newDestination(j, "out"))))
	j.want(t, []string{"out", "ack", "dlq"}, "out 1a", "ack 1", "dlq 2 3a", "ack 2 3")
}

func TestWorker_ackFromOutside(t *testing.T) {
	j := &journal{}
	w := newWorker(t, chain(from(batchesOf(j)), to(newDestination(j, "out"))), queue(newDestination(j, "dlq")))
	ctx := t.Context()

	b := funnel.NewBatch(records("1", "2", "3"))
	b.Filter(0)
	b.SplitRecord(0, records("2a", "2b"))
	wantNoError(t, w.Ack(ctx, b))
	wantNoError(t, w.Ack(ctx, b))
	wantNoError(t, w.Nack(ctx, b, "task"))
	j.want(t, []string{"ack", "dlq"}, "ack 1 2 3")

	j.lines = nil
	b = funnel.NewBatch(records("4", "5"))
	b.Nack(1, errTest)
	wantError(t, w.Ack(ctx, b), nil, "1 nacked")
	b.Ack(1)
	b.Retry(0)
	b.Retry(1)
	b.Ack(1)
	wantError(t, w.Ack(ctx, b), nil, "0 nacked, 1 to be retried")
	b.Ack(0, 2)
	b.Retry(0, 2)
	wantError(t, w.Ack(ctx, b), nil, "0 nacked, 2 to be retried")
	wantError(t, w.Ack(ctx, funnel.NewBatch(records("6", ""))), nil, "empty position")
	wantNoError(t, w.Ack(ctx, &funnel.Batch{}))
	j.want(t, nil)
}

func TestWorker_nackFromOutside(t *testing.T) {
	j := &journal{}
	source, dead := batchesOf(j), newDestination(j, "dlq")
	w := newWorker(t, chain(from(source), to(newDestination(j, "out"))), queue(dead))
	ctx := t.Context()

	b := funnel.NewBatch(records("1", "2", "3", "4"))
	b.Filter(1)
	b.Nack(0, errFor("1"))
	b.SplitRecord(1, records("3a", "3b"))
	b.Nack(2, errFor("3b"))
	b.Retry(3)
	wantNoError(t, w.Nack(ctx, b, "task"))
	wantNoError(t, w.Nack(ctx, b, "task"))
	j.want(t, []string{"ack", "dlq"}, "dlq 1", "ack 1", "ack 2", "dlq 3 4", "ack 3 4")
	for i, want := range []string{errFor("1").Error(), errFor("3b").Error(), "nacked without an error"} {
		wantMetadata(t, dead.written[i], "task", want)
	}

	// What has failed is tried again.
	j.lines = nil
	failing := errTest
	source.ack = func(_ context.Context, positions []opencdc.Position) error { clear(positions); return failing }
	b = funnel.NewBatch(records("5"))
	wantError(t, w.Ack(ctx, b), errTest)
	failing = nil
	wantNoError(t, w.Ack(ctx, b))
	wantNoError(t, w.Ack(ctx, b))
	j.want(t, []string{"ack", "dlq"}, "ack 5", "ack 5")
}

// The positions that were acked belong to the source, which may do with them as
// it likes, also while the rest of the batch is on its way.
func TestWorker_ackedPositionsAreNotReadAgain(t *testing.T) {
	j := &journal{}
	source := batchesOf(j, "1 2 3")
	source.ack = func(_ context.Context, positions []opencdc.Position) error { clear(positions); return nil }
	var w *funnel.Worker
	settles := custom("settles", func(ctx context.Context, b *funnel.Batch) error {
		if string(b.ActiveRecords()[0].Position) == "1" {
			return nil
		}
		return w.Ack(ctx, b)
	})
	first := chain(from(source), through("p", byPosition(does{"2": once(single)})), settles, to(newDestination(j, "out")))
	w = newWorker(t, first, nil)
	wantNoError(t, runWorker(t, w))
	b := funnel.NewBatch(records("4"))
	for range 2 {
		wantNoError(t, w.Ack(t.Context(), b))
		wantNoError(t, w.Nack(t.Context(), b, "task"))
	}
	j.want(t, []string{"out", "ack"}, "out 1", "ack 1", "ack 2", "ack 3", "ack 4")
}

// A task that settles its batch itself takes it out of the pipeline.
func TestWorker_taskSettlesItsBatch(t *testing.T) {
	j := &journal{}
	var w *funnel.Worker
	settles := custom("settles", func(ctx context.Context, b *funnel.Batch) error {
		switch first := string(b.ActiveRecords()[0].Position); first {
		case "1":
			return w.Ack(ctx, b)
		case "3":
			return w.Nack(ctx, b, "settles")
		}
		return nil
	})
	w = newWorker(t, chain(from(batchesOf(j, "1 2", "3", "4")), settles, to(newDestination(j, "out"))), queue(newDestination(j, "dlq")))
	wantNoError(t, runWorker(t, w))
	j.want(t, []string{"out", "ack", "dlq"}, "ack 1 2", "dlq 3", "ack 3", "out 4", "ack 4")
}

// The first task may be one that wraps a SourceTask, or that makes batches of
// its own.
func TestWorker_customFirstTask(t *testing.T) {
	j := &journal{}
	source := batchesOf(j, "1 2 3")
	first := node(&wrappedSource{SourceTask: funnel.NewSourceTask("source", source, log.Nop(), nil)})
	wantNoError(t, run(t, queue(newDestination(j, "dlq")), first, to(newDestination(j, "out"))))
	j.want(t, []string{"out", "ack", "dlq"}, "dlq 1", "ack 1", "out 2", "ack 2 3")

	j.lines = nil
	own := node(&ownSource{source: batchesOf(j, "4 5")})
	wantNoError(t, run(t, nil, own, to(newDestination(j, "out"))))
	j.want(t, []string{"out", "ack"}, "out 4 5", "ack 4 5")
}

type wrappedSource struct{ *funnel.SourceTask }

func (s *wrappedSource) Do(ctx context.Context, b *funnel.Batch) error {
	err := s.SourceTask.Do(ctx, b)
	if b.HasActiveRecords() {
		b.Nack(0, errTest)
		b.Filter(2)
	}
	return err
}

type ownSource struct {
	fakeTask
	source *fakeSource
}

func (s *ownSource) ID() string               { return "own" }
func (s *ownSource) GetSource() funnel.Source { return s.source }
func (s *ownSource) Do(ctx context.Context, b *funnel.Batch) error {
	recs, err := s.source.Read(ctx)
	if err == nil {
		*b = *funnel.NewBatch(recs)
	} else {
		*b = funnel.Batch{}
	}
	return err
}

// The times of reading are those of the right records, also if the first task has
// filtered some.
func TestWorker_timerBehindACustomFirstTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		recs, timer := records("1", "2"), &fakeTimer{}
		recs[1].Metadata.SetReadAt(time.Now().Add(-time.Minute))
		filters := &filteringSource{funnel.NewSourceTask("source", newSource(j, fakeRead{recs: recs}), log.Nop(), nil)}
		w, err := funnel.NewWorker(chain(node(filters), to(newDestination(j, "out"))), nil, log.Nop(), timer)
		if err != nil {
			t.Fatal(err)
		}
		wantNoError(t, runWorker(t, w))
		if len(timer.observed) != 2 || timer.observed[0] != 0 || timer.observed[1].Round(time.Second) != time.Minute {
			t.Errorf("observed %v", timer.observed)
		}
	})
}

type filteringSource struct{ *funnel.SourceTask }

func (s *filteringSource) Do(ctx context.Context, b *funnel.Batch) error {
	err := s.SourceTask.Do(ctx, b)
	if b.HasActiveRecords() {
		b.Filter(0)
	}
	return err
}

// A first task that wants its records again cannot have them: they are there.
func TestWorker_sourceTaskIsNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		retries := &retryingSource{funnel.NewSourceTask("source", batchesOf(j, "1"), log.Nop(), nil)}
		err := run(t, nil, node(retries), to(newDestination(j, "out")))
		wantError(t, err, nil, `"source"`, "holds records already")
		j.want(t, []string{"out", "ack"})
	})
}

type retryingSource struct{ *funnel.SourceTask }

func (s *retryingSource) Do(ctx context.Context, b *funnel.Batch) error {
	err := s.SourceTask.Do(ctx, b)
	if err == nil {
		b.Retry(0)
	}
	return err
}

// The timer gets, for each source record, the time from its reading to its end.
func TestWorker_timer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		recs := records("1", "2", "3", "4")
		recs[0].Metadata.SetReadAt(time.Now().Add(-time.Minute))
		recs[1].Metadata[opencdc.MetadataReadAt] = "no time"
		recs[3].Metadata = nil
		out := newDestination(j, "out")
		out.write = func(context.Context, []opencdc.Record) error { time.Sleep(time.Second); return nil }
		timer := &fakeTimer{}
		p := byPosition(does{"2": fail, "3": split(2), "4": filter})
		first := chain(from(newSource(j, fakeRead{recs: recs})), through("p", p), to(out))
		w, err := funnel.NewWorker(first, queue(newDestination(j, "dlq")), log.Nop(), timer)
		if err != nil {
			t.Fatal(err)
		}
		wantNoError(t, runWorker(t, w))
		want := []time.Duration{time.Minute + time.Second, time.Second, 2 * time.Second, 2 * time.Second}
		if len(timer.observed) != len(want) {
			t.Fatalf("observed %v, want %v", timer.observed, want)
		}
		for i, d := range timer.observed {
			if d.Round(time.Millisecond) != want[i] {
				t.Errorf("record %d took %v, want %v", i, d, want[i])
			}
		}
	})
}

// A timer of a set begins to report when a registry is registered, also while
// the worker runs.
func TestWorker_timerOfASet(t *testing.T) {
	j := &journal{}
	set, timer := metrics.NewSet(), &fakeTimer{}
	source := batchesOf(j, "1", "2 3")
	source.ack = func(context.Context, []opencdc.Position) error {
		if len(source.reads) > 0 {
			set.Register(timerRegistry{timer: timer})
		}
		return nil
	}
	first := chain(from(source), to(newDestination(j, "out")))
	w, err := funnel.NewWorker(first, nil, log.Nop(), set.NewTimer(metrics.Desc{Name: "t"}).WithValues())
	if err != nil {
		t.Fatal(err)
	}
	wantNoError(t, runWorker(t, w))
	if len(timer.observed) != 2 {
		t.Errorf("observed %v", timer.observed)
	}
}

type timerRegistry struct {
	noop.Registry
	timer *fakeTimer
}

func (r timerRegistry) NewTimer(metrics.Desc) metrics.LabeledTimer { return r }
func (r timerRegistry) WithValues(...string) metrics.Timer         { return r.timer }

// Nothing is done for metrics and timers that do nothing.
func TestWorker_disabledMetrics(t *testing.T) {
	j := &journal{}
	m := disabledMetrics{t}
	first := chain(
		node(funnel.NewSourceTask("s", batchesOf(j, "1 2"), log.Nop(), m)),
		node(funnel.NewProcessorTask("p", byPosition(does{"1": fail}), log.Nop(), disabledProcessorMetrics(m))),
		node(funnel.NewDestinationTask("d", newDestination(j, "d"), log.Nop(), m)),
	)
	w, err := funnel.NewWorker(first, funnel.NewDLQ("q", newDestination(j, "q"), log.Nop(), m, 0, 0), log.Nop(), m)
	if err != nil {
		t.Fatal(err)
	}
	wantNoError(t, runWorker(t, w))
	j.want(t, []string{"ack"}, "ack 1", "ack 2")
}

type disabledMetrics struct{ t *testing.T }

func (m disabledMetrics) Enabled() bool                       { return false }
func (m disabledMetrics) Observe([]opencdc.Record, time.Time) { m.t.Error("something was observed") }
func (m disabledMetrics) Update(time.Duration)                { m.t.Error("something was observed") }
func (m disabledMetrics) UpdateSince(time.Time)               { m.t.Error("something was observed") }

type disabledProcessorMetrics struct{ t *testing.T }

func (m disabledProcessorMetrics) Enabled() bool          { return false }
func (m disabledProcessorMetrics) Observe(int, time.Time) { m.t.Error("something was observed") }

// quietSource and quietDestination allocate nothing.
type quietSource struct {
	funnel.Source
	read func() ([]opencdc.Record, error)
}

func (s quietSource) Read(context.Context) ([]opencdc.Record, error) { return s.read() }
func (s quietSource) Ack(context.Context, []opencdc.Position) error  { return nil }

type quietDestination struct {
	funnel.Destination
	acks []connector.DestinationAck
}

func (d quietDestination) Write(context.Context, []opencdc.Record) error { return nil }
func (d quietDestination) Ack(context.Context) ([]connector.DestinationAck, error) {
	return d.acks, nil
}

type fakeTimer struct{ observed []time.Duration }

func (t *fakeTimer) Update(d time.Duration)      { t.observed = append(t.observed, d) }
func (t *fakeTimer) UpdateSince(start time.Time) { t.Update(time.Since(start)) }
