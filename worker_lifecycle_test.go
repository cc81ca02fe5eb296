package funnel_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

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

// What a failed Open could not close is closed before it is opened again, or Open
// fails.
func TestWorker_openAgain(t *testing.T) {
	j := &fake.Journal{}
	source, out := fake.SourceOf(j, "1"), fake.NewDestination(j, "out")
	failing := errors.New("teardown failed")
	fails := true
	source.OnTeardown = func(context.Context) error {
		if fails {
			return failing
		}
		return nil
	}
	out.OnOpen = func(context.Context) error {
		if fails {
			return fake.ErrTest
		}
		return nil
	}
	w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil)
	err := w.Open(t.Context())
	fake.WantError(t, err, fake.ErrTest, `task "out": failed to open`)
	fake.WantError(t, err, failing, `task "source": failed to tear down the source`)
	fake.WantError(t, w.Open(t.Context()), failing)
	j.Want(t, "", "open source", "open out", "teardown source", "teardown source")
	fails = false
	fake.WantNoError(t, w.Open(t.Context()))
	j.Want(t, "", "open source", "open out", "teardown source", "teardown source", "teardown source", "open source", "open out")
	fake.WantNoError(t, w.Do(t.Context()))
	fake.WantNoError(t, w.Close(t.Context()))
	j.Want(t, "teardown ack", "teardown source", "teardown source", "teardown source", "ack 1", "teardown source", "teardown out")
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

// If Open panics, what was opened is closed again, and the panic comes back.
func TestWorker_openPanicsAndTeardownFails(t *testing.T) {
	j := &fake.Journal{}
	source, out := fake.SourceOf(j, "1"), fake.NewDestination(j, "out")
	failing := errors.New("teardown failed")
	source.OnTeardown = func(context.Context) error { return failing }
	out.OnOpen = func(context.Context) error { panic(fake.ErrTest) }
	w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil)
	p, ok := fake.PanicOf(func() { _ = w.Open(t.Context()) }).(*funnel.PanicError)
	if !ok || p.Value != fake.ErrTest || !errors.Is(p.Err, failing) {
		t.Errorf("Open panicked with %v", p)
	}
	j.Want(t, "", "open source", "open out", "teardown source")
	fake.WantError(t, w.Do(t.Context()), funnel.ErrNotOpen)
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

// The ends that the engine knows by name before it has run.
func TestWorker_doBeforeAndAfter(t *testing.T) {
	j := &fake.Journal{}
	out := fake.NewDestination(j, "out")
	out.OnOpen = func(context.Context) error { return fake.ErrTest }
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.To(out)), nil)
	fake.WantError(t, w.Open(t.Context()), fake.ErrTest)
	fake.WantError(t, w.Do(t.Context()), funnel.ErrNotOpen)
	fake.WantError(t, w.Do(t.Context()), funnel.ErrAlreadyRan)

	w = fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.To(out)), nil)
	fake.WantError(t, w.Open(t.Context()), fake.ErrTest)
	fake.WantNoError(t, w.Close(t.Context()))
	fake.WantError(t, w.Open(t.Context()), nil, "closed")
	fake.WantError(t, w.Do(t.Context()), funnel.ErrNotOpen)
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

// One thing that fails to close, panics, or ends the goroutine keeps no other from
// being closed. The panic comes back, with the errors of the others.
func TestWorker_closePanics(t *testing.T) {
	for _, how := range []string{"panic", "goexit", "error"} {
		for _, where := range []string{"source", "a", "b", "dlq"} {
			j := &fake.Journal{}
			source, a, b, dead := fake.SourceOf(j), fake.NewDestination(j, "a"), fake.NewDestination(j, "b"), fake.NewDestination(j, "dlq")
			calls := 0
			teardown := func(context.Context) error {
				switch calls++; how {
				case "panic":
					panic(fake.ErrTest)
				case "goexit":
					runtime.Goexit()
				}
				return fake.ErrTest
			}
			other := errors.New("another error")
			if where == "source" {
				source.OnTeardown = teardown
			} else {
				map[string]*fake.Destination{"a": a, "b": b, "dlq": dead}[where].OnTeardown = teardown
			}
			if where != "a" {
				a.OnTeardown = func(context.Context) error { return other }
			}
			first := fake.From(source)
			first.Next = []*funnel.TaskNode{fake.To(a), fake.To(b)}
			w := fake.NewWorker(t, first, fake.Queue(dead))
			fake.WantNoError(t, w.Open(t.Context()))
			for i := range 3 {
				closed := make(chan fake.Ending, 1)
				go func() {
					e := fake.Ending{Exited: true}
					defer func() {
						if v := recover(); v != nil {
							e = fake.Ending{Panic: v}
						}
						closed <- e
					}()
					e.Err = w.Close(t.Context())
					e.Exited = false
				}()
				e := <-closed
				switch how {
				case "panic":
					e.WantPanic(t, fake.ErrTest)
					if p, ok := e.Panic.(*funnel.PanicError); ok && where != "a" && !errors.Is(p.Err, other) {
						t.Errorf("the panic holds %v", p.Err)
					}
				case "goexit":
					if !e.Exited {
						t.Errorf("Close has ended with %+v", e)
					}
				case "error":
					fake.WantError(t, e.Err, fake.ErrTest)
				}
				if calls != i+1 {
					t.Errorf("%s of %s: tried %d times in %d calls", how, where, calls, i+1)
				}
				for _, name := range []string{"source", "b", "dlq"} {
					if name != where && slices.Index(j.Lines("teardown"), "teardown "+name) < 0 {
						t.Errorf("%s of %s: %s is not closed", how, where, name)
					}
				}
			}
			for _, name := range []string{"source", "b", "dlq"} {
				n := 0
				for _, line := range j.Lines("teardown") {
					if line == "teardown "+name {
						n++
					}
				}
				if name != where && n != 1 {
					t.Errorf("%s of %s: %s was closed %d times", how, where, name, n)
				}
			}
		}
	}
}

