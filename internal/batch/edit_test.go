package batch

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
)

// moves counts how many of the records and states are no longer where they were.
type moves struct {
	c       *Copies
	records map[string]*opencdc.Record
	states  map[stateName]*copyState
	total   int
}

// stateName identifies a state. Pieces of a record are numbered.
type stateName struct {
	slot  int32
	piece string
}

func newMoves(c *Copies) *moves {
	m := &moves{c: c, records: make(map[string]*opencdc.Record), states: make(map[stateName]*copyState)}
	m.count(c.ensureStates)
	return m
}

func (m *moves) count(edit func()) {
	edit()
	for i := range m.c.records.Len() {
		r := m.c.records.At(i)
		if was, ok := m.records[nameOf(r)]; ok && was != r {
			m.total++
		}
		m.records[nameOf(r)] = r
	}
	k := 0
	for i := range m.c.states.Len() {
		s := m.c.states.At(i)
		name := stateName{slot: s.slot}
		if s.flag.isActive() {
			name.piece = nameOf(m.c.records.At(k))
			k++
		}
		if was, ok := m.states[name]; ok && was != s {
			m.total++
		}
		m.states[name] = s
	}
}

// edits are ways to handle record i, which is at index at. Each returns how many records
// are there instead.
var edits = map[string]func(c *Copies, i, at int) int{
	"nack":   func(c *Copies, _, at int) int { c.Nack(at); return 1 },
	"filter": func(c *Copies, _, at int) int { c.TakeOut(at, at+1, FlagFilter); return 0 },
	"split":  func(c *Copies, i, at int) int { c.Split(at, records(firstEmpty+2*i, 2)); return 2 },
	"filter and mark": func(c *Copies, i, at int) int {
		if i%2 == 0 {
			c.TakeOut(at, at+1, FlagFilter)
			return 0
		}
		c.Nack(at)
		c.Mark(at, at+1, FlagRetry)
		c.Mark(at, at+1, FlagAck)
		return 1
	},
	"filter and split": func(c *Copies, i, at int) int {
		if i%2 == 0 {
			c.TakeOut(at, at+1, FlagFilter)
			return 0
		}
		c.Split(at, records(firstEmpty+3*i, 3))
		c.Nack(at + 1)
		return 3
	},
	"filter and set": func(c *Copies, i, at int) int {
		if i%2 == 0 {
			c.TakeOut(at, at+1, FlagFilter)
			return 0
		}
		c.Set(at, records(firstEmpty+i, 1))
		return 1
	},
	"filter and look": func(c *Copies, i, at int) int {
		if i%2 == 0 {
			c.TakeOut(at, at+1, FlagFilter)
			return 0
		}
		c.Status(at)
		return 1
	},
}

// pass edits n records from one end to the other.
func pass(n int, backward bool, edit func(i, at int) int) {
	at := 0
	for i := range n {
		if backward {
			edit(n-1-i, n-1-i)
		} else {
			at += edit(i, at)
		}
	}
}

// Going through a batch in order, in either direction, moves each record a few times,
// however many there are.
func TestCopies_movesAreLinear(t *testing.T) {
	const n = 400
	for name, edit := range edits {
		for _, backward := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/backward=%t", name, backward), func(t *testing.T) {
				c := newCopies(n, nil)
				m := newMoves(c)
				pass(n, backward, func(i, at int) (in int) {
					m.count(func() { in = edit(c, i, at) })
					return in
				})
				if err := c.insides(); err != nil {
					t.Error(err)
				}
				if limit := 10 * n; m.total > limit {
					t.Errorf("%d moves for %d records, want %d at most", m.total, n, limit)
				}
			})
		}
	}
}

// The gap does not travel far either: a quadratic number of steps would take too long.
func TestCopies_stepsAreLinear(t *testing.T) {
	const n = 100_000
	all := records(0, n)
	for _, name := range []string{"filter and mark", "filter and split"} {
		for _, backward := range []bool{false, true} {
			c := &Copies{}
			c.Fill(slices.Clone(all), make([]opencdc.Position, n))
			start := time.Now()
			pass(n, backward, func(i, at int) int {
				if time.Since(start) > 10*time.Second {
					t.Fatalf("%s, backward %t: at record %d after %s", name, backward, i, time.Since(start))
				}
				return edits[name](c, i, at)
			})
		}
	}
}

