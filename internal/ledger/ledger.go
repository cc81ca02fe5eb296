// Package ledger accounts for the records of one batch.
//
// A ledger has a slot for each source record, in read order. A slot knows how many
// copies of its record are still out, and why the first nacked copy was nacked. A slot
// without open copies is finished. Finished slots leave the ledger only at the front,
// in order, so nothing overtakes a record that is still in flight.
//
// Counting and releasing are different jobs. Retain, Settle and Nack count, and may be
// called from any goroutine once the ledger is shared. Finished and Release are for the
// goroutine that does the I/O.
package ledger

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/conduitio/funnel/internal/reuse"
)

// Ledger is the account of one batch. C is the cause of a nack. The zero value
// has no slots; Reset gives it some.
//
// As long as all slots gain and lose copies together, and finish in order except for
// nacked ones, the ledger is two numbers and the nacked slots, and costs nothing per
// record.
type Ledger[C any] struct {
	mu       sync.Mutex // held by each method if the ledger is shared
	isShared bool

	size     int
	released int // slots below it have left the ledger

	// While slots is empty, the slots below finished are finished, and so are those in
	// nacked, which may be ahead of them. The others have the same number of copies out.
	// Otherwise slots has the accounts.
	finished int
	copies   int
	nacked   []nackedSlot // in order; the i-th one has the i-th cause
	passed   int          // how many of them are below finished
	left     int          // how many of them have left the ledger
	last     int          // the index that findNacked has found last
	slots    []slot
	causes   []C

	nackedMemory reuse.Buffer[nackedSlot]
	slotMemory   reuse.Buffer[slot]
	causeMemory  reuse.Buffer[C]
}

// nackedSlot is a slot that was nacked, while there are no accounts.
type nackedSlot struct {
	slot     int
	isStored bool
}

// slot is the account of one source record.
type slot struct {
	copies int32 // still out
	cause  int32 // 1 + index of the first nack's cause, negated once it is stored; 0 without a nack
}

// Reset gives the ledger size new slots with one copy each, and makes it unshared;
// Reset(0) ends a batch. Nobody else may use the ledger during the call.
//
// Memory is kept for later batches. What a large batch needed is given up after a few
// dozen consecutive batches that needed much less.
func (l *Ledger[C]) Reset(size int) {
	if size == 0 || len(l.slots) > 0 || len(l.causes) > 0 {
		l.nackedMemory.Put(l.nacked)
		l.slotMemory.Put(l.slots)
		l.causeMemory.Put(l.causes)
		l.nacked, l.slots, l.causes = nil, nil, nil
	}
	l.passed, l.left, l.last = 0, 0, 0
	l.isShared = false
	l.size, l.released, l.finished, l.copies = size, 0, 0, 1
}

// Share makes the other methods safe for concurrent use, until Reset. It must be called
// before a second goroutine gets the ledger; a ledger that only one goroutine uses
// needs no lock.
func (l *Ledger[C]) Share() {
	if !l.isShared { // a shared ledger may be shared again by several goroutines, none of which may write
		l.isShared = true
	}
}

// Retain adds k copies to each slot in [from, to). If a slot does not exist or is
// finished, Retain fails and changes nothing: a finished record cannot get copies
// again.
func (l *Ledger[C]) Retain(from, to, k int) error {
	if l.isShared {
		l.mu.Lock()
		defer l.mu.Unlock()
	}
	if err := l.check(from, to, k, 1); err != nil {
		return err
	}
	if k == 0 || from == to {
		return nil
	}
	if l.isAllOf(from, to) {
		l.copies += k
		return nil
	}
	l.expand()
	for i := from; i < to; i++ {
		l.slots[i].copies += int32(k)
	}
	return nil
}

