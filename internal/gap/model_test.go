package gap_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/conduitio/funnel/internal/gap"
)

// op is an edit.
type op string

const (
	step     op = "Step"
	stepBack op = "StepBack"
	drop     op = "Drop"
	put      op = "Put"
	put3     op = "Put(3)"
	set      op = "Set"
	setHalf  op = "Set(half)"
	cut      op = "Cut"
	all      op = "All"
	setNext  op = "*Next"
	setLast  op = "*Last"
	setAt    op = "*At"
)

var ops = []op{step, stepBack, drop, put, put3, set, setHalf, cut, all, setNext, setLast, setAt}

// model is the naive slice with a gap: two slices.
type model struct {
	before, after []int
}

func (m *model) len() int { return len(m.before) + len(m.after) }

func (m *model) at(i int) *int {
	if i < len(m.before) {
		return &m.before[i]
	}
	return &m.after[i-len(m.before)]
}

// allows reports whether the op may be done.
func (m *model) allows(o op) bool {
	switch o {
	case step, drop, setNext:
		return len(m.after) > 0
	case stepBack, setLast:
		return len(m.before) > 0
	case set, setHalf, setAt:
		return m.len() > 0
	default:
		return true
	}
}

// do does the op. An op that writes to an element writes the value.
func (m *model) do(o op, value int) {
	last := len(m.before) - 1
	switch o {
	case step:
		m.before, m.after = slices.Concat(m.before, m.after[:1]), m.after[1:]
	case stepBack:
		m.before, m.after = m.before[:last], slices.Concat(m.before[last:], m.after)
	case drop:
		m.after = m.after[1:]
	case put:
		m.before = slices.Concat(m.before, []int{value})
	case put3:
		m.before = slices.Concat(m.before, three(value))
	case set:
		from, values := m.some(value)
		for i, v := range values {
			*m.at(from + i) = v
		}
	case setHalf:
		// The first half of the elements replaces the second one.
		all := slices.Concat(m.before, m.after)
		for i, v := range all[:len(all)/2] {
			*m.at(len(all) - len(all)/2 + i) = v
		}
	case cut:
		m.after = nil
	case all:
	case setNext:
		m.after[0] = value
	case setLast:
		m.before[last] = value
	case setAt:
		*m.at(value % m.len()) = value
	}
}

// some returns a range of the elements, which depends on the value, and values
// for them.
func (m *model) some(value int) (from int, values []int) {
	from = value % m.len()
	values = make([]int, value/3%(m.len()-from+1))
	for i := range values {
		values[i] = value + 10_000*i
	}
	return from, values
}

func three(value int) []int { return []int{value, value + 10_000, value + 20_000} }

// editor does the same to a slice and to a model.
type editor struct {
	slice gap.Slice[int]
	model model
	done  []op

	items, beyond []int // what the slice was made of, and what is behind it in memory
	handed        []int // what the slice has handed out last
	cut, cutWas   []int // what was cut out last, and what it held then
}

func newEditor(n int) *editor {
	memory := make([]int, n+4)
	for i := range memory {
		memory[i] = i
	}
	items := memory[:n]
	return &editor{
		slice: gap.Of(items), model: model{after: slices.Clone(items)},
		items: items, beyond: slices.Clone(memory[n:]),
	}
}

// do does the op, with a value that no op before it had, and fails the test if
// the slice and the model are no longer the same.
func (e *editor) do(t *testing.T, o op) {
	t.Helper()
	value, s := 1000+len(e.done), &e.slice
	switch o {
	case step:
		s.Step()
	case stepBack:
		s.StepBack()
	case drop:
		s.Drop()
	case put:
		s.Put(value)
	case put3:
		s.Put(three(value)...)
	case set:
		s.Set(e.model.some(value))
	case setHalf:
		n := s.Len()
		if s.Before() == 0 || s.Before() == n { // the items may be elements of the slice
			s.Set(n-n/2, s.All()[:n/2])
			break
		}
		items := make([]int, n/2)
		for i := range items {
			items[i] = *s.At(i)
		}
		s.Set(n-n/2, items)
	case cut:
		want := slices.Clone(e.model.after)
		if e.cut = s.Cut(); !slices.Equal(e.cut, want) || cap(e.cut) != len(e.cut) {
			t.Fatalf("%d elements, %v: cut out %v, want %v", len(e.items), e.done, e.cut, want)
		}
		e.cutWas = want
	case all:
		e.handed = s.All()
		if cap(e.handed) != len(e.handed) {
			t.Fatalf("%d elements, %v: All returned room for more", len(e.items), e.done)
		}
	case setNext:
		*s.Next() = value
	case setLast:
		*s.Last() = value
	case setAt:
		*s.At(value % e.model.len()) = value
	}
	e.model.do(o, value)
	e.done = append(e.done, o)
	if err := e.compare(); err != nil {
		t.Fatalf("%d elements, %v: %v", len(e.items), e.done, err)
	}
}

