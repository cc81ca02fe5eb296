package model

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// How a tree is drawn from a seed.

// draw draws the tree of a seed.
func draw(seed uint64) *taskTree {
	d := &drawing{Rand: rand.New(rand.NewPCG(seed, 0x5eed)), budget: 18}
	t := &taskTree{
		seed:       seed,
		twins:      d.chance(10),
		closes:     d.chance(20),
		metrics:    metricsKind(d.IntN(3)),
		stopAfter:  d.chance(20),
		closeAgain: d.chance(20),
	}
	d.mood = d.IntN(4)
	t.first = &node{id: "src", kind: kindSource, sleepy: d.pick(0, 0, 30)}
	if d.chance(30) {
		t.first.next = d.chain(3) // no fan-out
	} else {
		t.first.next = d.chain(0)
	}
	d.reads(t)
	if d.chance(35) {
		t.ahead = d.pick(1, 1, 2, 3, 5, 8, 100)
		t.first.sleepy = d.pick(0, 20, 60)
	}
	if d.chance(15) {
		t.balks = 1 + d.IntN(2)
	}
	t.deaf = t.ahead > 0 && d.chance(50)
	t.crowd = d.chance(20)
	t.queue = queueSetup{chunk: 1 + d.IntN(4), lull: d.pick(0, 0, 40)}
	if d.chance(30) {
		t.queue.size, t.queue.threshold = 1000, 1000
	}
	if d.chance(40) {
		d.trouble(t)
		d.waiting(t)
	}
	return t
}

// drawing is the state of drawing a tree.
type drawing struct {
	*rand.Rand
	budget int // nodes that may still be drawn
	count  int
	mood   int // 0 is calm, 3 is wild
}

func (d *drawing) chance(percent int) bool { return d.IntN(100) < percent }

func (d *drawing) pick(of ...int) int { return of[d.IntN(len(of))] }

// reads draws what the source returns.
func (d *drawing) reads(t *taskTree) {
	most, total := 1+d.IntN(8), d.IntN(14)
	if d.chance(3) {
		most, total = 30, 60
	}
	for at := 0; at < total; {
		if d.chance(10) {
			t.reads = append(t.reads, sourceRead{from: at, to: at})
		}
		n := min(1+d.IntN(most), total-at)
		t.reads = append(t.reads, sourceRead{from: at, to: at + n})
		at += n
	}
	switch {
	case d.chance(30): // blocks at the end
	case d.chance(40) && len(t.reads) > 0:
		t.reads[len(t.reads)-1].eof = true
	default:
		t.reads = append(t.reads, sourceRead{from: total, to: total, eof: true})
	}
}

// chain draws what follows a node that is depth fan-outs deep.
func (d *drawing) chain(depth int) []*node {
	if depth < 3 && d.budget >= 4 && d.chance([...]int{45, 30, 20}[depth]) {
		fan := make([]*node, 2+d.pick(0, 0, 1, 2))
		for i := range fan {
			fan[i] = d.link(depth + 1)
		}
		return fan
	}
	return []*node{d.link(depth)}
}

// link draws a node and what follows it.
func (d *drawing) link(depth int) *node {
	d.budget--
	if d.budget > 0 && d.chance(60) {
		n := d.processor()
		// A branch may end in a custom task.
		if n.kind == kindProcessor || d.chance(90) {
			n.next = d.chain(depth)
		}
		return n
	}
	n := d.destination()
	if d.budget > 0 && d.chance(12) {
		n.next = d.chain(depth)
	}
	return n
}

// some draws a percentage that grows with the mood.
func (d *drawing) some(percent int) int {
	if d.mood == 0 || d.chance(45) {
		return 0
	}
	return 1 + d.IntN(percent*d.mood/2+1)
}

func (d *drawing) node(kind nodeKind, prefix string) *node {
	d.count++
	return &node{
		id:     fmt.Sprintf("%s%02d", prefix, d.count),
		kind:   kind,
		sleepy: d.pick(0, 0, 20, 60),
		fail:   d.some(15),
	}
}

// processor draws a processor or a custom task.
func (d *drawing) processor() *node {
	var n *node
	if d.chance(25) {
		n = d.node(kindTask, "task")
		n.backward, n.doubtful = d.chance(50), d.chance(30)
		n.readsOn, n.wavers = d.chance(60), d.chance(30)
	} else {
		n = d.node(kindProcessor, "proc")
	}
	n.filter, n.split = d.some(25), d.some(30)
	n.hushes = 15 // in a row do no harm
	if d.chance(25) {
		n.hush = d.some(30)
	}
	if d.chance(3) {
		n.hush, n.hushes = 60+d.IntN(40), 40
	}
	if d.chance(20) {
		n.atMost = 1 + d.IntN(4)
	}
	n.style = style(d.IntN(int(styles)))
	if d.chance(30) {
		n.move = move(d.IntN(int(moves)))
	}
	n.early = d.chance(30)
	if n.kind == kindProcessor && d.chance(25) {
		n.workers = 1 + d.IntN(5)
		n.atMost = 0 // what a call does not answer would depend on its part
	}
	return n
}

