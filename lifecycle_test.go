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
	"github.com/conduitio/funnel/log"
)

// hostSource is a first task of the host's own, around one of the engine.
type hostSource struct{ *funnel.SourceTask }

func fromHost(s funnel.Source) *funnel.TaskNode {
	return node(hostSource{funnel.NewSourceTask("source", s, log.Nop(), nil)})
}

// A way that ends where records cannot stay is refused, and the task at its end is
// named.
func TestNewWorker_ends(t *testing.T) {
	j := &journal{}
	out := func() *funnel.TaskNode { return to(newDestination(j, "out")) }
	p := func(id string) *funnel.TaskNode { return through(id, each(single)) }
	branches := func(next ...*funnel.TaskNode) *funnel.TaskNode {
		first := from(batchesOf(j))
		first.Next = next
		return first
	}
	for _, tt := range []struct {
		name  string
		first *funnel.TaskNode
		end   string // "" if the worker is to be made
	}{
		{"a source alone", from(batchesOf(j)), "source"},
		{"a processor", chain(from(batchesOf(j)), p("p")), "p"},
		{"two processors", chain(from(batchesOf(j)), p("p"), p("q")), "q"},
		{"a processor beside a destination", branches(out(), p("p")), "p"},
		{"a processor behind a destination", chain(from(batchesOf(j)), out(), p("p")), "p"},
		{"a processor further down", branches(out(), chain(p("p"), node(p("q").Task, p("r"), custom("end", nil)))), "r"},
		{"a task of the host's own", chain(from(batchesOf(j)), custom("own", nil)), ""},
		{"a first task of the host's own", fromHost(batchesOf(j)), ""},
		{"a destination", chain(from(batchesOf(j)), p("p"), out()), ""},
	} {
		w, err := funnel.NewWorker(tt.first, nil, log.Nop(), nil)
		switch {
		case tt.end == "":
			wantNoError(t, err)
		case w != nil:
			t.Errorf("%s: there is a worker", tt.name)
		default:
			wantError(t, err, nil, fmt.Sprintf("%q", tt.end))
		}
	}
}

// A task is asked for its ID once, by NewWorker, and its answer is used in every
// error from then on.
func TestNewWorker_asksForIDsOnce(t *testing.T) {
	j := &journal{}
	asked := 0
	task := &countingTask{fakeTask: fakeTask{process: func(context.Context, *funnel.Batch) error { return errTest }}, asked: &asked}
	w := newWorker(t, chain(from(batchesOf(j, "1")), node(task), to(newDestination(j, "out"))), nil)
	err := runWorker(t, w)
	wantError(t, err, errTest, `task "own": `)
	if asked != 1 {
		t.Errorf("the task was asked for its ID %d times", asked)
	}
}

// countingTask has an ID once only.
type countingTask struct {
	fakeTask
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
	for _, first := range []func(funnel.Source) *funnel.TaskNode{from, fromHost} {
		for _, ahead := range []int{0, 3} {
			for range 300 {
				j := &journal{}
				s := newSource(j)
				s.endless = true
				s.reading = make(chan struct{}, 10)
				w := newAhead(t, ahead, chain(first(s), to(newDestination(j, "out"))), nil, nil)
				wantNoError(t, w.Open(context.Background()))
				var both sync.WaitGroup
				both.Go(func() { _ = w.Do(context.Background()) })
				both.Go(func() { wantNoError(t, w.Close(context.Background())) })
				both.Go(func() { wantNoError(t, w.Stop(context.Background())) })
				both.Wait()
				if got := j.all("teardown"); len(got) != 2 {
					t.Fatalf("teardowns: %v", got)
				}
			}
		}
	}
}

// While Close closes the tasks, with the turn, a Do that begins returns at once.
func TestWorker_doWhileClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		out, release := newDestination(j, "out"), make(chan struct{})
		out.teardown = func(context.Context) error { <-release; return nil }
		w := newWorker(t, chain(fromHost(batchesOf(j, "1")), to(out)), nil)
		wantNoError(t, w.Open(t.Context()))
		closed := make(chan error, 1)
		go func() { closed <- w.Close(t.Context()) }()
		synctest.Wait()
		wantNoError(t, w.Do(t.Context()))
		close(release)
		wantNoError(t, <-closed)
		j.want(t, []string{"out", "ack"})
	})
}

