package model

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/conduitio/funnel"
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
		whole:      d.chance(33),
		pieceIDs:   d.chance(40),
		ownIDs:     d.chance(20),
	}
	d.mood = d.IntN(4)
	if d.chance(30) {
		t.retry = d.policy()
	}
	d.hushes = 20
	if limit := t.limit(); limit > 0 {
		d.hushes = limit - 1 // in a row do no harm
	}
	t.first = &node{id: "src", kind: kindSource, sleepy: d.pick(0, 0, 30)}
	if d.chance(30) {
		t.first.next = d.chain(3) // no fan-out
	} else {
		t.first.next = d.chain(0)
	}
	t.first.showBatches()
	d.reads(t)
	if d.chance(35) {
		t.ahead = d.pick(1, 1, 2, 3, 5, 8, 100)
		t.first.sleepy = d.pick(0, 20, 60)
	}
	if d.chance(15) {
		t.balks = 1 + d.IntN(2)
	}
	t.drains = t.ahead > 0 && d.chance(40)
	t.checks = d.chance(10)
	t.deaf = t.ahead > 0 && d.chance(50)
	t.crowd = d.chance(20)
	t.queue = queueSetup{chunk: 1 + d.IntN(4), lull: d.pick(0, 0, 40)}
	if d.chance(30) {
		t.queue.size, t.queue.threshold = 1000, 1000
	}
	if d.chance(40) {
		d.trouble(t)
	}
	d.troubleAside(t)
	if t.fault.kind != faultNone || t.aside.kind != faultNone {
		d.waiting(t)
	}
	t.asRead = d.chance(25)
	return t
}

// drawing is the state of drawing a tree.
type drawing struct {
	*rand.Rand
	budget int // nodes that may still be drawn
	count  int
	mood   int // 0 is calm, 3 is wild
	hushes int // how many attempts may stay unanswered
}

func (d *drawing) chance(percent int) bool { return d.IntN(100) < percent }

func (d *drawing) pick(of ...int) int { return of[d.IntN(len(of))] }

// policy draws a policy of retries.
func (d *drawing) policy() funnel.RetryPolicy {
	p := funnel.RetryPolicy{MaxCalls: d.pick(-1, 0, 1, 2, 2, 3, 5, 9, 30)}
	if d.chance(70) {
		p.MinPause = time.Duration(1+d.IntN(d.pick(10, 1000, 1e6, 3e6))) * time.Microsecond
	}
	if d.chance(70) {
		p.MaxPause = p.MinPause + time.Duration(1+d.IntN(d.pick(100, 1e6)))*time.Microsecond
	}
	return p
}

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
		return d.fan(depth)
	}
	return []*node{d.link(depth)}
}

// fan draws the branches of a fan-out, and what follows them.
func (d *drawing) fan(depth int) []*node {
	fan := make([]*node, 2+d.pick(0, 0, 1, 2))
	for i := range fan {
		fan[i] = d.link(depth + 1)
	}
	if d.chance(40) {
		for range 1 + d.IntN(len(fan)-1) { // never all of them
			fan[d.IntN(len(fan)-1)].bestEffort = true
		}
		d.Shuffle(len(fan), func(i, j int) { fan[i], fan[j] = fan[j], fan[i] })
	}
	return fan
}

// route draws a route and what follows it.
func (d *drawing) route(depth int) *node {
	n := d.node(kindRoute, "rout")
	n.hasDefault, n.embeds = d.chance(50), d.chance(40)
	if depth < 3 && d.budget >= 3 && d.chance(90) {
		n.next = d.fan(depth)
	} else {
		n.next = []*node{d.link(depth)} // a single case
	}
	return n
}

// link draws a node and what follows it.
func (d *drawing) link(depth int) *node {
	d.budget--
	if d.budget > 0 && d.chance(15) {
		return d.route(depth)
	}
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
	n.hushes = d.hushes
	if d.chance(25) && n.hushes > 0 {
		n.hush = d.some(30)
	}
	if d.chance(3) {
		n.hush, n.hushes = 60+d.IntN(40), 2*d.hushes+5
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
	isForgiven := t.forgiven()
	required := slices.DeleteFunc(t.nodes(), func(n *node) bool { return isForgiven[n] })
	for _, n := range required {
		n.calm(t.limit()) // one trouble is enough
	}
	if d.chance(60) {
		required[d.IntN(len(required))].fail = 10 + d.IntN(40)
	}
	hasWindow := d.chance(35)
	if hasWindow {
		t.queue.size, t.queue.threshold = 1+d.IntN(6), d.pick(0, 0, 1, 2, 3)
	}
	switch {
	case d.chance(40): // often when something is finished and not yet released
		t.fault = d.errorIn(t, required)
		return
	case hasWindow && d.chance(50):
		return
	case d.chance(8):
		t.queue = queueSetup{none: true}
		return
	case d.chance(20):
		t.fault = fault{kind: faultQueueWrite + faultKind(d.IntN(int(faults-faultQueueWrite))), nth: 1 + d.IntN(2)}
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
		return
	}
	nodes := t.nodes()
	n := nodes[d.IntN(len(nodes))]
	of := append(t.errorsOf(n), faultPanic, faultGoexit, faultCancel, faultCancel, faultStop, faultStopShort)
	t.fault = fault{node: n.id, kind: of[d.IntN(len(of))], nth: 1 + d.IntN(3)}
	if t.fault.kind == faultCancel || t.fault.kind == faultStop {
		t.fault.nth = 1 + d.IntN(8)
	}
}

// errorsOf returns the faults with which a node may end a branch, the likely ones several
// times.
func (t *taskTree) errorsOf(n *node) (of []faultKind) {
	switch n.kind {
	case kindDestination:
		of = []faultKind{faultWrite, faultWrite, faultAck, faultAckWrong, faultAckMany, faultAckStop}
	case kindProcessor:
		of = []faultKind{faultNothing, faultTooMany, faultAlien, faultMute, faultMute, faultMute}
	case kindTask:
		of = []faultKind{faultMute, faultMute, faultTask, faultTask, faultTask}
	}
	if t.limit() == 0 {
		of = slices.DeleteFunc(of, func(kind faultKind) bool { return kind == faultMute }) // it never ends
	}
	return of
}

// errorIn draws a fault that ends a branch with an error in one of some nodes.
func (d *drawing) errorIn(t *taskTree, nodes []*node) fault {
	n := nodes[d.IntN(len(nodes))]
	of := append(t.errorsOf(n), faultGoexit)
	return fault{node: n.id, kind: of[d.IntN(len(of))], nth: 1 + d.IntN(4)}
}

// troubleAside draws something that ends a best-effort branch with an error.
func (d *drawing) troubleAside(t *taskTree) {
	isForgiven := t.forgiven()
	nodes := slices.DeleteFunc(t.nodes(), func(n *node) bool { return !isForgiven[n] || n.id == t.fault.node })
	if len(nodes) > 0 && d.chance(60) {
		t.aside = d.errorIn(t, nodes)
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
