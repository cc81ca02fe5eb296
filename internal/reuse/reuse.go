// Package reuse keeps the memory of slices for reuse, and gives up what is no longer
// needed.
package reuse

import "reflect"

const (
	// smallCap is the capacity below which memory is never given up.
	smallCap = 64
	// smallRounds is how many consecutive small rounds it takes to give memory up.
	smallRounds = 32
)

// Buffer keeps the memory of a slice from one round of work to the next. Memory follows
// the work: what a large round needed is given up after 32 consecutive rounds that
// needed less than a quarter of it. Memory for fewer than 64 elements is never given
// up.
//
// A round takes a slice, once, and puts it back at the end. In between, the memory
// belongs to the caller alone. A slice that is not put back is lost to the Buffer,
// which does no harm. A round that takes nothing puts nil.
//
// The zero value is ready for use. A Buffer is not safe for concurrent use.
type Buffer[T any] struct {
	kept  []T
	asked int // the n of Take in this round
	age   Age
	plain plainness
}

// plainness says whether elements hold pointers.
type plainness int8

const (
	unknown plainness = iota
	plain
	pointers
)

// Take returns an empty slice with room for at least n elements; the caller may append
// beyond that. If n is 0, it returns what is kept, which may be nil.
//
// It allocates only if there is room for fewer than n elements, and then leaves spare
// room so that slowly growing rounds allocate rarely.
func (b *Buffer[T]) Take(n int) []T {
	taken := b.kept
	if cap(taken) < n {
		taken = make([]T, 0, max(n, cap(taken)+cap(taken)/4))
	}
	b.kept, b.asked = nil, max(b.asked, n)
	return taken
}

// Put ends a round. It keeps the memory of used or, if that is larger, what is kept
// already; nil is for a round that has taken nothing. The need of the round is the
// length of used or, if that is more, what Take was asked for.
//
// The caller must not use the slice afterwards. Put clears elements that may hold
// pointers, up to the length of used. So the memory refers to nothing, unless the slice
// was longer earlier in the round.
//
// Putting nil takes about a nanosecond if nothing is kept that could be given up.
func (b *Buffer[T]) Put(used []T) {
	if cap(used) == 0 && cap(b.kept) < smallCap {
		b.asked, b.age = 0, Age{}
		return
	}
	b.put(used)
}

func (b *Buffer[T]) put(used []T) {
	needed := max(len(used), b.asked)
	b.asked = 0
	if b.plain == unknown {
		b.plain = plainnessOf(reflect.TypeFor[T]())
	}
	if b.plain == pointers {
		clear(used)
	}
	if cap(used) > cap(b.kept) {
		b.kept = used[:0]
	}
	if b.age.EndRound(needed, cap(b.kept)) {
		b.kept = nil
	}
}

// Age tells when to give memory up, by the rule of [Buffer], for memory that is kept in
// another way. The zero value is ready for use.
type Age struct {
	small int // consecutive small rounds
}

// EndRound records that a round needed this many elements of memory with room for size
// elements. It returns true if the memory should be given up.
func (a *Age) EndRound(needed, size int) bool {
	if size < smallCap || needed >= size/4 {
		a.small = 0
		return false
	}
	if a.small++; a.small < smallRounds {
		return false
	}
	a.small = 0
	return true
}

// plainnessOf returns plain if values of the type hold no pointers.
func plainnessOf(t reflect.Type) plainness {
	switch t.Kind() {
	case reflect.Array:
		if t.Len() == 0 {
			return plain
		}
		return plainnessOf(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if plainnessOf(t.Field(i).Type) != plain {
				return pointers
			}
		}
		return plain
	default:
		if reflect.Bool <= t.Kind() && t.Kind() <= reflect.Complex128 {
			return plain
		}
		return pointers
	}
}
