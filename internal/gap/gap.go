// Package gap holds a slice that can be edited in linear time from one end to
// the other, like the text in an editor: what one has gone through is before the
// gap, what is still to come behind it.
package gap

// Slice is a slice with a gap. Taking an element out makes the gap larger,
// putting one in uses it up, and going on moves one element across. While the
// gap is empty its place is just a cursor, and going on moves nothing. The zero
// value is an empty slice.
type Slice[T any] struct {
	items  []T
	lo, hi int // items[lo:hi] is the gap, and what is in it means nothing
}

// Of returns a Slice of the items, with an empty gap at the start. The items
// are not copied, and nothing beyond their length is ever written to.
func Of[T any](items []T) Slice[T] {
	return Slice[T]{items: items[:len(items):len(items)]}
}

// Len returns the number of elements.
func (s *Slice[T]) Len() int { return len(s.items) - s.Room() }

// Room returns how many elements fit into the gap.
func (s *Slice[T]) Room() int { return s.hi - s.lo }

// Before returns the number of elements before the gap.
func (s *Slice[T]) Before() int { return s.lo }

// Next returns the first element behind the gap. There must be one.
func (s *Slice[T]) Next() *T { return &s.items[s.hi] }

// Last returns the last element before the gap. There must be one.
func (s *Slice[T]) Last() *T { return &s.items[s.lo-1] }

// Step moves the first element behind the gap before it. There must be one.
func (s *Slice[T]) Step() {
	if s.lo != s.hi {
		s.items[s.lo] = s.items[s.hi]
	}
	s.lo++
	s.hi++
}

// StepBack moves the last element before the gap behind it. There must be one.
func (s *Slice[T]) StepBack() {
	s.lo--
	s.hi--
	if s.lo != s.hi {
		s.items[s.hi] = s.items[s.lo]
	}
}

// Drop takes out the first element behind the gap. There must be one.
func (s *Slice[T]) Drop() { s.hi++ }

// Put puts an element before the gap. There must be room.
func (s *Slice[T]) Put(v T) {
	s.items[s.lo] = v
	s.lo++
}

// Grow moves the elements to a new slice, with room for n more. Nothing is
// written any more to the slice where they were.
func (s *Slice[T]) Grow(n int) {
	items := make([]T, len(s.items)+n)
	copy(items, s.items[:s.lo])
	copy(items[s.hi+n:], s.items[s.hi:])
	s.items, s.hi = items, s.hi+n
}

// At returns element i, wherever the gap is.
func (s *Slice[T]) At(i int) *T {
	if i >= s.lo {
		i += s.hi - s.lo
	}
	return &s.items[i]
}

// All makes the gap empty, at the place where it is, and returns the elements.
// They may be changed in place.
func (s *Slice[T]) All() []T {
	if s.lo != s.hi {
		n := s.lo + copy(s.items[s.lo:], s.items[s.hi:])
		s.items, s.hi = s.items[:n:n], s.lo
	}
	return s.items
}
