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

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// failingWorker returns a worker whose parts write to the journal when they are opened
// and closed. They fail with the errors in fails, by line: "open source", "close task",
// "teardown out", ...
func failingWorker(t *testing.T, j *fake.Journal, source *fake.Source, fails map[string]error, opts ...funnel.WorkerOption) *funnel.Worker {
	t.Helper()
	out, dead := fake.NewDestination(j, "out"), fake.NewDestination(j, "dlq")
	fail := func(what string) func(context.Context) error {
		return func(context.Context) error { return fails[what] }
	}
	source.OnOpen, source.OnTeardown = fail("open source"), fail("teardown source")
	out.OnOpen, out.OnTeardown = fail("open out"), fail("teardown out")
	dead.OnOpen, dead.OnTeardown = fail("open dlq"), fail("teardown dlq")
	task := fake.Node(&fake.Task{
		Name:    "task",
		OnDo:    fake.Nothing,
		OnOpen:  func() error { j.Add("open task"); return fails["open task"] },
		OnClose: func() error { j.Add("close task"); return fails["close task"] },
	})
	return fake.NewWorker(t, fake.Chain(fake.From(source), task, fake.To(out)), fake.Queue(dead), opts...)
}

// The tasks are opened in order, then the queue; the source is torn down first, the
// others are closed in reverse. Closing and stopping again does nothing.
func TestWorker_openAndClose(t *testing.T) {
	j := &fake.Journal{}
	w := failingWorker(t, j, fake.SourceOf(j), nil)
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

// If one part fails to open, the parts opened before it are closed, in reverse.
func TestWorker_openFails(t *testing.T) {
	opens := []string{"open source", "open task", "open out", "open dlq"}
	closes := []string{"teardown source", "close task", "teardown out"}
	for i, what := range opens {
		t.Run(what, func(t *testing.T) {
			j := &fake.Journal{}
			w := failingWorker(t, j, fake.SourceOf(j), map[string]error{what: fake.ErrTest})
			fake.WantError(t, w.Open(t.Context()), fake.ErrTest, []string{`"source"`, `"task"`, `"out"`, `"dlq"`}[i])
			want := slices.Clone(opens[:i+1])
			for k := i - 1; k >= 0; k-- {
				want = append(want, closes[k])
			}
			j.Want(t, "", want...)
			fake.WantNoError(t, w.Close(t.Context()))
			j.Want(t, "", want...)
		})
	}
}

// If parts then fail to close, the error of Open has their errors, too. Close retries
// them.
func TestWorker_openAndCleanUpFail(t *testing.T) {
	j := &fake.Journal{}
	closing := errors.New("closing failed")
	fails := map[string]error{"open dlq": fake.ErrTest, "close task": closing, "teardown source": closing}
	w := failingWorker(t, j, fake.SourceOf(j), fails)
	err := w.Open(t.Context())
	fake.WantError(t, err, fake.ErrTest)
	fake.WantError(t, err, closing, `"task"`, "tear down")
	clear(fails)
	j.Clear()
	fake.WantNoError(t, w.Close(t.Context()))
	j.Want(t, "", "teardown source", "close task")
}

// Open first closes what an earlier Open could not close. If it cannot, it fails.
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

// If a part panics in Open, the parts opened before it are closed. Open panics, too, with
// the errors of those that could not be closed.
func TestWorker_openPanics(t *testing.T) {
	for _, teardownErr := range []error{nil, errors.New("teardown failed")} {
		j := &fake.Journal{}
		source, out := fake.SourceOf(j, "1"), fake.NewDestination(j, "out")
		source.OnTeardown = func(context.Context) error { return teardownErr }
		out.OnOpen = func(context.Context) error { panic(fake.ErrTest) }
		w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil)
		p, ok := fake.PanicOf(func() { _ = w.Open(t.Context()) }).(*funnel.PanicError)
		if !ok || p.Value != fake.ErrTest || !errors.Is(p.Err, teardownErr) {
			t.Errorf("Open panicked with %v", p)
		}
		j.Want(t, "", "open source", "open out", "teardown source")
		fake.WantError(t, w.Do(t.Context()), funnel.ErrNotOpen, "not open")
		teardownErr = nil
		fake.WantNoError(t, w.Close(t.Context()))
	}
}

