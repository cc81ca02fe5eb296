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
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
	"github.com/conduitio/funnel/metrics/noop"
)

func TestNewWorker_invalid(t *testing.T) {
	j := &fake.Journal{}
	out := func() *funnel.TaskNode { return fake.To(fake.NewDestination(j, "out")) }
	source := func() *funnel.TaskNode { return fake.From(fake.SourceOf(j)) }
	cycle := source()
	cycle.Next = []*funnel.TaskNode{fake.Through("p", fake.Each(fake.Pass))}
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
		{"a node without a task", fake.Chain(source(), &funnel.TaskNode{}), nil, []string{"no task"}},
		{"a node with a nil task", fake.Chain(source(), fake.Node((*funnel.ProcessorTask)(nil))), nil, []string{"no task"}},
		{"a nil next node", &funnel.TaskNode{Task: source().Task, Next: []*funnel.TaskNode{out(), nil}}, nil, []string{"nil", "1", `"source"`}},
		{"a cycle", cycle, nil, []string{"cycle", `"p"`}},
		{"an ID twice", fake.Chain(source(), fake.Through("x", fake.Each(fake.Pass)), fake.Through("x", fake.Each(fake.Pass)), out()), nil, []string{`"x"`, "more than once"}},
		{"an ID on two branches", &funnel.TaskNode{Task: source().Task, Next: []*funnel.TaskNode{out(), out()}}, nil, []string{`"out"`, "more than once"}},
		{"a node twice", twice, nil, []string{`"out"`, "more than once"}},
		{"a first task without a source", fake.Chain(fake.Through("p", fake.Each(fake.Pass)), out()), nil, []string{`"p"`, "GetSource"}},
		{"a nil source", fake.Chain(fake.From(nil), out()), nil, []string{`"source"`, "nil"}},
		{"a nil source pointer", fake.Chain(fake.From((*fake.Source)(nil)), out()), nil, []string{`"source"`, "nil"}},
		{"a second source", fake.Chain(source(), fake.Node(funnel.NewSourceTask("second", fake.SourceOf(j), log.Nop(), nil))), nil, []string{`"second"`, "first"}},
		{"a nil processor", fake.Chain(source(), fake.Through("p", nil), out()), nil, []string{`"p"`, "nil"}},
		{"a nil destination", fake.Chain(source(), fake.Node(funnel.NewDestinationTask("d", nil, log.Nop(), nil))), nil, []string{`"d"`, "nil"}},
		{"a DLQ that was not made", fake.Chain(source(), out()), &funnel.DLQ{}, []string{"dead-letter queue", "NewDLQ"}},
		{"a DLQ without a destination", fake.Chain(source(), out()), funnel.NewDLQ("q", nil, log.Nop(), nil, 1, 0), []string{`"q"`, "nil"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, err := funnel.NewWorker(tt.first, tt.dlq, log.Nop(), noop.Timer{})
			if w != nil {
				t.Error("there is a worker")
			}
			fake.WantError(t, err, nil, tt.words...)
		})
	}
}

func TestNewWorker_nilOption(t *testing.T) {
	j := &fake.Journal{}
	_, err := funnel.NewWorker(fake.Chain(fake.From(fake.SourceOf(j)), fake.To(fake.NewDestination(j, "out"))), nil, log.Nop(), nil, nil)
	fake.WantError(t, err, nil, "option 0", "nil")
}

func TestNewWorker_fields(t *testing.T) {
	j := &fake.Journal{}
	source, dlq := fake.SourceOf(j), fake.Queue(fake.NewDestination(j, "dlq"))
	first := fake.Chain(fake.From(source), fake.To(fake.NewDestination(j, "out")))
	w := fake.NewWorker(t, first, dlq)
	if w.Source != funnel.Source(source) || w.FirstTask != first || w.DLQ != dlq {
		t.Errorf("the worker has %v, %v, %v", w.Source, w.FirstTask, w.DLQ)
	}
	if !first.IsFirst() || first.Next[0].IsFirst() {
		t.Error("only the first node is first")
	}
}

// Nil metrics and timers, typed or not, count as those that do nothing.
func TestNewWorker_nilMetrics(t *testing.T) {
	j := &fake.Journal{}
	first := fake.Chain(
		fake.Node(funnel.NewSourceTask("s", fake.SourceOf(j, "1 2"), log.Nop(), (*funnel.NoOpConnectorMetrics)(nil))),
		fake.Node(funnel.NewProcessorTask("p", fake.ByPosition(fake.Answers{"1": fake.Fail}), log.Nop(), (*funnel.NoOpProcessorMetrics)(nil))),
		fake.Node(funnel.NewDestinationTask("d", fake.NewDestination(j, "d"), log.Nop(), nil)),
	)
	dlq := funnel.NewDLQ("q", fake.NewDestination(j, "q"), log.Nop(), (*funnel.NoOpConnectorMetrics)(nil), 0, 0)
	w, err := funnel.NewWorker(first, dlq, log.CtxLogger{}, (*noop.Timer)(nil))
	if err != nil {
		t.Fatal(err)
	}
	fake.WantNoError(t, fake.RunWorker(t, w))
	j.Want(t, "ack", "ack 1", "ack 2")
}

// lifeOf returns a worker whose tasks write to the journal what is done with
// them. Those in fail fail.
func lifeOf(t *testing.T, j *fake.Journal, source *fake.Source, fail map[string]error) *funnel.Worker {
	out, dead := fake.NewDestination(j, "out"), fake.NewDestination(j, "dlq")
	failing := func(what string) func(context.Context) error {
		return func(context.Context) error { return fail[what] }
	}
	source.OnOpen, source.OnTeardown = failing("open source"), failing("teardown source")
	out.OnOpen, out.OnTeardown = failing("open out"), failing("teardown out")
	dead.OnOpen, dead.OnTeardown = failing("open dlq"), failing("teardown dlq")
	task := fake.Node(&fake.Task{
		Name:    "task",
		OnDo:    fake.Nothing,
		OnOpen:  func() error { j.Add("open task"); return fail["open task"] },
		OnClose: func() error { j.Add("close task"); return fail["close task"] },
	})
	return fake.NewWorker(t, fake.Chain(fake.From(source), task, fake.To(out)), fake.Queue(dead))
}

