package funnel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/batch"
)

// RouteTask sends each record down one branch, which a function chooses.
type RouteTask struct {
	id     string
	route  func(opencdc.Record) string
	cases  []Case
	byName map[string]int // the index of each case, without the default
	others int            // the index of the default, or -1
}

// Case is a branch of a [RouteTask].
type Case struct {
	Name string    // the name that route returns for the records of the branch
	Node *TaskNode // the first node of the branch

	isDefault bool
}

// Default returns the case of the records that have no other case.
func Default(node *TaskNode) Case { return Case{Node: node, isDefault: true} }

// NewRouteTask returns a task that sends each record to the case whose name route returns
// for it. If there is no such case, the record goes to the default. Without a default, it
// is nacked with an error that wraps [ErrNoRoute]. [RouteTask.Node] returns the node of
// the task, with the cases after it.
//
// A record, or a piece of one, is on one branch only, so its data is not copied. All other
// rules of branches hold: the branches that have records work at the same time, each
// branch keeps the order, and a source record is acked once all its pieces are done. Since
// branches work at the same time, records must not share data that a processor on a branch
// changes in place, such as a map that a source puts into several records.
//
// A branch without records is not run. A batch costs a copy of its opencdc.Record structs,
// which share their data, and about 50 ns for each branch.
//
// route must not change the record. It is called once for each record, by one goroutine at
// a time, and again for each record that a worker reads again. NewWorker returns an error
// if route or the node of a case is nil, or if there are no cases, two cases with the same
// name, or two defaults.
//
// A custom task that calls Do of a RouteTask must embed the [*RouteTask], so that the
// worker treats it as a route. Otherwise the worker stops with a fatal error.
func NewRouteTask(id string, route func(opencdc.Record) string, cases ...Case) *RouteTask {
	t := &RouteTask{id: id, route: route, cases: slices.Clone(cases), byName: make(map[string]int), others: -1}
	for i, c := range cases {
		if c.isDefault {
			t.others = i
		} else {
			t.byName[c.Name] = i
		}
	}
	return t
}

// Node returns a new node with the task, which the nodes of the cases follow.
func (t *RouteTask) Node() *TaskNode {
	n := &TaskNode{Task: t}
	for _, c := range t.cases {
		n.Next = append(n.Next, c.Node)
	}
	return n
}

// ID returns the ID of the task.
func (t *RouteTask) ID() string { return t.id }

// Open does nothing.
func (t *RouteTask) Open(context.Context) error { return nil }

// Close does nothing.
func (t *RouteTask) Close(context.Context) error { return nil }

// Do chooses the branch of each record, and nacks records that have none.
func (t *RouteTask) Do(_ context.Context, b *Batch) error {
	for i, record := range b.ActiveRecords() {
		name := t.route(record)
		if branch, ok := t.byName[name]; ok {
			b.copies.SetBranch(i, branch)
		} else if t.others >= 0 {
			b.copies.SetBranch(i, t.others)
		} else {
			b.copies.Nack(i, fmt.Errorf("%w: %s", ErrNoRoute, quote(name)))
		}
	}
	return nil
}

func (t *RouteTask) validate() error {
	switch n := len(t.cases); {
	case t.route == nil:
		return errors.New("the route function is nil")
	case n == 0:
		return errors.New("the route has no cases")
	case n > batch.MaxBranches:
		return fmt.Errorf("the route has %d cases, more than %d", n, batch.MaxBranches)
	}
	for i, c := range t.cases {
		switch {
		case c.Node == nil:
			return fmt.Errorf("the node of %s is nil", c.label())
		case c.isDefault && t.others != i:
			return errors.New("the route has more than one default")
		case !c.isDefault && t.byName[c.Name] != i:
			return fmt.Errorf("the route has %s more than once", c.label())
		}
	}
	return nil
}

// validateNext returns an error if the next nodes are not those of the cases.
func (t *RouteTask) validateNext(next []*TaskNode) error {
	if !slices.EqualFunc(next, t.cases, func(n *TaskNode, c Case) bool { return n == c.Node }) {
		return errors.New("the next nodes of a route must be those of its cases, in order: take them from its method Node")
	}
	return nil
}

// label names the case for an error.
func (c Case) label() string {
	if c.isDefault {
		return "the default"
	}
	return "case " + quote(c.Name)
}

// routed is a RouteTask, or a task that embeds one.
type routed interface {
	validateNext([]*TaskNode) error
}
