package funnel_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/funnel"
)

// The test of the model test: it has to bite. A run that is exactly as the model
// expects is made up without the engine and must pass; with one thing wrong in
// it, it must not.

// modelPerform makes up a run of a tree that is as it must be. It takes two goes
// at it, since the second one knows what the first one chose where there is a
// choice.
func modelPerform(t *modelTree, policy modelPolicy) *modelRun {
	first := modelPerformExpected(t, modelExpect(t, policy, &modelRun{}))
	return modelPerformExpected(t, modelExpect(t, policy, first))
}

// modelPerformExpected makes up a run that does what is expected.
func modelPerformExpected(t *modelTree, x *modelExpectation) *modelRun {
	run := &modelRun{lives: map[string]modelLife{t.first.id: {1, 1}, "dlq": {1, 1}}}
	kinds := map[string]modelKind{"dlq": modelDestination}
	for _, n := range t.nodes() {
		kinds[n.id] = n.kind
		run.lives[n.id] = modelLife{1, 1}
	}
	clock := 0
	var perform func(steps []*modelStep)
	perform = func(steps []*modelStep) {
		for _, step := range steps {
			for _, branch := range step.fan {
				perform(branch)
			}
			if step.fan != nil {
				continue
			}
			clock += 2
			c := &modelCall{who: step.who, items: slices.Clone(step.items), begin: clock - 1, end: clock}
			if step.who != "ack" {
				c.slots = slices.Clone(step.slots)
			}
			for _, nack := range step.nacks {
				text := "there was no error"
				if nack.err != nil {
					text = "wrapped: " + nack.err.Error()
				}
				c.letters = append(c.letters, modelLetter{form: nack.form.String(), task: nack.task, text: text})
			}
			run.calls = append(run.calls, c)
			if kind, ok := kinds[step.who]; ok && kind == modelDestination {
				for _, item := range step.items {
					run.kept = append(run.kept, modelChange{who: step.who, then: item, now: item})
				}
			}
		}
	}
	perform(x.steps)
	switch e := x.endings[0]; {
	case e.panics != nil:
		run.outcome.panicked = e.panics
	case e.exits:
		run.outcome.exited = true
	case e.fails:
		err := errors.Join(e.all...)
		if len(e.any) > 0 {
			err = errors.Join(err, e.any[0])
		}
		err = fmt.Errorf("%s: %w", strings.Join(e.says, " "), errors.Join(err, errors.New("why")))
		if e.fatal {
			err = funnel.FatalError(err)
		}
		run.outcome.err = err
	}
	return run
}

// clone returns a copy of the run that shares nothing.
func (r *modelRun) clone() *modelRun {
	c := *r
	c.calls = make([]*modelCall, len(r.calls))
	for i, call := range r.calls {
		c.calls[i] = call.clone()
	}
	c.kept = slices.Clone(r.kept)
	c.lives = map[string]modelLife{}
	for id, life := range r.lives {
		c.lives[id] = life
	}
	return &c
}

func (c *modelCall) clone() *modelCall {
	d := *c
	d.items, d.slots, d.letters = slices.Clone(c.items), slices.Clone(c.slots), slices.Clone(c.letters)
	return &d
}

// modelBite changes one thing in a run that must then differ from the model.
// It draws the place, and changes nothing if there is none.
type modelBite struct {
	what   string
	change func(b *modelBiting)
}

// modelBiting is a run that is being changed.
type modelBiting struct {
	*modelRun
	*rand.Rand
	tree  *modelTree
	kinds map[string]modelKind
}

// call draws a call that a condition holds for, nil if there is none.
func (b *modelBiting) call(condition func(*modelCall) bool) *modelCall {
	calls := slices.DeleteFunc(slices.Clone(b.calls), func(c *modelCall) bool { return !condition(c) })
	if len(calls) == 0 {
		return nil
	}
	return calls[b.IntN(len(calls))]
}

func (b *modelBiting) is(who string) func(*modelCall) bool {
	return func(c *modelCall) bool { return c.who == who }
}

func (b *modelBiting) isWrite(c *modelCall) bool {
	kind, ok := b.kinds[c.who]
	return ok && kind == modelDestination
}

func (b *modelBiting) isTask(c *modelCall) bool {
	_, ok := b.kinds[c.who]
	return ok
}

// remove takes the call out of the run.
func (b *modelBiting) remove(c *modelCall) {
	b.calls = slices.DeleteFunc(b.calls, func(o *modelCall) bool { return o == c })
}