func TestWorker_openAndClose(t *testing.T) {
	j := &fake.Journal{}
	w := lifeOf(t, j, fake.SourceOf(j), nil)
	ctx := t.Context()
	fake.WantNoError(t, w.Open(ctx))
	fake.WantError(t, w.Open(ctx), nil, "opened already")
	fake.WantNoError(t, w.Close(ctx))
	fake.WantNoError(t, w.Close(ctx))
	fake.WantNoError(t, w.Stop(ctx))
	fake.WantError(t, w.Open(ctx), nil, "opened already")
	fake.WantNoError(t, w.Do(ctx))
	j.Want(t, "",
		"open source", "open task", "open out", "open dlq",
		"teardown source", "teardown dlq", "teardown out", "close task")
}

// A worker that was stopped and closed before Do has started ends gracefully, and
// is not opened any more.
func TestWorker_stopCloseDo(t *testing.T) {
	j := &fake.Journal{}
	w := lifeOf(t, j, fake.SourceOf(j, "1"), nil)
	fake.WantNoError(t, w.Open(t.Context()))
	fake.WantNoError(t, w.Stop(t.Context()))
	fake.WantNoError(t, w.Close(t.Context()))
	fake.WantNoError(t, w.Do(t.Context()))
	fake.WantNoError(t, w.Close(t.Context()))
	j.Want(t, "ack teardown", "teardown source", "teardown dlq", "teardown out")
}

// A worker that could not be opened does not run. It can be opened again.
func TestWorker_doAfterFailedOpen(t *testing.T) {
	j := &fake.Journal{}
	failing := map[string]error{"open out": fake.ErrTest}
	w := lifeOf(t, j, fake.SourceOf(j, "1"), failing)
	fake.WantError(t, w.Open(t.Context()), fake.ErrTest)
	clear(failing)
	fake.WantNoError(t, w.Open(t.Context()))
	fake.WantNoError(t, w.Do(t.Context()))
	fake.WantNoError(t, w.Close(t.Context()))
	j.Want(t, "ack teardown", "teardown source", "ack 1", "teardown source", "teardown dlq", "teardown out")

	j = &fake.Journal{}
	w = lifeOf(t, j, fake.SourceOf(j, "1"), map[string]error{"open out": fake.ErrTest})
	fake.WantError(t, w.Open(t.Context()), fake.ErrTest)
	fake.WantError(t, w.Do(t.Context()), nil, "not open")
	fake.WantNoError(t, w.Close(t.Context()))
	j.Want(t, "ack teardown", "teardown source")
}

// A worker that runs is not opened.
func TestWorker_openWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		source := fake.NewSource(j)
		source.Endless = true
		w := lifeOf(t, j, source, nil)
		done := make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-source.Reading
		fake.WantError(t, w.Open(t.Context()), nil, "opened already")
		fake.WantNoError(t, w.Close(t.Context()))
		fake.WantNoError(t, <-done)
		j.Want(t, "", "teardown source")
	})
}

// A first task of one's own is closed when it is no longer at work.
func TestWorker_closeWhileTheFirstTaskWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		source := fake.NewSource(j)
		source.Endless = true
		goOn := make(chan struct{})
		first := &slowSource{SourceTask: funnel.NewSourceTask("source", source, log.Nop(), nil), Journal: j, goOn: goOn}
		w := fake.NewWorker(t, fake.Chain(fake.Node(first), fake.To(fake.NewDestination(j, "out"))), nil)
		fake.WantNoError(t, w.Open(t.Context()))
		done, closed := make(chan error), make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-source.Reading

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		fake.WantError(t, w.Close(ctx), context.DeadlineExceeded, `"source"`)
		go func() { closed <- w.Close(t.Context()) }()
		synctest.Wait()
		close(goOn)
		fake.WantNoError(t, <-closed)
		fake.WantNoError(t, <-done)
		j.Want(t, "teardown done close", "teardown source", "teardown out", "done first", "close first")
	})
}

// Nor is it closed, or waited for, while nothing makes it return.
func TestWorker_closeWhileTheFirstTaskReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		source := fake.NewSource(j)
		source.Endless = true
		failing := fake.ErrTest
		source.OnTeardown = func(context.Context) error { return failing }
		goOn := make(chan struct{})
		close(goOn)
		first := &slowSource{SourceTask: funnel.NewSourceTask("source", source, log.Nop(), nil), Journal: j, goOn: goOn}
		w := fake.NewWorker(t, fake.Chain(fake.Node(first), fake.To(fake.NewDestination(j, "out"))), nil)
		fake.WantNoError(t, w.Open(t.Context()))
		done := make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-source.Reading

		fake.WantError(t, w.Close(t.Context()), fake.ErrTest, `"source"`, "not torn down")
		j.Want(t, "done close")
		failing = nil
		fake.WantNoError(t, w.Stop(t.Context()))
		fake.WantNoError(t, <-done)
		fake.WantNoError(t, w.Close(t.Context()))
		j.Want(t, "done close", "done first", "close first")
	})
}

type slowSource struct {
	*funnel.SourceTask
	*fake.Journal
	goOn chan struct{}
}

func (s *slowSource) Do(ctx context.Context, b *funnel.Batch) error {
	err := s.SourceTask.Do(ctx, b)
	<-s.goOn
	s.Add("done first")
	return err
}

func (s *slowSource) Close(context.Context) error {
	s.Add("close first")
	return nil
}

