// Package gap holds a slice that can be edited in linear time from one end to
// the other, like the text in an editor: what one has gone through is before the
// gap, what is still to come is behind it.
//
// The slice has two kinds of users. One edits it. The other reads what All has
// returned, in either direction, while the first one edits where the reader has
// been. So nothing in an array that All has returned is written to but what was
// taken out since then. Whatever else is put in, or has to move, waits in arrays of
// its own, and is put back only when All is called again.
package gap

import "slices"

// Slice is a slice with a gap. Taking an element out widens the gap, putting one
// in uses it up, and a step moves one element across. While nothing was edited
// the gap is only a cursor, and a step moves nothing. The zero value is an empty
// slice.
//
// An edit or a step costs the same however many elements there are. All costs
// nothing if nothing was edited since its last call. Otherwise it moves the
// elements on one side of the gap, and all of them where home has to grow or is
// pinned.
type Slice[T any] struct {
	// The elements are home[:lo], left, right in reverse order, and home[hi:]. The
	// gap is between left and right.
	home        []T
	lo, hi      int
	left, right []T

	isPinned bool // home stays as it is when All is called
}

// Of returns a Slice of the items, with an empty gap at the start. The items
// are not copied, and nothing beyond their length is ever written to.
func Of[T any](items []T) Slice[T] {
	return Slice[T]{home: items[:len(items):len(items)]}
}

// Len returns the number of elements.
func (s *Slice[T]) Len() int { return s.Before() + len(s.right) + len(s.home) - s.hi }

// Before returns the number of elements before the gap.
func (s *Slice[T]) Before() int { return s.lo + len(s.left) }

// Next returns the first element behind the gap. There must be one.
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

// Step moves the first element behind the gap before it. There must be one.
func (s *Slice[T]) Step() {
	if s.isUnedited() {
		s.lo++
		s.hi++
		return
	}
	s.left = append(s.left, *s.Next())
	s.Drop()
}

// StepBack moves the last element before the gap behind it. There must be one.
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

// Drop takes out the first element behind the gap. There must be one.
func (s *Slice[T]) Drop() {
	if n := len(s.right); n > 0 {
		s.right = s.right[:n-1]
	} else {
		s.hi++
	}
}

// Put puts elements before the gap. The items are copied.
func (s *Slice[T]) Put(items ...T) {
	if s.isInPlace() && len(items) <= s.hi-s.lo {
		s.lo += copy(s.home[s.lo:], items)
		return
	}
	s.left = append(s.left, items...)
}

// Set replaces the elements from i on by the items, which may be elements of the
// slice. There must be as many.
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

// Cut takes out all elements behind the gap and returns them. They stay where
// they are, unless edits have put elements among them.
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

// All closes the gap where it is and returns the elements. They may be changed in
// place.
//
// The returned slice stays readable during edits: whoever goes through it, in
// either direction, finds what it held, as long as elements are taken out, set or
// added only where the reader has been. That ends when All is called again after an
// edit, unless the slice was pinned.
func (s *Slice[T]) All() []T {
	if !s.isUnedited() {
		s.join()
	}
	return s.home[:len(s.home):len(s.home)]
}

// Pin keeps the slice that All has returned last readable when All is called again
// after an edit: that call moves the elements to another array, once.
func (s *Slice[T]) Pin() { s.isPinned = true }

// Unpin undoes Pin.
func (s *Slice[T]) Unpin() { s.isPinned = false }

// join brings all elements into one array, home.
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
		clear(old[min(n, len(old)):]) // refers to nothing any more
		s.fill(before)
	}
	s.left, s.right = s.left[:0], s.right[:0]
	s.lo, s.hi = before, before
}

// moveTo makes another array, which is large enough, the home of the elements.
func (s *Slice[T]) moveTo(home []T, before int) {
	copy(home, s.home[:s.lo])
	copy(home[before+len(s.right):], s.home[s.hi:])
	s.home, s.isPinned = home, false
	s.fill(before)
}

// fill copies the elements of left and right to their places in home.
func (s *Slice[T]) fill(before int) {
	copy(s.home[s.lo:], s.left)
	for i, v := range s.right {
		s.home[before+len(s.right)-1-i] = v
	}
}
