package gap_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/conduitio/funnel/internal/gap"
)

func TestSlice_zeroValue(t *testing.T) {
	var s gap.Slice[int]
	if s.Len() != 0 || s.Before() != 0 || len(s.All()) != 0 || len(s.Cut()) != 0 {
		t.Error("the zero value is not empty")
	}
	s.Put(1)
	s.Put(2)
	if got := s.All(); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("got %v", got)
	}
}

// The items are not copied, neither on the way in nor on the way out.
func TestSlice_aliases(t *testing.T) {
	items := []int{1, 2, 3, 4}
	s := gap.Of(items)
	for i := range items {
		if s.At(i) != &items[i] {
			t.Errorf("element %d was copied", i)
		}
	}
	s.Step()
	if &s.All()[0] != &items[0] || s.Before() != 1 {
		t.Error("All copied the elements, or moved the gap")
	}
	s.Drop()
	s.All()[1] = 9 // in place
	if got := s.All(); !slices.Equal(got, []int{1, 9, 4}) || &got[2] != &items[3] || *s.Next() != 9 {
		t.Errorf("got %v, next %d", got, *s.Next())
	}
}

// What is beyond the length of the items belongs to others.
func TestSlice_beyondTheItems(t *testing.T) {
	memory := []int{1, 2, 3, 4}
	s := gap.Of(memory[:2])
	s.Drop()
	s.Put(5)
	s.Step()
	s.Put(6)
	if got := s.All(); !slices.Equal(got, []int{5, 2, 6}) {
		t.Errorf("got %v", got)
	}
	if !slices.Equal(memory, []int{5, 2, 3, 4}) {
		t.Errorf("the memory of the items is %v", memory)
	}
}

// Two halves of a slice are edited independently.
func TestSlice_neighbours(t *testing.T) {
	items := []int{1, 2, 3, 4}
	left, right := gap.Of(items[:2]), gap.Of(items[2:])
	left.Step()
	left.Drop()
	left.Put(7)
	right.Drop()
	right.Step()
	left.Put(8)
	if l, r := left.All(), right.All(); !slices.Equal(l, []int{1, 7, 8}) || !slices.Equal(r, []int{4}) {
		t.Errorf("got %v and %v", l, r)
	}
}

// moves counts how many elements are no longer where they were.
type moves struct {
	slice *gap.Slice[int]
	where map[int]*int // where the elements are
	total int
}

func (m *moves) count(edit func()) {
	edit()
	n := 0
	for i := range m.slice.Len() {
		at := m.slice.At(i)
		if was, ok := m.where[*at]; ok && was != at {
			n++
		}
		m.where[*at] = at
	}
	m.total += n
}

// pass goes through a slice of n different elements in steps of four: one is
// kept, one is taken out, one gets a second one beside it, one is replaced.
func pass(s *gap.Slice[int], n int, backward bool, edit func(func())) {
	for i := range n {
		if backward {
			edit(s.StepBack)
		}
		switch i % 4 {
		case 1:
			edit(s.Drop)
			continue
		case 2:
			edit(func() { s.Put(n + i) })
			if backward {
				edit(s.StepBack)
				continue
			}
		case 3:
			*s.Next() = 2*n + i
		}
		if !backward {
			edit(s.Step)
		}
	}
}

func ascending(n int, atTheEnd bool) gap.Slice[int] {
	items := make([]int, n)
	for i := range items {
		items[i] = i
	}
	s := gap.Of(items)
	if atTheEnd {
		for range n {
			s.Step()
		}
	}
	return s
}

// Going from one end to the other moves each element a few times, however many
// there are.
func TestSlice_movesAreLinear(t *testing.T) {
	const n = 400
	for _, backward := range []bool{false, true} {
		s := ascending(n, backward)
		m := moves{slice: &s, where: make(map[int]*int)}
		m.count(func() {})
		pass(&s, n, backward, m.count)
		if m.total > 5*n {
			t.Errorf("backward %t: %d moves for %d elements", backward, m.total, n)
		}
		if s.Len() != n {
			t.Errorf("backward %t: %d elements are left", backward, s.Len())
		}
	}
}

// So does putting more in than is taken out.
func TestSlice_movesOfGrowthAreLinear(t *testing.T) {
	const n = 400
	for _, backward := range []bool{false, true} {
		s := ascending(n, backward)
		m := moves{slice: &s, where: make(map[int]*int)}
		m.count(func() {})
		for i := range n {
			if backward {
				m.count(s.StepBack)
			}
			m.count(s.Drop)
			m.count(func() { s.Put(n+3*i, n+3*i+1, n+3*i+2) })
			for range 3 {
				if backward {
					m.count(s.StepBack)
				}
			}
		}
		if m.total > 20*n || s.Len() != 3*n {
			t.Errorf("backward %t: %d moves for %d elements, %d are left", backward, m.total, n, s.Len())
		}
	}
}