// If one fails to open, what was opened is closed again, in reverse.
func TestWorker_openFails(t *testing.T) {
	opens := []string{"open source", "open task", "open out", "open dlq"}
	closes := []string{"teardown source", "close task", "teardown out"}
	for i, what := range opens {
		t.Run(what, func(t *testing.T) {
			j := &fake.Journal{}
			w := lifeOf(t, j, fake.SourceOf(j), map[string]error{what: fake.ErrTest})
			fake.WantError(t, w.Open(t.Context()), fake.ErrTest, []string{`"source"`, `"task"`, `"out"`, `"dlq"`}[i])
			want := append([]string(nil), opens[:i+1]...)
			for k := i - 1; k >= 0; k-- {
				want = append(want, closes[k])
			}
			j.Want(t, "", want...)
			fake.WantNoError(t, w.Close(t.Context()))
			j.Want(t, "", want...)
		})
	}
}

// What fails to close after a failed Open is in the error, and closed by Close.
func TestWorker_openAndCleanUpFail(t *testing.T) {
	j := &fake.Journal{}
	closing := errors.New("closing failed")
	failing := map[string]error{"open dlq": fake.ErrTest, "close task": closing, "teardown source": closing}
	w := lifeOf(t, j, fake.SourceOf(j), failing)
	err := w.Open(t.Context())
	fake.WantError(t, err, fake.ErrTest)
	fake.WantError(t, err, closing, `"task"`, "tear down")
	clear(failing)
	j.Clear()
	fake.WantNoError(t, w.Close(t.Context()))
	j.Want(t, "", "teardown source", "close task")
}

// Close closes all, joins the errors and retries only what has failed.
func TestWorker_closeFails(t *testing.T) {
	j := &fake.Journal{}
	errs := map[string]error{
		"teardown source": errors.New("error 1"), "close task": errors.New("error 2"), "teardown dlq": errors.New("error 3"),
	}
	w := lifeOf(t, j, fake.SourceOf(j), errs)
	fake.WantNoError(t, w.Open(t.Context()))
	fake.WantNoError(t, w.Do(t.Context()))
	err := w.Close(t.Context())
	for _, e := range errs {
		fake.WantError(t, err, e)
	}
	j.Want(t, "teardown close", "teardown source", "teardown dlq", "teardown out", "close task")
	j.Clear()
	delete(errs, "teardown dlq")
	fake.WantError(t, w.Close(t.Context()), errs["close task"])
	j.Want(t, "", "teardown source", "teardown dlq", "close task")
	j.Clear()
	clear(errs)
	fake.WantNoError(t, w.Close(t.Context()))
	j.Want(t, "", "teardown source", "close task")
}

func TestWorker_runsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		source := fake.SourceOf(j, "1")
		source.Endless = true
		w := lifeOf(t, j, source, nil)
		fake.WantNoError(t, w.Open(t.Context()))
		done := make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-source.Reading
		fake.WantError(t, w.Do(t.Context()), nil, "once")
		fake.WantNoError(t, w.Stop(t.Context()))
		fake.WantNoError(t, <-done)
		fake.WantError(t, w.Do(t.Context()), nil, "once")
		fake.WantNoError(t, w.Close(t.Context()))
		j.Want(t, "ack teardown", "ack 1", "teardown source", "teardown dlq", "teardown out")
	})
}

// A stop while a read is pending ends Do without an error, whatever the read
// returns.
func TestWorker_stopWhileReading(t *testing.T) {
	for _, readErr := range []error{context.Canceled, io.EOF, io.ErrUnexpectedEOF, fake.ErrTest, nil} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			source := fake.NewSource(j)
			reading := make(chan struct{}, 1)
			source.OnRead = func(context.Context) ([]opencdc.Record, error) {
				reading <- struct{}{}
				<-source.TornDown
				return fake.Records("1"), readErr // dropped
			}
			w := lifeOf(t, j, source, nil)
			fake.WantNoError(t, w.Open(t.Context()))
			done := make(chan error)
			go func() { done <- w.Do(t.Context()) }()
			<-reading
			fake.WantNoError(t, w.Stop(t.Context()))
			fake.WantNoError(t, <-done)
			fake.WantNoError(t, w.Stop(t.Context()))
			fake.WantNoError(t, w.Close(t.Context()))
			j.Want(t, "out ack teardown", "teardown source", "teardown dlq", "teardown out")
		})
	}
}

// Stop waits for the batch that is on its way.
func TestWorker_stopWhileProcessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		source := fake.SourceOf(j, "1", "2")
		source.Endless = true
		writing, goOn := make(chan struct{}), make(chan struct{})
		w := lifeOf(t, j, source, nil)
		out := fake.NewDestination(j, "out")
		out.OnWrite = func(context.Context, []opencdc.Record) error { writing <- struct{}{}; <-goOn; return nil }
		w = fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil)
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
		j.Want(t, "ack teardown")
		close(goOn)
		for range 3 {
			fake.WantNoError(t, <-stopped)
		}
		fake.WantNoError(t, <-done)
		j.Want(t, "ack teardown", "ack 1", "teardown source")
	})
}

// After a stop that has given up, a failed read is a failure.
func TestWorker_stopLeavesNoTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		source := fake.NewSource(j, fake.Read{Records: fake.Records("1")}, fake.Read{Err: fake.ErrTest})
		out := fake.NewDestination(j, "out")
		var w *funnel.Worker
		ctx, cancel := context.WithCancel(t.Context())
		out.OnWrite = func(context.Context, []opencdc.Record) error {
			go func() { time.Sleep(time.Second); cancel() }()
			if err := w.Stop(ctx); err != context.Canceled {
				t.Errorf("Stop: %v", err)
			}
			return nil
		}
		w = fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil)
		fake.WantError(t, w.Do(t.Context()), fake.ErrTest, `"source"`)
		j.Want(t, "ack teardown", "ack 1")
		fake.WantNoError(t, w.Close(t.Context()))
		j.Want(t, "ack teardown", "ack 1", "teardown source")
	})
}