// insert puts a call behind another one.
func (b *modelBiting) insert(after, c *modelCall) {
	i := slices.Index(b.calls, after)
	b.calls = slices.Insert(b.calls, i+1, c)
	b.renumber()
}

// renumber gives the calls the times of their order.
func (b *modelBiting) renumber() {
	for i, c := range b.calls {
		c.begin, c.end = 2*i+1, 2*i+2
	}
}

// cut removes the i-th record of a call.
func (c *modelCall) cut(i int) {
	c.items = slices.Delete(c.items, i, i+1)
	if c.slots != nil {
		c.slots = slices.Delete(c.slots, i, i+1)
	}
	if c.letters != nil {
		c.letters = slices.Delete(c.letters, i, i+1)
	}
}

var modelBites = []modelBite{
	{"an ack is missing", func(b *modelBiting) {
		if c := b.call(b.is("ack")); c != nil {
			b.remove(c)
		}
	}},
	{"a position is missing in an ack", func(b *modelBiting) {
		if c := b.call(b.is("ack")); c != nil && len(c.items) > 1 {
			c.cut(b.IntN(len(c.items)))
		}
	}},
	{"an ack is made twice", func(b *modelBiting) {
		if c := b.call(b.is("ack")); c != nil {
			b.insert(c, c.clone())
		}
	}},
	{"an ack is split in two", func(b *modelBiting) {
		if c := b.call(b.is("ack")); c != nil && len(c.items) > 1 {
			second := c.clone()
			c.items, second.items = c.items[:1], second.items[1:]
			b.insert(c, second)
		}
	}},
	{"two positions are swapped in an ack", func(b *modelBiting) {
		if c := b.call(b.is("ack")); c != nil && len(c.items) > 1 {
			c.items[0], c.items[len(c.items)-1] = c.items[len(c.items)-1], c.items[0]
		}
	}},
	{"two acks are swapped", func(b *modelBiting) {
		c, d := b.call(b.is("ack")), b.call(b.is("ack"))
		if c != nil && c != d {
			c.items, d.items = d.items, c.items
		}
	}},
	{"an ack is early", func(b *modelBiting) {
		c := b.call(b.is("ack"))
		if i := slices.Index(b.calls, c); i > 0 && (b.isWrite(b.calls[i-1]) || b.calls[i-1].who == "dlq") {
			b.calls[i], b.calls[i-1] = b.calls[i-1], b.calls[i]
			b.renumber()
		}
	}},
	{"an ack overlaps with a write", func(b *modelBiting) {
		c := b.call(b.is("ack"))
		if i := slices.Index(b.calls, c); i > 0 && b.isWrite(b.calls[i-1]) {
			b.calls[i-1].end = c.begin + 1
			c.end += 2
		}
	}},
	{"an ack has the position of a changed record", func(b *modelBiting) {
		if c := b.call(b.is("ack")); c != nil {
			c.items[b.IntN(len(c.items))] = "proc01:same"
		}
	}},
	{"a record is not delivered", func(b *modelBiting) {
		if c := b.call(b.isWrite); c != nil {
			if len(c.items) == 1 {
				b.remove(c)
			} else {
				c.cut(b.IntN(len(c.items)))
			}
		}
	}},
	{"a call is made twice", func(b *modelBiting) {
		if c := b.call(b.isTask); c != nil {
			b.insert(c, c.clone())
		}
	}},
	{"a call has a record twice", func(b *modelBiting) {
		if c := b.call(b.isTask); c != nil {
			c.items, c.slots = append(c.items, c.items[0]), append(c.slots, c.slots[0])
		}
	}},
	{"a call is split in two", func(b *modelBiting) {
		if c := b.call(b.isTask); c != nil && len(c.items) > 1 {
			second := c.clone()
			c.items, second.items = c.items[:1], second.items[1:]
			c.slots, second.slots = c.slots[:1], second.slots[1:]
			b.insert(c, second)
		}
	}},
	{"two records are swapped in a call", func(b *modelBiting) {
		if c := b.call(b.isTask); c != nil && len(c.items) > 1 {
			i := b.IntN(len(c.items) - 1)
			c.items[i], c.items[i+1] = c.items[i+1], c.items[i]
			c.slots[i], c.slots[i+1] = c.slots[i+1], c.slots[i]
		}
	}},
	{"two writes are swapped", func(b *modelBiting) {
		c := b.call(b.isWrite)
		if c == nil {
			return
		}
		if d := b.call(b.is(c.who)); c != d {
			c.items, d.items = d.items, c.items
			c.slots, d.slots = d.slots, c.slots
		}
	}},
	{"a record shows a mark of another branch", func(b *modelBiting) {
		if c := b.call(b.isTask); c != nil {
			i := b.IntN(len(c.items))
			c.items[i] = strings.Replace(c.items[i], "]", ".proc99]", 1)
		}
	}},
	{"a kept record changes", func(b *modelBiting) {
		if len(b.kept) > 0 {
			b.kept[b.IntN(len(b.kept))].now += ".later"
		}
	}},
	{"a nacked record is not in the dead-letter queue", func(b *modelBiting) {
		if c := b.call(b.is("dlq")); c != nil {
			if len(c.items) == 1 {
				b.remove(c)
			} else {
				c.cut(b.IntN(len(c.items)))
			}
		}
	}},
	{"a record is in the dead-letter queue twice", func(b *modelBiting) {
		if c := b.call(b.is("dlq")); c != nil {
			b.insert(c, c.clone())
		}
	}},
	{"a record is sent to the dead-letter queue and was not nacked", func(b *modelBiting) {
		c := b.call(b.is("ack"))
		if i := slices.Index(b.calls, c); i > 0 && b.calls[i-1].who != "dlq" {
			nack := &modelCall{who: "dlq"}
			acked := 0
			for _, o := range b.calls[:i] {
				if o.who == "ack" {
					acked += len(o.items)
				}
			}
			for k := range c.items {
				nack.items = append(nack.items, b.tree.form(acked+k).String())
				nack.slots = append(nack.slots, acked+k)
				nack.letters = append(nack.letters, modelLetter{form: nack.items[k], task: "src", text: "no reason"})
			}
			b.insert(b.calls[i-1], nack)
		}
	}},
	{"the dead-letter queue is told another task", func(b *modelBiting) {
		if c := b.call(b.is("dlq")); c != nil {
			c.letters[b.IntN(len(c.letters))].task = "src"
		}
	}},
	{"the dead-letter queue is told another error", func(b *modelBiting) {
		if c := b.call(b.is("dlq")); c != nil {
			c.letters[b.IntN(len(c.letters))].text = "<somebody fails something>"
		}
	}},
	{"the dead-letter queue is given another version", func(b *modelBiting) {
		if c := b.call(b.is("dlq")); c != nil {
			i := b.IntN(len(c.items))
			c.items[i] = strings.Replace(c.items[i], "[", "[.(proc99)", 1)
			c.letters[i].form = c.items[i]
		}
	}},
	{"a read is missing", func(b *modelBiting) {
		if c := b.call(b.is("read")); c != nil {
			b.remove(c)
		}
	}},
	{"a read is early", func(b *modelBiting) {
		c := b.call(b.is("read"))
		if i := slices.Index(b.calls, c); i > 0 {
			b.calls[i], b.calls[i-1] = b.calls[i-1], b.calls[i]
			b.renumber()
		}
	}},
	{"a read is made after the last", func(b *modelBiting) {
		if len(b.calls) > 0 {
			b.insert(b.calls[len(b.calls)-1], &modelCall{who: "read", items: []string{"0-0"}})
		}
	}},
	{"a call has nothing in it", func(b *modelBiting) {
		if c := b.call(b.isTask); c != nil {
			b.insert(c, &modelCall{who: c.who})
		}
	}},
	{"a destination is not asked for all acks", func(b *modelBiting) {
		if c := b.call(b.isWrite); c != nil {
			c.broken = true
		}
	}},
	{"an error comes from nowhere", func(b *modelBiting) {
		if b.outcome.err == nil {
			b.outcome.err = errModelTask
		}
	}},
	{"an error is not returned", func(b *modelBiting) { b.outcome.err = nil }},
	{"an error is another one", func(b *modelBiting) {
		if b.outcome.err != nil {
			b.outcome.err = funnel.FatalError(errModelTorn)
		}
	}},
	{"Do panics", func(b *modelBiting) { b.outcome.panicked = "a bug" }},
	{"Do does not return", func(b *modelBiting) { b.outcome.hung = true }},
	{"Do exits its goroutine", func(b *modelBiting) { b.outcome.exited = true }},
	{"a connector is closed twice", func(b *modelBiting) { b.lives[b.tree.first.id] = modelLife{1, 2} }},
	{"a connector is not closed", func(b *modelBiting) { b.lives[b.tree.first.id] = modelLife{1, 0} }},
	{"a part complains", func(b *modelBiting) { b.wrong = append(b.wrong, "what a mess") }},
}

