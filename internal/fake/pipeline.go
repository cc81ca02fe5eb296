package fake

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
)

// Node returns a node with the task and the next nodes.
func Node(task funnel.Task, next ...*funnel.TaskNode) *funnel.TaskNode {
	return &funnel.TaskNode{Task: task, Next: next}
}

// Chain links the nodes in order and returns the first one.
func Chain(nodes ...*funnel.TaskNode) *funnel.TaskNode {
	for i := range nodes[:len(nodes)-1] {
		nodes[i].Next = append(nodes[i].Next, nodes[i+1])
	}
	return nodes[0]
}

// Fork adds the branches after the node and returns the node.
func Fork(n *funnel.TaskNode, branches ...*funnel.TaskNode) *funnel.TaskNode {
	n.Next = append(n.Next, branches...)
	return n
}

// Beside adds the branch after the node, and another branch that does nothing. The
// branch begins once both are at work. The pipeline is good for one batch.
func Beside(n, branch *funnel.TaskNode) *funnel.TaskNode {
	meet := Meeting(2)
	together := func(context.Context, *funnel.Batch) error { meet(); return nil }
	return Fork(n, Chain(Custom("together", together), branch), Custom("other", together))
}

// From returns the node of a source. The ID of its task is "source".
func From(s funnel.Source) *funnel.TaskNode {
	return Node(funnel.NewSourceTask("source", s, log.Nop(), nil))
}

// FromThen returns the node of a [FirstTask].
func FromThen(s funnel.Source, then func(context.Context, *funnel.Batch) error) *funnel.TaskNode {
	return Node(NewFirstTask(s, then))
}

// Through returns the node of a processor.
func Through(id string, p funnel.Processor) *funnel.TaskNode {
	return Node(funnel.NewProcessorTask(id, p, log.Nop(), nil))
}

// Custom returns the node of a [Task].
func Custom(id string, do func(context.Context, *funnel.Batch) error) *funnel.TaskNode {
	return Node(&Task{Name: id, OnDo: do})
}

// To returns the node of a destination. The ID of its task is the destination's
// name.
func To(d *Destination) *funnel.TaskNode {
	return Node(funnel.NewDestinationTask(d.Name, d, log.Nop(), nil))
}

// Out returns the node of a destination "out".
func Out(j *Journal) *funnel.TaskNode { return To(NewDestination(j, "out")) }

// DLQ returns a dead-letter queue "dlq" without a window.
func DLQ(j *Journal) *funnel.DLQ { return Queue(NewDestination(j, "dlq")) }

// Queue returns a dead-letter queue without a window.
func Queue(d *Destination) *funnel.DLQ { return Window(d, 0, 0) }

// Window returns a dead-letter queue with a window of that size, which tolerates
// threshold nacks.
func Window(d *Destination, size, threshold int) *funnel.DLQ {
	return funnel.NewDLQ(d.Name, d, log.Nop(), nil, size, threshold)
}

// NewWorker returns a worker.
func NewWorker(t testing.TB, first *funnel.TaskNode, dlq *funnel.DLQ, opts ...funnel.WorkerOption) *funnel.Worker {
	t.Helper()
	return NewTimedWorker(t, first, dlq, nil, opts...)
}

// NewTimedWorker returns a worker with a timer.
func NewTimedWorker(t testing.TB, first *funnel.TaskNode, dlq *funnel.DLQ, timer metrics.Timer, opts ...funnel.WorkerOption) *funnel.Worker {
	t.Helper()
	w, err := funnel.NewWorker(first, dlq, log.Nop(), timer, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// RunWorker opens the worker, runs it to its end, closes it and returns what Do
// returned.
func RunWorker(t testing.TB, w *funnel.Worker) error {
	t.Helper()
	ctx := t.Context()
	if err := w.Open(ctx); err != nil {
		t.Fatalf("Open: %v", err)
	}
	err := w.Do(ctx)
	if err := w.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
	return err
}

// Run runs a pipeline of these nodes, in order, to its end.
func Run(t testing.TB, dlq *funnel.DLQ, nodes ...*funnel.TaskNode) error {
	t.Helper()
	return RunWorker(t, NewWorker(t, Chain(nodes...), dlq))
}

// Ahead returns the option of a worker that reads ahead, or no option for 0 records.
func Ahead(records int) []funnel.WorkerOption {
	if records == 0 {
		return nil
	}
	return []funnel.WorkerOption{funnel.WithReadAhead(records)}
}

// BothWays runs a test of a rule that holds with read-ahead and without it, as the
// subtests "sequential" and "read-ahead". The latter has two bounds: one that is
// reached at once, and one that hardly ever is. Each run has a bubble of its own.
func BothWays(t *testing.T, test func(t *testing.T, opts ...funnel.WorkerOption)) {
	t.Helper()
	t.Run("sequential", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t) })
	})
	t.Run("read-ahead", func(t *testing.T) {
		for _, records := range []int{1, 100} {
			t.Run(fmt.Sprint(records), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { test(t, Ahead(records)...) })
			})
		}
	})
}
