package model

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// Where the parts of one run meet: what they write down, and
// what they agree on.

// What the faults of a tree end with.
var (
	errRead  error = failure{task: "source", id: "read"}
	errAck   error = failure{task: "source", id: "ack"}
	errQueue error = failure{task: "queue", id: "write"}
	errTask  error = failure{task: "task", id: "call"}
	errTorn  error = failure{task: "source", id: "torn down"}
	errBalks error = failure{task: "source", id: "tearing down"}
)

// testPanic is what a part that panics panics with.
const testPanic panicValue = "a part panics"

type panicValue string

// contextKey finds the mark in a context that comes from that of Do.
type contextKey struct{}

// life counts what happens once.
type life struct{ opened, closed int }

// world is where all parts of one run meet.
type world struct {
	tree   *taskTree
	ctx    context.Context // that of Do
	cancel context.CancelFunc
	worker *funnel.Worker

	start time.Time

	mu       sync.Mutex
	clock    int
	calls    []*call
	over     bool // Do has ended
	wrong    []string
	struck   bool // see trace
	struckAt time.Duration
	lives    map[string]*life
	kept     []keptRecord
	timed    int // updates of the timer

	meetings map[string]*meeting // by the ID of a branch's first node
	stop     *signal             // Stop is to be called
	drained  *signal             // the source has nothing more, and all of it is done
}

// keptRecord is a record that a destination holds on to.
type keptRecord struct {
	who  string
	rec  opencdc.Record
	form string
}

// signal is something that happens once.
type signal struct {
	once sync.Once
	done chan struct{}
}

func newSignal() *signal { return &signal{done: make(chan struct{})} }

func (s *signal) fire() { s.once.Do(func() { close(s.done) }) }

func (s *signal) fired() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// meeting lets the first nodes of all branches of a fan-out wait for each
// other, which they can only do if they run at the same time.
type meeting struct {
	missing atomic.Int32
	all     *signal
}

func newWorld(t *taskTree) *world {
	w := &world{
		tree:     t,
		start:    time.Now(),
		lives:    map[string]*life{"dlq": {}, t.first.id: {}},
		meetings: map[string]*meeting{},
		stop:     newSignal(),
		drained:  newSignal(),
	}
	w.ctx, w.cancel = context.WithCancel(context.WithValue(context.Background(), contextKey{}, t))
	for _, n := range append([]*node{t.first}, t.nodes()...) {
		w.lives[n.id] = &life{}
		if len(n.next) > 1 && n.kind != kindRoute { // after a route, some may get no record
			m := &meeting{all: newSignal()}
			for _, head := range n.next {
				if head.showsBatches() {
					m.missing.Add(1)
					w.meetings[head.id] = m
				}
			}
		}
	}
	return w
}

// complain writes down something that must not happen.
func (w *world) complain(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// now returns the time since the start of the run.
func (w *world) now() time.Duration { return time.Since(w.start) }

// strike stops the run by a fault.
func (w *world) strike(how func()) {
	w.mu.Lock()
	if !w.struck && !w.over {
		w.struck, w.struckAt = true, w.now()
	}
	w.mu.Unlock()
	how()
}

func (w *world) begin(c *call) *call {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock++
	c.begin, c.end = w.clock, w.clock
	if c.at == 0 {
		c.at = w.now()
	}
	c.till = w.now()
	w.calls = append(w.calls, c)
	return c
}

func (w *world) end(c *call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock++
	c.end, c.till = w.clock, w.now()
}

// spaced checks the delay before the n-th attempt in a row that followed on one
// without success: about a millisecond at first, and twice as long each time.
func (w *world) spaced(who, what string, since time.Time, n int) {
	want := time.Millisecond << (n - 1)
	if got := time.Since(since); got < want/2 || got > 3*want {
		w.complain("%s: %s, %s later and not about %s", who, what, got, want)
	}
}

func (w *world) opened(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lives[id].opened++
}

func (w *world) closed(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lives[id].closed++
}

// insist calls Stop or Close until the source is torn down.
func (w *world) insist(what string, call func(context.Context) error) {
	for balks := w.tree.balks; ; balks-- {
		err := call(context.Background())
		if err == nil {
			return
		}
		if !errors.Is(err, errBalks) || balks == 0 {
			w.complain("%s returned %v", what, err)
			return
		}
	}
}

// stopShort calls Stop during a batch, with a context that has ended or ends soon.
func (w *world) stopShort(milliseconds int) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(milliseconds)*time.Millisecond)
	defer cancel()
	if err := w.worker.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		w.complain("Stop returned %v though its context ended", err)
	}
}

// keep remembers records that a destination holds on to.
func (w *world) keep(who string, recs []opencdc.Record, forms []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, rec := range recs {
		w.kept = append(w.kept, keptRecord{who: who, rec: rec, form: forms[i]})
	}
}

// fakeMetrics are metrics that read what they are given.
type fakeMetrics struct {
	w     *world
	queue bool // of the dead-letter queue
}

func (m fakeMetrics) Observe(recs []opencdc.Record, _ time.Time) {
	for _, rec := range recs {
		f := formOf(rec)
		if m.queue {
			after, _ := rec.Payload.After.(opencdc.StructuredData)
			f = formOfMap(after)
		}
		if strings.Contains(f.id, "torn") {
			m.w.complain("metrics are given %s", f)
		}
	}
}

// fakeTimer is a timer that counts.
type fakeTimer struct {
	w     *world
	start time.Time
}

func (t fakeTimer) Update(d time.Duration) {
	t.w.mu.Lock()
	t.w.timed++
	t.w.mu.Unlock()
	if d < 0 || d > time.Since(t.start) {
		t.w.complain("the timer is updated with %s", d)
	}
}

func (t fakeTimer) UpdateSince(at time.Time) { t.Update(time.Since(at)) }
