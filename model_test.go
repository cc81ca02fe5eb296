package funnel_test

import (
	"context"
	"flag"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
	"github.com/conduitio/funnel/metrics/noop"
)

// The random test of the whole engine against a model:
//
//   - A seed gives a tree of tasks with everything that happens to it
//     (model_tree_test.go, model_fault_test.go, model_draw_test.go).
//   - The engine runs the tree with parts that write down what they see
//     (model_fakes_test.go, model_connectors_test.go, model_world_test.go,
//     model_run_test.go) in records that show who touched them
//     (model_record_test.go).
//   - The model works out what must be seen, without the engine
//     (model_expect_test.go, model_walk_test.go, model_release_test.go).
//   - The two are compared (model_compare_test.go). A tree that fails is made
//     smaller (model_shrink_test.go).
//   - That all this notices what is wrong is tested too (model_bite_test.go).
//
// Each run is in a bubble of its own: time costs nothing, a goroutine that is
// left behind or waits forever is found, and all parts are forgotten at its end.
//
// One tree again, and many new ones:
//
//	go test -run TestModel$ -model.seed 123 -model.trees 1
//	go test -run TestModel$ -model.seed 0 -model.trees 100000
var (
	modelSeed = flag.Uint64("model.seed", 1,
		"the seed of the first tree of the model test, 0 to take one from the clock")
	modelTrees = flag.Int("model.trees", 0,
		"the number of trees of the model test, 0 for some thousands or, with -short, some hundreds")
)

// TestModel runs random trees and compares what comes out with the model.
func TestModel(t *testing.T) {
	seed, trees := *modelSeed, *modelTrees
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	if trees == 0 {
		trees = 6000
		if testing.Short() {
			trees = 600
		}
	}
	failed := 0
	for i := range trees {
		tree := modelDraw(seed + uint64(i))
		ok := t.Run(fmt.Sprintf("seed=%d", tree.seed), func(t *testing.T) { modelTest(t, tree) })
		if !ok {
			failed++
		}
		if failed == 10 {
			t.Fatal("too many trees failed, the rest was not tried")
		}
	}
}

// modelTest runs a tree and fails the test if it differs from the model.
func modelTest(t *testing.T, tree *modelTree) {
	failure, ok := modelTry(t, tree)
	if ok {
		return
	}
	t.Errorf("%s", failure)
	small := modelShrink(tree, func(tree *modelTree) bool {
		smaller, ok := modelTry(t, tree)
		if !ok {
			failure = smaller
		}
		return !ok
	})
	if small != tree {
		t.Logf("The smallest tree that fails:\n%s", failure)
	}
}

// modelTry runs a tree. If it differs from the model, it tells how.
func modelTry(t *testing.T, tree *modelTree) (failure string, ok bool) {
	run := modelPlay(t, tree)
	difference, expectation := modelCompare(tree, run)
	if difference == "" {
		return "", true
	}
	return fmt.Sprintf("%s\n\ntree:\n%s\nrun:\n%s\nexpected:\n%s", difference, tree, run, expectation), false
}

// modelPlay runs a tree in a bubble.
func modelPlay(t *testing.T, tree *modelTree) (run *modelRun) {
	run = &modelRun{}
	defer func() {
		if stuck := recover(); stuck != nil { // a goroutine of the bubble waits forever
			run.wrong = append(run.wrong, fmt.Sprint(stuck))
		}
	}()
	synctest.Test(t, func(t *testing.T) { modelPlayInBubble(t, tree, run) })
	return run
}

