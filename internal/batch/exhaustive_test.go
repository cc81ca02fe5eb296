package batch

import (
	"fmt"
	"strings"
	"testing"
)

// opsFor returns what can be done to copies of which n are active.
func opsFor(n int) []op {
	ops := []op{
		{kind: opRecords}, {kind: opSourceRecords}, {kind: opReadTimes}, {kind: opNackedRecords},
		{kind: opIdentify}, {kind: opWriteIDs}, {kind: opStepOut},
	}
	for i := range n {
		for end := i + 1; end <= n; end++ {
			for _, kind := range []opKind{opAck, opRetry, opFilter, opNackErrors, opSet} {
				ops = append(ops, op{kind: kind, i: i, end: end})
			}
		}
		for _, kind := range []opKind{opNack, opSplit, opStatus} {
			ops = append(ops, op{kind: kind, i: i, end: i + 1})
		}
		ops = append(ops, op{kind: opRetryFrom, i: i, end: n})
	}
	if n > 1 {
		ops = append(ops, op{kind: opSetOwn, i: 1, end: n}, op{kind: opSplitOwn, i: n - 1, end: n})
	}
	for _, results := range someResults(n) {
		ops = append(ops, op{kind: opApply, results: results})
		if strings.Contains(results, "n") {
			ops = append(ops, op{kind: opApplyStepOut, results: results})
		}
	}
	return ops
}

// someResults returns a few ways in which a processor may answer n records.
func someResults(n int) []string {
	if n == 0 {
		return nil
	}
	all := []string{
		strings.Repeat("S", n), "-", strings.Repeat("f", n), strings.Repeat("2", n), "n" + strings.Repeat("s", n-1),
		strings.Repeat("s", n-1) + "o", strings.Repeat("K", n), strings.Repeat("f", n-1) + "K",
	}
	if n > 1 {
		all = append(all, strings.Repeat("S", n-1), "n", "-"+strings.Repeat("2", n-1), strings.Repeat("f", n-1)+"3", "2"+strings.Repeat("1", n-2))
	}
	return all
}

// everyResults calls f for each way in which a processor may answer up to n records. No
// processor puts records in place and also returns what it was given as pieces.
func everyResults(n int, f func(results string)) {
	var extend func(results string)
	extend = func(results string) {
		if strings.Contains(results, "K") && strings.Contains(results, "o") {
			return
		}
		if results != "" {
			f(results)
		}
		if len(results) < n {
			for _, letter := range allResults {
				extend(results + string(letter))
			}
		}
	}
	extend("")
}

// sequences does sequences of ops to copies of n records, and checks how each one ends.
type sequences struct {
	n      int
	hasIDs bool // from the start
	done   []op
	ends   int
}

// model returns the model of the copies before the first op.
func (s *sequences) model() *model {
	m := newModel(s.n)
	m.hasIDs = s.hasIDs
	return m
}

// newNumber returns the number of the first new record of the next op.
func (s *sequences) newNumber() int { return firstEmpty * (1 + len(s.done)) }

// then adds an op to the sequence and to a copy of m, with which it calls next.
func (s *sequences) then(m *model, o op, next func(*model)) {
	o.number = s.newNumber()
	s.done = append(s.done, o)
	m = m.clone()
	o.model(m)
	next(m)
	s.done = s.done[:len(s.done)-1]
}

// check does the ops to copies, and compares the outcome with the model. Then it settles
// the copies in one of the endings, in turn.
func (s *sequences) check(t *testing.T, m *model) {
	s.ends++
	if err := s.play(m.clone(), endings[s.ends%len(endings)]); err != nil {
		t.Fatalf("%d records, IDs %t, %v, ending %d: %v", s.n, s.hasIDs, s.done, s.ends%len(endings), err)
	}
}

func (s *sequences) play(m *model, end func(*Copies, *model) error) error {
	c := newCopies(s.n, nil)
	if s.hasIDs {
		c = newIdentified(s.n)
	}
	for _, o := range s.done {
		o.do(c)
	}
	if err := m.compare(c); err != nil {
		return err
	}
	if err := m.source.compare(c.Source()); err != nil {
		return err
	}
	if err := end(c, m); err != nil {
		return err
	}
	for i, open := range m.source.open {
		if open != 0 {
			return fmt.Errorf("the model has %d open copies of record %d", open, i)
		}
	}
	return m.source.compare(c.Source())
}

