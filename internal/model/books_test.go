package model

import "slices"

// The books of the model: how many copies of each source record are out, and
// what was nacked.

// event is an entry in the books, about one source record.
type event struct {
	slot   int
	copies int       // this many more copies are out, fewer if it is negative
	nack   *nackInfo // set if the copy was nacked
	// isForgiven is set if it was nacked on a best-effort branch.
	isForgiven bool
	// stays is set for a doubt that remains one when the walk goes on.
	stays bool
}

// books say what is finished. The model keeps them while it works out what must
// happen, and the comparison while it goes through what has happened.
type books struct {
	tree *taskTree
	out  []int // copies not yet settled, by slot
	// doubts are events of branches that were cut short. For each slot, either all of
	// them count or none.
	doubts []event
	// first are the candidates for the nack that was first, by slot.
	first map[int][]nackInfo
	// front and end are the slots read and not yet released.
	front, end int
	changes    map[int]int // copies since the beginning of the branch, by slot
}

func newBooks(t *taskTree) *books {
	return &books{
		tree:    t,
		out:     make([]int, t.records()),
		first:   map[int][]nackInfo{},
		changes: map[int]int{},
	}
}

// enter makes entries.
func (b *books) enter(events ...event) {
	for _, e := range events {
		b.out[e.slot] += e.copies
		b.changes[e.slot] += e.copies
		b.end = max(b.end, e.slot+1)
		if e.nack != nil && !e.isForgiven && len(b.first[e.slot]) == 0 {
			b.first[e.slot] = []nackInfo{*e.nack}
		}
	}
}

// branches keeps the books for the branches of a fan-out, of which f does the i-th. It
// returns by slot, for each branch, how many copies are out that were not when it began.
func (b *books) branches(n int, f func(i int)) (changes []map[int]int) {
	first, before := b.first, b.changes
	joined := map[int][]nackInfo{}
	for i := range n {
		b.first, b.changes = map[int][]nackInfo{}, map[int]int{}
		f(i)
		changes = append(changes, b.changes)
		for slot, nacks := range b.first {
			joined[slot] = append(joined[slot], nacks...)
		}
	}
	b.first, b.changes = first, before
	for slot, nacks := range joined {
		if len(b.first[slot]) == 0 {
			b.first[slot] = nacks
		}
	}
	for _, of := range changes {
		for slot, change := range of {
			b.changes[slot] += change
		}
	}
	return changes
}

// forgive returns the events that settle the copies that a best-effort branch has left:
// those that it was given, and what has changed since.
func forgive(given, changes map[int]int) (all []event) {
	for slot, copies := range given {
		all = append(all, event{slot: slot, copies: -copies - changes[slot]})
	}
	return all
}

// clear enters an event that was doubtful. If it is a nack, it may have been the first.
func (b *books) clear(e event) {
	b.enter(event{slot: e.slot, copies: e.copies})
	if e.nack != nil && !e.isForgiven {
		b.first[e.slot] = append(b.first[e.slot], *e.nack)
	}
}

// goOn clears the doubts from an index on, since the walk goes on.
func (b *books) goOn(from int) {
	doubts := b.doubts[from:]
	b.doubts = slices.Clip(b.doubts[:from])
	for _, e := range doubts {
		if e.stays {
			b.doubts = append(b.doubts, e)
		} else {
			b.clear(e)
		}
	}
}

// isFinished reports whether all copies of a slot are settled.
func (b *books) isFinished(slot int) bool { return b.out[slot] == 0 }

// isNacked reports whether a copy of a slot was nacked.
func (b *books) isNacked(slot int) bool { return len(b.first[slot]) > 0 }

// ready returns where the slots end that are finished, from a slot on.
func (b *books) ready(start int) (stop int) {
	for stop = start; stop < b.end && b.isFinished(stop); stop++ {
	}
	return stop
}

// refuses reports whether a nacked slot is refused: there is no dead-letter queue, or
// with this slot there are too many nacks in its window.
func (b *books) refuses(slot int) bool {
	q := b.tree.queue
	if q.none || q.size == 0 {
		return q.none
	}
	nacks := 0
	for i := max(0, slot-q.size+1); i <= slot; i++ {
		if b.isNacked(i) {
			nacks++
		}
	}
	return nacks > q.threshold
}

// copiesOf counts the copies in a batch by slot.
func copiesOf(batch []recordCopy) map[int]int {
	copies := map[int]int{}
	for _, c := range batch {
		copies[c.slot]++
	}
	return copies
}
