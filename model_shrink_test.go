package funnel_test

import (
	"slices"
	"testing"
)

// Making a tree that fails smaller. What a task does to a record depends on no
// other task, so that most of a tree can be taken away and the failure stays.

// modelShrink returns the smallest tree that it finds by taking away one thing
// after the other, as long as the tree still fails.
func modelShrink(t *modelTree, fails func(*modelTree) bool) *modelTree {
	for {
		smaller := t.smaller()
		i := slices.IndexFunc(smaller, fails)
		if i < 0 {
			return t
		}
		t = smaller[i]
	}
}

// smaller returns trees with one thing less each, the biggest things first.
func (t *modelTree) smaller() []*modelTree {
	var all []*modelTree
	change := func(f func(c *modelTree) (changed bool)) {
		c := t.clone()
		if !f(c) {
			return
		}
		if c.wait.nth > 0 && !slices.Contains(c.waits(), c.wait) {
			c.wait = modelWait{} // it would wait forever
		}
		all = append(all, c)
	}
	for i := range t.nodes() {
		change(func(c *modelTree) bool { return c.removeBranch(i) })
	}
	for i := range t.nodes() {
		change(func(c *modelTree) bool { return c.removeNode(i) })
	}
	for _, whole := range []bool{true, false} {
		change(func(c *modelTree) bool { return c.removeRead(whole) })
	}
	for i := range t.nodes() {
		for habit := range modelHabits(&modelNode{}) {
			change(func(c *modelTree) bool {
				field := modelHabits(c.nodes()[i])[habit]
				changed := *field != 0
				*field = 0
				return changed
			})
		}
		change(func(c *modelTree) bool {
			n := c.nodes()[i]
			changed := n.early || n.backward || n.doubtful
			n.early, n.backward, n.doubtful = false, false, false
			return changed
		})
		change(func(c *modelTree) bool {
			n := c.nodes()[i]
			changed := n.move != moveNot || n.style != styleUntouched
			n.move, n.style = moveNot, styleUntouched
			return changed
		})
	}
	change(func(c *modelTree) bool {
		plain := *c
		plain.twins, plain.closes, plain.stopAfter, plain.closeAgain = false, false, false, false
		plain.metrics, plain.queue.lull, plain.wait = metricsNil, 0, modelWait{}
		plain.reads = slices.DeleteFunc(plain.reads, func(read modelRead) bool { return read.from == read.to && !read.eof })
		changed := len(plain.reads) < len(t.reads) || plain.twins != c.twins || plain.closes != c.closes || plain.stopAfter != c.stopAfter ||
			plain.closeAgain != c.closeAgain || plain.metrics != c.metrics || plain.queue != c.queue || plain.wait != c.wait
		*c = plain
		return changed
	})
	return all
}

// modelHabits returns what a node may do without.
func modelHabits(n *modelNode) []*int {
	return []*int{&n.fail, &n.filter, &n.split, &n.hush, &n.atMost, &n.lull, &n.sleepy}
}

// clone returns a copy of the tree that shares nothing.
func (t *modelTree) clone() *modelTree {
	var clone func(n *modelNode) *modelNode
	clone = func(n *modelNode) *modelNode {
		c := *n
		c.next = nil
		for _, next := range n.next {
			c.next = append(c.next, clone(next))
		}
		return &c
	}
	c := *t
	c.first = clone(t.first)
	c.reads = slices.Clone(t.reads)
	return &c
}

// parent returns the node before a node, and where it is there.
func (t *modelTree) parent(n *modelNode) (*modelNode, int) {
	for _, p := range append([]*modelNode{t.first}, t.nodes()...) {
		if i := slices.Index(p.next, n); i >= 0 {
			return p, i
		}
	}
	return nil, -1
}

// removeBranch removes the i-th node and all behind it, if it is in a fan-out.
func (t *modelTree) removeBranch(i int) bool {
	p, at := t.parent(t.nodes()[i])
	if len(p.next) < 2 {
		return false
	}
	p.next = slices.Delete(p.next, at, at+1)
	return true
}

// removeNode puts what is behind the i-th node in its place.
func (t *modelTree) removeNode(i int) bool {
	n := t.nodes()[i]
	p, at := t.parent(n)
	if len(n.next) == 0 {
		return false
	}
	p.next = slices.Replace(p.next, at, at+1, n.next...)
	return true
}

// removeRead removes the last read of records, or only the last record of it.
func (t *modelTree) removeRead(whole bool) bool {
	for i := len(t.reads) - 1; i >= 0; i-- {
		read := &t.reads[i]
		if read.from == read.to {
			continue
		}
		if whole {
			read.to = read.from
		} else {
			read.to--
		}
		for k := range t.reads[i+1:] {
			rest := &t.reads[i+1+k]
			rest.from, rest.to = read.to, read.to
		}
		return true
	}
	return false
}

// TestModelShrinks makes trees smaller that fail for a known reason.
func TestModelShrinks(t *testing.T) {
	splits := func(tree *modelTree) bool {
		calls := 0
		var look func(steps []*modelStep)
		look = func(steps []*modelStep) {
			for _, step := range steps {
				if slices.ContainsFunc(step.items, func(item string) bool { return item[:2] == "3/" }) {
					calls++
				}
				for _, branch := range step.fan {
					look(branch)
				}
			}
		}
		look(modelExpect(tree, modelPolicies[0], &modelRun{}).steps)
		return calls > 0
	}
	tried := 0
	for seed := uint64(1); tried < 20; seed++ {
		tree := modelDraw(seed)
		if !splits(tree) {
			continue
		}
		tried++
		small := modelShrink(tree, splits)
		if got := len(small.nodes()); got > 3 || small.records() != 4 || !splits(small) {
			t.Errorf("seed %d became\n%s", seed, small)
		}
	}
}
