package gap_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/conduitio/funnel/internal/gap"
)

// reading is someone who goes through what All has returned, while elements are
// edited where it has been.
type reading struct {
	slice    *gap.Slice[int]
	read     []int // what All has returned
	was      []int // what it held then
	backward bool
	count    int // how many elements were read

	added int // how many elements there are more than at the start, where it has been
}

func newReading(s *gap.Slice[int], backward bool) *reading {
	read := s.All()
	return &reading{slice: s, read: read, was: slices.Clone(read), backward: backward}
}

// next reads the next element, and checks all that are still to be read.
func (r *reading) next() error {
	r.count++
	n := len(r.was)
	from, to := r.count-1, n
	if r.backward {
		from, to = 0, n-r.count+1
	}
	if !slices.Equal(r.read[from:to], r.was[from:to]) {
		return fmt.Errorf("the elements from %d to %d read %v, they were %v", from, to, r.read[from:to], r.was[from:to])
	}
	return nil
}

// visited returns the range of the elements that have come from those that were
// read.
func (r *reading) visited() (from, to int) {
	if r.backward {
		return len(r.was) - r.count, len(r.was) + r.added
	}
	return 0, r.count + r.added
}

// edit takes an element out at an index, or puts some in, or sets it.
func (r *reading) edit(rnd *rand.Rand, i int) {
	s := r.slice
	seek(s, i)
	switch rnd.IntN(4) {
	case 0:
		s.Drop()
		r.added--
	case 1:
		s.Drop()
		s.Put(100, 101, 102)
		r.added += 2
	case 2:
		s.Set(i, []int{200})
	case 3:
		s.Put(300)
		r.added++
	}
}

func seek(s *gap.Slice[int], i int) {
	for s.Before() < i {
		s.Step()
	}
	for s.Before() > i {
		s.StepBack()
	}
}

// Whatever was done to a slice before, someone who goes through what All has
// returned, in either direction, reads what was there, while elements are edited
// anywhere it has been. If the slice is pinned, All may be called on the way.
func TestSlice_readWhileEdited(t *testing.T) {
	passes := 40_000
	if testing.Short() {
		passes = 4_000
	}
	for seed := range passes {
		rnd := rand.New(rand.NewPCG(uint64(seed), 5))
		e := newEditor(1 + rnd.IntN(12))
		for range rnd.IntN(25) {
			if o := ops[rnd.IntN(len(ops))]; e.model.allows(o) {
				e.do(t, o)
			}
		}
		s := &e.slice
		r := newReading(s, rnd.IntN(2) == 0)
		isPinned := rnd.IntN(2) == 0
		if isPinned {
			s.Pin()
		}
		for range r.was {
			if err := r.next(); err != nil {
				t.Fatalf("seed %d, backward %t, pinned %t: %v", seed, r.backward, isPinned, err)
			}
			for range rnd.IntN(3) {
				if from, to := r.visited(); from < to {
					r.edit(rnd, from+rnd.IntN(to-from))
				}
				if isPinned && rnd.IntN(2) == 0 {
					s.All()
				}
				if rnd.IntN(2) == 0 { // a look at another element
					seek(s, rnd.IntN(s.Len()+1))
				}
			}
		}
		if got, want := s.Len(), len(r.was)+r.added; got != want {
			t.Fatalf("seed %d: %d elements, want %d", seed, got, want)
		}
	}
}

// What All has returned is moved once if the slice is pinned, and not at all once
// that has ended.
func TestSlice_pin(t *testing.T) {
	s := ascending(100, false)
	first := s.All()
	s.Pin()
	for range 10 {
		s.Drop()
		s.All()
	}
	if first[0] != 0 || first[99] != 99 {
		t.Error("what was pinned has changed")
	}
	second := s.All()
	s.Drop()
	if third := s.All(); &third[0] != &second[1] {
		t.Error("the elements were moved a second time")
	}
	s = ascending(100, false)
	first = s.All()
	s.Pin()
	s.Unpin()
	s.Drop()
	if second := s.All(); &second[0] != &first[1] {
		t.Error("the elements were moved though the slice is not pinned any more")
	}
}
