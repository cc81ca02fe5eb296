// Package gap provides a slice that can be edited from one end to the other in linear
// time, like the text in an editor: the elements already visited are before the gap,
// those still to come are after it.
//
// A slice has two users. One edits it. The other reads what All returned, in either
// direction, while the first one edits where the reader has been. So in an array that
// All has returned, an edit writes only where it sets elements or where elements have
// been taken out since. Elements that are put in or have to move wait in separate arrays
// until the next call of All.
package gap

import "slices"

// Slice is a slice with a gap. Taking an element out widens the gap, putting one in
// fills it, and a step moves one element across. Without edits the gap is only a
// cursor, and a step moves nothing. The zero value is an empty slice.
//
// The cost of an edit or a step does not depend on the number of elements. All costs
// nothing if nothing was edited since its last call. Otherwise it moves the elements on
// one side of the gap, or all of them if home has to grow or is pinned.
type Slice[T any] struct {
	// The elements are home[:lo], left, right in reverse order, and home[hi:]. The
	// gap is between left and right.
	home        []T
	lo, hi      int
	left, right []T

	isPinned bool // All must not write to home
}

// Of returns a Slice of the items, with an empty gap at the start. The items are not
// copied. The memory beyond their length is never written to.
func Of[T any](items []T) Slice[T] {
	return Slice[T]{home: items[:len(items):len(items)]}
}

// Len returns the number of elements.
func (s *Slice[T]) Len() int { return s.Before() + len(s.right) + len(s.home) - s.hi }

// Before returns the number of elements before the gap.
func (s *Slice[T]) Before() int { return s.lo + len(s.left) }

// Next returns the first element after the gap. There must be one.
func (s *Slice[T]) Next() *T {
	if n := len(s.right); n > 0 {
		return &s.right[n-1]
	}
	return &s.home[s.hi]
}

// Last returns the last element before the gap. There must be one.
func (s *Slice[T]) Last() *T {
	if n := len(s.left); n > 0 {
		return &s.left[n-1]
	}
	return &s.home[s.lo-1]
}

// At returns element i, wherever the gap is.
func (s *Slice[T]) At(i int) *T {
	if i < s.lo {
		return &s.home[i]
	}
	if i -= s.lo; i < len(s.left) {
		return &s.left[i]
	}
	if i -= len(s.left); i < len(s.right) {
		return &s.right[len(s.right)-1-i]
	}
	return &s.home[s.hi+i-len(s.right)]
}

// isUnedited returns true if the gap is only a cursor.
func (s *Slice[T]) isUnedited() bool { return s.lo == s.hi && s.isInPlace() }

// isInPlace returns true if all elements are in home.
func (s *Slice[T]) isInPlace() bool { return len(s.left) == 0 && len(s.right) == 0 }

// Step moves the gap forward, past the first element after it. There must be one.
func (s *Slice[T]) Step() {
	if s.isUnedited() {
		s.lo++
		s.hi++
		return
	}
	s.left = append(s.left, *s.Next())
	s.Drop()
}

// StepBack moves the gap back, past the last element before it. There must be one.
func (s *Slice[T]) StepBack() {
	if s.isUnedited() {
		s.lo--
		s.hi--
		return
	}
	s.right = append(s.right, *s.Last())
	if n := len(s.left); n > 0 {
		s.left = s.left[:n-1]
	} else {
		s.lo--
	}
}

// Drop takes out the first element after the gap. There must be one.
func (s *Slice[T]) Drop() {
	if n := len(s.right); n > 0 {
		s.right = s.right[:n-1]
	} else {
		s.hi++
	}
}

// Put puts copies of the items before the gap.
func (s *Slice[T]) Put(items ...T) {
	if s.isInPlace() && len(items) <= s.hi-s.lo {
		s.lo += copy(s.home[s.lo:], items)
		return
	}
	s.left = append(s.left, items...)
}

// Set replaces the elements from i on with the items, which may be elements of the
// slice. The slice must be long enough.
func (s *Slice[T]) Set(i int, items []T) {
	end := i + len(items)
	switch behind := s.Before() + len(s.right); {
	case s.isUnedited():
		copy(s.home[i:], items)
	case end <= s.lo:
		copy(s.home[i:end], items)
	case i >= behind:
		copy(s.home[s.hi+i-behind:], items)
	default:
		items = slices.Clone(items) // the first copies may change what later ones read
		for k := range items {
			*s.At(i + k) = items[k]
		}
	}
}

// Cut takes out all elements after the gap and returns them. It moves them only if edits
// have put elements among them.
func (s *Slice[T]) Cut() []T {
	if len(s.right) > 0 {
		s.join()
	}
	cut := s.home[s.hi:]
	s.home, s.hi = s.home[:s.lo:s.lo], s.lo
	if len(s.left) > 0 {
		s.join()
	}
	return cut[:len(cut):len(cut)]
}

// All closes the gap where it is and returns the elements, which may be changed in
// place.
//
// The returned slice stays readable during edits: a reader that goes through it, in
// either direction, finds what it held, as long as elements are taken out, set or added
// only where the reader has been. This holds until All is called again after an edit,
// or longer if the slice is pinned.
func (s *Slice[T]) All() []T {
	if !s.isUnedited() {
		s.join()
	}
	return s.home[:len(s.home):len(s.home)]
}

// AppendTo appends the elements to a slice. Unlike All, it moves none of them.
func (s *Slice[T]) AppendTo(to []T) []T {
	to = append(to, s.home[:s.lo]...)
	to = append(to, s.left...)
	for i := len(s.right) - 1; i >= 0; i-- {
		to = append(to, s.right[i])
	}
	return append(to, s.home[s.hi:]...)
}

// Pin keeps the last result of All readable even if All is called again after an edit.
// That call moves the elements to another array, once.
func (s *Slice[T]) Pin() { s.isPinned = true }

// Unpin undoes Pin.
func (s *Slice[T]) Unpin() { s.isPinned = false }

// join moves all elements into one array, home.
func (s *Slice[T]) join() {
	before, edited, behind := s.Before(), len(s.left)+len(s.right), len(s.home)-s.hi
	n := s.lo + edited + behind
	switch {
	case s.isPinned || n > cap(s.home):
		s.moveTo(make([]T, n, n+n/4), before)
	case edited == 0 && s.lo <= behind:
		copy(s.home[s.hi-s.lo:], s.home[:s.lo])
		s.home = s.home[s.hi-s.lo:]
	default:
		old := s.home
		s.home = s.home[:n]
		copy(s.home[n-behind:], old[s.hi:])
		clear(old[min(n, len(old)):]) // for the garbage collector
		s.fill(before)
	}
	s.left, s.right = s.left[:0], s.right[:0]
	s.lo, s.hi = before, before
}

// moveTo moves the elements to another array that is large enough.
func (s *Slice[T]) moveTo(home []T, before int) {
	copy(home, s.home[:s.lo])
	copy(home[before+len(s.right):], s.home[s.hi:])
	s.home, s.isPinned = home, false
	s.fill(before)
}

// fill copies left and right to their places in home.
func (s *Slice[T]) fill(before int) {
	copy(s.home[s.lo:], s.left)
	for i, v := range s.right {
		s.home[before+len(s.right)-1-i] = v
	}
}