// compare returns how the slice differs from the model.
func (e *editor) compare() error {
	s, m := &e.slice, &e.model
	if s.Len() != m.len() || s.Before() != len(m.before) {
		return fmt.Errorf("length %d, %d before the gap; want %d, %d", s.Len(), s.Before(), m.len(), len(m.before))
	}
	for i := range m.len() {
		if got, want := *s.At(i), *m.at(i); got != want {
			return fmt.Errorf("element %d is %d, want %d", i, got, want)
		}
	}
	if len(m.after) > 0 && s.Next() != s.At(len(m.before)) {
		return fmt.Errorf("Next is not element %d", len(m.before))
	}
	if len(m.before) > 0 && s.Last() != s.At(len(m.before)-1) {
		return fmt.Errorf("Last is not element %d", len(m.before)-1)
	}
	if got, want := s.AppendTo([]int{-1}), slices.Concat([]int{-1}, m.before, m.after); !slices.Equal(got, want) {
		return fmt.Errorf("AppendTo returns %v, want %v", got, want)
	}
	if !slices.Equal(e.cut, e.cutWas) {
		return fmt.Errorf("what was cut out changed from %v to %v", e.cutWas, e.cut)
	}
	return nil
}

// finish fails the test if the slice and the model are not the same in the end.
func (e *editor) finish(t *testing.T) {
	t.Helper()
	e.do(t, all)
	if want := slices.Concat(e.model.before, e.model.after); !slices.Equal(e.handed, want) {
		t.Fatalf("%d elements, %v: the elements are %v, want %v", len(e.items), e.done, e.handed, want)
	}
	if got := e.items[len(e.items):][:len(e.beyond)]; !slices.Equal(got, e.beyond) {
		t.Fatalf("%d elements, %v: what is beyond them changed to %v", len(e.items), e.done, got)
	}
}

// TestSlice_everySequence does every sequence of so many edits to short slices.
func TestSlice_everySequence(t *testing.T) {
	length := 4
	if testing.Short() {
		length = 3
	}
	for n := range 4 {
		sequences := 0
		path := make([]op, 0, length)
		var extend func(m model)
		extend = func(m model) {
			for _, o := range ops {
				if !m.allows(o) {
					continue
				}
				path = append(path, o)
				if len(path) < length {
					next := model{slices.Clone(m.before), slices.Clone(m.after)}
					next.do(o, 0)
					extend(next)
				} else {
					sequences++
					e := newEditor(n)
					for _, o := range path {
						e.do(t, o)
					}
					e.finish(t)
				}
				path = path[:len(path)-1]
			}
		}
		extend(model{after: make([]int, n)})
		t.Logf("%d sequences of %d edits of %d elements", sequences, length, n)
	}
}

// TestSlice_longSequences does random sequences, most of which prefer some edit.
func TestSlice_longSequences(t *testing.T) {
	sequences := 3_000
	if testing.Short() {
		sequences = 500
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for range sequences {
		e := newEditor(rnd.IntN(30))
		favourite := ops[rnd.IntN(len(ops))]
		for range 100 {
			o := favourite
			if rnd.IntN(3) > 0 {
				o = ops[rnd.IntN(len(ops))]
			}
			if e.model.allows(o) {
				e.do(t, o)
			}
		}
		e.finish(t)
	}
}
