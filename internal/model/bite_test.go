package model

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// The test of the model: it has to bite. A run that is exactly as the model
// expects is made up without the engine and must pass; with one thing wrong in
// it, it must not.

// bite changes one thing in a run that must then differ from the model.
// It draws the place, and changes nothing if there is none.
type bite struct {
	what   string
	change func(b *biting)
}

// biting is a run that is being changed.
type biting struct {
	*trace
	*rand.Rand
	tree  *taskTree
	kinds map[string]nodeKind
}

// call draws a call that a condition holds for, nil if there is none.
func (b *biting) call(condition func(*call) bool) *call {
	calls := slices.DeleteFunc(slices.Clone(b.calls), func(c *call) bool { return !condition(c) })
	if len(calls) == 0 {
		return nil
	}
	return calls[b.IntN(len(calls))]
}

func (b *biting) is(who string) func(*call) bool {
	return func(c *call) bool { return c.who == who }
}

func (b *biting) isWrite(c *call) bool {
	kind, ok := b.kinds[c.who]
	return ok && kind == kindDestination
}

func (b *biting) isTask(c *call) bool {
	_, ok := b.kinds[c.who]
	return ok
}

// routed draws a call of a node that follows a route, and another node that follows it.
func (b *biting) routed() (*call, *node) {
	routes := map[string]*node{}
	for _, n := range b.tree.nodes() {
		for _, next := range n.next {
			if n.kind == kindRoute && len(n.next) > 1 {
				routes[next.id] = n
			}
		}
	}
	c := b.call(func(c *call) bool { return routes[c.who] != nil })
	if c == nil {
		return nil, nil
	}
	others := slices.DeleteFunc(slices.Clone(routes[c.who].next), func(n *node) bool { return n.id == c.who })
	return c, others[b.IntN(len(others))]
}

// remove takes the call out of the run.
func (b *biting) remove(c *call) {
	b.calls = slices.DeleteFunc(b.calls, func(o *call) bool { return o == c })
}

// insert puts a call behind another one.
func (b *biting) insert(after, c *call) {
	i := slices.Index(b.calls, after)
	b.calls = slices.Insert(b.calls, i+1, c)
	b.renumber()
}

// renumber gives the calls the times of their order.
func (b *biting) renumber() {
	for i, c := range b.calls {
		c.begin, c.end = 2*i+1, 2*i+2
	}
}

// delay lets the calls from the i-th on be made later.
func (b *biting) delay(i int, by time.Duration) {
	for _, c := range b.calls[i:] {
		c.at, c.till = c.at+by, c.till+by
	}
}

// retry draws a call that is made after a pause, and returns its index, 0 if there is none.
func (b *biting) retry() int {
	isRetry := func(c *call) bool {
		i := slices.Index(b.calls, c)
		return i > 0 && c.who == b.calls[i-1].who && c.at > b.calls[i-1].till
	}
	return max(0, slices.Index(b.calls, b.call(isRetry)))
}

// hasRecords reports whether the last read among calls has returned records.
func (b *biting) hasRecords(calls []*call) bool {
	n := 0
	for _, c := range calls {
		if c.who == "read" {
			n++
		}
	}
	return n > 0 && b.tree.reads[n-1].from < b.tree.reads[n-1].to
}

// cut removes the i-th record of a call.
func (c *call) cut(i int) {
	c.items = slices.Delete(c.items, i, i+1)
	if c.slots != nil {
		c.slots = slices.Delete(c.slots, i, i+1)
	}
	if c.letters != nil {
		c.letters = slices.Delete(c.letters, i, i+1)
	}
}

// isDefinite reports whether a run of the tree that differs from what is expected cannot
// be as it must be, too.
func (x *expectation) isDefinite(t *taskTree) bool {
	if t.queue.none || t.fault.stops() || t.fault.cancels() {
		return false
	}
	if t.fault.kind == faultSourceClosed && t.ahead > 0 {
		return false // it depends on time whether there is a read that gives the reason
	}
	if e := x.endings[0]; e.panics != nil || e.exits {
		return false
	}
	for _, n := range t.nodes() {
		if n.kind == kindDestination && t.faultOf(n.id).kind != faultNone {
			return false // a write need not be confirmed
		}
	}
	var isDefinite func(steps []*expectedCall) bool
	isDefinite = func(steps []*expectedCall) bool {
		for _, step := range steps {
			if len(step.faulty) > 0 || slices.ContainsFunc(step.fan, func(branch []*expectedCall) bool { return !isDefinite(branch) }) {
				return false // a branch may be cut
			}
		}
		return true
	}
	return isDefinite(x.steps)
}

// TestBites changes one thing at a time in runs that are as they must be.
func TestBites(t *testing.T) {
	show := func(r *trace) string {
		var times []any
		for _, c := range r.calls {
			times = append(times, c.at)
		}
		return fmt.Sprint(r, r.kept, r.lives, r.wrong, times)
	}
	changed := map[string]int{}
	for seed := uint64(1); seed <= 300; seed++ {
		tree := draw(seed)
		run := perform(tree)
		if !expect(tree, run).isDefinite(tree) {
			continue
		}
		if diff, x := compare(tree, run); diff != "" {
			t.Fatalf("a run that is as it must be differs: %s\n%s\nrun:\n%s\nexpected:\n%s", diff, tree, run, x)
		}
		whole := show(run)
		kinds := map[string]nodeKind{}
		for _, n := range tree.nodes() {
			kinds[n.id] = n.kind
		}
		for i, bt := range bites {
			b := &biting{trace: run.clone(), Rand: rand.New(rand.NewPCG(seed, uint64(i))), tree: tree, kinds: kinds}
			bt.change(b)
			if show(b.trace) == whole {
				continue
			}
			changed[bt.what]++
			if diff, _ := compare(tree, b.trace); diff == "" {
				t.Fatalf("%s, and nobody notices\n%s\nrun:\n%s\nwas:\n%s", bt.what, tree, b, run)
			}
		}
	}
	for _, bt := range bites {
		if changed[bt.what] < 2 {
			t.Errorf("%s: tried on %d runs only", bt.what, changed[bt.what])
		}
	}
}

// TestTaskBites changes what a task goes on reading, which it must notice.
func TestTaskBites(t *testing.T) {
	others := []func(*marking, opencdc.Record){
		func(m *marking, other opencdc.Record) { m.active[2] = other },
		func(m *marking, other opencdc.Record) { m.batch.SetRecords(2, []opencdc.Record{other}) },
		func(m *marking, _ opencdc.Record) { m.batch.Filter(2) },
	}
	for i, change := range others {
		n := &node{id: "task", kind: kindTask, readsOn: true}
		w := newWorld(&taskTree{seed: uint64(i), first: &node{id: "src", next: []*node{n}}})
		var recs []opencdc.Record
		for slot := range 4 {
			recs = append(recs, w.tree.form(slot).record())
		}
		m := &marking{fakeTask: &fakeTask{newNodePart(w, n)}, batch: funnel.NewBatch(recs), size: len(recs)}
		m.active, m.then = slices.Clone(recs), slices.Clone(recs)
		look := func() bool {
			for range 10 {
				m.look(1, 4, 1)
			}
			return len(w.wrong) > 0
		}
		if look() {
			t.Fatalf("the task complains without a reason: %s", w.wrong)
		}
		if change(m, w.tree.form(9).record()); !look() {
			t.Errorf("the task does not notice change %d", i)
		}
		w.cancel()
	}
}
