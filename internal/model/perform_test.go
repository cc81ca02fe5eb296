package model

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/conduitio/funnel"
)

// A run that is made up without the engine and is as the model expects.

// perform makes up a run of a tree that is as it must be. It takes two goes at it,
// since the second one knows what the first one chose where there is a choice.
func perform(t *taskTree) *trace {
	first := performExpected(t, expect(t, &trace{ends: t.someEnds()}))
	return performExpected(t, expect(t, first))
}

// someEnds draws the ends of the batches if reads may be put together.
func (t *taskTree) someEnds() []int {
	if t.ahead == 0 {
		return nil
	}
	rnd := rand.New(rand.NewPCG(t.seed, 3))
	ends := []int{}
	for i, read := range t.reads {
		if t.failsAt(i) {
			break
		}
		if len(ends) > 0 && rnd.IntN(2) == 0 {
			ends = ends[:len(ends)-1]
		}
		ends = append(ends, read.to)
	}
	return ends
}

// performance is a run that is being made up. Time passes only in pauses between the
// calls of a node that gives no answer.
type performance struct {
	*trace
	tree  *taskTree
	kinds map[string]nodeKind
	reads int           // how many there were
	free  time.Duration // when the last one ended
	now   time.Duration
}

// performExpected makes up a run that does what is expected.
func performExpected(t *taskTree, x *expectation) *trace {
	p := &performance{tree: t, kinds: map[string]nodeKind{"dlq": kindDestination}, trace: &trace{
		lives: map[string]life{t.first.id: {1, 1}, "dlq": {1, 1}},
		ends:  x.ends,
	}}
	for _, n := range t.nodes() {
		p.kinds[n.id] = n.kind
		p.lives[n.id] = life{1, 1}
	}
	p.performAll(x.steps)
	p.performAll(x.rest)
	for t.ahead > 0 && p.reads < x.reads {
		p.performRead()
	}
	p.outcome = x.endings[0].outcome()
	p.stats = x.stats
	p.stats.Acked = uint64(p.acked())
	if x.reads > 0 {
		p.stats.Read = uint64(t.reads[x.reads-1].to)
	}
	p.stats.DeadLettered = uint64(len(p.letters()))
	p.stats.Window = t.queue.window(p.acked(), func(slot int) bool { return len(x.nacks[slot]) > 0 })
	return p.trace
}

func (p *performance) performAll(steps []*expectedCall) {
	for _, step := range steps {
		for _, branch := range step.fan {
			p.performAll(branch)
		}
		if step.fan == nil && !step.isSilent() {
			p.perform(step)
		}
	}
}

// perform makes up a call, and before it the reads that it needs.
func (p *performance) perform(step *expectedCall) {
	if p.tree.ahead > 0 && len(step.slots) > 0 {
		for last := step.slots[len(step.slots)-1]; p.reads == 0 || p.tree.reads[p.reads-1].to <= last; {
			p.performRead()
		}
	}
	p.now += p.tree.pause(step.idle)
	c := &call{who: step.who, items: slices.Clone(step.items)}
	if step.who != "ack" {
		c.slots = slices.Clone(step.slots)
	}
	for _, nack := range step.nacks {
		text := "there was no error"
		if nack.err != nil {
			text = "wrapped: " + nack.err.Error()
		}
		c.letters = append(c.letters, deadLetter{form: nack.form.String(), task: nack.task, text: text, version: nack.version})
	}
	if p.kinds[step.who] == kindDestination {
		for _, item := range step.items {
			p.kept = append(p.kept, keptForms{who: step.who, then: item, now: item})
		}
	}
	if step.parts > 0 {
		p.add(c.divide(step.parts)...)
	} else {
		p.add(c)
	}
}

// performRead makes up the next read of a run with read-ahead. It has begun when the one
// before ended, and ends now.
func (p *performance) performRead() {
	c := &call{who: "read", items: p.tree.readItems(p.tree.reads[p.reads])}
	p.add(c)
	c.at, p.free = p.free, p.now
	p.reads++
}

// add adds calls that are made at the same time.
func (p *performance) add(calls ...*call) {
	begin := 1
	if n := len(p.calls); n > 0 {
		begin = p.calls[n-1].end + 1
	}
	for _, c := range calls {
		c.begin, c.end = begin, begin+1
		c.at, c.till = p.now, p.now
	}
	p.calls = append(p.calls, calls...)
}

// divide returns the calls for n parts of a batch, the last one first.
func (c *call) divide(n int) (parts []*call) {
	from := len(c.items)
	for left := n; left > 0; left-- {
		to := from
		from -= to / left
		part := *c
		part.items, part.slots = slices.Clone(c.items[from:to]), slices.Clone(c.slots[from:to])
		part.parts = n
		parts = append(parts, &part)
	}
	return parts
}

// outcome makes up an outcome as it must be.
func (e ending) outcome() outcome {
	switch {
	case e.panics != nil:
		return outcome{panicked: e.panics}
	case e.exits:
		return outcome{exited: true}
	case !e.fails:
		return outcome{}
	}
	err := errors.Join(e.all...)
	for _, errs := range e.anyOf {
		err = errors.Join(err, errs[0])
	}
	err = fmt.Errorf("%s: %w", strings.Join(e.says, " "), errors.Join(err, errors.New("why")))
	if e.fatal {
		err = funnel.FatalError(err)
	}
	return outcome{err: err}
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