// If Open failed, the worker does not run until it is opened again.
func TestWorker_doAfterFailedOpen(t *testing.T) {
	j := &fake.Journal{}
	fails := map[string]error{"open out": fake.ErrTest}
	w := failingWorker(t, j, fake.SourceOf(j, "1"), fails)
	fake.WantError(t, w.Open(t.Context()), fake.ErrTest)
	clear(fails)
	fake.WantNoError(t, w.Open(t.Context()))
	fake.WantNoError(t, w.Do(t.Context()))
	fake.WantNoError(t, w.Close(t.Context()))
	j.Want(t, "ack teardown", "teardown source", "ack 1", "teardown source", "teardown dlq", "teardown out")

	fails["open out"] = fake.ErrTest
	for _, closes := range []bool{false, true} {
		j.Clear()
		w = failingWorker(t, j, fake.SourceOf(j, "1"), fails)
		fake.WantError(t, w.Open(t.Context()), fake.ErrTest)
		if closes {
			fake.WantNoError(t, w.Close(t.Context()))
			fake.WantError(t, w.Open(t.Context()), nil, "closed")
		}
		fake.WantError(t, w.Do(t.Context()), funnel.ErrNotOpen, "not open")
		fake.WantError(t, w.Do(t.Context()), funnel.ErrAlreadyRan)
		fake.WantNoError(t, w.Close(t.Context()))
		j.Want(t, "ack teardown", "teardown source")
	}
}

// A worker that runs cannot be opened.
func TestWorker_openWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		source := fake.NewSource(j)
		source.Endless = true
		w := failingWorker(t, j, source, nil)
		done := fake.Start(t.Context(), w)
		<-source.Reading
		fake.WantError(t, w.Open(t.Context()), nil, "opened already")
		fake.WantNoError(t, w.Close(t.Context()))
		(<-done).Want(t, nil)
		j.Want(t, "", "teardown source")
	})
}

// A pipeline that has changed since NewWorker is neither opened nor run.
func TestWorker_pipelineChanges(t *testing.T) {
	j := &fake.Journal{}
	first := fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.Out(j))
	w := fake.NewWorker(t, first, nil)
	next := first.Next
	fake.WantNoError(t, first.AppendToEnd(fake.To(fake.NewDestination(j, "more"))))
	fake.WantError(t, w.Open(t.Context()), nil, "has changed")
	first.Next = nil
	fake.WantError(t, w.Open(t.Context()), nil, "has changed")
	fake.WantError(t, w.Do(t.Context()), nil, "has changed")
	first.Next = next
	j.Want(t, "")
}

// A worker runs once.
func TestWorker_runsOnce(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		p := fake.NewBusy(t)
		done := p.StartIdle(t, t.Context(), opts...)
		fake.WantError(t, p.Worker.Do(t.Context()), funnel.ErrAlreadyRan, "once")
		fake.WantNoError(t, p.Worker.Stop(t.Context()))
		(<-done).Want(t, nil)
		fake.WantError(t, p.Worker.Do(t.Context()), funnel.ErrAlreadyRan, "once")
		fake.WantNoError(t, p.Worker.Close(t.Context()))
		p.WantGiven(t, "1 2 3", "", "1 2 3")
		p.Want(t, "teardown", "teardown source", "teardown dlq", "teardown out")
	})
}

// Close closes everything, joins the errors, and retries only what failed.
func TestWorker_closeFails(t *testing.T) {
	j := &fake.Journal{}
	fails := map[string]error{
		"teardown source": errors.New("error 1"), "close task": errors.New("error 2"), "teardown dlq": errors.New("error 3"),
	}
	w := failingWorker(t, j, fake.SourceOf(j), fails)
	fake.WantNoError(t, w.Open(t.Context()))
	fake.WantNoError(t, w.Do(t.Context()))
	err := w.Close(t.Context())
	for _, e := range fails {
		fake.WantError(t, err, e)
	}
	j.Want(t, "teardown close", "teardown source", "teardown dlq", "teardown out", "close task")
	j.Clear()
	delete(fails, "teardown dlq")
	fake.WantError(t, w.Close(t.Context()), fails["close task"])
	j.Want(t, "", "teardown source", "teardown dlq", "close task")
	j.Clear()
	clear(fails)
	fake.WantNoError(t, w.Close(t.Context()))
	j.Want(t, "", "teardown source", "close task")
}

