package sinks

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/conduitio/funnel"
)

// draw determines a world.
func draw(seed uint64) *world {
	o := &world{seed: seed, counts: make(map[string]int)}
	rnd := o.roll("draw")
	o.isCalm = rnd.IntN(5) == 0
	o.grain = []time.Duration{1, 250 * time.Microsecond}[rnd.IntN(2)]
	for i := range 1 + rnd.IntN(3) {
		o.roots = append(o.roots, o.drawBranch(rnd, nil, fmt.Sprintf("s%d", i), 1))
	}
	drawBestEffort(rnd, o.roots, 4)
	for _, root := range o.roots {
		o.parts = append(o.parts, root.all()...)
		root.setForgiving(nil)
	}
	for i := range 2 + rnd.IntN(4) {
		o.workers = append(o.workers, o.drawWorker(rnd, i))
	}
	o.drawFaults(rnd)
	return o
}

func (o *world) newPart(w *worker, id string, kind kind) *part {
	return &part{
		world: o, worker: w, id: id, kind: kind, faults: make(map[call]fault),
		calls: make(map[*worker]int), given: make(map[string]int), last: make(map[*worker]place),
		unanswered: make(map[string]int), silent: make(map[*worker]bool),
	}
}

// drawBranch draws up to two tasks, and an end or a fan-out.
func (o *world) drawBranch(rnd *rand.Rand, w *worker, id string, depth int) *part {
	if rnd.IntN(3) == 0 {
		p := o.newPart(w, id+"p", isProcessor+kind(rnd.IntN(2)))
		if depth > 0 && rnd.IntN(3) == 0 {
			for i := range 2 {
				p.next = append(p.next, o.drawBranch(rnd, w, fmt.Sprint(id, "p", i), depth-1))
			}
			drawBestEffort(rnd, p.next, 3)
		} else {
			p.next = []*part{o.drawBranch(rnd, w, id+"p", depth)}
		}
		return p
	}
	return o.newPart(w, id+"e", isDestination+kind(rnd.IntN(2)))
}

// drawBestEffort makes some of several branches best effort.
func drawBestEffort(rnd *rand.Rand, branches []*part, oneOf int) {
	for _, p := range branches[:len(branches)-1] {
		p.bestEffort = rnd.IntN(oneOf) == 0
	}
	rnd.Shuffle(len(branches), func(i, j int) { branches[i], branches[j] = branches[j], branches[i] })
}

// setForgiving sets what depends on the best-effort branches above.
func (p *part) setForgiving(above *part) {
	if p.bestEffort {
		p.outer, above = above, p
	}
	p.forgiving = above
	for _, next := range p.next {
		if next.worker == p.worker {
			next.setForgiving(above)
		}
	}
}

func (o *world) drawWorker(rnd *rand.Rand, number int) *worker {
	id := fmt.Sprint("w", number)
	w := &worker{
		world: o, number: number, atEnd: []last{endless, endless, endEOF, endEOF, endFails}[rnd.IntN(5)], whole: rnd.IntN(3) == 0,
		queue: queue{isNone: rnd.IntN(8) == 0, size: rnd.IntN(2) * (1 + rnd.IntN(10)), threshold: rnd.IntN(5)},
		cause: fmt.Errorf("the end of worker %d", number),
	}
	if rnd.IntN(3) == 0 {
		w.ahead = 1 + rnd.IntN(10)
	}
	for range 1 + rnd.IntN(6) {
		w.batches = append(w.batches, 1+rnd.IntN(6))
	}
	w.source, w.letters = o.newPart(w, id+"source", isSource), o.newPart(w, id+"queue", isQueue)
	last := w.source
	chain := func(n int) {
		for range n {
			p := o.newPart(w, last.id+"p", isProcessor+kind(rnd.IntN(2)))
			last.next = append(last.next, p)
			last = p
		}
	}
	chain(rnd.IntN(3))
	if rnd.IntN(2) == 0 {
		var branches []*part
		for i := range 1 + rnd.IntN(2) {
			branches = append(branches, o.drawBranch(rnd, w, fmt.Sprint(id, "b", i), 1))
		}
		fork := last
		chain(1 + rnd.IntN(2))
		into := fork.next[0]
		for p := into; len(p.next) > 0; p = p.next[0] {
			p.isEntering = true
		}
		last.isEntering = true
		if rnd.IntN(4) == 0 {
			fork.next = append([]*part{into}, branches...)
		} else {
			fork.next = append(branches, into)
		}
		drawBestEffort(rnd, fork.next, 4)
	} else {
		if last == w.source && w.ahead > 0 {
			chain(1) // otherwise nobody knows when it asks
		}
		for _, p := range w.source.all() {
			p.isEntering = true
		}
		w.isLinear = true
	}
	w.source.setForgiving(nil)
	w.entry = last
	last.next = o.roots
	return w
}

// drawFaults draws which calls fail, and how.
func (o *world) drawFaults(rnd *rand.Rand) {
	var parts []*part
	isForgiving := func(p *part) bool { return p.forgiving != nil }
	if o.isCalm || slices.ContainsFunc(o.parts, isForgiving) && rnd.IntN(3) == 0 {
		parts = slices.DeleteFunc(slices.Clone(o.parts), func(p *part) bool { return !isForgiving(p) })
	} else {
		parts = slices.Concat(o.parts, o.parts) // twice as likely as the others
		for _, w := range o.workers {
			parts = append(append(parts, w.source.all()...), w.letters)
		}
	}
	faults := rnd.IntN(4)
	if len(parts) == 0 {
		faults = 0
	}
	for i := range faults {
		w := o.workers[rnd.IntN(len(o.workers))]
		p := parts[rnd.IntN(len(parts))]
		if p.worker != nil {
			w = p.worker
		}
		f := fault{kind: fails + faultKind(rnd.IntN(3)), err: fmt.Errorf("fault %d", i)}
		switch {
		case rnd.IntN(4) == 0 && (p.kind == isProcessor || p.kind == isCustom):
			f = fault{kind: falls, err: funnel.ErrNoProgress}
		case f.kind == exits:
			f.err = funnel.ErrGoexit
		case f.kind == fails && p.kind == isProcessor:
			f.err = funnel.ErrProcessorResults
		case f.kind == panics:
			f.err = errors.New(f.err.Error() + ", a panic")
		}
		p.faults[call{w.number, 1 + rnd.IntN(5)}] = f
	}
	if o.isCalm || rnd.IntN(5) > 0 {
		return
	}
	for range 1 + rnd.IntN(2) {
		p := o.parts[rnd.IntN(len(o.parts))]
		p.openFaults = append(p.openFaults, make([]faultKind, rnd.IntN(3))...)
		p.openFaults = append(p.openFaults, fails+faultKind(rnd.IntN(3)))
	}
}