// endings are the ways in which copies are settled.
var endings = []func(*Copies, *model) error{
	endByParts, endAcked, endNacked, endByRetries, endByNackedRetries, endOnBranches, endOnRoutes, endMarked, endForgiven,
}

// endMarked settles each copy as it is marked.
func endMarked(c *Copies, m *model) error { return endAs(c, m, false) }

// endForgiven settles all copies as done, even if they are nacked.
func endForgiven(c *Copies, m *model) error { return endAs(c, m, true) }

func endAs(c *Copies, m *model, isForgiven bool) error {
	for range 2 {
		c.isForgiven = isForgiven
		if err := c.SettleMarked("marked"); err != nil {
			return err
		}
		m.settleMarked("marked", isForgiven)
	}
	return c.Settle()
}

// endAcked settles all copies as they are.
func endAcked(c *Copies, m *model) error {
	for range 2 { // the second time settles nothing
		if err := c.Settle(); err != nil {
			return err
		}
		m.settle()
		if err := m.compareRecords(c); err != nil {
			return err
		}
	}
	return c.SettleNacked("late")
}

// endNacked settles the active copies as nacked.
func endNacked(c *Copies, m *model) error {
	if err := m.compareNacked(c, "look"); err != nil {
		return err
	}
	for range 2 {
		if err := c.SettleNacked("nack"); err != nil {
			return err
		}
		m.settleNacked("nack")
		if err := m.compareRecords(c); err != nil {
			return err
		}
	}
	return c.Settle()
}

// endByParts divides the copies and settles the parts from the last to the first.
func endByParts(c *Copies, m *model) error {
	parts, err := divide(c, m)
	if err != nil {
		return err
	}
	for i := len(parts) - 1; i >= 0; i-- {
		p := parts[i]
		if err := settlePart(p); err != nil {
			return fmt.Errorf("part %d: %w", i, err)
		}
		if err := m.source.compare(p.copies.Source()); err != nil {
			return fmt.Errorf("after part %d was settled: %w", i, err)
		}
	}
	return nil
}

// settlePart settles a part the way that its flag says.
func settlePart(p travelling) error {
	if p.flag == FlagNack {
		p.model.settleNacked("part")
		return p.copies.SettleNacked("part")
	}
	p.model.settle()
	return p.copies.Settle()
}

// endByRetries answers each part that is to be retried in a different way.
func endByRetries(c *Copies, m *model) error {
	parts, err := divide(c, m)
	if err != nil {
		return err
	}
	for i, p := range parts {
		if p.flag != FlagRetry {
			if err := settlePart(p); err != nil {
				return err
			}
			continue
		}
		n := p.model.len()
		for _, o := range []op{
			{kind: opApply, results: strings.Repeat("2", n), number: firstEmpty * (10 + i)},
			{kind: opRetryFrom, i: n, end: 2 * n},
			{kind: opNackErrors, i: 0, end: 1, number: 1},
		} {
			o.do(p.copies)
			o.model(p.model)
			if err := p.model.compare(p.copies); err != nil {
				return fmt.Errorf("part %d, %v: %w", i, o, err)
			}
		}
		if err := endByParts(p.copies, p.model); err != nil {
			return fmt.Errorf("part %d: %w", i, err)
		}
	}
	return nil
}

// endByNackedRetries nacks everything that is to be retried, so that it steps out.
func endByNackedRetries(c *Copies, m *model) error {
	parts, err := divide(c, m)
	if err != nil {
		return err
	}
	for i, p := range parts {
		if p.flag == FlagRetry {
			o := op{kind: opApplyStepOut, results: strings.Repeat("n", p.model.len())}
			o.do(p.copies)
			o.model(p.model)
			if err := p.model.compare(p.copies); err != nil {
				return fmt.Errorf("part %d: %w", i, err)
			}
		}
		if err := settlePart(p); err != nil {
			return fmt.Errorf("part %d: %w", i, err)
		}
	}
	return nil
}