// Settle takes k copies off each slot in [from, to). If a slot does not exist or has
// fewer than k copies out, Settle fails and changes nothing.
func (l *Ledger[C]) Settle(from, to, k int) error {
	if l.isShared {
		l.mu.Lock()
		defer l.mu.Unlock()
	}
	if err := l.checkRange(from, to, k, k); err != nil {
		return err
	}
	switch {
	case k == 0 || from == to:
		return nil
	case len(l.slots) == 0 && from == l.finished && k == l.copies:
		l.finished = to
		l.passNacked()
		return nil
	case l.isAllOf(from, to):
		l.copies -= k
		return nil
	}
	l.expand()
	slots := l.slots[from:to]
	for i := range slots { // one pass, since batches with nacks spend much of their time here
		if slots[i].copies < int32(k) {
			for j := range slots[:i] {
				slots[j].copies += int32(k)
			}
			return l.check(from, to, k, k)
		}
		slots[i].copies -= int32(k)
	}
	return nil
}

// Nack takes one copy off a slot and marks the slot as nacked. The cause of its first
// nack is kept. If the slot does not exist or is finished, Nack fails and changes
// nothing.
func (l *Ledger[C]) Nack(i int, cause C) error {
	if l.isShared {
		l.mu.Lock()
		defer l.mu.Unlock()
	}
	if err := l.check(i, i+1, 1, 1); err != nil {
		return err
	}
	isLast := len(l.nacked) == 0 || l.nacked[len(l.nacked)-1].slot < i
	if len(l.slots) == 0 && l.copies == 1 && isLast {
		if l.nacked == nil {
			l.nacked = l.nackedMemory.Take(0)
		}
		l.nacked = append(l.nacked, nackedSlot{slot: i})
		l.addCause(cause)
		l.passNacked()
		return nil
	}
	l.expand()
	s := &l.slots[i]
	s.copies--
	if s.cause == 0 {
		l.addCause(cause)
		s.cause = int32(len(l.causes))
	}
	return nil
}

func (l *Ledger[C]) addCause(cause C) {
	if l.causes == nil {
		l.causes = l.causeMemory.Take(0)
	}
	l.causes = append(l.causes, cause)
}

// passNacked lets finished pass the nacked slots that it has reached.
func (l *Ledger[C]) passNacked() {
	for l.passed < len(l.nacked) && l.nacked[l.passed].slot == l.finished {
		l.passed++
		l.finished++
	}
}

// findNacked returns the index of the first of the nacked slots from slot i on, and
// whether it is i.
func (l *Ledger[C]) findNacked(i int) (index int, ok bool) {
	for index := l.last; index < min(l.last+2, len(l.nacked)); index++ { // mostly the same or the next
		if l.nacked[index].slot == i {
			l.last = index
			return index, true
		}
	}
	return slices.BinarySearchFunc(l.nacked, i, func(n nackedSlot, i int) int { return n.slot - i })
}

// Finished returns the finished slots [from, to) at the front of the ledger, and appends
// the nacked ones among them to nacked. from is to if the first slot that has not been
// released is still open, or if there is none.
func (l *Ledger[C]) Finished(nacked []int) (from, to int, _ []int) {
	if l.isShared {
		l.mu.Lock()
		defer l.mu.Unlock()
	}
	from = l.released
	if len(l.slots) == 0 {
		for _, n := range l.nacked[l.left:l.passed] {
			nacked = append(nacked, n.slot)
		}
		return from, max(from, l.finished), nacked
	}
	for to = from; to < l.size && l.slots[to].copies == 0; to++ {
		if l.slots[to].cause != 0 {
			nacked = append(nacked, to)
		}
	}
	return from, to, nacked
}

// Cause returns the cause of the slot's first nack, or nil if there is none. The cause
// belongs to the ledger and must not be changed.
func (l *Ledger[C]) Cause(i int) *C {
	if l.isShared {
		l.mu.Lock()
		defer l.mu.Unlock()
	}
	if len(l.slots) == 0 {
		if index, ok := l.findNacked(i); ok {
			return &l.causes[index]
		}
		return nil
	}
	if l.slots[i].cause == 0 {
		return nil
	}
	cause := l.slots[i].cause
	return &l.causes[max(cause, -cause)-1]
}

