// Package nackwindow decides how many nacks are too many.
package nackwindow

// Window remembers the last outcomes of a stream of records, up to its size, and
// tolerates a number of nacks among them. It stores only the times of the nacks,
// counted in outcomes. So acks cost nothing, and the memory is that of the tolerated
// nacks.
type Window struct {
	size      int
	threshold int

	outcomes int   // number of outcomes so far
	nacks    []int // the last nacks, at most threshold: a ring once it is full
	oldest   int   // index of the oldest nack in a full ring

	isFrozen bool // until Reset, no nack is tolerated
}

// New returns a window over the last size outcomes that tolerates threshold
// nacks among them. With a size of 0 it tolerates any number. Negative numbers
// count as 0.
func New(size, threshold int) *Window {
	return &Window{size: max(size, 0), threshold: max(threshold, 0)}
}

// Freeze makes the window tolerate no nack until Reset.
func (w *Window) Freeze() {
	w.isFrozen = true
}

// Reset empties the window.
func (w *Window) Reset() {
	*w = Window{size: w.size, threshold: w.threshold, nacks: w.nacks[:0]}
}

// CountAcks records n acks.
func (w *Window) CountAcks(n int) {
	w.outcomes += min(n, w.size) // more acks leave no nack in the window either
}

// Tolerates returns how many of the next n outcomes, all of them nacks, are tolerated
// before the first one that is not. It records nothing.
func (w *Window) Tolerates(n int) int {
	if w.isFrozen {
		return 0
	}
	if w.size == 0 || w.threshold >= w.size {
		return n
	}
	for i := range n {
		if i >= w.threshold {
			return i // these are threshold nacks in a row, and the window is larger
		}
		// The nack is one too many if the nack that came threshold nacks before it is
		// still in the window.
		if behind := w.threshold - i; behind <= len(w.nacks) {
			before := w.nacks[(w.oldest+len(w.nacks)-behind)%len(w.nacks)]
			if w.outcomes+i-before < w.size {
				return i
			}
		}
	}
	return n
}

// CountNacks records n nacks, tolerated or not.
func (w *Window) CountNacks(n int) {
	if w.size == 0 || w.threshold >= w.size || w.threshold == 0 {
		w.outcomes += n
		return
	}
	for range n {
		if len(w.nacks) < w.threshold {
			w.nacks = append(w.nacks, w.outcomes)
		} else {
			w.nacks[w.oldest] = w.outcomes
			w.oldest = (w.oldest + 1) % w.threshold
		}
		w.outcomes++
	}
}
