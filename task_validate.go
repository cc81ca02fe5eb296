package funnel

import (
	"errors"
	"fmt"
	"slices"
)

// validation checks that nodes form a tree, that task IDs are unique, that only the
// first task has a source, and that each path ends at a task that may be the last one.
// It asks each task for its ID once.
type validation struct {
	first *TaskNode            // the only node that may have a source, or nil
	ids   map[*TaskNode]string // of the nodes seen so far
	taken map[string]bool      // their IDs
	above map[*TaskNode]bool   // the nodes on the way to the current one
	sinks map[*Sink]bool       // those that were entered
}

func newValidation(first *TaskNode) *validation {
	return &validation{
		first: first,
		ids:   make(map[*TaskNode]string),
		taken: make(map[string]bool),
		above: make(map[*TaskNode]bool),
		sinks: make(map[*Sink]bool),
	}
}

// validate checks the nodes of a worker. It returns the IDs of their tasks, and the
// sinks that they lead into.
func (n *TaskNode) validate() (map[*TaskNode]string, map[*Sink]bool, error) {
	v := newValidation(n)
	if err := v.visit(n); err != nil {
		return nil, nil, err
	}
	if n.BestEffort {
		return nil, nil, fmt.Errorf("task %q cannot be best effort: it does not begin a branch", v.ids[n])
	}
	return v.ids, v.sinks, nil
}

// visit checks a node and all nodes after it.
func (v *validation) visit(node *TaskNode) error {
	if isNil(node.Task) {
		return errors.New("a task node has no task")
	}
	id, isSeen := v.ids[node]
	switch {
	case v.above[node]:
		return fmt.Errorf("task %q comes after itself: the tasks form a cycle", id)
	case isSeen:
		return fmt.Errorf("task ID %q occurs more than once", id)
	case node.sink != nil:
		return fmt.Errorf("task %q belongs to a sink", node.sink.ids[node])
	}
	id = node.Task.ID()
	if err := v.take(node, id); err != nil {
		return err
	}
	v.above[node] = true
	defer delete(v.above, node)
	if _, ok := node.Task.(sourced); ok && node != v.first {
		return fmt.Errorf("task %q has a source, but is not the first task", id)
	}
	if t, ok := node.Task.(interface{ validate() error }); ok {
		if err := t.validate(); err != nil {
			return taskError(id, err)
		}
	}
	if t, ok := node.Task.(routed); ok {
		if err := t.validateNext(node.Next); err != nil {
			return taskError(id, err)
		}
	}
	if !node.HasNext() {
		return checkEnd(node.Task, id)
	}
	if i := slices.Index(node.Next, nil); i >= 0 {
		return fmt.Errorf("next task node %d of task %q is nil", i, id)
	}
	if sink := sinkOf(node.Next); sink != nil {
		return v.enter(sink, node, id)
	}
	if err := checkBestEffort(node.Next, fmt.Sprintf("after task %q", id)); err != nil {
		return err
	}
	for _, next := range node.Next {
		if err := v.visit(next); err != nil {
			return err
		}
	}
	return nil
}

// take assigns an ID to a node. It returns an error if another node has the ID.
func (v *validation) take(node *TaskNode, id string) error {
	if v.taken[id] {
		return fmt.Errorf("task ID %q occurs more than once", id)
	}
	v.ids[node], v.taken[id] = id, true
	return nil
}

// enter checks that a node leads into a sink as it must, and takes the IDs of the sink.
func (v *validation) enter(sink *Sink, node *TaskNode, id string) error {
	if v.first == nil {
		return fmt.Errorf("a task after task %q belongs to a sink already", id)
	}
	isRoot := func(next *TaskNode) bool { return slices.Contains(sink.roots, next) }
	distinct := make(map[*TaskNode]bool)
	for _, next := range node.Next {
		if !isRoot(next) {
			return fmt.Errorf("task %q leads into a sink, but not only to its roots", id)
		}
		distinct[next] = true
	}
	if len(node.Next) != len(sink.roots) || len(distinct) != len(sink.roots) {
		return fmt.Errorf("task %q must lead to all %d roots of the sink, once each: it has %d next tasks",
			id, len(sink.roots), len(node.Next))
	}
	if v.sinks[sink] {
		return fmt.Errorf("task %q leads into a sink that another task leads into already", id)
	}
	v.sinks[sink] = true
	if err := sink.checkNodes(); err != nil {
		return err
	}
	for inner, innerID := range sink.ids {
		if err := v.take(inner, innerID); err != nil {
			return err
		}
	}
	return nil
}

// sinkOf returns the sink that one of the nodes belongs to, or nil if none does.
func sinkOf(nodes []*TaskNode) *Sink {
	for _, node := range nodes {
		if node.sink != nil {
			return node.sink
		}
	}
	return nil
}

// checkBestEffort returns an error if the nodes, which follow the same task, must not be
// best effort.
func checkBestEffort(nodes []*TaskNode, where string) error {
	isBestEffort := func(node *TaskNode) bool { return node.BestEffort }
	switch {
	case !slices.ContainsFunc(nodes, isBestEffort):
		return nil
	case len(nodes) == 1:
		return fmt.Errorf("a single task %s cannot be best effort: it does not begin a branch", where)
	case !slices.ContainsFunc(nodes, func(node *TaskNode) bool { return !node.BestEffort }):
		return fmt.Errorf("all branches %s are best effort: at least one must not be", where)
	default:
		return nil
	}
}

// checkEnd returns an error if the task must not be the last one on its path, because
// its records would be acked and lost.
func checkEnd(task Task, id string) error {
	switch task.(type) {
	case *SourceTask:
		return fmt.Errorf("nothing comes after the source task %q: its records would be acked and lost", id)
	case *ProcessorTask:
		return fmt.Errorf("nothing comes after the processor task %q: its records would be acked and lost", id)
	case *rateLimitTask:
		return fmt.Errorf("nothing comes after the rate limit task %q: its records would be acked and lost", id)
	default:
		return nil
	}
}