// isDefinite reports whether a run of the tree that differs from one that is as
// it must be cannot be as it must be, too.
func (t *modelTree) isDefinite() bool {
	if t.queue.none || slices.ContainsFunc(t.nodes(), func(n *modelNode) bool { return n.hush > 0 && n.hushes > 15 }) {
		return false
	}
	return t.fault.kind == faultNone ||
		t.fault.node == "" && modelExpect(t, modelPolicies[0], &modelRun{}).endings[0].fails
}

// TestModelBites changes one thing at a time in runs that are as they must be.
func TestModelBites(t *testing.T) {
	show := func(r *modelRun) string { return fmt.Sprint(r, r.kept, r.lives, r.wrong) }
	changed := map[string]int{}
	for seed := uint64(1); seed <= 150; seed++ {
		tree := modelDraw(seed)
		if !tree.isDefinite() {
			continue
		}
		for _, policy := range modelPolicies {
			run := modelPerform(tree, policy)
			if diff, x := modelCompare(tree, run); diff != "" {
				t.Fatalf("a run that is as it must be differs: %s\n%s\nrun:\n%s\nexpected:\n%s", diff, tree, run, x)
			}
		}
		run := modelPerform(tree, modelPolicies[0])
		whole := show(run)
		kinds := map[string]modelKind{}
		for _, n := range tree.nodes() {
			kinds[n.id] = n.kind
		}
		for i, bite := range modelBites {
			b := &modelBiting{modelRun: run.clone(), Rand: rand.New(rand.NewPCG(seed, uint64(i))), tree: tree, kinds: kinds}
			bite.change(b)
			if show(b.modelRun) == whole {
				continue
			}
			changed[bite.what]++
			if diff, _ := modelCompare(tree, b.modelRun); diff == "" {
				t.Fatalf("%s, and nobody notices\n%s\nrun:\n%s\nwas:\n%s", bite.what, tree, b, run)
			}
		}
	}
	for _, bite := range modelBites {
		if changed[bite.what] < 2 {
			t.Errorf("%s: tried on %d runs only", bite.what, changed[bite.what])
		}
	}
}

