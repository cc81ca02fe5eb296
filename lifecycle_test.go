package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// A way that ends where records cannot stay is refused, and the task at its end is
// named.
func TestNewWorker_ends(t *testing.T) {
	j := &fake.Journal{}
	out := func() *funnel.TaskNode { return fake.To(fake.NewDestination(j, "out")) }
	p := func(id string) *funnel.TaskNode { return fake.Through(id, fake.Each(fake.Pass)) }
	branches := func(next ...*funnel.TaskNode) *funnel.TaskNode {
		first := fake.From(fake.SourceOf(j))
		first.Next = next
		return first
	}
	for _, tt := range []struct {
		name  string
		first *funnel.TaskNode
		end   string // "" if the worker is to be made
	}{
		{"a source alone", fake.From(fake.SourceOf(j)), "source"},
		{"a processor", fake.Chain(fake.From(fake.SourceOf(j)), p("p")), "p"},
		{"two processors", fake.Chain(fake.From(fake.SourceOf(j)), p("p"), p("q")), "q"},
		{"a processor beside a destination", branches(out(), p("p")), "p"},
		{"a processor behind a destination", fake.Chain(fake.From(fake.SourceOf(j)), out(), p("p")), "p"},
		{"a processor further down", branches(out(), fake.Chain(p("p"), fake.Node(p("q").Task, p("r"), fake.Custom("end", nil)))), "r"},
		{"a task of the host's own", fake.Chain(fake.From(fake.SourceOf(j)), fake.Custom("own", nil)), ""},
		{"a first task of the host's own", fake.FromThen(fake.SourceOf(j), nil), ""},
		{"a destination", fake.Chain(fake.From(fake.SourceOf(j)), p("p"), out()), ""},
	} {
		w, err := funnel.NewWorker(tt.first, nil, log.Nop(), nil)
		switch {
		case tt.end == "":
			fake.WantNoError(t, err)
		case w != nil:
			t.Errorf("%s: there is a worker", tt.name)
		default:
			fake.WantError(t, err, nil, fmt.Sprintf("%q", tt.end))
		}
	}
}

// A task is asked for its ID once, by NewWorker, and its answer is used in every
// error from then on.
func TestNewWorker_asksForIDsOnce(t *testing.T) {
	j := &fake.Journal{}
	asked := 0
	task := &countingTask{Task: fake.Task{OnDo: func(context.Context, *funnel.Batch) error { return fake.ErrTest }}, asked: &asked}
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.Node(task), fake.To(fake.NewDestination(j, "out"))), nil)
	err := fake.RunWorker(t, w)
	fake.WantError(t, err, fake.ErrTest, `task "own": `)
	if asked != 1 {
		t.Errorf("the task was asked for its ID %d times", asked)
	}
}

// countingTask has an ID once only.
type countingTask struct {
	fake.Task
	asked *int
}

func (t *countingTask) ID() string {
	if *t.asked++; *t.asked > 1 {
		panic("the ID was asked for again")
	}
	return "own"
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

// A pipeline that is no longer the one that the worker was made of is neither opened
// nor run.
func TestWorker_pipelineChanges(t *testing.T) {
	j := &fake.Journal{}
	first := fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.To(fake.NewDestination(j, "out")))
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

// When Do tears the source down itself, the worker is stopping.
func TestWorker_StoppingWhenDoTearsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		s, out := fake.SourceOf(j, "1"), fake.NewDestination(j, "out")
		s.Endless = true
		out.OnWrite = func(context.Context, []opencdc.Record) error { <-s.Reading; return fake.ErrTest }
		var w *funnel.Worker
		isStopping := false
		s.OnTeardown = func(context.Context) error { isStopping = w.Stopping(); return nil }
		w = fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(out)), nil, funnel.WithReadAhead(10))
		fake.WantError(t, w.Do(t.Context()), fake.ErrTest)
		if !isStopping || !w.Stopping() {
			t.Error("the worker is not stopping")
		}
		fake.WantNoError(t, w.Close(t.Context()))
	})
}

// Stopping says that tearing the source down may have begun, and not before.
func TestWorker_Stopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		s := fake.SourceOf(j, "1")
		s.Endless = true
		var w *funnel.Worker
		s.OnTeardown = func(context.Context) error {
			if !w.Stopping() {
				t.Error("the source is torn down, and the worker is not stopping")
			}
			return nil
		}
		goOn := make(chan struct{})
		out := fake.NewDestination(j, "out")
		out.OnWrite = func(context.Context, []opencdc.Record) error { <-goOn; return nil }
		w = fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(out)), nil)
		done := fake.Start(t.Context(), w)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		fake.WantError(t, w.Stop(ctx), context.DeadlineExceeded)
		if w.Stopping() {
			t.Error("a Stop that gave up has left a trace")
		}
		close(goOn)
		<-s.Reading
		fake.WantNoError(t, w.Stop(t.Context()))
		(<-done).Want(t, nil)
		if !w.Stopping() {
			t.Error("the worker is stopped and not stopping")
		}
	})
}