// A stop whose context has ended does nothing while the worker runs. After it
// has run, there is nothing to wait for.
func TestWorker_stopWithAnEndedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		j := &fake.Journal{}
		source := fake.NewSource(j)
		source.Endless = true
		w := lifeOf(t, j, source, nil)
		fake.WantNoError(t, w.Open(t.Context()))
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Do(ctx) }()
		<-source.Reading
		if err := w.Stop(ended); err != context.Canceled {
			t.Errorf("Stop: %v", err)
		}
		j.Want(t, "teardown")
		end()
		if err := <-done; err != context.Canceled {
			t.Errorf("Do: %v", err)
		}
		fake.WantNoError(t, w.Stop(ended))
		fake.WantNoError(t, w.Close(ended))
		j.Want(t, "teardown", "teardown source", "teardown dlq", "teardown out")
	})
}

// A stop before Do makes it return at once, and one before Open does not keep
// the source from being torn down.
func TestWorker_stopEarly(t *testing.T) {
	for _, beforeOpen := range []bool{false, true} {
		j := &fake.Journal{}
		w := lifeOf(t, j, fake.SourceOf(j, "1"), nil)
		if beforeOpen {
			fake.WantNoError(t, w.Stop(t.Context()))
			j.Want(t, "")
		}
		fake.WantNoError(t, w.Open(t.Context()))
		fake.WantNoError(t, w.Stop(t.Context()))
		fake.WantNoError(t, w.Do(t.Context()))
		fake.WantNoError(t, w.Close(t.Context()))
		fake.WantNoError(t, w.Stop(t.Context()))
		j.Want(t, "out ack teardown", "teardown source", "teardown dlq", "teardown out")
	}
}

// A teardown that fails is tried again by the next Stop or Close, and the worker
// has stopped all the same.
func TestWorker_teardownFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		source := fake.NewSource(j)
		failing := map[string]error{"teardown source": fake.ErrTest}
		w := lifeOf(t, j, source, failing)
		reading := make(chan struct{})
		unblock := make(chan struct{})
		source.OnRead = func(context.Context) ([]opencdc.Record, error) {
			close(reading)
			<-unblock
			return fake.Records("1"), nil
		}
		fake.WantNoError(t, w.Open(t.Context()))
		done := make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-reading
		fake.WantError(t, w.Stop(t.Context()), fake.ErrTest)
		close(unblock)
		fake.WantNoError(t, <-done)
		fake.WantError(t, w.Stop(t.Context()), fake.ErrTest)
		clear(failing)
		fake.WantNoError(t, w.Close(t.Context()))
		fake.WantNoError(t, w.Close(t.Context()))
		j.Want(t, "out ack teardown",
			"teardown source", "teardown source", "teardown source", "teardown dlq", "teardown out")
	})
}

// A batch that was read is dropped, a failed read is no failure, and Do returns,
// even while the teardown hangs.
func TestWorker_teardownHangs(t *testing.T) {
	for _, readErr := range []error{nil, fake.ErrTest} {
		testTeardownHangs(t, readErr)
	}
}

func testTeardownHangs(t *testing.T, readErr error) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		source := fake.NewSource(j)
		reading, tearing, goOn := make(chan struct{}), make(chan struct{}), make(chan struct{})
		source.OnRead = func(context.Context) ([]opencdc.Record, error) {
			close(reading)
			<-tearing
			return fake.Records("1"), readErr
		}
		source.OnTeardown = func(context.Context) error { close(tearing); <-goOn; return nil }
		w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(fake.NewDestination(j, "out"))), nil)
		done, stopped := make(chan error), make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-reading
		go func() { stopped <- w.Stop(t.Context()) }()
		fake.WantNoError(t, <-done)
		close(goOn)
		fake.WantNoError(t, <-stopped)
		j.Want(t, "out ack")
	})
}

// Close during Do first stops the worker.
func TestWorker_closeWhileProcessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		source := fake.SourceOf(j, "1")
		source.Endless = true
		writing, goOn := make(chan struct{}), make(chan struct{})
		out := fake.NewDestination(j, "out")
		out.OnWrite = func(context.Context, []opencdc.Record) error { close(writing); <-goOn; return nil }
		w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil)
		fake.WantNoError(t, w.Open(t.Context()))
		done, closed := make(chan error), make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-writing
		go func() { closed <- w.Close(t.Context()) }()
		synctest.Wait()
		j.Want(t, "ack teardown")
		close(goOn)
		fake.WantNoError(t, <-closed)
		fake.WantNoError(t, <-done)
		j.Want(t, "ack teardown", "ack 1", "teardown source", "teardown out")
	})
}

// The ends of a worker that is not stopped.
func TestWorker_doEnds(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reads []fake.Read
		err   error
		want  []string
	}{
		{"no more records", []fake.Read{{Records: fake.Records("1")}, {Err: io.EOF}}, nil, []string{"out 1", "ack 1"}},
		{"the last records", []fake.Read{{Records: fake.Records("1"), Err: io.EOF}}, nil, []string{"out 1", "ack 1"}},
		{"a wrapped io.EOF", []fake.Read{{Records: fake.Records("1"), Err: errors.Join(io.EOF)}}, io.EOF, nil},
		{"a failed read drops its records", []fake.Read{{Records: fake.Records("1")}, {Records: fake.Records("2"), Err: fake.ErrTest}}, fake.ErrTest, []string{"out 1", "ack 1"}},
		{"a cancellation that nobody asked for", []fake.Read{{Err: context.Canceled}, {Records: fake.Records("1")}}, context.Canceled, nil},
		{"another end of file", []fake.Read{{Err: io.ErrUnexpectedEOF}}, io.ErrUnexpectedEOF, nil},
		{"an empty position", []fake.Read{{Records: fake.Records("1", "", "3")}}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := &fake.Journal{}
			err := fake.Run(t, nil, fake.From(fake.NewSource(j, tt.reads...)), fake.To(fake.NewDestination(j, "out")))
			switch {
			case tt.name == "an empty position":
				fake.WantError(t, err, nil, "record 1", "empty position", `"source"`)
				fake.WantFatal(t, err, true)
			case tt.err != nil:
				fake.WantError(t, err, tt.err, `"source"`)
			default:
				fake.WantNoError(t, err)
			}
			j.Want(t, "out ack", tt.want...)
		})
	}
}

