package model

import (
	"context"
	"math/rand/v2"
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// Routes: which way a record goes, and the parts that send it there.

// way returns what the function of a route returns for the record of a lineage, and the
// index of the node that the record goes to, -1 if it goes nowhere.
func (n *node) way(seed uint64, id string) (name string, to int) {
	last := len(n.next) - 1
	r := rand.New(rand.NewPCG(hash(seed, n.id, id), 4))
	lost := r.IntN(100) < n.fail
	switch to = r.IntN(len(n.next)); {
	case n.hasDefault && (lost || to == last):
		return failure{task: n.id, id: id}.Error(), last
	case lost:
		return failure{task: n.id, id: id}.Error(), -1
	default:
		return n.next[to].id, to
	}
}

// showsBatches reports whether a node is called for all records of a batch together.
func (n *node) showsBatches() bool { return n.kind != kindRoute || n.embeds }

// showBatches lets the nodes after the source be called for all records of a batch
// together, since nothing else shows which reads have become one.
func (n *node) showBatches() {
	for _, next := range n.next {
		next.embeds = next.kind == kindRoute
	}
}

// cases returns the cases of a route that leads to the nodes that were built for what
// follows.
func (n *node) cases(next []*funnel.TaskNode) (cases []funnel.Case) {
	for i, node := range next {
		if n.hasDefault && i == len(next)-1 {
			cases = append(cases, funnel.Default(node))
		} else {
			cases = append(cases, funnel.Case{Name: n.next[i].id, Node: node})
		}
	}
	return cases
}

// fakeRoute stands for a route. Its function is a call for each record, unless it is part
// of an embeddedRoute.
type fakeRoute struct {
	nodePart
	due []form // of the records that the function must be given next, if it is embedded
}

// newRoute returns the node of a route that leads to next.
func newRoute(w *world, n *node, next []*funnel.TaskNode) *funnel.TaskNode {
	r := &fakeRoute{nodePart: newNodePart(w, n)}
	task := funnel.NewRouteTask(n.id, r.route, n.cases(next)...)
	node := task.Node()
	if n.embeds {
		node.Task = &embeddedRoute{RouteTask: task, fakeRoute: r}
	} else {
		delete(w.lives, n.id) // nobody tells when it is opened
	}
	return node
}

// route is the function of the route.
func (r *fakeRoute) route(rec opencdc.Record) string {
	f := formOf(rec)
	if r.n.embeds {
		if len(r.due) == 0 || r.due[0] != f {
			r.w.complain("%s: the function is given %s, which is not the next record", r.id, f)
		}
		r.due = r.due[min(1, len(r.due)):]
	} else {
		r.enter(r.w.ctx, "the function", true)
		r.count++
		c := &call{who: r.id, items: []string{f.String()}, slots: []int{f.slot()}}
		r.w.begin(c)
		defer r.done(c)
		r.strike()
	}
	name, _ := r.n.way(r.w.tree.seed, f.id)
	return name
}

// strike lets the fault of the tree happen, if it is one of the present call.
func (r *fakeRoute) strike() {
	switch {
	case r.strikes(faultCancel):
		r.w.strike(r.w.cancel)
	case r.strikes(faultStop):
		r.w.strike(r.w.stop.fire)
	case r.strikes(faultStopShort):
		r.w.stopShort(r.rand.IntN(2))
	}
	r.strikeOut()
}

// embeddedRoute is a task that embeds a RouteTask. A call of it is one for all records.
type embeddedRoute struct {
	*funnel.RouteTask
	*fakeRoute
}

func (r *embeddedRoute) Open(context.Context) error {
	r.w.opened(r.n.id)
	return nil
}

func (r *embeddedRoute) Close(context.Context) error {
	r.w.closed(r.n.id)
	return nil
}

func (r *embeddedRoute) Do(ctx context.Context, b *funnel.Batch) error {
	c, forms := r.call(ctx, slices.Clone(b.ActiveRecords()))
	defer r.done(c)
	r.strikeOut()
	r.due = forms
	err := r.RouteTask.Do(ctx, b)
	if len(r.due) > 0 {
		r.w.complain("%s: the function was not given the last %d records", r.n.id, len(r.due))
	}
	return err
}

// doRoute is a call of a route: of its function, for each record, or of the task that
// embeds it.
func (s *simulation) doRoute(n *node, in []recordCopy) (out []recordCopy, called, answered bool) {
	step := &expectedCall{who: n.id}
	emit := func() {
		s.emitCall(step)
		s.strike(n)
		step = &expectedCall{who: n.id}
	}
	for _, c := range in {
		if c.filtered {
			continue
		}
		step.slots, step.items = append(step.slots, c.slot), append(step.items, c.form.String())
		if called = true; !n.embeds {
			emit()
		}
	}
	if called && n.embeds {
		emit()
	}
	out = slices.Clone(in)
	nacks := map[int]*nackInfo{}
	for i := range out {
		c := &out[i]
		if _, to := n.way(s.tree.seed, c.form.id); c.filtered || to >= 0 || nacks[c.slot] != nil {
			continue
		}
		nacks[c.slot] = s.nackInfo(n, c, funnel.ErrNoRoute)
	}
	s.nackAll(out, nacks)
	return out, called, called
}

// route gives each copy of a batch to one of the nodes behind a route. Filtered copies,
// and those of a branch that is skipped, are settled.
func (s *simulation) route(n *node, batch []recordCopy) {
	ways := make([][]recordCopy, len(n.next))
	for _, c := range batch {
		_, to := n.way(s.tree.seed, c.form.id)
		switch {
		case c.filtered:
			s.settle(c)
		case s.skipped[n.next[to].id]:
			s.isSkipped = true
			s.settle(c)
		default:
			ways[to] = append(ways[to], c)
		}
	}
	var heads []*node
	var batches [][]recordCopy
	for i, way := range ways {
		if way != nil {
			heads, batches = append(heads, n.next[i]), append(batches, way)
		}
	}
	if heads == nil {
		s.release()
		return
	}
	s.join(heads, batches)
}