func (d *drawing) destination() *node {
	n := d.node(kindDestination, "dest")
	n.chunk, n.lull = 1+d.IntN(6), d.pick(0, 0, 30, 60)
	return n
}

// trouble draws something that ends most runs with an error.
func (d *drawing) trouble(t *taskTree) {
	for _, n := range t.nodes() {
		n.hushes = min(n.hushes, 15) // one trouble is enough
	}
	switch {
	case d.chance(25):
		t.queue.size = 1 + d.IntN(6)
		t.queue.threshold = d.IntN(4)
		return
	case d.chance(8):
		t.queue = queueSetup{none: true}
		return
	case d.chance(20):
		t.fault = fault{kind: faultStopAt + faultKind(d.IntN(3)), nth: d.IntN(d.pick(10, 100, 1000))}
		return
	}
	if d.chance(33) {
		t.fault = fault{
			kind: faultRead + faultKind(d.IntN(int(faultStopAt-faultRead))),
			nth:  1 + d.IntN(4),
		}
		if d.chance(25) {
			t.fault.kind = faultQueueWrite + faultKind(d.IntN(int(faults-faultQueueWrite)))
		}
		return
	}
	nodes := t.nodes()
	n := nodes[d.IntN(len(nodes))]
	of := []faultKind{faultPanic, faultGoexit, faultCancel, faultCancel, faultStop, faultStopShort}
	switch n.kind {
	case kindDestination:
		of = append(of, faultWrite, faultWrite, faultAck, faultAckWrong, faultAckMany, faultAckStop)
	case kindProcessor:
		of = append(of, faultNothing, faultTooMany, faultAlien, faultMute, faultMute, faultMute)
	case kindTask:
		of = append(of, faultMute, faultMute, faultTask, faultTask, faultTask)
	}
	t.fault = fault{node: n.id, kind: of[d.IntN(len(of))], nth: 1 + d.IntN(3)}
	if t.fault.kind == faultCancel || t.fault.kind == faultStop {
		t.fault.nth = 1 + d.IntN(8)
	}
}

// waiting lets a destination wait for the end of its context, if it ends.
func (d *drawing) waiting(t *taskTree) {
	if t.ahead > 0 {
		return // which write it is depends on the batches
	}
	if waits := t.waits(); len(waits) > 0 && d.chance(60) {
		t.wait = waits[d.IntN(len(waits))]
	}
}

// TestDrawsAll checks that the trees have all that they are meant to have,
// and that a seed always gives the same tree.
func TestDrawsAll(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes thousands of trees to draw all")
	}
	seen := map[string]int{}
	count := func(what string, is bool) {
		if is {
			seen[what]++
		} else {
			seen[what] += 0
		}
	}
	for seed := uint64(1); seed <= 5000; seed++ {
		tree := draw(seed)
		if tree.String() != draw(seed).String() {
			t.Fatalf("seed %d does not always give the same tree", seed)
		}
		x := expect(tree, &trace{})
		for kind := faultNone; kind < faults; kind++ {
			count("fault: "+faultNames[kind], tree.fault.kind == kind && (x.endings[0].bad() || !endsDo[kind]))
		}
		count("a fan-out at the source", len(tree.first.next) > 1)
		count("no fan-out", tree.linear())
		count("no record", tree.records() == 0)
		count("a refused nack", tree.fault.kind == faultNone && x.endings[0].fails)
		count("a write that waits", tree.wait.nth > 0)
		count("a source whose teardown fails", tree.balks > 0)
		count("a blocking read that ignores its context", tree.deaf && tree.blocks())
		for kind := faultNone; kind < faults; kind++ {
			count("ahead, fault: "+faultNames[kind], tree.ahead > 0 && tree.fault.kind == kind)
		}
		for _, n := range tree.nodes() {
			count("a parallel processor", n.workers > 1)
			count("a fault in a parallel processor", n.workers > 1 && tree.fault.node == n.id)
			count("a task that reads on forward", n.readsOn && !n.backward)
			count("a task that reads on backward", n.readsOn && n.backward)
		}
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
		if n < 3 {
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
