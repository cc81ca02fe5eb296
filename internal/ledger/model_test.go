package ledger_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/conduitio/funnel/internal/ledger"
)

// model is the naive ledger of a few slots: each of them spelled out, no
// shortcuts. Models are equal if they say the same.
type model struct {
	size     int
	copies   [8]int
	causes   [8]int // of the first nack, 0 if there was none
	released int
}

func newModel(size int) model {
	m := model{size: size}
	for i := range size {
		m.copies[i] = 1
	}
	return m
}

// inRange reports whether [from, to) are slots that have at least so many
// copies out.
func (m *model) inRange(from, to, least int) bool {
	if from < 0 || to < from || to > m.size {
		return false
	}
	for _, n := range m.copies[from:to] {
		if n < least {
			return false
		}
	}
	return true
}

func (m *model) retain(from, to, k int) bool {
	if k < 0 || !m.inRange(from, to, 1) {
		return false
	}
	for i := from; i < to; i++ {
		m.copies[i] += k
	}
	return true
}

func (m *model) settle(from, to, k int) bool {
	if k < 0 || !m.inRange(from, to, k) {
		return false
	}
	for i := from; i < to; i++ {
		m.copies[i] -= k
	}
	return true
}

func (m *model) nack(i, cause int) bool {
	if !m.inRange(i, i+1, 1) {
		return false
	}
	m.copies[i]--
	if m.causes[i] == 0 {
		m.causes[i] = cause
	}
	return true
}

func (m *model) finished() (from, to int) {
	from, to = m.released, m.released
	for to < m.size && m.copies[to] == 0 {
		to++
	}
	return from, to
}

// front returns the first finished slots that are either all nacked or all not.
func (m *model) front() (from, to int, nacked bool) {
	from, to = m.finished()
	if from == to {
		return from, to, false
	}
	nacked = m.causes[from] != 0
	for i := from; i < to; i++ {
		if (m.causes[i] != 0) != nacked {
			return from, i, nacked
		}
	}
	return from, to, nacked
}

// op is something that is done to a ledger.
type op struct {
	name     string
	from, to int
	k        int // copies, the cause of a nack, or the size of a reset
}

func (o op) String() string {
	switch o.name {
	case "nack":
		return fmt.Sprintf("Nack(%d)", o.from)
	case "release":
		return fmt.Sprintf("Release(+%d)", o.k)
	case "reset":
		return fmt.Sprintf("Reset(%d)", o.k)
	default:
		return fmt.Sprintf("%s(%d, %d, %d)", o.name, o.from, o.to, o.k)
	}
}

// do does it to a ledger and reports whether that succeeded. A release takes out
// up to k slots of the run at the front.
func (o op) do(l *ledger.Ledger[int]) bool {
	switch o.name {
	case "retain":
		return l.Retain(o.from, o.to, o.k) == nil
	case "settle":
		return l.Settle(o.from, o.to, o.k) == nil
	case "nack":
		return l.Nack(o.from, o.k) == nil
	case "release":
		front := frontOf(l)
		l.Release(min(front.from+o.k, front.to))
	case "reset":
		l.Reset(o.k)
	}
	return true
}

// model does it to a model.
func (o op) model(m *model) bool {
	switch o.name {
	case "retain":
		return m.retain(o.from, o.to, o.k)
	case "settle":
		return m.settle(o.from, o.to, o.k)
	case "nack":
		return m.nack(o.from, o.k)
	case "release":
		from, to, _ := m.front()
		m.released = min(from+o.k, to)
	case "reset":
		*m = newModel(o.k)
	}
	return true
}

// spellOut makes a new ledger count slot by slot, without changing what it says.
func spellOut(t *testing.T, l *ledger.Ledger[int], size int) {
	t.Helper()
	if err := l.Retain(0, size, 1); err != nil {
		t.Fatal(err)
	}
	if err := l.Settle(0, size, 1); err != nil {
		t.Fatal(err)
	}
}

// compare returns how the ledger differs from the model, as far as one can see
// without changing it.
func compare(l *ledger.Ledger[int], m *model) error {
	if got, want := l.Pending(), m.size-m.released; got != want {
		return fmt.Errorf("%d slots are pending, want %d", got, want)
	}
	from, to, nacked := l.Finished(nil)
	wantFrom, wantTo := m.finished()
	if from != wantFrom || to != wantTo {
		return fmt.Errorf("[%d:%d] are finished, want [%d:%d]", from, to, wantFrom, wantTo)
	}
	for i := range m.size {
		got := 0
		if c := l.Cause(i); c != nil {
			got = *c
		}
		if got != m.causes[i] {
			return fmt.Errorf("the cause of slot %d is %d, want %d", i, got, m.causes[i])
		}
		if i >= from && i < to && slices.Contains(nacked, i) != (got != 0) {
			return fmt.Errorf("the nacked slots are %v, but slot %d has the cause %d", nacked, i, got)
		}
	}
	if !slices.IsSorted(nacked) {
		return fmt.Errorf("the nacked slots are not in order: %v", nacked)
	}
	return nil
}

// drain returns how the ledger differs from the model in any respect. It settles
// every copy, the last slots first, and releases every slot.
func drain(l *ledger.Ledger[int], m *model) error {
	for i := m.size - 1; i >= 0; i-- {
		for left := m.copies[i]; left > 0; left-- {
			if err := l.Settle(i, i+1, 1); err != nil {
				return fmt.Errorf("with %d copies left of slot %d: %w", left, i, err)
			}
			m.settle(i, i+1, 1)
			if err := compare(l, m); err != nil {
				return fmt.Errorf("after settling slot %d: %w", i, err)
			}
		}
	}
	for m.released < m.size {
		_, to, _ := m.front()
		l.Release(to)
		m.released = to
		if err := compare(l, m); err != nil {
			return fmt.Errorf("after releasing [0:%d]: %w", to, err)
		}
	}
	return nil
}

// check replays ops on two ledgers, one that was spelled out first, and on a
// model. It reports a difference, and returns whether the last op has changed
// anything.
func check(t *testing.T, size int, ops []op) (changed bool) {
	t.Helper()
	for _, form := range []string{"plain", "spelled out"} {
		l, m := new(ledger.Ledger[int]), newModel(size)
		l.Reset(size)
		if form == "spelled out" {
			spellOut(t, l, size)
		}
		before := m
		for _, o := range ops {
			before = m
			if got, want := o.do(l), o.model(&m); got != want {
				t.Fatalf("%s ledger of %d, %v: success is %t, want %t", form, size, ops, got, want)
			}
		}
		changed = before != m
		if err := compare(l, &m); err != nil {
			t.Fatalf("%s ledger of %d, %v: %v", form, size, ops, err)
		}
		if err := drain(l, &m); err != nil {
			t.Fatalf("%s ledger of %d, %v: %v", form, size, ops, err)
		}
	}
	return changed
}