// While Close closes the tasks, with the turn, a Do that begins returns at once.
func TestWorker_doWhileClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		out, release := fake.NewDestination(j, "out"), make(chan struct{})
		out.OnTeardown = func(context.Context) error { <-release; return nil }
		w := fake.NewWorker(t, fake.Chain(fake.FromThen(fake.SourceOf(j, "1"), nil), fake.To(out)), nil)
		fake.WantNoError(t, w.Open(t.Context()))
		closed := make(chan error, 1)
		go func() { closed <- w.Close(t.Context()) }()
		synctest.Wait()
		fake.WantNoError(t, w.Do(t.Context()))
		close(release)
		fake.WantNoError(t, <-closed)
		j.Want(t, "out ack")
	})
}

// Do and Close do not wait for each other, whichever comes first, and whatever the
// first task is.
func TestWorker_doBesideClose(t *testing.T) {
	for _, first := range []func(funnel.Source) *funnel.TaskNode{
		fake.From,
		func(s funnel.Source) *funnel.TaskNode { return fake.FromThen(s, nil) },
	} {
		for _, ahead := range []int{0, 3} {
			for range 300 {
				j := &fake.Journal{}
				s := fake.NewSource(j)
				s.Endless = true
				s.Reading = make(chan struct{}, 10)
				w := fake.NewWorker(t, fake.Chain(first(s), fake.To(fake.NewDestination(j, "out"))), nil, fake.Ahead(ahead)...)
				fake.WantNoError(t, w.Open(context.Background()))
				var both sync.WaitGroup
				both.Go(func() { _ = w.Do(context.Background()) })
				both.Go(func() { fake.WantNoError(t, w.Close(context.Background())) })
				both.Go(func() { fake.WantNoError(t, w.Stop(context.Background())) })
				both.Wait()
				if got := j.Lines("teardown"); len(got) != 2 {
					t.Fatalf("teardowns: %v", got)
				}
			}
		}
	}
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

// Close during Do first does what Stop does.
func TestWithReadAhead_close(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.NewBusy(t)
		done, closed := p.StartReading(t, t.Context()), make(chan error)
		go func() { closed <- p.Worker.Close(t.Context()) }()
		synctest.Wait()
		p.Want(t, "ack teardown")
		close(p.GoOn)
		fake.WantNoError(t, <-closed)
		(<-done).Want(t, nil)
		p.Want(t, "ack teardown", "ack 1", "teardown source", "teardown dlq", "teardown out")
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

// A first task of one's own is closed when Do has returned, also if that ends with
// an error at the same time, and if tearing the source down fails.
func TestWithReadAhead_closeWithACustomFirstTask(t *testing.T) {
	teardownErr := errors.New("teardown failed")
	for i := range 8 {
		closesFirst, result, failing := i%2 == 0, fake.ErrTest, teardownErr
		if i&2 == 0 {
			failing = nil
		}
		if i&4 == 0 {
			result = nil
		}
		if result == nil && failing != nil {
			continue // nothing ends the read
		}
		synctest.Test(t, func(t *testing.T) {
			p := fake.NewBusy(t)
			p.Pending = p.UntilEnded
			p.Result = func() error { return result }
			p.Source.OnTeardown = func(context.Context) error { time.Sleep(time.Second); return failing }
			goOn := make(chan struct{})
			close(goOn)
			p.First.Task = &slowSource{SourceTask: funnel.NewSourceTask("source", p.Source, log.Nop(), nil), Journal: p.Journal, goOn: goOn}
			done, closed := p.StartReading(t, t.Context()), make(chan error)
			if !closesFirst {
				close(p.GoOn)
				synctest.Wait()
			}
			go func() { closed <- p.Worker.Close(t.Context()) }()
			if closesFirst {
				synctest.Wait()
				close(p.GoOn)
			}
			if err := <-closed; !errors.Is(err, failing) {
				t.Errorf("Close: %v", err)
			}
			(<-done).Want(t, result)
			p.Want(t, "done close", "done first", "done first", "done first", "done first", "close first")
			failing = nil
			fake.WantNoError(t, p.Worker.Close(t.Context()))
			fake.WantNoError(t, p.Worker.Close(t.Context()))
		})
	}
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
