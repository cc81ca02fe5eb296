// Package reuse keeps the memory of slices for later use, and lets go of what is
// not needed any more.
package reuse

import "reflect"

const (
	// smallCap is the capacity below which memory is kept in any case.
	smallCap = 64
	// smallRounds is how many rounds in a row have to be small for the memory to
	// be given up.
	smallRounds = 32
)

// Buffer keeps the memory of a slice from one round of some work to the next.
// Memory follows the work: what a large round needed is given back after 32
// rounds in a row that needed less than a quarter of it. Memory for fewer than 64
// elements is never given back.
//
// A round takes a slice, once, and puts it back at its end. In between, the
// memory is the caller's alone: a slice that is not put back is lost to the
// Buffer, which does no harm. A round that takes nothing puts nil.
//
// The zero value is ready for use. A Buffer is for one goroutine at a time.
type Buffer[T any] struct {
	kept  []T
	asked int // what Take was asked for in this round
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

// Take returns an empty slice with room for at least n elements, which the caller
// may append to beyond that. If n is 0, it returns what is kept, which may be nil.
//
// It allocates only if there is room for fewer than n elements, and then enough
// that rounds that grow slowly allocate rarely.
func (b *Buffer[T]) Take(n int) []T {
	taken := b.kept
	if cap(taken) < n {
		taken = make([]T, 0, max(n, cap(taken)+cap(taken)/4))
	}
	b.kept, b.asked = nil, max(b.asked, n)
	return taken
}

// Put ends a round. It keeps the memory of used, or what is kept already if that
// is larger; nil is for a round that has taken nothing. What the round needed is
// the length of used, or what Take was asked for if that is more.
//
// Elements that may hold pointers are cleared up to the length of used. So the
// memory refers to nothing, unless the slice was longer at some time in the round.
// The caller must not use it any more.
//
// Putting nil costs about a nanosecond if nothing is kept that could be given up.
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
	if b.age.IsOver(needed, cap(b.kept)) {
		b.kept = nil
	}
}

// Age tells when memory is to be given up, by the rule of [Buffer], which is for
// memory that is kept in another way, too. The zero value is ready for use.
type Age struct {
	small int // how many rounds in a row were small
}

// IsOver notes what a round has needed of memory with room for size elements. It
// returns true if the memory is to be given up.
func (a *Age) IsOver(needed, size int) bool {
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
