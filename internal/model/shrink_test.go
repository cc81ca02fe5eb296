package model

import (
	"slices"
	"testing"
)

// Making a tree that fails smaller. What a task does to a record depends on no
// other task, so that most of a tree can be taken away and the failure stays.

// shrink returns the smallest tree that it finds by taking away one thing
// after the other, as long as the tree still fails.
func shrink(t *taskTree, fails func(*taskTree) bool) *taskTree {
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
func (t *taskTree) smaller() []*taskTree {
	var all []*taskTree
	change := func(f func(c *taskTree) (changed bool)) {
		c := t.clone()
		if !f(c) {
			return
		}
		c.tidy()
		if c.wait.nth > 0 && !slices.Contains(c.waits(), c.wait) {
			c.wait = waitingWrite{} // it would wait forever
		}
		all = append(all, c)
	}
	for i := range t.nodes() {
		change(func(c *taskTree) bool { return c.removeBranch(i) })
	}
	for i := range t.nodes() {
		change(func(c *taskTree) bool { return c.removeNode(i) })
	}
	for _, whole := range []bool{true, false} {
		change(func(c *taskTree) bool { return c.removeRead(whole) })
	}
	for i := range t.nodes() {
		for habit := range habits(&node{}) {
			change(func(c *taskTree) bool {
				field := habits(c.nodes()[i])[habit]
				changed := *field != 0
				*field = 0
				return changed
			})
		}
		change(func(c *taskTree) bool {
			n := c.nodes()[i]
			changed := n.early || n.backward || n.doubtful || n.readsOn || n.wavers
			n.early, n.backward, n.doubtful, n.readsOn, n.wavers = false, false, false, false, false
			return changed
		})
		change(func(c *taskTree) bool {
			n := c.nodes()[i]
			changed := n.move != moveNot || n.style != styleUntouched
			n.move, n.style = moveNot, styleUntouched
			return changed
		})
		change(func(c *taskTree) bool {
			n := c.nodes()[i]
			changed := n.bestEffort
			n.bestEffort = false
			return changed
		})
		change(func(c *taskTree) bool {
			n := c.nodes()[i]
			changed := n.hasDefault || n.embeds && !slices.Contains(c.first.next, n)
			n.hasDefault, n.embeds = false, false
			return changed
		})
	}
	change(func(c *taskTree) bool {
		changed := c.ahead > 0
		c.ahead, c.deaf, c.drains = 0, false, false
		return changed
	})
	change(func(c *taskTree) bool {
		changed := c.aside.kind != faultNone
		c.aside = fault{}
		return changed
	})
	change(func(c *taskTree) bool {
		changed := c.drains || c.checks
		c.drains, c.checks = false, false
		return changed
	})
	change(func(c *taskTree) bool {
		changed := c.pieceIDs || c.ownIDs
		c.pieceIDs, c.ownIDs = false, false
		return changed
	})
	change(func(c *taskTree) bool {
		changed := c.whole || c.asRead
		c.whole, c.asRead = false, false
		return changed
	})
	change(func(c *taskTree) bool {
		changed := c.retry.MinPause != 0 || c.retry.MaxPause != 0
		c.retry.MinPause, c.retry.MaxPause = 0, 0
		return changed
	})
	change(func(c *taskTree) bool {
		changed := c.retry.MaxCalls != 0
		c.retry.MaxCalls = 0
		return changed
	})
	change(func(c *taskTree) bool {
		plain := *c
		plain.twins, plain.closes, plain.stopAfter, plain.closeAgain = false, false, false, false
		plain.balks, plain.deaf, plain.crowd = 0, false, false
		plain.metrics, plain.queue.lull, plain.wait = metricsNil, 0, waitingWrite{}
		plain.reads = slices.DeleteFunc(plain.reads, func(read sourceRead) bool { return read.from == read.to && !read.eof })
		changed := len(plain.reads) < len(t.reads) || plain.twins != c.twins || plain.balks != c.balks || plain.deaf != c.deaf || plain.crowd != c.crowd || plain.closes != c.closes || plain.stopAfter != c.stopAfter ||
			plain.closeAgain != c.closeAgain || plain.metrics != c.metrics || plain.queue != c.queue || plain.wait != c.wait
		*c = plain
		return changed
	})
	return all
}

// habits returns what a node may do without.
func habits(n *node) []*int {
	return []*int{&n.fail, &n.filter, &n.split, &n.hush, &n.atMost, &n.workers, &n.lull, &n.sleepy}
}

// clone returns a copy of the tree that shares nothing.
func (t *taskTree) clone() *taskTree {
	var clone func(n *node) *node
	clone = func(n *node) *node {
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
func (t *taskTree) parent(n *node) (*node, int) {
	for _, p := range append([]*node{t.first}, t.nodes()...) {
		if i := slices.Index(p.next, n); i >= 0 {
			return p, i
		}
	}
	return nil, -1
}

// tidy lets only branches be best effort, and not all of a fan-out, and routes behind the
// source show batches.
func (t *taskTree) tidy() {
	for _, n := range append([]*node{t.first}, t.nodes()...) {
		if !slices.ContainsFunc(n.next, func(next *node) bool { return !next.bestEffort }) && len(n.next) > 0 {
			n.next[0].bestEffort = false
		}
	}
	t.first.showBatches()
	for n := range t.forgiven() {
		if n.id == t.aside.node {
			return
		}
	}
	t.aside = fault{}
}

// removeBranch removes the i-th node and all behind it, if it is in a fan-out.
func (t *taskTree) removeBranch(i int) bool {
	p, at := t.parent(t.nodes()[i])
	if len(p.next) < 2 {
		return false
	}
	p.next = slices.Delete(p.next, at, at+1)
	return true
}

// removeNode puts what is behind the i-th node in its place.
func (t *taskTree) removeNode(i int) bool {
	n := t.nodes()[i]
	p, at := t.parent(n)
	if len(n.next) == 0 {
		return false
	}
	p.next = slices.Replace(p.next, at, at+1, n.next...)
	return true
}

// removeRead removes the last read of records, or only the last record of it.
func (t *taskTree) removeRead(whole bool) bool {
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

// TestShrinks makes trees smaller that fail for a known reason.
func TestShrinks(t *testing.T) {
	splits := func(tree *taskTree) bool {
		calls := 0
		var look func(steps []*expectedCall)
		look = func(steps []*expectedCall) {
			for _, step := range steps {
				if slices.ContainsFunc(step.items, func(item string) bool { return item[:2] == "3/" }) {
					calls++
				}
				for _, branch := range step.fan {
					look(branch)
				}
			}
		}
		look(expect(tree, &trace{}).steps)
		return calls > 0
	}
	tried := 0
	for seed := uint64(1); tried < 20; seed++ {
		tree := draw(seed)
		if !splits(tree) {
			continue
		}
		tried++
		small := shrink(tree, splits)
		if got := len(small.nodes()); got > 3 || small.records() != 4 || !splits(small) {
			t.Errorf("seed %d became\n%s", seed, small)
		}
	}
}