// Replacing several records at a time moves no others.
func TestCopies_setMovesLittle(t *testing.T) {
	const n = 400
	for name, pass := range map[string]func(c *Copies, count func(func())){
		"forward": func(c *Copies, count func(func())) {
			for at := 0; at < c.records.Len(); at += 3 {
				count(func() { c.TakeOut(at, at+1, FlagFilter) })
				count(func() { c.Set(at, records(firstEmpty+3*at, 3)) })
			}
		},
		"backward": func(c *Copies, count func(func())) {
			for at := n - 4; at >= 0; at -= 4 {
				count(func() { c.Set(at+1, records(firstEmpty+4*at, 3)) })
				count(func() { c.TakeOut(at, at+1, FlagFilter) })
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCopies(n, nil)
			m := newMoves(c)
			pass(c, m.count)
			if c.Len() != n-n/4 || c.Inactive() != n/4 {
				t.Fatalf("%d records are left and %d filtered", c.Len(), c.Inactive())
			}
			if limit := 10 * n; m.total > limit {
				t.Errorf("%d moves for %d records, want %d at most", m.total, n, limit)
			}
		})
	}
}

// As long as all copies are active, marks in any order move nothing, not even the gap.
func TestCopies_marksInAnyOrder(t *testing.T) {
	c := newCopies(100, nil)
	m := newMoves(c)
	for i := range 100 {
		m.count(func() { c.Nack(i * 37 % 100) })
		if c.states.Before() != 0 {
			t.Fatal("the gap was moved")
		}
	}
	if m.total != 0 {
		t.Errorf("%d moves", m.total)
	}
}