func modelPlayInBubble(t *testing.T, tree *modelTree, run *modelRun) {
	w := newModelWorld(tree)
	defer w.cancel()
	ctx := context.Background()
	source := &modelFakeSource{
		modelPart: newModelPart(w, tree.first.id),
		acks:      newModelPart(w, "source ack"),
		sleepy:    tree.first.sleepy,
		torn:      newModelSignal(),
	}
	worker, err := modelWorker(w, source)
	if err != nil {
		t.Fatalf("NewWorker: %v\n%s", err, tree)
	}
	w.worker = worker
	if err := worker.Open(ctx); err != nil {
		t.Fatalf("Open: %v\n%s", err, tree)
	}

	stop := worker.Stop
	if tree.closes {
		stop = worker.Close
	}
	if tree.fault.kind == faultStopFirst {
		if err := worker.Stop(ctx); err != nil {
			w.complain("Stop returned %v before Do", err)
		}
	}
	var outcome modelOutcome
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		outcome = modelDo(w.ctx, worker)
	}()
	go func() {
		defer close(ended)
		select {
		case <-done:
			return
		case <-w.stop.done:
		case <-w.drained.done:
		}
		if err := stop(ctx); err != nil {
			w.complain("stopping returned %v", err)
		}
	}()
	if !modelPatience(done) || !modelPatience(ended) {
		run.outcome.hung = true
		w.complain("Do or Stop does not return")
		w.finish(run)
		return
	}
	run.outcome = outcome
	if tree.stopAfter {
		if err := worker.Stop(ctx); err != nil {
			w.complain("Stop returned %v after Do", err)
		}
	}
	for range 1 + map[bool]int{true: 1}[tree.closeAgain] {
		if err := worker.Close(ctx); err != nil {
			w.complain("Close returned %v", err)
		}
	}
	source.check()
	w.finish(run)
}

// modelPatience waits until a channel is closed, and reports whether it ever is.
func modelPatience(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-time.After(time.Hour): // a bubble's hour passes when all wait
		return false
	}
}

// modelDo calls Do and tells how it ended.
func modelDo(ctx context.Context, w *funnel.Worker) (o modelOutcome) {
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

// modelWorker builds the worker of a tree.
func modelWorker(w *modelWorld, source *modelFakeSource) (*funnel.Worker, error) {
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
		connectorMetrics, queueMetrics = modelFakeMetrics{w: w}, modelFakeMetrics{w: w, queue: true}
		timer = modelFakeTimer{w: w, start: time.Now()}
	}
	var build func(n *modelNode) *funnel.TaskNode
	build = func(n *modelNode) *funnel.TaskNode {
		node := &funnel.TaskNode{}
		part := func() modelNodePart { return newModelNodePart(w, n) }
		switch n.kind {
		case modelSource:
			node.Task = funnel.NewSourceTask(n.id, source, logger, connectorMetrics)
		case modelProcessor:
			node.Task = funnel.NewProcessorTask(n.id, &modelFakeProcessor{modelNodePart: part()}, logger, processorMetrics)
		case modelTask:
			node.Task = &modelFakeTask{modelNodePart: part()}
		case modelDestination:
			d := &modelFakeDestination{modelNodePart: part()}
			d.modelOutstanding.chunk, d.modelOutstanding.lull = n.chunk, n.lull
			node.Task = funnel.NewDestinationTask(n.id, d, logger, connectorMetrics)
		}
		for _, next := range n.next {
			node.Next = append(node.Next, build(next))
		}
		return node
	}
	var dlq *funnel.DLQ
	if q := w.tree.queue; !q.none {
		fake := &modelFakeQueue{modelPart: newModelPart(w, "dlq"), start: time.Now()}
		fake.modelOutstanding.chunk, fake.modelOutstanding.lull = q.chunk, q.lull
		dlq = funnel.NewDLQ("dlq", fake, logger, queueMetrics, q.size, q.threshold)
	} else {
		delete(w.lives, "dlq")
	}
	return funnel.NewWorker(build(w.tree.first), dlq, logger, timer)
}

// finish writes down what the run has shown.
func (w *modelWorld) finish(run *modelRun) {
	w.mu.Lock()
	defer w.mu.Unlock()
	run.calls, run.wrong = w.calls, w.wrong
	if acked := run.acked(); w.tree.metrics == metricsRead && run.outcome == (modelOutcome{}) && w.timed != acked {
		run.wrong = append(run.wrong, fmt.Sprintf("the timer was updated %d times for %d records", w.timed, acked))
	}
	run.lives = map[string]modelLife{}
	for id, life := range w.lives {
		run.lives[id] = *life
	}
	for _, k := range w.kept {
		now := modelFormOf(k.rec)
		if after, ok := k.rec.Payload.After.(opencdc.StructuredData); ok && k.who == "dlq" {
			now = modelFormOfMap(after)
		}
		run.kept = append(run.kept, modelChange{who: k.who, then: k.form, now: now.String()})
	}
}