// endOnBranches sends the copies down two branches, which do different things.
func endOnBranches(c *Copies, m *model) error {
	if err := c.Retain(1); err != nil {
		return err
	}
	m.retain(1)
	forks := []travelling{newFork(c, m), newFork(c, m)}
	if _, err := forks[1].copies.Unshare(); err != nil {
		return err
	}
	forks[1].model.isShared = false
	for i, f := range forks {
		if n := f.model.len(); n > 0 {
			for _, o := range []op{
				{kind: opSplit, i: 0, end: 1, number: firstEmpty * (20 + i)},
				{kind: opFilter, i: i, end: i + 1},
				{kind: opRetryFrom, i: i, end: n},
			} {
				o.do(f.copies)
				o.model(f.model)
			}
		}
	}
	for i, f := range forks {
		if err := f.model.compare(f.copies); err != nil {
			return fmt.Errorf("branch %d: %w", i, err)
		}
	}
	for i, f := range forks {
		if err := endByParts(f.copies, f.model); err != nil {
			return fmt.Errorf("branch %d: %w", i, err)
		}
	}
	return nil
}

// endOnRoutes sends the parts that go on down different branches, one of which has no
// Copies. Then it settles the branches.
func endOnRoutes(c *Copies, m *model) error {
	parts, err := divide(c, m)
	if err != nil {
		return err
	}
	var r Router
	for i, p := range parts {
		if p.flag == FlagNack {
			if err := settlePart(p); err != nil {
				return err
			}
			continue
		}
		routed, err := route(&r, p.copies, p.model, func(k int) int { return (i + k) % 3 }, newBranches(3, 1))
		if err != nil {
			return fmt.Errorf("part %d: %w", i, err)
		}
		for k, tr := range routed {
			if n := tr.model.len(); k > 0 {
				o := op{kind: opNackErrors, i: n - 1, end: n, number: firstEmpty * (30 + i)}
				o.do(tr.copies)
				o.model(tr.model)
			}
			if err := endByParts(tr.copies, tr.model); err != nil {
				return fmt.Errorf("part %d, branch %d: %w", i, k, err)
			}
		}
		r.Clear()
	}
	return nil
}

// TestCopies_everySequence does every short sequence of ops to copies of a few records.
func TestCopies_everySequence(t *testing.T) {
	for n, length := range []int{3, 3, 3, 2} {
		if testing.Short() || raceEnabled {
			length = min(length, 2)
		}
		t.Run(fmt.Sprintf("%d records", n), func(t *testing.T) {
			t.Parallel()
			for _, hasIDs := range []bool{false, true} {
				s := &sequences{n: n, hasIDs: hasIDs}
				var extend func(m *model)
				extend = func(m *model) {
					s.check(t, m)
					if len(s.done) < length {
						for _, o := range opsFor(m.len()) {
							s.then(m, o, extend)
						}
					}
				}
				extend(s.model())
				t.Logf("%d sequences of up to %d ops", s.ends, length)
			}
		})
	}
}

// TestCopies_everyResult applies everything that a processor may return, for each of
// several states of the books.
func TestCopies_everyResult(t *testing.T) {
	for name, before := range map[string][]op{
		"unedited":         {},
		"with states":      {{kind: opRetry, i: 0, end: 1}, {kind: opAck, i: 0, end: 1}},
		"filtered, split":  {{kind: opApply, results: "fs3"}, {kind: opFilter, i: 2, end: 3}},
		"pieces":           {{kind: opApply, results: "2f1"}},
		"nacked":           {{kind: opNackErrors, i: 1, end: 3}},
		"unanswered":       {{kind: opRetryFrom, i: 1, end: 3}},
		"split, then look": {{kind: opSplit, i: 1, end: 2}, {kind: opFilter, i: 0, end: 1}, {kind: opStatus, i: 2, end: 3}},
		"retried in part":  {{kind: opNack, i: 0, end: 1}, {kind: opRetryFrom, i: 2, end: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, hasIDs := range []bool{false, true} {
				s := &sequences{n: 3, hasIDs: hasIDs}
				m := s.model()
				for _, o := range before {
					o.number = s.newNumber()
					s.done = append(s.done, o)
					o.model(m)
				}
				everyResults(m.len(), func(results string) {
					s.then(m, op{kind: opApply, results: results}, func(m *model) { s.check(t, m) })
					s.then(m, op{kind: opApplyStepOut, results: results}, func(m *model) { s.check(t, m) })
				})
				t.Logf("%d results", s.ends)
			}
		})
	}
}
