package model

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/funnel"
)

// The test of the model: it has to bite. A run that is exactly as the model
// expects is made up without the engine and must pass; with one thing wrong in
// it, it must not.

// perform makes up a run of a tree that is as it must be. It takes two goes
// at it, since the second one knows what the first one chose where there is a
// choice.
func perform(t *taskTree, p policy) *trace {
	first := performExpected(t, expect(t, p, &trace{}))
	return performExpected(t, expect(t, p, first))
}

// performExpected makes up a run that does what is expected.
func performExpected(t *taskTree, x *expectation) *trace {
	run := &trace{lives: map[string]life{t.first.id: {1, 1}, "dlq": {1, 1}}}
	kinds := map[string]nodeKind{"dlq": kindDestination}
	for _, n := range t.nodes() {
		kinds[n.id] = n.kind
		run.lives[n.id] = life{1, 1}
	}
	clock := 0
	var perform func(steps []*expectedCall)
	perform = func(steps []*expectedCall) {
		for _, step := range steps {
			for _, branch := range step.fan {
				perform(branch)
			}
			if step.fan != nil {
				continue
			}
			clock += 2
			c := &call{who: step.who, items: slices.Clone(step.items), begin: clock - 1, end: clock}
			if step.parts > 0 {
				run.calls = append(run.calls, performParts(step, c)...)
				continue
			}
			if step.who != "ack" {
				c.slots = slices.Clone(step.slots)
			}
			for _, nack := range step.nacks {
				text := "there was no error"
				if nack.err != nil {
					text = "wrapped: " + nack.err.Error()
				}
				c.letters = append(c.letters, deadLetter{form: nack.form.String(), task: nack.task, text: text})
			}
			run.calls = append(run.calls, c)
			if kind, ok := kinds[step.who]; ok && kind == kindDestination {
				for _, item := range step.items {
					run.kept = append(run.kept, keptForms{who: step.who, then: item, now: item})
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

// performParts makes up the calls for the parts of a batch, the last one first.
func performParts(step *expectedCall, c *call) (parts []*call) {
	from := len(step.items)
	for n := step.parts; n > 0; n-- {
		to := from
		from -= to / n
		part := *c
		part.items, part.slots = slices.Clone(step.items[from:to]), slices.Clone(step.slots[from:to])
		part.parts = step.parts
		parts = append(parts, &part)
	}
	return parts
}

// clone returns a copy of the run that shares nothing.
func (r *trace) clone() *trace {
	c := *r
	c.calls = make([]*call, len(r.calls))
	for i, seen := range r.calls {
		c.calls[i] = seen.clone()
	}
	c.kept = slices.Clone(r.kept)
	c.lives = map[string]life{}
	for id, seen := range r.lives {
		c.lives[id] = seen
	}
	return &c
}

func (c *call) clone() *call {
	d := *c
	d.items, d.slots, d.letters = slices.Clone(c.items), slices.Clone(c.slots), slices.Clone(c.letters)
	return &d
}

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

var bites = []bite{
	{"an ack is missing", func(b *biting) {
		if c := b.call(b.is("ack")); c != nil {
			b.remove(c)
		}
	}},
	{"a position is missing in an ack", func(b *biting) {
		if c := b.call(b.is("ack")); c != nil && len(c.items) > 1 {
			c.cut(b.IntN(len(c.items)))
		}
	}},
	{"an ack is made twice", func(b *biting) {
		if c := b.call(b.is("ack")); c != nil {
			b.insert(c, c.clone())
		}
	}},
	{"an ack is split in two", func(b *biting) {
		if c := b.call(b.is("ack")); c != nil && len(c.items) > 1 {
			second := c.clone()
			c.items, second.items = c.items[:1], second.items[1:]
			b.insert(c, second)
		}
	}},
	{"two positions are swapped in an ack", func(b *biting) {
		if c := b.call(b.is("ack")); c != nil && len(c.items) > 1 {
			c.items[0], c.items[len(c.items)-1] = c.items[len(c.items)-1], c.items[0]
		}
	}},
	{"two acks are swapped", func(b *biting) {
		c, d := b.call(b.is("ack")), b.call(b.is("ack"))
		if c != nil && c != d {
			c.items, d.items = d.items, c.items
		}
	}},
	{"an ack is early", func(b *biting) {
		c := b.call(b.is("ack"))
		if i := slices.Index(b.calls, c); i > 0 && (b.isWrite(b.calls[i-1]) || b.calls[i-1].who == "dlq") {
			b.calls[i], b.calls[i-1] = b.calls[i-1], b.calls[i]
			b.renumber()
		}
	}},
	{"an ack overlaps with a write", func(b *biting) {
		c := b.call(b.is("ack"))
		if i := slices.Index(b.calls, c); i > 0 && b.isWrite(b.calls[i-1]) {
			b.calls[i-1].end = c.begin + 1
			c.end += 2
		}
	}},
	{"an ack has the position of a changed record", func(b *biting) {
		if c := b.call(b.is("ack")); c != nil {
			c.items[b.IntN(len(c.items))] = "proc01:same"
		}
	}},
	{"a record is not delivered", func(b *biting) {
		if c := b.call(b.isWrite); c != nil {
			if len(c.items) == 1 {
				b.remove(c)
			} else {
				c.cut(b.IntN(len(c.items)))
			}
		}
	}},
	{"a call is made twice", func(b *biting) {
		if c := b.call(b.isTask); c != nil {
			b.insert(c, c.clone())
		}
	}},
	{"a call has a record twice", func(b *biting) {
		if c := b.call(b.isTask); c != nil {
			c.items, c.slots = append(c.items, c.items[0]), append(c.slots, c.slots[0])
		}
	}},
	{"a call is split in two", func(b *biting) {
		if c := b.call(b.isTask); c != nil && len(c.items) > 1 {
			second := c.clone()
			c.items, second.items = c.items[:1], second.items[1:]
			c.slots, second.slots = c.slots[:1], second.slots[1:]
			b.insert(c, second)
		}
	}},
	{"two records are swapped in a call", func(b *biting) {
		if c := b.call(b.isTask); c != nil && len(c.items) > 1 {
			i := b.IntN(len(c.items) - 1)
			c.items[i], c.items[i+1] = c.items[i+1], c.items[i]
			c.slots[i], c.slots[i+1] = c.slots[i+1], c.slots[i]
		}
	}},
	{"parts are not worked on at the same time", func(b *biting) {
		if c := b.call(func(c *call) bool { return c.parts > 1 }); c != nil {
			c.parts = 1
		}
	}},
	{"parts are uneven", func(b *biting) {
		c := b.call(func(c *call) bool { return c.parts > 1 })
		if i := slices.Index(b.calls, c); i > 0 && b.calls[i-1].begin == c.begin && len(c.items) >= len(b.calls[i-1].items) {
			later := b.calls[i-1]
			c.items, later.items = append(c.items, later.items[0]), later.items[1:]
			c.slots, later.slots = append(c.slots, later.slots[0]), later.slots[1:]
		}
	}},
	{"a part is left out", func(b *biting) {
		if c := b.call(func(c *call) bool { return c.parts > 1 }); c != nil {
			b.remove(c)
		}
	}},
	{"two writes are swapped", func(b *biting) {
		c := b.call(b.isWrite)
		if c == nil {
			return
		}
		if d := b.call(b.is(c.who)); c != d {
			c.items, d.items = d.items, c.items
			c.slots, d.slots = d.slots, c.slots
		}
	}},
	{"a record shows a mark of another branch", func(b *biting) {
		if c := b.call(b.isTask); c != nil {
			i := b.IntN(len(c.items))
			c.items[i] = strings.Replace(c.items[i], "]", ".proc99]", 1)
		}
	}},
	{"a kept record changes", func(b *biting) {
		if len(b.kept) > 0 {
			b.kept[b.IntN(len(b.kept))].now += ".later"
		}
	}},
	{"a nacked record is not in the dead-letter queue", func(b *biting) {
		if c := b.call(b.is("dlq")); c != nil {
			if len(c.items) == 1 {
				b.remove(c)
			} else {
				c.cut(b.IntN(len(c.items)))
			}
		}
	}},
	{"a record is in the dead-letter queue twice", func(b *biting) {
		if c := b.call(b.is("dlq")); c != nil {
			b.insert(c, c.clone())
		}
	}},
	{"a record is sent to the dead-letter queue and was not nacked", func(b *biting) {
		c := b.call(b.is("ack"))
		if i := slices.Index(b.calls, c); i > 0 && b.calls[i-1].who != "dlq" {
			nack := &call{who: "dlq"}
			acked := 0
			for _, o := range b.calls[:i] {
				if o.who == "ack" {
					acked += len(o.items)
				}
			}
			for k := range c.items {
				nack.items = append(nack.items, b.tree.form(acked+k).String())
				nack.slots = append(nack.slots, acked+k)
				nack.letters = append(nack.letters, deadLetter{form: nack.items[k], task: "src", text: "no reason"})
			}
			b.insert(b.calls[i-1], nack)
		}
	}},
	{"the dead-letter queue is told another task", func(b *biting) {
		if c := b.call(b.is("dlq")); c != nil {
			c.letters[b.IntN(len(c.letters))].task = "src"
		}
	}},
	{"the dead-letter queue is told another error", func(b *biting) {
		if c := b.call(b.is("dlq")); c != nil {
			c.letters[b.IntN(len(c.letters))].text = "<somebody fails something>"
		}
	}},
	{"the dead-letter queue is given another version", func(b *biting) {
		if c := b.call(b.is("dlq")); c != nil {
			i := b.IntN(len(c.items))
			c.items[i] = strings.Replace(c.items[i], "[", "[.(proc99)", 1)
			c.letters[i].form = c.items[i]
		}
	}},
	{"a read is missing", func(b *biting) {
		if c := b.call(b.is("read")); c != nil {
			b.remove(c)
		}
	}},
	{"a read is early", func(b *biting) {
		c := b.call(b.is("read"))
		if i := slices.Index(b.calls, c); i > 0 {
			b.calls[i], b.calls[i-1] = b.calls[i-1], b.calls[i]
			b.renumber()
		}
	}},
	{"a read is made after the last", func(b *biting) {
		if len(b.calls) > 0 {
			b.insert(b.calls[len(b.calls)-1], &call{who: "read", items: []string{"0-0"}})
		}
	}},
	{"a call has nothing in it", func(b *biting) {
		if c := b.call(b.isTask); c != nil {
			b.insert(c, &call{who: c.who})
		}
	}},
	{"a destination is not asked for all acks", func(b *biting) {
		if c := b.call(b.isWrite); c != nil {
			c.broken = true
		}
	}},
	{"an error comes from nowhere", func(b *biting) {
		if b.outcome.err == nil {
			b.outcome.err = errTask
		}
	}},
	{"an error is not returned", func(b *biting) { b.outcome.err = nil }},
	{"an error is another one", func(b *biting) {
		if b.outcome.err != nil {
			b.outcome.err = funnel.FatalError(errTorn)
		}
	}},
	{"Do panics", func(b *biting) { b.outcome.panicked = "a bug" }},
	{"Do does not return", func(b *biting) { b.outcome.hung = true }},
	{"Do exits its goroutine", func(b *biting) { b.outcome.exited = true }},
	{"a connector is closed twice", func(b *biting) { b.lives[b.tree.first.id] = life{1, 2} }},
	{"a connector is not closed", func(b *biting) { b.lives[b.tree.first.id] = life{1, 0} }},
	{"a part complains", func(b *biting) { b.wrong = append(b.wrong, "what a mess") }},
}

// isDefinite reports whether a run of the tree that differs from one that is as
// it must be cannot be as it must be, too.
func (t *taskTree) isDefinite() bool {
	if t.queue.none || slices.ContainsFunc(t.nodes(), func(n *node) bool { return n.hush > 0 && n.hushes > 15 }) {
		return false
	}
	return t.fault.kind == faultNone ||
		t.fault.node == "" && expect(t, policies[0], &trace{}).endings[0].fails
}

// TestBites changes one thing at a time in runs that are as they must be.
func TestBites(t *testing.T) {
	show := func(r *trace) string { return fmt.Sprint(r, r.kept, r.lives, r.wrong) }
	changed := map[string]int{}
	for seed := uint64(1); seed <= 150; seed++ {
		tree := draw(seed)
		if !tree.isDefinite() {
			continue
		}
		for _, p := range policies {
			run := perform(tree, p)
			if diff, x := compare(tree, run); diff != "" {
				t.Fatalf("a run that is as it must be differs: %s\n%s\nrun:\n%s\nexpected:\n%s", diff, tree, run, x)
			}
		}
		run := perform(tree, policies[0])
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

// TestDrawsAll checks that the trees have all that they are meant to have,
// and that a seed always gives the same tree.
func TestDrawsAll(t *testing.T) {
	seen := map[string]int{}
	count := func(what string, is bool) {
		if is {
			seen[what]++
		} else {
			seen[what] += 0
		}
	}
	for seed := uint64(1); seed <= 4000; seed++ {
		tree := draw(seed)
		if tree.String() != draw(seed).String() {
			t.Fatalf("seed %d does not always give the same tree", seed)
		}
		x := expect(tree, policies[0], &trace{})
		for kind := faultNone; kind < faults; kind++ {
			count("fault: "+faultNames[kind], tree.fault.kind == kind && (x.endings[0].bad() || !endsDo[kind]))
		}
		count("a fan-out at the source", len(tree.first.next) > 1)
		count("no fan-out", tree.linear())
		count("no record", tree.records() == 0)
		count("a refused nack", tree.fault.kind == faultNone && x.endings[0].fails)
		count("a write that waits", tree.wait.nth > 0)
		depth := 0
		var look func(n *node, fans int)
		look = func(n *node, fans int) {
			if len(n.next) > 1 {
				fans++
			}
			depth = max(depth, fans)
			for _, next := range n.next {
				look(next, fans)
				count("a task behind a destination", n.kind == kindDestination)
			}
			count("a branch that ends in a custom task", len(n.next) == 0 && n.kind == kindTask)
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

// endsDo tells for which faults Do does not return nil when they happen.
var endsDo = map[faultKind]bool{
	faultWrite: true, faultAck: true, faultAckWrong: true, faultAckMany: true, faultAckStop: true,
	faultNothing: true, faultTooMany: true, faultAlien: true, faultMute: true, faultTask: true,
	faultPanic: true, faultGoexit: true, faultRead: true, faultReadCanceled: true, faultNoPosition: true,
	faultReadPanic: true, faultSourceAck: true, faultSourcePanic: true, faultSourceClosed: true,
	faultQueueWrite: true, faultQueueNack: true, faultQueuePanic: true,
}
