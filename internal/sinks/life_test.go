package sinks

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// host is what the program around a sink and its workers does.
type host struct {
	*world
	t     *testing.T
	rnd   *rand.Rand
	calls sync.WaitGroup
}

// live makes everything, lets it live and returns what was wrong.
func (o *world) live(t *testing.T) string {
	h := &host{world: o, t: t, rnd: o.roll("life")}
	o.start = time.Now()
	h.build()
	if h.rnd.IntN(10) > 0 {
		h.openSink(t.Context())
	}
	for _, w := range o.workers {
		h.plan(w)
	}
	h.planSink()

	time.Sleep(time.Hour) // longer than anything takes
	o.checkIdle()
	for _, w := range o.workers {
		h.within(func() {
			if err := w.engine.Close(t.Context()); err != nil {
				w.nowBreaks("Close of worker %d: %v", w.number, err)
			}
		}, "Close of worker %d", w.number)
	}
	h.within(h.calls.Wait, "a call")
	for range 5 { // as often as it fails
		h.closeSink(t.Context())
	}
	o.checkEnd()
	if len(o.broken) == 0 {
		return ""
	}
	return fmt.Sprintf("%s\n\n%s\n%s", strings.Join(o.broken, "\n"), o, strings.Join(o.lines, "\n"))
}

// within calls a function, which must return.
func (h *host) within(f func(), format string, args ...any) {
	over := make(chan struct{})
	go func() { defer close(over); f() }()
	select {
	case <-over:
	case <-time.After(time.Hour):
		h.t.Fatalf("seed %d: %s does not return\n%s\n%s", h.seed, fmt.Sprintf(format, args...), h.world, strings.Join(h.lines, "\n"))
	}
}

func (h *host) build() {
	var nodes []*funnel.TaskNode
	for _, root := range h.roots {
		nodes = append(nodes, root.node(nil))
	}
	var err error
	if h.sink, err = funnel.NewSink(nodes...); err != nil {
		h.t.Fatalf("seed %d: %v\n%s", h.seed, err, h.world)
	}
	for _, w := range h.workers {
		var dlq *funnel.DLQ
		if !w.queue.isNone {
			dlq = funnel.NewDLQ(w.letters.id, &letterbox{part: w.letters}, log.Nop(), nil, w.queue.size, w.queue.threshold)
		}
		opts := fake.Ahead(w.ahead)
		if w.whole {
			opts = append(opts, funnel.WithWholeBatches())
		}
		w.ctx, w.cancel = context.WithCancelCause(h.t.Context())
		w.engine = fake.NewWorker(h.t, w.source.node(nodes), dlq, opts...)
	}
}

// after calls a function at a time to come, on a goroutine of its own.
func (h *host) after(d time.Duration, f func()) {
	h.calls.Go(func() {
		time.Sleep(d)
		f()
	})
}

// sometime returns a time within the life of the workers.
func (h *host) sometime() time.Duration {
	return h.grained(time.Duration(h.rnd.Int64N(int64(30 * time.Millisecond))))
}

// patience returns how long a caller waits: not at all, for a short time or as long as
// it takes.
func (h *host) patience() time.Duration {
	short := h.grained(time.Duration(h.rnd.Int64N(int64(5 * time.Millisecond))))
	return []time.Duration{0, short, short, forEver, forEver, forEver}[h.rnd.IntN(6)]
}

const forEver = 1_000 * time.Hour

// plan plans the life of a worker.
func (h *host) plan(w *worker) {
	begin := time.Duration(0)
	if h.rnd.IntN(2) == 0 {
		begin = h.sometime()
	}
	h.after(begin, func() {
		if err := w.engine.Open(h.t.Context()); err != nil {
			w.note("worker %d does not open: %v", w.number, err) // it was closed
		}
		w.note("worker %d begins", w.number)
		e := <-fake.Start(w.ctx, w.engine)
		w.ended(e)
	})
	if h.isCalm {
		return
	}
	if h.rnd.IntN(3) == 0 {
		h.after(h.sometime(), w.cancelContext)
	}
	for range h.rnd.IntN(3) {
		patience := h.patience()
		h.after(h.sometime(), func() {
			ctx, cancel := context.WithTimeout(h.t.Context(), patience)
			defer cancel()
			w.note("Stop of worker %d, which may take %v", w.number, patience)
			err := w.engine.Stop(ctx)
			w.stopped(err, ctx.Err())
		})
	}
}

// planSink plans what the host does with the sink.
func (h *host) planSink() {
	for range h.rnd.IntN(5) {
		f := h.openSink
		switch h.rnd.IntN(4) {
		case 0:
			f = h.closeSink
		case 1:
			f = func(ctx context.Context) fake.Ending {
				h.closeSink(ctx)
				return h.openSink(ctx)
			}
		}
		patience := h.patience()
		h.after(h.sometime(), func() {
			ctx, cancel := context.WithTimeout(h.t.Context(), patience)
			defer cancel()
			f(ctx)
		})
	}
}

func (o *world) openSink(ctx context.Context) fake.Ending {
	return o.callSink("Open", func() error { return o.sink.Open(ctx) })
}

func (o *world) closeSink(ctx context.Context) fake.Ending {
	return o.callSink("Close", func() error { return o.sink.Close(ctx) })
}

// callSink opens or closes the sink.
func (o *world) callSink(name string, f func() error) fake.Ending {
	o.mu.Lock()
	o.add("%s of the sink", name)
	o.opening++
	o.isClosed = o.isClosed || name == "Close"
	o.mu.Unlock()
	e := <-fake.Call(f)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.add("%s of the sink is over: %v %v %t", name, e.Err, e.Panic, e.Exited)
	o.opening--
	o.changed = append(o.changed, time.Now())
	return e
}

// probe opens the sink for a worker that is releasing, and so must not have it. If the
// sink is open, that changes nothing.
func (p *part) probe(ctx context.Context) {
	if p.wasNeverOpened() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Minute)
	defer cancel()
	if e := p.openSink(ctx); errors.Is(e.Err, context.DeadlineExceeded) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.breaks("worker %d has the sink while it releases records", p.worker.number)
	}
}

func (p *part) wasNeverOpened() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.openings == 0
}