// Random calls of all methods, with faults in every callback: nothing waits for
// ever, and everything that was opened is closed as often, at most once more if
// that failed.
func TestWorker_randomLives(t *testing.T) {
	lives := 3_000
	if testing.Short() {
		lives = 300
	}
	for seed := range lives {
		synctest.Test(t, func(t *testing.T) {
			randomLife(t, rand.New(rand.NewPCG(uint64(seed), 7)), fmt.Sprint("seed ", seed))
		})
	}
}

// live is something that is opened and closed, and fails at times.
type live struct {
	name           string
	mu             sync.Mutex
	rnd            *rand.Rand
	open           bool
	faults         int // how many are left
	opens, doubles int
}

// fault fails, panics, ends the goroutine or waits.
func (l *live) fault() error {
	l.mu.Lock()
	n := 9
	if l.faults > 0 {
		n = l.rnd.IntN(10)
	}
	if n < 3 {
		l.faults--
	}
	l.mu.Unlock()
	switch n {
	case 0:
		return fake.ErrTest
	case 1:
		panic(fake.ErrTest)
	case 2:
		runtime.Goexit()
	case 3:
		time.Sleep(time.Millisecond)
	}
	return nil
}

func (l *live) opened() error {
	if err := l.fault(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open {
		l.doubles++
	}
	l.open = true
	l.opens++
	return nil
}

func (l *live) closed() error {
	if err := l.fault(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open && l.opens > 0 {
		l.doubles++
	}
	l.open = false
	return nil
}

func randomLife(t *testing.T, rnd *rand.Rand, name string) {
	j := &fake.Journal{}
	var all []*live
	newLive := func(name string) *live {
		l := &live{name: name, rnd: rand.New(rand.NewPCG(rnd.Uint64(), 1)), faults: rnd.IntN(3)}
		all = append(all, l)
		return l
	}
	source := fake.SourceOf(j, "1 2", "3", "4 5")
	source.Endless = rnd.IntN(2) == 0
	source.Reading = make(chan struct{}, 100)
	s := newLive("source")
	source.OnOpen = func(context.Context) error { return s.opened() }
	source.OnTeardown = func(context.Context) error { return s.closed() }
	destination := func(name string) *fake.Destination {
		d, l := fake.NewDestination(j, name), newLive(name)
		d.OnOpen = func(context.Context) error { return l.opened() }
		d.OnTeardown = func(context.Context) error { return l.closed() }
		works := newLive(name + " at work")
		d.OnWrite = func(context.Context, []opencdc.Record) error { return works.fault() }
		return d
	}
	first := fake.From(source)
	if rnd.IntN(2) == 0 {
		first = fake.FromThen(source, nil)
	}
	if first.Next = append(first.Next, fake.To(destination("a"))); rnd.IntN(2) == 0 {
		first.Next = append(first.Next, fake.To(destination("b")))
	}
	w := fake.NewWorker(t, first, fake.Queue(destination("dlq")), fake.Ahead(rnd.IntN(3))...)

	var calls sync.WaitGroup
	var pending atomic.Int64
	call := func(f func(ctx context.Context)) {
		ctx, cancel := t.Context(), context.CancelFunc(func() {})
		if rnd.IntN(3) == 0 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(rnd.IntN(5))*time.Millisecond)
		}
		pending.Add(1)
		calls.Go(func() {
			defer pending.Add(-1)
			defer cancel()
			defer func() { _ = recover() }()
			f(ctx)
		})
	}
	for range 3 + rnd.IntN(8) {
		switch rnd.IntN(5) {
		case 0:
			call(func(ctx context.Context) { _ = w.Open(ctx) })
		case 1:
			call(func(ctx context.Context) { _ = w.Do(ctx) })
		case 2:
			call(func(ctx context.Context) { _ = w.Stop(ctx) })
		case 3:
			call(func(ctx context.Context) { _ = w.Close(ctx) })
		case 4:
			if rnd.IntN(2) == 0 {
				synctest.Wait()
			} else {
				time.Sleep(time.Millisecond)
			}
		}
	}
	// Whatever has happened, a few calls of Close end everything.
	for range 12 {
		over := make(chan struct{})
		go func() {
			defer close(over)
			defer func() { _ = recover() }()
			_ = w.Close(t.Context())
		}()
		select {
		case <-over:
		case <-time.After(time.Minute):
			t.Fatalf("%s: Close does not return", name)
		}
	}
	over := make(chan struct{})
	go func() { calls.Wait(); close(over) }()
	select {
	case <-over:
	case <-time.After(time.Minute):
		t.Fatalf("%s: %d calls do not return", name, pending.Load())
	}
	var wrong []string
	for _, l := range all {
		if l.open || l.doubles > 0 {
			wrong = append(wrong, fmt.Sprintf("%s is open: %t, opened or closed twice: %d", l.name, l.open, l.doubles))
		}
	}
	if wrong != nil {
		t.Fatalf("%s: %s\ncalls:\n%s", name, strings.Join(wrong, ", "), strings.Join(j.Lines(""), "\n"))
	}
}