// The context of Do ends while the worker works, reads, or before.
func TestWorker_contextEnds(t *testing.T) {
	for _, tt := range []struct {
		name     string
		canceled func(cancel func(), source *fake.Source, out *fake.Destination)
		want     []string
		also     error
	}{{
		name:     "before Do",
		canceled: func(cancel func(), _ *fake.Source, _ *fake.Destination) { cancel() },
	}, {
		name: "in a source that does not care",
		canceled: func(cancel func(), s *fake.Source, _ *fake.Destination) {
			i := 0
			s.OnRead = func(context.Context) ([]opencdc.Record, error) {
				if i++; i == 3 {
					cancel()
				}
				return fake.Records(strconv.Itoa(i)), nil
			}
		},
		want: []string{"out 1", "ack 1", "out 2", "ack 2", "out 3", "ack 3"},
	}, {
		name: "in a read",
		canceled: func(cancel func(), s *fake.Source, _ *fake.Destination) {
			s.OnRead = func(ctx context.Context) ([]opencdc.Record, error) {
				cancel()
				return nil, errors.Join(fake.ErrTest, ctx.Err())
			}
		},
		also: fake.ErrTest,
	}, {
		name: "in a destination that fails for another reason",
		canceled: func(cancel func(), _ *fake.Source, d *fake.Destination) {
			d.OnWrite = func(context.Context, []opencdc.Record) error { cancel(); return fake.ErrTest }
		},
		want: []string{"out 1"},
		also: fake.ErrTest,
	}} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			j := &fake.Journal{}
			source, out := fake.SourceOf(j, "1", "2"), fake.NewDestination(j, "out")
			tt.canceled(cancel, source, out)
			err := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil).Do(ctx)
			fake.WantError(t, err, context.Canceled)
			if tt.also != nil {
				fake.WantError(t, err, tt.also)
			} else if err != context.Canceled {
				t.Errorf("the error is %v, not that of the context", err)
			}
			j.Want(t, "out ack", tt.want...)
		})
	}
}

// If acking reports io.EOF, the next read says why the stream has closed.
func TestWorker_ackReportsEOF(t *testing.T) {
	ackErr := errors.Join(errors.New("the stream of acks"), io.EOF)
	for _, tt := range []struct {
		name string
		next fake.Read
		ack  error
		want error
	}{
		{"and the read has a reason", fake.Read{Err: fake.ErrTest}, ackErr, fake.ErrTest},
		{"and the read has none", fake.Read{Records: fake.Records("2")}, ackErr, ackErr},
		{"and so does the read", fake.Read{Err: io.EOF}, ackErr, ackErr},
		{"and the read is empty", fake.Read{}, ackErr, ackErr},
		{"not, it is another error", fake.Read{Err: context.Canceled}, fake.ErrTest, fake.ErrTest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := &fake.Journal{}
			source := fake.NewSource(j, fake.Read{Records: fake.Records("1")}, tt.next)
			source.OnAck = func(context.Context, []opencdc.Position) error { return tt.ack }
			err := fake.Run(t, nil, fake.From(source), fake.To(fake.NewDestination(j, "out")))
			fake.WantError(t, err, tt.want)
			j.Want(t, "out", "out 1")
			if read := len(source.Reads) == 0; read != (tt.ack == ackErr) {
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
			j := &fake.Journal{}
			source := fake.NewSource(j, fake.Read{Records: fake.Records("1", "2")}, fake.Read{Err: reason})
			source.OnAck = func(context.Context, []opencdc.Position) error { return io.EOF }
			a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
			delivered := make(chan struct{})
			b.OnTeardown = func(context.Context) error { return nil }
			b.OnAck = func(context.Context) ([]connector.DestinationAck, error) {
				defer close(delivered)
				return b.Pending, nil
			}
			a.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
				if string(recs[0].Position) == "2" {
					<-delivered
					return funnel.FatalError(fake.ErrTest)
				}
				return nil
			}
			first := fake.From(source)
			first.Next = []*funnel.TaskNode{fake.Chain(fake.Through("p", fake.ByPosition(fake.Answers{"2": fake.SecondTime(fake.Pass)})), fake.To(a)), fake.To(b)}
			err := fake.RunWorker(t, fake.NewWorker(t, first, nil))
			fake.WantError(t, err, fake.ErrTest)
			fake.WantError(t, err, reason)
			fake.WantFatal(t, err, true)
		})
	})
	t.Run("in the DLQ", func(t *testing.T) {
		j := &fake.Journal{}
		source := fake.NewSource(j, fake.Read{Records: fake.Records("1", "2")}, fake.Read{Err: reason})
		source.OnAck = func(context.Context, []opencdc.Position) error { return io.EOF }
		dlq := fake.Window(fake.NewDestination(j, "dlq"), 10, 1)
		err := fake.Run(t, dlq, fake.From(source), fake.Through("p", fake.Each(fake.Fail)), fake.To(fake.NewDestination(j, "out")))
		fake.WantError(t, err, fake.ErrTest, `"2"`)
		fake.WantError(t, err, reason)
		fake.WantFatal(t, err, true)
	})
}

// An io.EOF of a destination is no end of the source.
func TestWorker_destinationReportsEOF(t *testing.T) {
	j := &fake.Journal{}
	source, out := fake.SourceOf(j, "1", "2"), fake.NewDestination(j, "out")
	out.OnWrite = func(context.Context, []opencdc.Record) error { return io.EOF }
	fake.WantError(t, fake.Run(t, nil, fake.From(source), fake.To(out)), io.EOF, `"out"`)
	if len(source.Reads) != 1 {
		t.Error("the source was read again")
	}
}