// To close the gap, All moves what is before it or what is after it, whichever
// is less.
func TestSlice_allMovesTheLess(t *testing.T) {
	const n = 1000
	for _, before := range []int{0, 10, n - 11, n - 1} {
		s := ascending(n, false)
		for range before {
			s.Step()
		}
		s.Drop()
		m := moves{slice: &s, where: make(map[int]*int)}
		m.count(func() {})
		m.count(func() { s.All() })
		if m.total > 10 {
			t.Errorf("with %d elements before the gap %d are moved", before, m.total)
		}
	}
}

// Edits of the first elements move none of the others.
func TestSlice_editsAtTheStartMoveNothing(t *testing.T) {
	s := ascending(1000, false)
	m := moves{slice: &s, where: make(map[int]*int)}
	m.count(func() {})
	for i := range 100 {
		m.count(s.Drop)
		m.count(func() { s.Put(2000+i, 3000+i) })
		rest := s.Cut()
		s = gap.Of(rest)
	}
	if m.total != 0 {
		t.Errorf("%d moves", m.total)
	}
}

// Calling All after each edit moves the elements after the gap, within memory
// that grows a few times.
func TestSlice_allAfterEachEditAllocatesLittle(t *testing.T) {
	for _, n := range []int{1_000, 16_000} {
		s := ascending(n, false)
		allocs := testing.AllocsPerRun(1, func() {
			for range n / 4 {
				s.Step()
				s.Drop()
				s.Put(0, 0, 0)
				s.All()
			}
		})
		if allocs > 12 {
			t.Errorf("%v allocations for %d edits", allocs, n/4)
		}
	}
}

// Someone who reads what All has returned from the last to the first, or from the
// first to the last, may edit on the way.
func TestSlice_editWhileReading(t *testing.T) {
	const n = 6
	for code := range 4 * 4 * 4 * 4 * 4 * 4 {
		for _, backward := range []bool{false, true} {
			s := ascending(n, false)
			read := s.All()
			at := 0
			for k, c := 0, code; k < n; k, c = k+1, c/4 {
				i := k
				if backward {
					i = n - 1 - k
					at = i
				}
				if read[i] != i {
					t.Fatalf("code %d, backward %t: element %d reads %d", code, backward, i, read[i])
				}
				for s.Before() < at {
					s.Step()
				}
				for s.Before() > at {
					s.StepBack()
				}
				switch c % 4 {
				case 0:
					s.Drop()
				case 1:
					s.Put(100, 101)
					at += 3
				case 2:
					s.Drop()
					s.Put(200, 201, 202)
					at += 3
				case 3:
					at++
				}
			}
		}
	}
}

// Set replaces elements on either side of the gap, and on both.
func TestSlice_set(t *testing.T) {
	for i, want := range [][]int{{7, 8, 3, 5, 6}, {1, 7, 8, 5, 6}, {1, 2, 7, 8, 6}, {1, 2, 3, 7, 8}} {
		s := gap.Of([]int{1, 2, 3, 4, 5, 6})
		s.Step()
		s.Step()
		s.Step()
		s.Drop()
		s.Set(i, []int{7, 8})
		if got := s.All(); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

// The items may be elements of the slice that are replaced themselves.
func TestSlice_setOverlaps(t *testing.T) {
	items := []int{1, 2, 3, 4, 5, 6}
	s := gap.Of(items)
	s.Step()
	s.Step()
	s.Step()
	s.Drop()
	s.Set(2, items[:3])
	if got := s.All(); !slices.Equal(got, []int{1, 2, 1, 2, 3}) {
		t.Errorf("got %v", got)
	}
}

// While the gap is empty going on moves nothing.
func TestSlice_cursorMovesNothing(t *testing.T) {
	s := ascending(100, false)
	m := moves{slice: &s, where: make(map[int]*int)}
	m.count(func() {})
	for range 100 {
		m.count(s.Step)
	}
	for range 100 {
		m.count(s.StepBack)
	}
	m.count(func() { s.All() })
	if m.total != 0 {
		t.Errorf("%d moves", m.total)
	}
}

// An edit costs the same in a long slice as in a short one.
func BenchmarkSlice_pass(b *testing.B) {
	for _, backward := range []bool{false, true} {
		for _, n := range []int{1_000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("backward=%t/n=%d", backward, n), func(b *testing.B) {
				for b.Loop() {
					s := ascending(n, backward)
					pass(&s, n, backward, func(f func()) { f() })
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/element")
			})
		}
	}
}
