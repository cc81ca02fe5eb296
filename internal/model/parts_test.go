package model

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// What stands for a part of the pipeline does what the tree says, writes down
// every call with the records in it, and checks what can be checked on the spot:
// that nobody calls it twice at the same time or with nothing, that the context
// is the right one, and that what belongs to it stays as it left it. It uses its
// rights to the full: it changes records in place, uses its slices of results and
// acks again, keeps what it may keep, and overwrites what belongs to it.

// part is what all parts have in common.
type part struct {
	w     *world
	id    string
	busy  atomic.Bool
	count int // calls so far
	rand  *rand.Rand
}

func newPart(w *world, id string) part {
	return part{w: w, id: id, rand: rand.New(rand.NewPCG(hash(w.tree.seed, id), 2))}
}

// enter checks that no other call of the part is under way, and that the
// context is that of Do where it has to be.
func (p *part) enter(ctx context.Context, call string, exact bool) {
	if !p.busy.CompareAndSwap(false, true) {
		p.w.complain("%s: %s is called while another call is under way", p.id, call)
	}
	p.w.mu.Lock()
	over := p.w.over
	p.w.mu.Unlock()
	if over {
		p.w.complain("%s: %s is called after the end of Do", p.id, call)
	}
	switch {
	case exact && ctx != p.w.ctx:
		p.w.complain("%s: %s is not given the context of Do", p.id, call)
	case ctx.Value(contextKey{}) != p.w.tree:
		p.w.complain("%s: %s is given a context that does not come from that of Do", p.id, call)
	}
}

func (p *part) leave() { p.busy.Store(false) }

func (p *part) chance(percent int) bool { return p.rand.IntN(100) < percent }

// pause takes a while now and then. It returns early if the context ends.
func (p *part) pause(ctx context.Context, percent int) {
	if !p.chance(percent) {
		return
	}
	timer := time.NewTimer(time.Duration(1+p.rand.IntN(20)) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// nodePart is the common part of what stands for a node.
type nodePart struct {
	part
	n        *node
	attempts *attempts
	parallel // zero unless the node works on parts of a batch
}

// parallel is what the call for a part of a batch knows of the others.
type parallel struct {
	first    string        // the lineage of its first record
	began    time.Duration // when it has begun
	together int           // how many there are
	follows  bool          // another one was first
	isSpared bool          // a fault is not one of this part
}

// attempts counts how often a node was given records that it leaves unanswered at
// first, by lineage.
type attempts struct {
	mu sync.Mutex
	of map[string]int
}

func (a *attempts) add(id string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.of[id]++
	return a.of[id]
}

func newNodePart(w *world, n *node) nodePart {
	return nodePart{part: newPart(w, n.id), n: n, attempts: &attempts{of: map[string]int{}}}
}

// call starts a call of a node and returns the forms of the records.
func (p *nodePart) call(ctx context.Context, recs []opencdc.Record) (*call, []form) {
	p.enter(ctx, "call", p.w.tree.linear())
	p.count++
	if len(recs) == 0 {
		p.w.complain("%s: called with nothing", p.id)
	}
	c := &call{who: p.id, parts: p.together, at: p.began}
	forms := make([]form, len(recs))
	for i, rec := range recs {
		forms[i] = formOf(rec)
		c.items = append(c.items, forms[i].String())
		c.slots = append(c.slots, forms[i].slot())
	}
	p.w.begin(c)
	if m := p.w.meetings[p.id]; m != nil {
		if p.count == 1 && !p.follows && m.missing.Add(-1) == 0 {
			m.all.fire()
		}
		select {
		case <-m.all.done:
		case <-ctx.Done():
		}
	}
	switch {
	case p.strikes(faultCancel):
		p.w.strike(p.w.cancel)
	case p.strikes(faultStop):
		p.w.strike(p.w.stop.fire)
	case p.strikes(faultStopShort):
		p.w.stopShort(p.rand.IntN(2))
	}
	p.pause(ctx, p.n.sleepy)
	return c, forms
}

// strikeOut ends the call in another way than by returning, if it has to.
func (p *nodePart) strikeOut() {
	switch {
	case p.strikes(faultPanic):
		panic(testPanic)
	case p.strikes(faultGoexit):
		runtime.Goexit()
	}
}

// done ends a call.
func (p *nodePart) done(c *call) {
	p.w.end(c)
	p.leave()
}

// strikes reports whether the fault of the tree is of a kind and happens at
// the present call.
func (p *nodePart) strikes(kind faultKind) bool {
	f := p.w.tree.faultOf(p.id)
	return f.kind == kind && f.nth == p.count && !p.isSpared
}

// mute reports whether the node does not answer anymore.
func (p *nodePart) mute() bool {
	f := p.w.tree.faultOf(p.id)
	return f.kind == faultMute && f.nth <= p.count
}

// answers reports whether the node answers the i-th record of a call now.
func (p *nodePart) answers(i int, id string, v verdict) bool {
	if p.mute() || p.n.atMost > 0 && i >= p.n.atMost {
		return false
	}
	return v.hush == 0 || p.attempts.add(id) > v.hush
}

// passed returns the record that the node passes on for the i-th of recs.
func (p *nodePart) passed(recs []opencdc.Record, i int, f form) opencdc.Record {
	to := p.n.pass(f)
	switch p.n.style {
	case styleInPlace:
		markAll(recs[i], "."+p.id)
		recs[i].Position = opencdc.Position(to.pos)
		p.forge(recs[i], to)
	case styleReplace:
		recs[i] = p.made(to)
	case styleFresh:
		return p.made(to)
	}
	return recs[i]
}

// made returns a new record of a form as the node passes it on.
func (p *nodePart) made(f form) opencdc.Record {
	rec := f.record()
	p.forge(rec, f)
	return rec
}

// forge drops or changes the ID of some pieces, which must come back.
func (p *nodePart) forge(rec opencdc.Record, f form) {
	if !p.w.tree.pieceIDs || !f.isPiece() {
		return
	}
	switch hash(p.w.tree.seed, p.id, f.id) % 3 {
	case 0:
		delete(rec.Metadata, funnel.MetadataPieceID)
	case 1:
		rec.Metadata[funnel.MetadataPieceID] = "forged"
	}
}

// leaves changes a record in place that the node is going to split or nack, and
// returns its form.
func (p *nodePart) leaves(rec opencdc.Record, f form) form {
	if p.n.early {
		markAll(rec, ".("+p.id+")")
	}
	return p.n.left(f)
}