// A stop that comes while the reason of a closed stream is read.
func TestWorker_stopWhileReadingTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		source := fake.SourceOf(j, "1")
		source.Endless = true
		source.OnAck = func(context.Context, []opencdc.Position) error { return io.EOF }
		w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(fake.NewDestination(j, "out"))), nil)
		done := make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-source.Reading
		fake.WantNoError(t, w.Stop(t.Context()))
		fake.WantError(t, <-done, io.EOF)
	})
}

// A panic reaches the caller of Do as it is, and leaves no lock behind.
func TestWorker_panic(t *testing.T) {
	for _, where := range []string{"read", "write", "ack"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				source, out := fake.SourceOf(j, "1"), fake.NewDestination(j, "out")
				switch where {
				case "read":
					source.OnRead = func(context.Context) ([]opencdc.Record, error) { panic(fake.ErrTest) }
				case "write":
					out.OnWrite = func(context.Context, []opencdc.Record) error { panic(fake.ErrTest) }
				case "ack":
					source.OnAck = func(context.Context, []opencdc.Position) error { panic(fake.ErrTest) }
				}
				w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil)
				fake.WantNoError(t, w.Open(t.Context()))
				func() {
					defer func() {
						if p := recover(); p != fake.ErrTest {
							t.Errorf("Do panicked with %v", p)
						}
					}()
					_ = w.Do(t.Context())
				}()
				fake.WantNoError(t, w.Ack(t.Context(), funnel.NewBatch(nil)))
				fake.WantNoError(t, w.Stop(t.Context()))
				fake.WantNoError(t, w.Close(t.Context()))
				j.Want(t, "teardown", "teardown source", "teardown out")
			})
		})
	}
}

// The same for a goroutine that ends.
func TestWorker_goexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		source, out := fake.SourceOf(j, "1"), fake.NewDestination(j, "out")
		out.OnWrite = func(context.Context, []opencdc.Record) error { runtime.Goexit(); return nil }
		w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil)
		fake.WantNoError(t, w.Open(t.Context()))
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = w.Do(t.Context())
			t.Error("Do has returned")
		})
		wg.Wait()
		fake.WantNoError(t, w.Close(t.Context()))
		j.Want(t, "ack teardown", "teardown source", "teardown out")
	})
}

// Opening a task that panics leaves a worker that can be closed.
func TestWorker_openPanics(t *testing.T) {
	j := &fake.Journal{}
	source, out := fake.SourceOf(j), fake.NewDestination(j, "out")
	out.OnOpen = func(context.Context) error { panic(fake.ErrTest) }
	w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil)
	func() {
		defer func() { _ = recover() }()
		_ = w.Open(t.Context())
	}()
	fake.WantError(t, w.Do(t.Context()), nil, "not open")
	fake.WantNoError(t, w.Close(t.Context()))
	j.Want(t, "teardown", "teardown source")
}

// Any number of workers run side by side.
func TestWorker_many(t *testing.T) {
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			j := &fake.Journal{}
			first := fake.From(fake.SourceOf(j, "1 2", "3", "4 5 6"))
			first.Next = []*funnel.TaskNode{fake.To(fake.NewDestination(j, "a")), fake.To(fake.NewDestination(j, "b"))}
			fake.WantNoError(t, fake.NewWorker(t, first, nil).Do(t.Context()))
			j.Want(t, "ack", "ack 1 2", "ack 3", "ack 4 5 6")
		})
	}
	wg.Wait()
}

// The positions that the source was given stay its own.
func TestWorker_positionsBelongToTheSource(t *testing.T) {
	j := &fake.Journal{}
	var batches []string
	for i := range 50 {
		batches = append(batches, strconv.Itoa(3*i)+" "+strconv.Itoa(3*i+1)+" "+strconv.Itoa(3*i+2))
	}
	source := fake.SourceOf(j, batches...)
	var kept [][]opencdc.Position
	source.OnAck = func(_ context.Context, positions []opencdc.Position) error {
		kept = append(kept, positions)
		_ = append(positions, opencdc.Position("written by the source"))
		return nil
	}
	p := fake.ByPosition(fake.Answers{"4": fake.Fail, "7": fake.Split(2), "9": fake.Filter})
	fake.WantNoError(t, fake.Run(t, fake.Queue(fake.NewDestination(j, "dlq")), fake.From(source), fake.Through("p", p), fake.To(fake.NewDestination(j, "out"))))
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
	j := &fake.Journal{}
	dead := fake.NewDestination(j, "dlq")
	rewrite := fake.ByPosition(fake.Answers{"1": fake.Split(1), "2": fake.Split(2), "3": fake.Split(1)})
	failing := fake.ByPosition(fake.Answers{"2b": fake.Fail, "3a": fake.Fail})
	fake.WantNoError(t, fake.Run(t, fake.Queue(dead), fake.From(fake.SourceOf(j, "1 2 3")), fake.Through("rewrite", rewrite), fake.Through("fail", failing), fake.To(fake.NewDestination(j, "out"))))
	j.Want(t, "out ack dlq", "out 1a", "ack 1", "dlq 2 3a", "ack 2 3")
}

func TestWorker_ackFromOutside(t *testing.T) {
	j := &fake.Journal{}
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j)), fake.To(fake.NewDestination(j, "out"))), fake.Queue(fake.NewDestination(j, "dlq")))
	ctx := t.Context()

	b := funnel.NewBatch(fake.Records("1", "2", "3"))
	b.Filter(0)
	b.SplitRecord(0, fake.Records("2a", "2b"))
	fake.WantNoError(t, w.Ack(ctx, b))
	fake.WantNoError(t, w.Ack(ctx, b))
	fake.WantNoError(t, w.Nack(ctx, b, "task"))
	j.Want(t, "ack dlq", "ack 1 2 3")

	j.Clear()
	b = funnel.NewBatch(fake.Records("4", "5"))
	b.Nack(1, fake.ErrTest)
	fake.WantError(t, w.Ack(ctx, b), nil, "1 nacked")
	b.Ack(1)
	b.Retry(0)
	b.Retry(1)
	b.Ack(1)
	fake.WantError(t, w.Ack(ctx, b), nil, "0 nacked, 1 to be retried")
	b.Ack(0, 2)
	b.Retry(0, 2)
	fake.WantError(t, w.Ack(ctx, b), nil, "0 nacked, 2 to be retried")
	fake.WantError(t, w.Ack(ctx, funnel.NewBatch(fake.Records("6", ""))), nil, "empty position")
	fake.WantNoError(t, w.Ack(ctx, &funnel.Batch{}))
	j.Want(t, "")
}