// MarkStored records that the cause of a slot is stored outside the ledger. The slot must
// be a nacked one that Finished has returned, and stays in the ledger until it is
// released. Slots may be stored in any order.
func (l *Ledger[C]) MarkStored(i int) {
	if l.isShared {
		l.mu.Lock()
		defer l.mu.Unlock()
	}
	if len(l.slots) == 0 {
		if index, ok := l.findNacked(i); ok {
			l.nacked[index].isStored = true
		}
	} else if s := &l.slots[i]; s.cause > 0 {
		s.cause = -s.cause
	}
}

// IsStored reports whether the cause of a slot is stored.
func (l *Ledger[C]) IsStored(i int) bool {
	if l.isShared {
		l.mu.Lock()
		defer l.mu.Unlock()
	}
	if len(l.slots) == 0 {
		index, ok := l.findNacked(i)
		return ok && l.nacked[index].isStored
	}
	return l.slots[i].cause < 0
}

// Release removes the slots below to from the ledger. They must be those that Finished
// has returned, or the first of them.
func (l *Ledger[C]) Release(to int) {
	if l.isShared {
		l.mu.Lock()
		defer l.mu.Unlock()
	}
	l.released = to
	for l.left < l.passed && l.nacked[l.left].slot < to {
		l.left++
	}
}

// Pending returns the number of slots that have not been released.
func (l *Ledger[C]) Pending() int {
	if l.isShared {
		l.mu.Lock()
		defer l.mu.Unlock()
	}
	return l.size - l.released
}

// check returns an error unless each slot in [from, to) has at least least copies out
// and k is a valid number of copies.
func (l *Ledger[C]) check(from, to, k, least int) error {
	if err := l.checkRange(from, to, k, least); err != nil || len(l.slots) == 0 {
		return err
	}
	for i, s := range l.slots[from:to] {
		if int(s.copies) < least {
			return fmt.Errorf("ledger: slot %d has %d copies out, fewer than %d", from+i, s.copies, least)
		}
	}
	return nil
}

// checkRange is check without a look at each slot.
func (l *Ledger[C]) checkRange(from, to, k, least int) error {
	if from < 0 || to < from || to > l.size {
		return fmt.Errorf("ledger: slots [%d:%d] out of range with %d slots", from, to, l.size)
	}
	if k < 0 || k > math.MaxInt32/2 {
		return fmt.Errorf("ledger: %d is no number of copies", k)
	}
	if len(l.slots) == 0 && from < to && (least > 0 && l.hasFinished(from, to) || least > l.copies) {
		return fmt.Errorf("ledger: slots [%d:%d] have fewer than %d copies out", from, to, least)
	}
	return nil
}

// hasFinished returns true if one of the slots [from, to) is finished, while there are no
// accounts.
func (l *Ledger[C]) hasFinished(from, to int) bool {
	if from < l.finished || l.passed == len(l.nacked) {
		return from < l.finished
	}
	index := l.passed
	if from > l.finished {
		index, _ = l.findNacked(from)
	}
	return index < len(l.nacked) && l.nacked[index].slot < to
}

// isAllOf returns true if [from, to) are all slots that have copies out, and all have
// the same number.
func (l *Ledger[C]) isAllOf(from, to int) bool {
	return len(l.slots) == 0 && from == l.finished && to == l.size && l.passed == len(l.nacked)
}

// expand replaces the two numbers by an account for each slot.
func (l *Ledger[C]) expand() {
	if len(l.slots) != 0 || l.size == 0 {
		return
	}
	l.slots = l.slotMemory.Take(l.size)[:l.size]
	clear(l.slots[:l.finished])
	open := l.slots[l.finished:]
	for i := range open {
		open[i] = slot{copies: int32(l.copies)}
	}
	for i, n := range l.nacked {
		s := slot{cause: int32(i + 1)}
		if n.isStored {
			s.cause = -s.cause
		}
		l.slots[n.slot] = s
	}
}