// If closing one part fails, panics, or ends the goroutine, the others are closed all the
// same. Close panics, too, with the errors of the others.
func TestWorker_closePanics(t *testing.T) {
	for _, how := range []string{"panic", "goexit", "error"} {
		for _, where := range []string{"source", "a", "b", "dlq"} {
			t.Run(how+" of "+where, func(t *testing.T) { testClosePanics(t, how, where) })
		}
	}
}

func testClosePanics(t *testing.T, how, where string) {
	j := &fake.Journal{}
	source, dead := fake.SourceOf(j), fake.NewDestination(j, "dlq")
	a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
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
	w := fake.NewWorker(t, fake.Fork(fake.From(source), fake.To(a), fake.To(b)), fake.Queue(dead))
	fake.WantNoError(t, w.Open(t.Context()))
	for i := range 3 {
		e := <-fake.Call(func() error { return w.Close(t.Context()) })
		switch how {
		case "panic":
			e.WantPanic(t, fake.ErrTest)
			if p, ok := e.Panic.(*funnel.PanicError); ok && where != "a" && !errors.Is(p.Err, other) {
				t.Errorf("the panic holds %v", p.Err)
			}
		case "goexit":
			e.WantExit(t)
		case "error":
			fake.WantError(t, e.Err, fake.ErrTest)
		}
		if calls != i+1 {
			t.Errorf("tried %d times in %d calls", calls, i+1)
		}
		for _, name := range []string{"source", "b", "dlq"} {
			n := 0
			for _, line := range j.Lines("teardown") {
				if line == "teardown "+name {
					n++
				}
			}
			if name != where && n != 1 {
				t.Errorf("%s was closed %d times after %d calls", name, n, i+1)
			}
		}
	}
}

// A Do that begins while Close closes the tasks returns at once.
func TestWorker_doWhileClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		out, release := fake.NewDestination(j, "out"), make(chan struct{})
		out.OnTeardown = func(context.Context) error { <-release; return nil }
		w := fake.NewWorker(t, fake.Chain(fake.FromThen(fake.SourceOf(j, "1"), nil), fake.To(out)), nil)
		fake.WantNoError(t, w.Open(t.Context()))
		closed := fake.Call(func() error { return w.Close(t.Context()) })
		synctest.Wait()
		fake.WantNoError(t, w.Do(t.Context()))
		close(release)
		(<-closed).Want(t, nil)
		j.Want(t, "out ack")
	})
}

// Do, Stop and Close never wait for each other forever, whichever comes first and
// whatever the first task is.
func TestWorker_doBesideClose(t *testing.T) {
	for _, isCustom := range []bool{false, true} {
		for _, ahead := range []int{0, 3} {
			for range 300 {
				j := &fake.Journal{}
				s := fake.NewSource(j)
				s.Endless = true
				s.Reading = make(chan struct{}, 10)
				first := fake.From(s)
				if isCustom {
					first = fake.FromThen(s, nil)
				}
				w := fake.NewWorker(t, fake.Chain(first, fake.Out(j)), nil, fake.Ahead(ahead)...)
				fake.WantNoError(t, w.Open(context.Background()))
				var calls sync.WaitGroup
				calls.Go(func() { _ = w.Do(context.Background()) })
				calls.Go(func() { fake.WantNoError(t, w.Close(context.Background())) })
				calls.Go(func() { fake.WantNoError(t, w.Stop(context.Background())) })
				calls.Wait()
				if got := j.Lines("teardown"); len(got) != 2 {
					t.Fatalf("teardowns: %v", got)
				}
			}
		}
	}
}

// Close during Do first does what Stop does.
func TestWorker_closeWhileProcessing(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		p := fake.NewBusy(t)
		done := p.Start(t, t.Context(), opts...)
		closed := fake.Call(func() error { return p.Worker.Close(t.Context()) })
		synctest.Wait()
		p.Want(t, "ack teardown")
		close(p.GoOn)
		(<-closed).Want(t, nil)
		(<-done).Want(t, nil)
		p.Want(t, "ack teardown", "ack 1", "teardown source", "teardown dlq", "teardown out")
	})
}

// slowFirstTask is a custom first task whose Do ends when goOn is closed. It writes to
// the journal when it is done and closed.
type slowFirstTask struct {
	*fake.FirstTask
	*fake.Journal
	goOn chan struct{}
}

