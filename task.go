package funnel

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
)

// Task is a unit of work that can be executed by a Worker. Each Task in a
// pipeline is executed sequentially, except for tasks related to different
// destinations, which can be executed in parallel.
//
// A Task is used by one goroutine at a time. It must not keep the batch or its records
// after Do returns: a later task may change what they hold, and the worker reuses the
// slices for later batches. This also holds for a Task that wraps a [DestinationTask]
// and has tasks after it: if the destination keeps records, the Task must give it
// copies.
type Task interface {
	// ID returns the identifier of this Task. Each Task in a pipeline must be
	// uniquely identified by the ID. NewWorker calls it once.
	ID() string
	// Open opens the Task for processing. It is called before the worker starts
	// processing records: once, or again after a [Worker.Open] that failed. A Task
	// that fails to open is not closed.
	Open(context.Context) error
	// Close closes the Task. It is called once after the worker has stopped
	// processing records, and again by a later [Worker.Close] if it failed.
	Close(context.Context) error
	// Do processes the given batch of records. It is called for each batch of records
	// that the worker processes, unless none of its records is active. The first task
	// gets an empty batch, and fills it. An error stops the worker, and no record of
	// this batch is acked. (If the batch is part of what was read, records before it
	// may be.)
	Do(context.Context, *Batch) error
}

// TaskNode represents a task in the pipeline. It contains the task itself and
// the next tasks to be executed after it.
//
// A node with more than one next node sends each batch down all of these branches at
// the same time. What a task on one branch does to the records is not visible on the
// others. Tasks on branches get a context that ends when another branch fails or when
// [Worker.Do] returns.
//
// Nodes must not be changed after a worker is made from them.
type TaskNode struct {
	Task Task
	Next []*TaskNode

	// BestEffort keeps failures of a branch from affecting its records and the other
	// branches. It may be set on the first node of a branch, but not on all branches of a
	// fan-out. Then:
	//   - A record that is nacked on the branch goes neither to the dead-letter queue nor
	//     into its window, and is acked once the other branches are done with it.
	//   - If a task of the branch fails, gives no answer too often ([ErrNoProgress]) or
	//     ends its goroutine ([ErrGoexit]), the failure is logged once, and the branch is
	//     skipped until the worker ends. In a [Sink], all workers skip the branch until
	//     the sink is opened again.
	// What is given up: the branch may miss records. It can still slow down the others,
	// since the fan-out waits for it. A panic on it is still a panic of Do.
	BestEffort bool

	sink *Sink // the sink that the node belongs to, or nil
}

// AppendToEnd adds the next nodes to the end of the pipeline. Note that this
// doesn't mean that they will be executed directly after this task. Rather, it
// means that they will be executed after all tasks in the linked list are
// executed. More than one next node makes the end a fan-out.
//
// If any task node in the list has more than 1 next task, the function will return an
// error, as it would be ambiguous where to append the task. It also returns an error,
// and changes nothing, if a node is nil or already in the list.
func (n *TaskNode) AppendToEnd(next ...*TaskNode) error {
	if n == nil {
		return errors.New("cannot append to a nil task node")
	}
	seen := map[*TaskNode]bool{n: true}
	last := n
	for last.HasNext() {
		if len(last.Next) > 1 {
			return fmt.Errorf("cannot append after task %q: it has %d next tasks, so the pipeline has more than one end",
				last.id(), len(last.Next))
		}
		if last = last.Next[0]; last == nil || seen[last] {
			return errors.New("cannot append to a list that has a nil task node or a cycle")
		}
		seen[last] = true
	}
	for i, node := range next {
		for member := range node.TaskNodes() {
			if seen[member] {
				return fmt.Errorf("cannot append next task node %d: task %q is in the pipeline already", i, member.id())
			}
			seen[member] = true
		}
		if node == nil {
			return fmt.Errorf("cannot append next task node %d: it is nil", i)
		}
	}
	last.Next = append(last.Next, next...)
	return nil
}

// HasNext returns true if the task has at least one next task.
func (n *TaskNode) HasNext() bool {
	return len(n.Next) > 0
}

// IsFirst returns true if this task is the first task in the pipeline, where a worker
// starts: the task with a source.
func (n *TaskNode) IsFirst() bool {
	_, ok := n.Task.(sourced)
	return ok
}

// sourced is a task with a source, as the first task of a pipeline must be.
type sourced interface {
	GetSource() Source
}

// Tasks iterates over the tasks of this node and of all nodes after it, depth first.
func (n *TaskNode) Tasks() iter.Seq[Task] {
	return func(yield func(Task) bool) {
		for node := range n.TaskNodes() {
			if !yield(node.Task) {
				return
			}
		}
	}
}

// TaskNodes iterates over this node and all nodes after it, depth first. It yields each
// node once, even if several paths lead to it, and skips nil nodes.
func (n *TaskNode) TaskNodes() iter.Seq[*TaskNode] {
	return func(yield func(*TaskNode) bool) {
		seen := map[*TaskNode]bool{nil: true}
		todo := []*TaskNode{n}
		for len(todo) > 0 {
			node := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if seen[node] {
				continue
			}
			seen[node] = true
			if !yield(node) {
				return
			}
			for i := len(node.Next) - 1; i >= 0; i-- {
				todo = append(todo, node.Next[i])
			}
		}
	}
}

// id returns the ID of the task, or "" if there is no task.
func (n *TaskNode) id() string {
	if isNil(n.Task) {
		return ""
	}
	return n.Task.ID()
}

// onlyReads returns true if the task and those after it never change records, so that
// others may hold them at the same time.
func (n *TaskNode) onlyReads() bool {
	switch n.Task.(type) {
	case *DestinationTask:
		return !n.HasNext() // it may keep records, which a later task must not change
	case *rateLimitTask:
		return !slices.ContainsFunc(n.Next, func(next *TaskNode) bool { return !next.onlyReads() })
	default:
		return false
	}
}

// isNil returns true for nil and for an interface that holds a nil pointer or the like.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Func, reflect.Chan, reflect.Slice:
		return r.IsNil()
	default:
		return false
	}
}
