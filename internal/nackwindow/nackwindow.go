// Package nackwindow decides how many nacks are too many.
package nackwindow

import (
	"sort"
	"sync"
	"sync/atomic"
)

// Window remembers the last outcomes of a stream of records, up to its size, and
// tolerates a number of nacks among them. It stores only the times of the nacks,
// counted in outcomes. So acks cost nothing, and the memory is that of the tolerated
// nacks.
//
// Methods that change the window, and Tolerates, are for one goroutine at a time. Nacks
// and IsFrozen may be called beside them from any goroutine. An ack therefore costs one
// atomic store, and only nacks take the lock.
type Window struct {
	size      int
	threshold int

	outcomes atomic.Int64 // number of outcomes so far
	isFrozen atomic.Bool  // until Reset, no nack is tolerated

	mu     sync.Mutex // held to change what follows, and by other goroutines to read it
	nacks  []int      // the last nacks, at most threshold: a ring once it is full
	oldest int        // index of the oldest nack in a full ring
}

// New returns a window over the last size outcomes that tolerates threshold
// nacks among them. With a size of 0 it tolerates any number. Negative numbers
// count as 0.
func New(size, threshold int) *Window {
	return &Window{size: max(size, 0), threshold: max(threshold, 0)}
}

// Freeze makes the window tolerate no nack until Reset.
func (w *Window) Freeze() {
	w.isFrozen.Store(true)
}

// IsFrozen returns true from Freeze to Reset.
func (w *Window) IsFrozen() bool {
	return w.isFrozen.Load()
}

// Reset empties the window.
func (w *Window) Reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nacks, w.oldest = w.nacks[:0], 0
	w.outcomes.Store(0)
	w.isFrozen.Store(false)
}

// CountAcks records n acks.
func (w *Window) CountAcks(n int) {
	n = min(n, w.size) // more acks leave no nack in the window either
	w.outcomes.Store(w.outcomes.Load() + int64(n))
}

// isBounded returns true if the window can refuse a nack, and may tolerate one. Otherwise
// it need not remember any.
func (w *Window) isBounded() bool {
	return 0 < w.threshold && w.threshold < w.size
}

// Nacks returns the number of nacks in the window. It is 0 if the window tolerates either
// all nacks or none, since it then remembers none.
func (w *Window) Nacks() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := int(w.outcomes.Load()) - w.size // the first outcome in the window
	gone := sort.Search(len(w.nacks), func(i int) bool { return w.nack(i) >= first })
	return len(w.nacks) - gone
}

// nack returns the time of a remembered nack; 0 is the oldest.
func (w *Window) nack(i int) int {
	return w.nacks[(w.oldest+i)%len(w.nacks)]
}

// Tolerates returns how many of the next n outcomes, all of them nacks, are tolerated
// before the first one that is not. It records nothing.
func (w *Window) Tolerates(n int) int {
	if w.isFrozen.Load() {
		return 0
	}
	if w.size == 0 || w.threshold >= w.size {
		return n
	}
	outcomes := int(w.outcomes.Load())
	for i := range n {
		if i >= w.threshold {
			return i // these are threshold nacks in a row, and the window is larger
		}
		// The nack is one too many if the nack that came threshold nacks before it is
		// still in the window.
		if behind := w.threshold - i; behind <= len(w.nacks) {
			if outcomes+i-w.nack(len(w.nacks)-behind) < w.size {
				return i
			}
		}
	}
	return n
}

// CountNacks records n nacks, tolerated or not.
func (w *Window) CountNacks(n int) {
	outcomes := w.outcomes.Load()
	if w.isBounded() {
		w.mu.Lock()
		defer w.mu.Unlock()
		for i := range n {
			at := int(outcomes) + i
			if len(w.nacks) < w.threshold {
				w.nacks = append(w.nacks, at)
			} else {
				w.nacks[w.oldest] = at
				w.oldest = (w.oldest + 1) % w.threshold
			}
		}
	}
	w.outcomes.Store(outcomes + int64(n))
}