// If no record from i on is marked, RetryFrom(i) costs nothing per record, whatever was
// marked before i.
func TestCopies_retryFromCostsNothingPerRecord(t *testing.T) {
	for name, mark := range map[string]func(c *Copies){
		"unmarked":                func(*Copies) {},
		"nacked before":           func(c *Copies) { c.Nack(0, errNo, errNo) },
		"retried before":          func(c *Copies) { c.Mark(1, 2, FlagRetry) },
		"nacked and split before": func(c *Copies) { c.Nack(0); c.Split(0, records(firstEmpty, 2)) },
		"split, then nacked":      func(c *Copies) { c.Split(0, records(firstEmpty, 2)); c.Nack(1) },
		"filtered behind":         func(c *Copies) { c.TakeOut(5, 6, FlagFilter) },
		"filtered by results":     func(c *Copies) { apply(c, "sssssfssss") },
	} {
		c := newCopies(10, nil)
		mark(c)
		c.RetryFrom(2)
		if c.unanswered == nil {
			t.Errorf("%s: each record was marked", name)
		}
		if err := c.insides(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// If some of the records are marked or unanswered already, RetryFrom marks each one.
func TestCopies_retryFromMarks(t *testing.T) {
	for name, mark := range map[string]func(c *Copies){
		"nacked":                 func(c *Copies) { c.Nack(2) },
		"nacked behind":          func(c *Copies) { c.Nack(8, errNo) },
		"several nacked":         func(c *Copies) { c.Nack(1, errNo, errNo) },
		"retried":                func(c *Copies) { c.Mark(1, 3, FlagRetry) },
		"nacked, moved by split": func(c *Copies) { c.Nack(1); c.Split(0, records(firstEmpty, 3)) },
		"unanswered":             func(c *Copies) { c.RetryFrom(8) },
	} {
		c := newCopies(10, nil)
		mark(c)
		n := c.Len()
		c.RetryFrom(2)
		for i := 2; i < n; i++ {
			if flag, err := c.Status(i); flag != FlagRetry || err != nil {
				t.Errorf("%s: record %d has the flag %d, error %v", name, i, flag, err)
			}
		}
		if err := c.insides(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Editing the last records before the unanswered ones leaves the latter as they are.
// Editing the first unanswered one marks each of them.
func TestCopies_editsBesideUnanswered(t *testing.T) {
	for name, edit := range map[string]func(c *Copies, i int){
		"ack":    func(c *Copies, i int) { c.Mark(i, i+1, FlagAck) },
		"retry":  func(c *Copies, i int) { c.Mark(i, i+1, FlagRetry) },
		"filter": func(c *Copies, i int) { c.TakeOut(i, i+1, FlagFilter) },
		"nack":   func(c *Copies, i int) { c.Nack(i) },
		"nacks":  func(c *Copies, i int) { c.Nack(i-1, errNo, errNo) },
		"set":    func(c *Copies, i int) { c.Set(i-1, records(firstEmpty, 2)) },
		"split":  func(c *Copies, i int) { c.Split(i, records(firstEmpty, 2)) },
	} {
		c := newCopies(10, nil)
		c.RetryFrom(5)
		edit(c, 4)
		if c.unanswered == nil || c.unanswered.states.Len() > 0 {
			t.Errorf("%s: the unanswered records were marked", name)
		}
		edit(c, c.Len()-5)
		if c.unanswered != nil {
			t.Errorf("%s: an unanswered record was edited", name)
		}
		if _, err := c.Status(c.Len() - 1); err != nil || len(flagsOf(c)) < 10 {
			t.Errorf("%s: the flags are %d, the last error is %v", name, flagsOf(c), err)
		}
	}
}

// However a record gets into a batch, its position has no spare capacity there.
func TestCopies_positionsAreClipped(t *testing.T) {
	c := newCopies(4, nil)
	c.Set(0, records(10, 1))
	c.Split(1, records(11, 2))
	for i, r := range c.Records() {
		if len(r.Position) < cap(r.Position) {
			t.Errorf("record %d: there is room behind the position %s", i, r.Position)
		}
	}
}

// The caller keeps the slices that it passes in.
func TestCopies_slicesAreCopied(t *testing.T) {
	c := newCopies(4, nil)
	set, split := records(10, 1), records(11, 2)
	c.Set(0, set)
	c.Split(1, split)
	want := c.names()
	for _, r := range [][]opencdc.Record{set, split} {
		if len(r[0].Position) == cap(r[0].Position) {
			t.Error("a record of the caller was changed")
		}
		clear(r)
	}
	if got := c.names(); !slices.Equal(got, want) {
		t.Errorf("the records are %v, were %v", got, want)
	}
}

// Pieces are acked, unless their record was nacked. The record from before its first
// split is kept.
func TestCopies_split(t *testing.T) {
	c := newCopies(3, nil)
	c.Nack(0, errNo)
	c.Mark(1, 2, FlagRetry)
	for i := range 3 {
		c.Split(2*i, records(10*(i+1), 2))
	}
	c.Split(1, records(40, 3))
	nacked := func(name string) spelled { return spelled{flag: FlagNack, err: errNo, original: "0", record: name} }
	acked := func(slot int, original, name string) spelled {
		return spelled{slot: slot, original: original, record: name}
	}
	want := []spelled{
		nacked("10"), nacked("40"), nacked("41"), nacked("42"),
		acked(1, "1", "20"), acked(1, "1", "21"), acked(2, "2", "30"), acked(2, "2", "31"),
	}
	if got := c.contents(nil); !slices.Equal(got, want) {
		t.Errorf("the copies are %+v, want %+v", got, want)
	}
	if nacked, retried := c.Marks(); nacked != 4 || retried != 0 {
		t.Errorf("%d are nacked, %d to be retried", nacked, retried)
	}
}

// A settled record cannot get copies in the ledger again. If it is split, settling the
// pieces fails.
func TestCopies_splitWhatIsSettled(t *testing.T) {
	c := newCopies(2, nil)
	if err := c.source.Ledger.Settle(0, 1, 1); err != nil {
		t.Fatal(err)
	}
	c.Split(0, records(10, 2))
	if err := c.Settle(); err == nil {
		t.Error("the pieces of a record that is done were settled")
	}
}
