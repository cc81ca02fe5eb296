package funnel_test

import (
	"fmt"
	"math/rand/v2"
)

// How a tree of the model test is drawn from a seed.

// modelDraw draws the tree of a seed.
func modelDraw(seed uint64) *modelTree {
	d := &modelDrawing{Rand: rand.New(rand.NewPCG(seed, 0x5eed)), budget: 18}
	t := &modelTree{
		seed:       seed,
		twins:      d.chance(10),
		closes:     d.chance(20),
		metrics:    modelMetrics(d.IntN(3)),
		stopAfter:  d.chance(20),
		closeAgain: d.chance(20),
	}
	d.mood = d.IntN(4)
	t.first = &modelNode{id: "src", kind: modelSource, sleepy: d.pick(0, 0, 30)}
	if d.chance(30) {
		t.first.next = d.chain(3) // no fan-out
	} else {
		t.first.next = d.chain(0)
	}
	d.reads(t)
	t.queue = modelQueue{chunk: 1 + d.IntN(4), lull: d.pick(0, 0, 40)}
	if d.chance(30) {
		t.queue.size, t.queue.threshold = 1000, 1000
	}
	if d.chance(40) {
		d.trouble(t)
		d.waiting(t)
	}
	return t
}

// modelDrawing is the state of drawing a tree.
type modelDrawing struct {
	*rand.Rand
	budget int // nodes that may still be drawn
	count  int
	mood   int // 0 is calm, 3 is wild
}

func (d *modelDrawing) chance(percent int) bool { return d.IntN(100) < percent }

func (d *modelDrawing) pick(of ...int) int { return of[d.IntN(len(of))] }

// reads draws what the source returns.
func (d *modelDrawing) reads(t *modelTree) {
	most, total := 1+d.IntN(8), d.IntN(14)
	if d.chance(3) {
		most, total = 30, 60
	}
	for at := 0; at < total; {
		if d.chance(10) {
			t.reads = append(t.reads, modelRead{from: at, to: at})
		}
		n := min(1+d.IntN(most), total-at)
		t.reads = append(t.reads, modelRead{from: at, to: at + n})
		at += n
	}
	switch {
	case d.chance(20): // blocks at the end
	case d.chance(40) && len(t.reads) > 0:
		t.reads[len(t.reads)-1].eof = true
	default:
		t.reads = append(t.reads, modelRead{from: total, to: total, eof: true})
	}
}

// chain draws what follows a node that is depth fan-outs deep.
func (d *modelDrawing) chain(depth int) []*modelNode {
	if depth < 3 && d.budget >= 4 && d.chance([...]int{45, 30, 20}[depth]) {
		fan := make([]*modelNode, 2+d.pick(0, 0, 1, 2))
		for i := range fan {
			fan[i] = d.link(depth + 1)
		}
		return fan
	}
	return []*modelNode{d.link(depth)}
}

// link draws a node and what follows it.
func (d *modelDrawing) link(depth int) *modelNode {
	d.budget--
	if d.budget > 0 && d.chance(60) {
		n := d.processor()
		// A branch may end in a custom task.
		if n.kind == modelProcessor || d.chance(90) {
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
func (d *modelDrawing) some(percent int) int {
	if d.mood == 0 || d.chance(45) {
		return 0
	}
	return 1 + d.IntN(percent*d.mood/2+1)
}

func (d *modelDrawing) node(kind modelKind, prefix string) *modelNode {
	d.count++
	return &modelNode{
		id:     fmt.Sprintf("%s%02d", prefix, d.count),
		kind:   kind,
		sleepy: d.pick(0, 0, 20, 60),
		fail:   d.some(15),
	}
}

// processor draws a processor or a custom task.
func (d *modelDrawing) processor() *modelNode {
	var n *modelNode
	if d.chance(25) {
		n = d.node(modelTask, "task")
		n.backward, n.doubtful = d.chance(50), d.chance(30)
	} else {
		n = d.node(modelProcessor, "proc")
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
	n.style = modelStyle(d.IntN(int(styles)))
	if d.chance(30) {
		n.move = modelMove(d.IntN(int(moves)))
	}
	n.early = d.chance(30)
	return n
}

func (d *modelDrawing) destination() *modelNode {
	n := d.node(modelDestination, "dest")
	n.chunk, n.lull = 1+d.IntN(6), d.pick(0, 0, 30, 60)
	return n
}

// trouble draws something that ends most runs with an error.
func (d *modelDrawing) trouble(t *modelTree) {
	for _, n := range t.nodes() {
		n.hushes = min(n.hushes, 15) // one trouble is enough
	}
	switch {
	case d.chance(25):
		t.queue.size = 1 + d.IntN(6)
		t.queue.threshold = d.IntN(4)
		return
	case d.chance(8):
		t.queue = modelQueue{none: true}
		return
	}
	if d.chance(25) {
		t.fault = modelFault{
			kind: faultRead + modelFaultKind(d.IntN(int(faults-faultRead))),
			nth:  1 + d.IntN(4),
		}
		if d.chance(25) {
			t.fault.kind = faultQueueWrite + modelFaultKind(d.IntN(int(faults-faultQueueWrite)))
		}
		return
	}
	nodes := t.nodes()
	n := nodes[d.IntN(len(nodes))]
	of := []modelFaultKind{faultPanic, faultGoexit, faultCancel, faultCancel, faultStop, faultStopShort}
	switch n.kind {
	case modelDestination:
		of = append(of, faultWrite, faultWrite, faultAck, faultAckWrong, faultAckMany, faultAckStop)
	case modelProcessor:
		of = append(of, faultNothing, faultTooMany, faultAlien, faultMute, faultMute, faultMute)
	case modelTask:
		of = append(of, faultMute, faultMute, faultTask, faultTask, faultTask)
	}
	t.fault = modelFault{node: n.id, kind: of[d.IntN(len(of))], nth: 1 + d.IntN(3)}
	if t.fault.kind == faultCancel || t.fault.kind == faultStop {
		t.fault.nth = 1 + d.IntN(8)
	}
}

// waiting lets a destination wait for the end of its context, if it ends.
func (d *modelDrawing) waiting(t *modelTree) {
	if waits := t.waits(); len(waits) > 0 && d.chance(60) {
		t.wait = waits[d.IntN(len(waits))]
	}
}