func TestWorker_nackFromOutside(t *testing.T) {
	j := &fake.Journal{}
	source, dead := fake.SourceOf(j), fake.NewDestination(j, "dlq")
	w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(fake.NewDestination(j, "out"))), fake.Queue(dead))
	ctx := t.Context()

	b := funnel.NewBatch(fake.Records("1", "2", "3", "4"))
	b.Filter(1)
	b.Nack(0, fake.ErrOf("1"))
	b.SplitRecord(1, fake.Records("3a", "3b"))
	b.Nack(2, fake.ErrOf("3b"))
	b.Retry(3)
	fake.WantNoError(t, w.Nack(ctx, b, "task"))
	fake.WantNoError(t, w.Nack(ctx, b, "task"))
	j.Want(t, "ack dlq", "dlq 1", "ack 1", "ack 2", "dlq 3 4", "ack 3 4")
	for i, want := range []string{fake.ErrOf("1").Error(), fake.ErrOf("3b").Error(), "nacked without an error"} {
		fake.WantNack(t, dead.Written[i], "task", want)
	}

	// What has failed is tried again.
	j.Clear()
	failing := fake.ErrTest
	source.OnAck = func(_ context.Context, positions []opencdc.Position) error { clear(positions); return failing }
	b = funnel.NewBatch(fake.Records("5"))
	fake.WantError(t, w.Ack(ctx, b), fake.ErrTest)
	failing = nil
	fake.WantNoError(t, w.Ack(ctx, b))
	fake.WantNoError(t, w.Ack(ctx, b))
	j.Want(t, "ack dlq", "ack 5", "ack 5")
}

// The positions that were acked belong to the source, which may do with them as
// it likes, also while the rest of the batch is on its way.
func TestWorker_ackedPositionsAreNotReadAgain(t *testing.T) {
	j := &fake.Journal{}
	source := fake.SourceOf(j, "1 2 3")
	source.OnAck = func(_ context.Context, positions []opencdc.Position) error { clear(positions); return nil }
	var w *funnel.Worker
	settles := fake.Custom("settles", func(ctx context.Context, b *funnel.Batch) error {
		if string(b.ActiveRecords()[0].Position) == "1" {
			return nil
		}
		return w.Ack(ctx, b)
	})
	first := fake.Chain(fake.From(source), fake.Through("p", fake.ByPosition(fake.Answers{"2": fake.SecondTime(fake.Pass)})), settles, fake.To(fake.NewDestination(j, "out")))
	w = fake.NewWorker(t, first, nil)
	fake.WantNoError(t, fake.RunWorker(t, w))
	b := funnel.NewBatch(fake.Records("4"))
	for range 2 {
		fake.WantNoError(t, w.Ack(t.Context(), b))
		fake.WantNoError(t, w.Nack(t.Context(), b, "task"))
	}
	j.Want(t, "out ack", "out 1", "ack 1", "ack 2", "ack 3", "ack 4")
}

// A task that settles its batch itself takes it out of the pipeline.
func TestWorker_taskSettlesItsBatch(t *testing.T) {
	j := &fake.Journal{}
	var w *funnel.Worker
	settles := fake.Custom("settles", func(ctx context.Context, b *funnel.Batch) error {
		switch first := string(b.ActiveRecords()[0].Position); first {
		case "1":
			return w.Ack(ctx, b)
		case "3":
			return w.Nack(ctx, b, "settles")
		}
		return nil
	})
	w = fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2", "3", "4")), settles, fake.To(fake.NewDestination(j, "out"))), fake.Queue(fake.NewDestination(j, "dlq")))
	fake.WantNoError(t, fake.RunWorker(t, w))
	j.Want(t, "out ack dlq", "ack 1 2", "dlq 3", "ack 3", "out 4", "ack 4")
}

// The first task may be one that wraps a SourceTask, or that makes batches of
// its own.
func TestWorker_customFirstTask(t *testing.T) {
	j := &fake.Journal{}
	source := fake.SourceOf(j, "1 2 3")
	first := fake.Node(&wrappedSource{SourceTask: funnel.NewSourceTask("source", source, log.Nop(), nil)})
	fake.WantNoError(t, fake.Run(t, fake.Queue(fake.NewDestination(j, "dlq")), first, fake.To(fake.NewDestination(j, "out"))))
	j.Want(t, "out ack dlq", "dlq 1", "ack 1", "out 2", "ack 2 3")

	j.Clear()
	own := fake.Node(&ownSource{source: fake.SourceOf(j, "4 5")})
	fake.WantNoError(t, fake.Run(t, nil, own, fake.To(fake.NewDestination(j, "out"))))
	j.Want(t, "out ack", "out 4 5", "ack 4 5")
}

type wrappedSource struct{ *funnel.SourceTask }

func (s *wrappedSource) Do(ctx context.Context, b *funnel.Batch) error {
	err := s.SourceTask.Do(ctx, b)
	if b.HasActiveRecords() {
		b.Nack(0, fake.ErrTest)
		b.Filter(2)
	}
	return err
}

type ownSource struct {
	fake.Task
	source *fake.Source
}

