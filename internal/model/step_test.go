package model

import (
	"slices"

	"github.com/conduitio/funnel"
)

// What the model expects of one call of a node.

// do is a call of the node with the records that are not filtered. It returns
// what became of the batch, and whether there was a call and an answer.
func (s *simulation) do(n *node, in []recordCopy, idle int, again bool) (out []recordCopy, called, answered bool) {
	if n.kind == kindRoute {
		return s.doRoute(n, in)
	}
	step := &expectedCall{who: n.id, again: again, idle: idle}
	for _, c := range in {
		if !c.filtered {
			step.slots = append(step.slots, c.slot)
			step.items = append(step.items, c.form.String())
		}
	}
	if len(step.slots) == 0 {
		return in, false, false
	}
	step.parts = min(n.workers, len(step.slots))
	s.emitCall(step)
	if again {
		s.stats.Retried += uint64(len(step.slots))
	}
	s.strike(n)
	f := s.tree.faultOf(n.id)
	isMute := f.kind == faultMute && s.calls[n.id] >= f.nth

	seen := 0
	nacks := map[int]*nackInfo{}
	for _, c := range in {
		if c.filtered {
			out = append(out, c)
			continue
		}
		seen++
		v := n.behave(s.tree.seed, c.form.id)
		if isMute || n.atMost > 0 && seen > n.atMost || s.hushed(n, c.form.id, v) {
			c.retry = true
			out = append(out, c)
			continue
		}
		answered = true
		switch v.kind {
		case verdictPass, verdictPassAsOne:
			if n.kind != kindDestination {
				c.form = n.pass(c.form)
			}
			out = append(out, c)
		case verdictFilter, verdictFilterAsNone:
			c.filtered = true
			s.stats.Filtered++
			out = append(out, c)
		case verdictNack:
			c.form = n.left(c.form)
			c.nack = s.nackInfo(n, &c, v.err)
			if nacks[c.slot] == nil {
				nacks[c.slot] = c.nack
			}
			out = append(out, c)
		case verdictSplit:
			s.enter(event{slot: c.slot, copies: v.parts - 1})
			left := n.left(c.form)
			for i := range v.parts {
				piece := c
				piece.form = s.tree.piece(n, left, i)
				if piece.original == nil {
					piece.original = &left
				}
				out = append(out, piece)
			}
		}
	}
	s.nackAll(out, nacks)
	return out, true, answered
}

// nackInfo returns the nack of a copy by a node, with the version of the record that goes to
// the dead-letter queue.
func (s *simulation) nackInfo(n *node, c *recordCopy, err error) *nackInfo {
	switch {
	case s.tree.asRead:
		return &nackInfo{task: n.id, err: err, form: s.tree.form(c.slot), version: funnel.VersionAsRead}
	case c.original != nil:
		return &nackInfo{task: n.id, err: err, form: *c.original, version: funnel.VersionBeforeSplit}
	default:
		return &nackInfo{task: n.id, err: err, form: c.form, version: funnel.VersionAsGiven}
	}
}

// nackAll nacks all copies of the source records that have a nack.
func (s *simulation) nackAll(batch []recordCopy, nacks map[int]*nackInfo) {
	for i := range batch {
		c := &batch[i]
		if nack := nacks[c.slot]; nack != nil && !c.filtered {
			c.nack, c.retry = nack, false
			s.stats.Nacked++
		}
	}
}

// hushed counts an attempt at a record and reports whether it is not answered.
func (s *simulation) hushed(n *node, id string, v verdict) bool {
	if v.hush == 0 {
		return false
	}
	key := n.id + " " + id
	s.attempts[key]++
	return s.attempts[key] <= v.hush
}

// strike stops if the fault of the tree is one that a call of the node ends with.
func (s *simulation) strike(n *node) {
	switch s.strikes(n.id, faultWrite, faultAck, faultAckWrong, faultAckMany, faultAckStop,
		faultNothing, faultTooMany, faultAlien, faultTask, faultPanic, faultGoexit) {
	case faultWrite, faultAck, faultTask:
		s.fail(ending{all: []error{errTask}})
	case faultAckWrong, faultAckMany:
		s.fail(ending{all: []error{funnel.ErrAckMismatch}})
	case faultAckStop:
		s.fail(ending{all: []error{funnel.ErrAcksStopped}})
	case faultNothing, faultTooMany, faultAlien:
		s.fail(ending{all: []error{funnel.ErrProcessorResults}, says: []string{n.id}})
	case faultPanic:
		s.stop(ending{panics: testPanic})
	case faultGoexit:
		if s.depth > 0 {
			s.fail(ending{all: []error{funnel.ErrGoexit}})
		}
		s.stop(ending{exits: true})
	}
}

// strikes counts a call of something and returns the fault that happens at it.
func (s *simulation) strikes(node string, kinds ...faultKind) faultKind {
	key := node
	if node == "" {
		key = faultNames[kinds[0]]
	}
	s.calls[key]++
	if f := s.tree.faultOf(node); slices.Contains(kinds, f.kind) && f.nth == s.calls[key] {
		return f.kind
	}
	return faultNone
}