// TestModelDrawsAll checks that the trees have all that they are meant to have,
// and that a seed always gives the same tree.
func TestModelDrawsAll(t *testing.T) {
	seen := map[string]int{}
	count := func(what string, is bool) {
		if is {
			seen[what]++
		} else {
			seen[what] += 0
		}
	}
	for seed := uint64(1); seed <= 4000; seed++ {
		tree := modelDraw(seed)
		if tree.String() != modelDraw(seed).String() {
			t.Fatalf("seed %d does not always give the same tree", seed)
		}
		x := modelExpect(tree, modelPolicies[0], &modelRun{})
		for kind := faultNone; kind < faults; kind++ {
			count("fault: "+modelFaultNames[kind], tree.fault.kind == kind && (x.endings[0].bad() || !modelEnds[kind]))
		}
		count("a fan-out at the source", len(tree.first.next) > 1)
		count("no fan-out", tree.linear())
		count("no record", tree.records() == 0)
		count("a refused nack", tree.fault.kind == faultNone && x.endings[0].fails)
		count("a write that waits", tree.wait.nth > 0)
		depth := 0
		var look func(n *modelNode, fans int)
		look = func(n *modelNode, fans int) {
			if len(n.next) > 1 {
				fans++
			}
			depth = max(depth, fans)
			for _, next := range n.next {
				look(next, fans)
				count("a task behind a destination", n.kind == modelDestination)
			}
			count("a branch that ends in a custom task", len(n.next) == 0 && n.kind == modelTask)
		}
		look(tree.first, 0)
		for fans := range 4 {
			count(fmt.Sprintf("%d fan-outs deep", fans), depth == fans)
		}
		for _, nacks := range x.nacks {
			count("several candidates for the first nack", len(nacks) > 1)
		}
	}
	for what, n := range seen {
		if n < 5 {
			t.Errorf("%s: drawn %d times", what, n)
		}
	}
}

// modelEnds tells for which faults Do does not return nil when they happen.
var modelEnds = map[modelFaultKind]bool{
	faultWrite: true, faultAck: true, faultAckWrong: true, faultAckMany: true, faultAckStop: true,
	faultNothing: true, faultTooMany: true, faultAlien: true, faultMute: true, faultTask: true,
	faultPanic: true, faultGoexit: true, faultRead: true, faultReadCanceled: true, faultNoPosition: true,
	faultReadPanic: true, faultSourceAck: true, faultSourcePanic: true, faultSourceClosed: true,
	faultQueueWrite: true, faultQueueNack: true, faultQueuePanic: true,
}