func (s *ownSource) ID() string { return "own" }

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
		j := &fake.Journal{}
		recs, timer := fake.Records("1", "2"), &fake.Timer{}
		recs[1].Metadata.SetReadAt(time.Now().Add(-time.Minute))
		filters := &filteringSource{funnel.NewSourceTask("source", fake.NewSource(j, fake.Read{Records: recs}), log.Nop(), nil)}
		w, err := funnel.NewWorker(fake.Chain(fake.Node(filters), fake.To(fake.NewDestination(j, "out"))), nil, log.Nop(), timer)
		if err != nil {
			t.Fatal(err)
		}
		fake.WantNoError(t, fake.RunWorker(t, w))
		if len(timer.Observed) != 2 || timer.Observed[0] != 0 || timer.Observed[1].Round(time.Second) != time.Minute {
			t.Errorf("observed %v", timer.Observed)
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
		j := &fake.Journal{}
		retries := &retryingSource{funnel.NewSourceTask("source", fake.SourceOf(j, "1"), log.Nop(), nil)}
		err := fake.Run(t, nil, fake.Node(retries), fake.To(fake.NewDestination(j, "out")))
		fake.WantError(t, err, nil, `"source"`, "holds records already")
		j.Want(t, "out ack")
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
		j := &fake.Journal{}
		recs := fake.Records("1", "2", "3", "4")
		recs[0].Metadata.SetReadAt(time.Now().Add(-time.Minute))
		recs[1].Metadata[opencdc.MetadataReadAt] = "no time"
		recs[3].Metadata = nil
		out := fake.NewDestination(j, "out")
		out.OnWrite = func(context.Context, []opencdc.Record) error { time.Sleep(time.Second); return nil }
		timer := &fake.Timer{}
		p := fake.ByPosition(fake.Answers{"2": fake.Fail, "3": fake.Split(2), "4": fake.Filter})
		first := fake.Chain(fake.From(fake.NewSource(j, fake.Read{Records: recs})), fake.Through("p", p), fake.To(out))
		w, err := funnel.NewWorker(first, fake.Queue(fake.NewDestination(j, "dlq")), log.Nop(), timer)
		if err != nil {
			t.Fatal(err)
		}
		fake.WantNoError(t, fake.RunWorker(t, w))
		want := []time.Duration{time.Minute + time.Second, time.Second, 2 * time.Second, 2 * time.Second}
		if len(timer.Observed) != len(want) {
			t.Fatalf("observed %v, want %v", timer.Observed, want)
		}
		for i, d := range timer.Observed {
			if d.Round(time.Millisecond) != want[i] {
				t.Errorf("record %d took %v, want %v", i, d, want[i])
			}
		}
	})
}

// A timer of a set begins to report when a registry is registered, also while
// the worker runs.
func TestWorker_timerOfASet(t *testing.T) {
	j := &fake.Journal{}
	set, timer := metrics.NewSet(), &fake.Timer{}
	source := fake.SourceOf(j, "1", "2 3")
	source.OnAck = func(context.Context, []opencdc.Position) error {
		if len(source.Reads) > 0 {
			set.Register(timerRegistry{timer: timer})
		}
		return nil
	}
	first := fake.Chain(fake.From(source), fake.To(fake.NewDestination(j, "out")))
	w, err := funnel.NewWorker(first, nil, log.Nop(), set.NewTimer(metrics.Desc{Name: "t"}).WithValues())
	if err != nil {
		t.Fatal(err)
	}
	fake.WantNoError(t, fake.RunWorker(t, w))
	if len(timer.Observed) != 2 {
		t.Errorf("observed %v", timer.Observed)
	}
}

type timerRegistry struct {
	noop.Registry
	timer *fake.Timer
}

func (r timerRegistry) NewTimer(metrics.Desc) metrics.LabeledTimer { return r }

func (r timerRegistry) WithValues(...string) metrics.Timer { return r.timer }

// Nothing is done for metrics and timers that do nothing.
func TestWorker_disabledMetrics(t *testing.T) {
	j := &fake.Journal{}
	m := disabledMetrics{t}
	first := fake.Chain(
		fake.Node(funnel.NewSourceTask("s", fake.SourceOf(j, "1 2"), log.Nop(), m)),
		fake.Node(funnel.NewProcessorTask("p", fake.ByPosition(fake.Answers{"1": fake.Fail}), log.Nop(), disabledProcessorMetrics(m))),
		fake.Node(funnel.NewDestinationTask("d", fake.NewDestination(j, "d"), log.Nop(), m)),
	)
	w, err := funnel.NewWorker(first, funnel.NewDLQ("q", fake.NewDestination(j, "q"), log.Nop(), m, 0, 0), log.Nop(), m)
	if err != nil {
		t.Fatal(err)
	}
	fake.WantNoError(t, fake.RunWorker(t, w))
	j.Want(t, "ack", "ack 1", "ack 2")
}

type disabledMetrics struct{ t *testing.T }

func (m disabledMetrics) Enabled() bool { return false }

func (m disabledMetrics) Observe([]opencdc.Record, time.Time) { m.t.Error("something was observed") }

func (m disabledMetrics) Update(time.Duration) { m.t.Error("something was observed") }

func (m disabledMetrics) UpdateSince(time.Time) { m.t.Error("something was observed") }

type disabledProcessorMetrics struct{ t *testing.T }

func (m disabledProcessorMetrics) Enabled() bool { return false }

func (m disabledProcessorMetrics) Observe(int, time.Time) { m.t.Error("something was observed") }

// quietSource and quietDestination allocate nothing.
type quietSource struct {
	funnel.Source
	read func() ([]opencdc.Record, error)
}

func (s quietSource) Read(context.Context) ([]opencdc.Record, error) { return s.read() }

func (s quietSource) Ack(context.Context, []opencdc.Position) error { return nil }

type quietDestination struct {
	funnel.Destination
	acks []connector.DestinationAck
}

func (d quietDestination) Write(context.Context, []opencdc.Record) error { return nil }

func (d quietDestination) Ack(context.Context) ([]connector.DestinationAck, error) {
	return d.acks, nil
}
