package model

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
	"github.com/conduitio/funnel/metrics/noop"
)

// How a tree is played: the engine runs it once, from Open to Close.

// play runs a tree in a bubble.
func play(t *testing.T, tree *taskTree) (run *trace) {
	run = &trace{}
	defer func() {
		if stuck := recover(); stuck != nil { // a goroutine of the bubble waits forever
			run.wrong = append(run.wrong, fmt.Sprint(stuck))
		}
	}()
	synctest.Test(t, func(t *testing.T) { playInBubble(t, tree, run) })
	return run
}

func playInBubble(t *testing.T, tree *taskTree, run *trace) {
	w := newWorld(tree)
	defer w.cancel()
	ctx := context.Background()
	source := &fakeSource{
		part:   newPart(w, tree.first.id),
		acks:   newPart(w, "source ack"),
		sleepy: tree.first.sleepy,
		closed: newSignal(),
		torn:   newSignal(),
	}
	worker, err := newWorker(w, source)
	if err != nil {
		t.Fatalf("NewWorker: %v\n%s", err, tree)
	}
	w.worker = worker
	if err := worker.Open(ctx); err != nil {
		t.Fatalf("Open: %v\n%s", err, tree)
	}

	if tree.fault.kind == faultStopFirst {
		w.insist("Stop", worker.Stop)
	}
	defer w.strikeLater()()
	var ended outcome
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ended = do(w.ctx, worker)
		w.mu.Lock()
		w.over = true
		w.mu.Unlock()
	}()
	go func() {
		defer close(stopped)
		w.stopWhenDue(done)
	}()
	if !returns(done) || !returns(stopped) {
		run.outcome.hung = true
		w.complain("Do or Stop does not return")
		w.finish(run)
		return
	}
	run.outcome = ended
	if tree.stopAfter {
		w.insist("Stop", worker.Stop)
	}
	for range 1 + map[bool]int{true: 1}[tree.closeAgain] {
		w.insist("Close", worker.Close)
	}
	source.check()
	w.finish(run)
}

// stopWhenDue stops the worker as the tree wants it, unless Do ends by itself.
func (w *world) stopWhenDue(done <-chan struct{}) {
	var rescue <-chan time.Time
	if w.tree.deaf && w.tree.balks > 0 { // Do cannot end the read itself
		rescue = time.After(100 * time.Hour)
	}
	select {
	case <-done:
		return
	case <-w.stop.done:
	case <-w.drained.done:
	case <-rescue:
	}
	var calls sync.WaitGroup
	defer calls.Wait()
	if !w.tree.closes || w.tree.crowd {
		calls.Go(func() { w.insist("Stop", w.worker.Stop) })
	}
	if w.tree.closes || w.tree.crowd {
		calls.Go(func() { w.insist("Close", w.worker.Close) })
	}
}

// strikeLater strikes after a while, if the fault of the tree does, but not after
// the returned function was called.
func (w *world) strikeLater() (never func()) {
	after := time.Duration(w.tree.fault.nth)*time.Millisecond/2 + 100*time.Microsecond
	var timers []*time.Timer
	if f := w.tree.fault; f.kind == faultStopAt || f.kind == faultBothAt {
		timers = append(timers, time.AfterFunc(after, func() { w.strike(w.stop.fire) }))
		after += time.Duration(w.tree.seed%8) * time.Millisecond
	}
	if f := w.tree.fault; f.kind == faultCancelAt || f.kind == faultBothAt {
		timers = append(timers, time.AfterFunc(after, func() { w.strike(w.cancel) }))
	}
	return func() {
		for _, timer := range timers {
			timer.Stop()
		}
	}
}

// returns waits until a channel is closed, and reports whether it ever is.
func returns(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-time.After(1000 * time.Hour): // they pass when all wait, in a bubble
		return false
	}
}

// do calls Do and tells how it ended.
func do(ctx context.Context, w *funnel.Worker) (o outcome) {
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		o.exited = true
		defer func() {
			if v := recover(); v != nil {
				o.panicked, o.exited = v, false
			}
		}()
		o.err = w.Do(ctx)
		o.exited = false
	}()
	<-finished
	return o
}