func newSlowFirstTask(s funnel.Source, j *fake.Journal) *slowFirstTask {
	return &slowFirstTask{FirstTask: fake.NewFirstTask(s, nil), Journal: j, goOn: make(chan struct{})}
}

func (s *slowFirstTask) Do(ctx context.Context, b *funnel.Batch) error {
	err := s.FirstTask.Do(ctx, b)
	<-s.goOn
	s.Add("done first")
	return err
}

func (s *slowFirstTask) Close(context.Context) error {
	s.Add("close first")
	return nil
}

// Close waits for a first task that is at work, until the context of Close ends.
func TestWorker_closeWhileTheFirstTaskWorks(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		source := fake.NewSource(j)
		source.Endless = true
		first := newSlowFirstTask(source, j)
		w := fake.NewWorker(t, fake.Chain(fake.Node(first), fake.Out(j)), nil, opts...)
		fake.WantNoError(t, w.Open(t.Context()))
		done := fake.Start(t.Context(), w)
		<-source.Reading

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		fake.WantError(t, w.Close(ctx), context.DeadlineExceeded, `"source"`)
		closed := fake.Call(func() error { return w.Close(t.Context()) })
		synctest.Wait()
		close(first.goOn)
		(<-closed).Want(t, nil)
		(<-done).Want(t, nil)
		j.Want(t, "teardown done close", "teardown source", "teardown out", "done first", "close first")
	})
}

// If the teardown fails, nothing ends the read of the first task, so Close neither waits
// for the task nor closes it.
func TestWorker_closeWhileTheFirstTaskReads(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		source := fake.NewSource(j)
		source.Endless = true
		failing := fake.ErrTest
		source.OnTeardown = func(context.Context) error { return failing }
		first := newSlowFirstTask(source, j)
		close(first.goOn)
		w := fake.NewWorker(t, fake.Chain(fake.Node(first), fake.Out(j)), nil, opts...)
		fake.WantNoError(t, w.Open(t.Context()))
		done := fake.Start(t.Context(), w)
		<-source.Reading

		fake.WantError(t, w.Close(t.Context()), fake.ErrTest, `"source"`, "not torn down")
		j.Want(t, "done close")
		failing = nil
		fake.WantNoError(t, w.Stop(t.Context()))
		(<-done).Want(t, nil)
		fake.WantNoError(t, w.Close(t.Context()))
		j.Want(t, "done close", "done first", "close first")
	})
}

// A custom first task is closed once, when Do has returned, even if Do ends with an error
// at the same time, and even if the teardown fails.
func TestWorker_closeACustomFirstTask(t *testing.T) {
	teardownErr := errors.New("teardown failed")
	for _, tt := range []struct {
		name            string
		closesFirst     bool // before Do ends
		result, failing error
	}{
		{"Close comes first", true, nil, nil},
		{"Do fails, Close comes first", true, fake.ErrTest, nil},
		{"Do fails, then Close", false, fake.ErrTest, nil},
		{"Do and the teardown fail, Close comes first", true, fake.ErrTest, teardownErr},
		{"Do and the teardown fail, then Close", false, fake.ErrTest, teardownErr},
		{"Close comes later", false, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
				p := fake.NewBusy(t)
				p.Pending = p.UntilEnded
				p.Result = func() error { return tt.result }
				p.Source.OnTeardown = func(context.Context) error { time.Sleep(time.Second); return tt.failing }
				first := newSlowFirstTask(p.Source, p.Journal)
				close(first.goOn)
				p.First.Task = first
				done := p.Start(t, t.Context(), opts...)
				if !tt.closesFirst {
					close(p.GoOn)
					synctest.Wait()
				}
				closed := fake.Call(func() error { return p.Worker.Close(t.Context()) })
				if tt.closesFirst {
					synctest.Wait()
					close(p.GoOn)
				}
				if e := <-closed; !errors.Is(e.Err, tt.failing) {
					t.Errorf("Close: %v", e.Err)
				}
				(<-done).Want(t, tt.result)
				reads := len(p.Lines("read"))
				p.Want(t, "done close", append(slices.Repeat([]string{"done first"}, reads), "close first")...)
				tt.failing = nil
				fake.WantNoError(t, p.Worker.Close(t.Context()))
				fake.WantNoError(t, p.Worker.Close(t.Context()))
			})
		})
	}
}
