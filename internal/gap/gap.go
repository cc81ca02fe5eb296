// Package gap holds a slice that can be edited in linear time from one end to
// the other, like the text in an editor: what one has gone through is before the
// gap, what is still to come behind it.
package gap

import "slices"

// Slice is a slice with a gap. Taking an element out makes the gap larger,
// putting one in uses it up, and going on moves one element across. While the
// gap is empty its place is just a cursor, and going on moves nothing. The zero
// value is an empty slice.
//
// If the gap is used up, what is before it moves to an array of its own. What is
// behind it stays where it is, so that editing the first elements costs nothing
// for the others.
type Slice[T any] struct {
	before []T // the elements before the gap
	behind []T // behind[start:] are the elements behind the gap
	start  int

	// While isWhole, before lies in the free part of behind, and its capacity
	// ends where behind starts.
	isWhole bool
	isOwn   bool // behind is an array that All has not handed out

	edits     int  // how often room was made since All was called
	isWatched bool // All was called after an edit
}

// Of returns a Slice of the items, with an empty gap at the start. The items
// are not copied, and nothing beyond their length is ever written to.
func Of[T any](items []T) Slice[T] {
	return Slice[T]{before: items[:0:0], behind: items[:len(items):len(items)], isWhole: true}
}

// Len returns the number of elements.
func (s *Slice[T]) Len() int { return len(s.before) + len(s.behind) - s.start }

// Before returns the number of elements before the gap.
func (s *Slice[T]) Before() int { return len(s.before) }

// Next returns the first element behind the gap. There must be one.
func (s *Slice[T]) Next() *T { return &s.behind[s.start] }

// Last returns the last element before the gap. There must be one.
func (s *Slice[T]) Last() *T { return &s.before[len(s.before)-1] }

// At returns element i, wherever the gap is.
func (s *Slice[T]) At(i int) *T {
	if i < len(s.before) {
		return &s.before[i]
	}
	return &s.behind[s.start+i-len(s.before)]
}

// Step moves the first element behind the gap before it. There must be one.
func (s *Slice[T]) Step() {
	if s.isWhole && len(s.before) == s.start {
		s.start++
		s.before = s.behind[:s.start:s.start]
		return
	}
	v := s.behind[s.start]
	s.Drop()
	s.before = append(s.before, v)
}

// StepBack moves the last element before the gap behind it. There must be one.
//
// Someone who goes back through the elements that All has returned, and changes
// them on the way, finds those that come next as they were.
func (s *Slice[T]) StepBack() {
	n := len(s.before) - 1
	if !s.isWhole && (s.start == 0 || s.start <= n && !s.isOwn) {
		free := s.Len()
		s.behind = slices.Concat(make([]T, free), s.behind[s.start:])
		s.start, s.isOwn = free, true
	}
	s.start--
	if !s.isWhole || n != s.start {
		s.behind[s.start] = s.before[n]
	}
	s.before = s.before[:n]
	if s.isWhole {
		s.before = s.before[:n:s.start]
	}
}

// Drop takes out the first element behind the gap. There must be one.
func (s *Slice[T]) Drop() {
	s.start++
	if s.isWhole {
		s.before = s.behind[:len(s.before):s.start]
	}
}

// Put puts elements before the gap.
func (s *Slice[T]) Put(items ...T) {
	if s.isWhole && len(items) > s.start-len(s.before) {
		s.makeRoom(len(items))
	}
	s.before = append(s.before, items...)
}

// makeRoom makes room for n elements in the gap of a whole slice, which has too
// little, or makes it one that is not whole.
func (s *Slice[T]) makeRoom(n int) {
	if s.isWatched && s.edits == 0 {
		// Somebody looks at all elements after each edit. Then they have to be in
		// one piece each time, and moving those behind the gap is the least.
		n -= s.start - len(s.before)
		end := len(s.behind)
		s.behind = append(s.behind, make([]T, n)...)
		copy(s.behind[s.start+n:], s.behind[s.start:end])
		s.start += n
		s.before = s.behind[:len(s.before):s.start]
	} else {
		s.isWhole = false // what does not fit makes before move
	}
	s.edits++
}

// Set replaces the elements from i on by the items, which may be elements of the
// slice. There must be as many.
func (s *Slice[T]) Set(i int, items []T) {
	n := len(s.before)
	switch {
	case s.isWhole && n == s.start:
		copy(s.behind[i:], items)
	case i >= n:
		copy(s.behind[s.start+i-n:], items)
	case i+len(items) <= n:
		copy(s.before[i:], items)
	default:
		items = slices.Clone(items) // the first copy may change what the second one reads
		copy(s.before[i:], items[:n-i])
		copy(s.behind[s.start:], items[n-i:])
	}
}

// Cut takes out all elements behind the gap and returns them. They stay where
// they are.
func (s *Slice[T]) Cut() []T {
	cut := s.behind[s.start:]
	n := len(s.before)
	s.behind = s.before[:n:n]
	s.before, s.start, s.isWhole, s.isOwn = s.behind, n, true, false
	return cut[:len(cut):len(cut)]
}

// All makes the gap empty, at the place where it is, and returns the elements.
// They may be changed in place.
func (s *Slice[T]) All() []T {
	s.isWatched = s.isWatched || s.edits > 0
	s.edits, s.isOwn = 0, false
	if n := len(s.before); !s.isWhole || n != s.start {
		rest := len(s.behind) - s.start
		switch {
		case !s.isWhole && rest == 0:
			s.behind = s.before
		case !s.isWhole && n > s.start:
			s.behind = append(s.before, s.behind[s.start:]...)
		case !s.isWhole || n <= rest:
			copy(s.behind[s.start-n:], s.before)
			s.behind = s.behind[s.start-n:]
		default:
			s.behind = s.behind[:n+copy(s.behind[n:], s.behind[s.start:])]
		}
		s.start, s.isWhole = n, true
		s.before = s.behind[:n:n]
	}
	return s.behind[:len(s.behind):len(s.behind)]
}