// newWorker builds the worker of a tree.
func newWorker(w *world, source *fakeSource) (*funnel.Worker, error) {
	var (
		logger           = log.Nop()
		connectorMetrics funnel.ConnectorMetrics
		queueMetrics     funnel.ConnectorMetrics
		processorMetrics funnel.ProcessorMetrics
		timer            metrics.Timer
	)
	switch w.tree.metrics {
	case metricsNoOp:
		connectorMetrics, queueMetrics = &funnel.NoOpConnectorMetrics{}, funnel.NoOpConnectorMetrics{}
		processorMetrics, timer = &funnel.NoOpProcessorMetrics{}, noop.Timer{}
	case metricsRead:
		connectorMetrics, queueMetrics = fakeMetrics{w: w}, fakeMetrics{w: w, queue: true}
		timer = fakeTimer{w: w, start: time.Now()}
	}
	var build func(n *node) *funnel.TaskNode
	build = func(n *node) *funnel.TaskNode {
		var next []*funnel.TaskNode
		for _, n := range n.next {
			next = append(next, build(n))
		}
		node := &funnel.TaskNode{Next: next}
		common := func() nodePart { return newNodePart(w, n) }
		switch n.kind {
		case kindSource:
			node.Task = funnel.NewSourceTask(n.id, source, logger, connectorMetrics)
		case kindProcessor:
			p := funnel.Processor(&fakeProcessor{nodePart: common()})
			if n.workers > 0 {
				var err error
				if p, err = funnel.NewParallelProcessor(&fakeConcurrent{nodePart: common()}, n.workers); err != nil {
					w.complain("%s: %v", n.id, err)
				}
			}
			node.Task = funnel.NewProcessorTask(n.id, p, logger, processorMetrics)
		case kindTask:
			node.Task = &fakeTask{nodePart: common()}
		case kindDestination:
			d := &fakeDestination{nodePart: common()}
			d.outstanding.chunk, d.outstanding.lull = n.chunk, n.lull
			node.Task = funnel.NewDestinationTask(n.id, d, logger, connectorMetrics)
		case kindRoute:
			node = newRoute(w, n, next)
		}
		node.BestEffort = n.bestEffort
		return node
	}
	var dlq *funnel.DLQ
	if q := w.tree.queue; !q.none {
		fake := &fakeQueue{part: newPart(w, "dlq"), start: time.Now()}
		fake.outstanding.chunk, fake.outstanding.lull = q.chunk, q.lull
		dlq = funnel.NewDLQ("dlq", fake, logger, queueMetrics, q.size, q.threshold)
	} else {
		delete(w.lives, "dlq")
	}
	var opts []funnel.WorkerOption
	if w.tree.ahead > 0 {
		opts = append(opts, funnel.WithReadAhead(w.tree.ahead))
	}
	if w.tree.whole {
		opts = append(opts, funnel.WithWholeBatches())
	}
	if w.tree.asRead {
		opts = append(opts, funnel.WithDeadLettersAsRead())
	}
	if w.tree.drains {
		opts = append(opts, funnel.WithDrain())
	}
	if w.tree.checks {
		opts = append(opts, funnel.WithOwnershipChecks(func(err error) { w.complain("the check of ownership says: %v", err) }))
	}
	if w.tree.pieceIDs {
		opts = append(opts, funnel.WithPieceIDs())
	}
	if w.tree.retry != (funnel.RetryPolicy{}) || w.tree.seed%4 == 0 {
		opts = append(opts, funnel.WithRetryPolicy(w.tree.retry))
	}
	return funnel.NewWorker(build(w.tree.first), dlq, logger, timer, opts...)
}

// finish writes down what the run has shown.
func (w *world) finish(run *trace) {
	w.mu.Lock()
	defer w.mu.Unlock()
	run.calls, run.wrong, run.struck, run.struckAt = w.calls, w.wrong, w.struck, w.struckAt
	if acked := run.acked(); w.tree.metrics == metricsRead && run.outcome == (outcome{}) && w.timed != acked {
		run.wrong = append(run.wrong, fmt.Sprintf("the timer was updated %d times for %d records", w.timed, acked))
	}
	run.stats = w.worker.Stats()
	run.lives = map[string]life{}
	for id, seen := range w.lives {
		run.lives[id] = *seen
	}
	for _, k := range w.kept {
		now := formOf(k.rec)
		if after, ok := k.rec.Payload.After.(opencdc.StructuredData); ok && k.who == "dlq" {
			now = formOfMap(after)
		}
		run.kept = append(run.kept, keptForms{who: k.who, then: k.form, now: now.String()})
	}
}
