package funnel_test

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

// Where the parts of one run of the model test meet: what they write down, and
// what they agree on.

// What the faults of a tree end with.
var (
	errModelRead  error = modelError{task: "source", id: "read"}
	errModelAck   error = modelError{task: "source", id: "ack"}
	errModelQueue error = modelError{task: "queue", id: "write"}
	errModelTask  error = modelError{task: "task", id: "call"}
	errModelTorn  error = modelError{task: "source", id: "torn down"}
)

// modelPanic is what a part that panics panics with.
const modelPanic modelPanicValue = "the model panics"

type modelPanicValue string

// modelContextKey finds the mark in a context that comes from that of Do.
type modelContextKey struct{}

// modelLife counts what happens once.
type modelLife struct{ opened, closed int }

// modelWorld is where all parts of one run meet.
type modelWorld struct {
	tree   *modelTree
	ctx    context.Context // that of Do
	cancel context.CancelFunc
	worker *funnel.Worker

	mu    sync.Mutex
	clock int
	calls []*modelCall
	wrong []string
	lives map[string]*modelLife
	kept  []modelKept
	timed int // updates of the timer

	meetings map[string]*modelMeeting // by the ID of a branch's first node
	stop     *modelSignal             // Stop is to be called
	drained  *modelSignal             // the source has nothing more
}

// modelKept is a record that a destination holds on to.
type modelKept struct {
	who  string
	rec  opencdc.Record
	form string
}

// modelSignal is something that happens once.
type modelSignal struct {
	once sync.Once
	done chan struct{}
}

func newModelSignal() *modelSignal { return &modelSignal{done: make(chan struct{})} }

func (s *modelSignal) fire() { s.once.Do(func() { close(s.done) }) }

func (s *modelSignal) fired() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// modelMeeting lets the first nodes of all branches of a fan-out wait for each
// other, which they can only do if they run at the same time.
type modelMeeting struct {
	missing atomic.Int32
	all     *modelSignal
}

func newModelWorld(t *modelTree) *modelWorld {
	w := &modelWorld{
		tree:     t,
		lives:    map[string]*modelLife{"dlq": {}, t.first.id: {}},
		meetings: map[string]*modelMeeting{},
		stop:     newModelSignal(),
		drained:  newModelSignal(),
	}
	w.ctx, w.cancel = context.WithCancel(context.WithValue(context.Background(), modelContextKey{}, t))
	for _, n := range append([]*modelNode{t.first}, t.nodes()...) {
		w.lives[n.id] = &modelLife{}
		if len(n.next) > 1 {
			m := &modelMeeting{all: newModelSignal()}
			m.missing.Store(int32(len(n.next)))
			for _, head := range n.next {
				w.meetings[head.id] = m
			}
		}
	}
	return w
}

// complain writes down something that must not happen.
func (w *modelWorld) complain(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

func (w *modelWorld) begin(c *modelCall) *modelCall {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock++
	c.begin, c.end = w.clock, w.clock
	w.calls = append(w.calls, c)
	return c
}

func (w *modelWorld) end(c *modelCall) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock++
	c.end = w.clock
}

// spaced checks the delay before the n-th attempt in a row that followed on one
// without success: about a millisecond at first, and twice as long each time, up
// to a second. It may be longer if something else was done in between.
func (w *modelWorld) spaced(who, what string, since time.Time, n int, longer bool) {
	want := min(time.Millisecond<<(n-1), time.Second)
	if got := time.Since(since); got < want/2 || got > 3*want && !longer {
		w.complain("%s: %s, %s later and not about %s", who, what, got, want)
	}
}

func (w *modelWorld) opened(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lives[id].opened++
}

func (w *modelWorld) closed(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lives[id].closed++
}

// stopShort calls Stop during a batch, with a context that has ended or ends soon.
func (w *modelWorld) stopShort(milliseconds int) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(milliseconds)*time.Millisecond)
	defer cancel()
	if err := w.worker.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		w.complain("Stop returned %v though its context ended", err)
	}
}

// keep remembers records that a destination holds on to.
func (w *modelWorld) keep(who string, recs []opencdc.Record, forms []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, rec := range recs {
		w.kept = append(w.kept, modelKept{who: who, rec: rec, form: forms[i]})
	}
}

// modelFakeMetrics are metrics that read what they are given.
type modelFakeMetrics struct {
	w     *modelWorld
	queue bool // of the dead-letter queue
}

func (m modelFakeMetrics) Observe(recs []opencdc.Record, _ time.Time) {
	for _, rec := range recs {
		f := modelFormOf(rec)
		if m.queue {
			after, _ := rec.Payload.After.(opencdc.StructuredData)
			f = modelFormOfMap(after)
		}
		if strings.Contains(f.id, "torn") {
			m.w.complain("metrics are given %s", f)
		}
	}
}

// modelFakeTimer is a timer that counts.
type modelFakeTimer struct {
	w     *modelWorld
	start time.Time
}

func (t modelFakeTimer) Update(d time.Duration) {
	t.w.mu.Lock()
	t.w.timed++
	t.w.mu.Unlock()
	if d < 0 || d > time.Since(t.start) {
		t.w.complain("the timer is updated with %s", d)
	}
}

func (t modelFakeTimer) UpdateSince(at time.Time) { t.Update(time.Since(at)) }