// One thing that fails to close, panics, or ends the goroutine keeps no other from
// being closed. The panic comes back, with the errors of the others.
func TestWorker_closePanics(t *testing.T) {
	for _, how := range []string{"panic", "goexit", "error"} {
		for _, where := range []string{"source", "a", "b", "dlq"} {
			j := &journal{}
			source, a, b, dead := batchesOf(j), newDestination(j, "a"), newDestination(j, "b"), newDestination(j, "dlq")
			calls := 0
			teardown := func(context.Context) error {
				switch calls++; how {
				case "panic":
					panic(errTest)
				case "goexit":
					runtime.Goexit()
				}
				return errTest
			}
			other := errors.New("another error")
			if where == "source" {
				source.teardown = teardown
			} else {
				map[string]*fakeDestination{"a": a, "b": b, "dlq": dead}[where].teardown = teardown
			}
			if where != "a" {
				a.teardown = func(context.Context) error { return other }
			}
			first := from(source)
			first.Next = []*funnel.TaskNode{to(a), to(b)}
			w := newWorker(t, first, queue(dead))
			wantNoError(t, w.Open(t.Context()))
			for i := range 3 {
				closed := make(chan ending, 1)
				go func() {
					e := ending{exited: true}
					defer func() {
						if v := recover(); v != nil {
							e = ending{panicked: v}
						}
						closed <- e
					}()
					e.err = w.Close(t.Context())
					e.exited = false
				}()
				e := <-closed
				switch how {
				case "panic":
					wantPanic(t, e, errTest)
					if p, ok := e.panicked.(*funnel.PanicError); ok && where != "a" && !errors.Is(p.Err, other) {
						t.Errorf("the panic holds %v", p.Err)
					}
				case "goexit":
					if !e.exited {
						t.Errorf("Close has ended with %+v", e)
					}
				case "error":
					wantError(t, e.err, errTest)
				}
				if calls != i+1 {
					t.Errorf("%s of %s: tried %d times in %d calls", how, where, calls, i+1)
				}
				for _, name := range []string{"source", "b", "dlq"} {
					if name != where && slices.Index(j.all("teardown"), "teardown "+name) < 0 {
						t.Errorf("%s of %s: %s is not closed", how, where, name)
					}
				}
			}
			for _, name := range []string{"source", "b", "dlq"} {
				n := 0
				for _, line := range j.all("teardown") {
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
	j := &journal{}
	source, out := batchesOf(j, "1"), newDestination(j, "out")
	failing := errors.New("teardown failed")
	fails := true
	source.teardown = func(context.Context) error {
		if fails {
			return failing
		}
		return nil
	}
	out.open = func(context.Context) error {
		if fails {
			return errTest
		}
		return nil
	}
	w := newWorker(t, chain(from(source), to(out)), nil)
	err := w.Open(t.Context())
	wantError(t, err, errTest, `task "out": failed to open`)
	wantError(t, err, failing, `task "source": failed to tear down the source`)
	wantError(t, w.Open(t.Context()), failing)
	j.want(t, nil, "open source", "open out", "teardown source", "teardown source")
	fails = false
	wantNoError(t, w.Open(t.Context()))
	j.want(t, nil, "open source", "open out", "teardown source", "teardown source", "teardown source", "open source", "open out")
	wantNoError(t, w.Do(t.Context()))
	wantNoError(t, w.Close(t.Context()))
	j.want(t, []string{"teardown", "ack"}, "teardown source", "teardown source", "teardown source", "ack 1", "teardown source", "teardown out")
}

// If Open panics, what was opened is closed again, and the panic comes back.
func TestWorker_openPanicsAndTeardownFails(t *testing.T) {
	j := &journal{}
	source, out := batchesOf(j, "1"), newDestination(j, "out")
	failing := errors.New("teardown failed")
	source.teardown = func(context.Context) error { return failing }
	out.open = func(context.Context) error { panic(errTest) }
	w := newWorker(t, chain(from(source), to(out)), nil)
	p, ok := panicOf(func() { _ = w.Open(t.Context()) }).(*funnel.PanicError)
	if !ok || p.Value != errTest || !errors.Is(p.Err, failing) {
		t.Errorf("Open panicked with %v", p)
	}
	j.want(t, nil, "open source", "open out", "teardown source")
	wantError(t, w.Do(t.Context()), funnel.ErrNotOpen)
}

// The ends that the engine knows by name before it has run.
func TestWorker_doBeforeAndAfter(t *testing.T) {
	j := &journal{}
	out := newDestination(j, "out")
	out.open = func(context.Context) error { return errTest }
	w := newWorker(t, chain(from(batchesOf(j, "1")), to(out)), nil)
	wantError(t, w.Open(t.Context()), errTest)
	wantError(t, w.Do(t.Context()), funnel.ErrNotOpen)
	wantError(t, w.Do(t.Context()), funnel.ErrAlreadyRan)

	w = newWorker(t, chain(from(batchesOf(j, "1")), to(out)), nil)
	wantError(t, w.Open(t.Context()), errTest)
	wantNoError(t, w.Close(t.Context()))
	wantError(t, w.Open(t.Context()), nil, "closed")
	wantError(t, w.Do(t.Context()), funnel.ErrNotOpen)
}

// A pipeline that is no longer the one that the worker was made of is neither opened
// nor run.
func TestWorker_pipelineChanges(t *testing.T) {
	j := &journal{}
	first := chain(from(batchesOf(j, "1")), to(newDestination(j, "out")))
	w := newWorker(t, first, nil)
	next := first.Next
	wantNoError(t, first.AppendToEnd(to(newDestination(j, "more"))))
	wantError(t, w.Open(t.Context()), nil, "has changed")
	first.Next = nil
	wantError(t, w.Open(t.Context()), nil, "has changed")
	wantError(t, w.Do(t.Context()), nil, "has changed")
	first.Next = next
	j.want(t, nil)
}

// When Do tears the source down itself, the worker is stopping.
func TestWorker_StoppingWhenDoTearsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		s, out := batchesOf(j, "1"), newDestination(j, "out")
		s.endless = true
		out.write = func(context.Context, []opencdc.Record) error { <-s.reading; return errTest }
		var w *funnel.Worker
		isStopping := false
		s.teardown = func(context.Context) error { isStopping = w.Stopping(); return nil }
		w = newAhead(t, 10, chain(from(s), to(out)), nil, nil)
		wantError(t, w.Do(t.Context()), errTest)
		if !isStopping || !w.Stopping() {
			t.Error("the worker is not stopping")
		}
		wantNoError(t, w.Close(t.Context()))
	})
}

// Stopping says that tearing the source down may have begun, and not before.
func TestWorker_Stopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		s := batchesOf(j, "1")
		s.endless = true
		var w *funnel.Worker
		s.teardown = func(context.Context) error {
			if !w.Stopping() {
				t.Error("the source is torn down, and the worker is not stopping")
			}
			return nil
		}
		goOn := make(chan struct{})
		out := newDestination(j, "out")
		out.write = func(context.Context, []opencdc.Record) error { <-goOn; return nil }
		w = newWorker(t, chain(from(s), to(out)), nil)
		done := start(t.Context(), w)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantError(t, w.Stop(ctx), context.DeadlineExceeded)
		if w.Stopping() {
			t.Error("a Stop that gave up has left a trace")
		}
		close(goOn)
		<-s.reading
		wantNoError(t, w.Stop(t.Context()))
		(<-done).want(t, nil)
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
		return errTest
	case 1:
		panic(errTest)
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
	j := &journal{}
	var all []*live
	newLive := func(name string) *live {
		l := &live{name: name, rnd: rand.New(rand.NewPCG(rnd.Uint64(), 1)), faults: rnd.IntN(3)}
		all = append(all, l)
		return l
	}
	source := batchesOf(j, "1 2", "3", "4 5")
	source.endless = rnd.IntN(2) == 0
	source.reading = make(chan struct{}, 100)
	s := newLive("source")
	source.open = func(context.Context) error { return s.opened() }
	source.teardown = func(context.Context) error { return s.closed() }
	destination := func(name string) *fakeDestination {
		d, l := newDestination(j, name), newLive(name)
		d.open = func(context.Context) error { return l.opened() }
		d.teardown = func(context.Context) error { return l.closed() }
		works := newLive(name + " at work")
		d.write = func(context.Context, []opencdc.Record) error { return works.fault() }
		return d
	}
	first := from(source)
	if rnd.IntN(2) == 0 {
		first = fromHost(source)
	}
	if first.Next = append(first.Next, to(destination("a"))); rnd.IntN(2) == 0 {
		first.Next = append(first.Next, to(destination("b")))
	}
	w := newAhead(t, rnd.IntN(3), first, queue(destination("dlq")), nil)

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
		t.Fatalf("%s: %s\ncalls:\n%s", name, strings.Join(wrong, ", "), strings.Join(j.all(), "\n"))
	}
}
