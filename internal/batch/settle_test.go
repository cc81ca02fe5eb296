package batch

import (
	"slices"
	"testing"
)

// finished returns how many source records at the front are finished, and whether one
// of them is nacked.
func finished(c *Copies) (to int, isNacked bool) {
	_, to, nacked := c.Source().Finished()
	return to, len(nacked) > 0
}

// isFinished returns true if a source record is finished.
func isFinished(c *Copies, slot int) bool { return c.source.Ledger.Retain(slot, slot+1, 0) != nil }

func TestCopies_settle(t *testing.T) {
	for name, do := range map[string]func(c *Copies){
		"as read":                func(*Copies) {},
		"filtered":               func(c *Copies) { c.TakeOut(0, 3, FlagFilter) },
		"filtered by results":    func(c *Copies) { apply(c, "fsf") },
		"split by results":       func(c *Copies) { apply(c, "2s3") },
		"split":                  func(c *Copies) { c.Split(1, records(10, 3)) },
		"split, unanswered":      func(c *Copies) { c.Split(1, records(10, 3)); c.RetryFrom(2) },
		"unanswered":             func(c *Copies) { c.RetryFrom(1) },
		"nacked":                 func(c *Copies) { c.Nack(1, errNo) },
		"split twice by results": func(c *Copies) { apply(c, "2s3"); apply(c, "s2f3s0") },
	} {
		c := newCopies(3, nil)
		do(c)
		if to, _ := finished(c); to != 0 {
			t.Fatalf("%s: %d are finished before they are settled", name, to)
		}
		for range 2 {
			if err := c.Settle(); err != nil || !c.IsSettled() {
				t.Fatalf("%s: settled is %t, %v", name, c.IsSettled(), err)
			}
		}
		if to, nacked := finished(c); to != 3 || nacked {
			t.Errorf("%s: %d are finished, nacked %t", name, to, nacked)
		}
	}
}

// Parts and branches settle their own copies, and no others.
func TestCopies_settleParts(t *testing.T) {
	c := newCopies(2, nil)
	c.Split(0, records(10, 3))
	c.Mark(1, 2, FlagRetry)
	if err := c.Retain(1); err != nil {
		t.Fatal(err)
	}
	fork := &Copies{}
	c.Fork(fork, &CopyInfos{})
	_, all := parts(c)
	_, more := parts(fork)
	for i, part := range slices.Concat(all, more) {
		if to, _ := finished(part); to != 0 {
			t.Errorf("%d are finished before part %d was settled", to, i)
		}
		if err := part.Settle(); err != nil {
			t.Error(err)
		}
	}
	if to, _ := finished(all[0]); to != 2 {
		t.Errorf("%d are finished", to)
	}
}

// If the ledger returns an error, it is passed on, and the copies after it stay open.
func TestCopies_settleTwice(t *testing.T) {
	for name, settle := range map[string]func(c *Copies) error{
		"settle":       (*Copies).Settle,
		"settle nacks": func(c *Copies) error { return c.SettleNacked("task") },
		"retain":       func(c *Copies) error { return c.Retain(1) },
	} {
		for results, settled := range map[string]int{"sss": 0, "s2s": 1, "fss": 0, "nss": 0} {
			c := newCopies(3, nil)
			apply(c, results)
			c.ensureStates()
			copies := 1
			if results[settled] == '2' {
				copies = 2
			}
			if err := c.source.Ledger.Settle(settled, settled+1, copies); err != nil {
				t.Fatal(err)
			}
			if err := settle(c); err == nil {
				t.Errorf("%s, %s: no error, though record %d is done", name, results, settled)
			}
			if isFinished(c, 2) {
				t.Errorf("%s, %s: a record behind was settled", name, results)
			}
		}
	}
}

// Forgiven copies are settled as done, whatever is done to them.
func TestCopies_forgive(t *testing.T) {
	c := newCopies(3, nil)
	c.Forgive()
	c.Split(0, records(10, 2))
	c.Nack(1, errNo)
	_, all := parts(c)
	for _, part := range all {
		if err := part.SettleNacked("task"); err != nil {
			t.Error(err)
		}
	}
	if to, isNacked := finished(all[0]); to != 3 || isNacked {
		t.Errorf("%d are finished, nacked: %t", to, isNacked)
	}
}

// A source record is nacked once: with the record from before its first split, its error
// and, if that record has no position, the source's.
func TestCopies_settleNacked(t *testing.T) {
	c := newCopies(5, nil)
	c.Set(0, records(firstEmpty, 1))
	c.Set(1, records(firstEmpty+4, 1)) // has no position
	c.Split(2, records(20, 2))
	c.Set(3, records(30, 1))
	c.Nack(3, errNo)
	c.TakeOut(4, 5, FlagFilter)
	c.Nack(4)
	want := []cause{
		{record: "1000", position: "p1000", task: "task"},
		{record: "1004", position: "p1", task: "task"},
		{record: "2", position: "p2", task: "task", err: errNo},
		{},
		{record: "4", position: "p4", task: "task"},
	}
	nacked, sources := c.NackedRecords("task")
	for i := range 2 {
		if err := c.SettleNacked("task"); err != nil || !c.IsSettled() {
			t.Fatalf("call %d: settled is %t, %v", i, c.IsSettled(), err)
		}
	}
	var got []cause
	for i := range want {
		if n := c.source.Ledger.Cause(i); n != nil {
			got = append(got, causeOf(n))
		} else {
			got = append(got, cause{})
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	want = slices.Delete(want, 3, 4)
	got = nil
	for _, n := range nacked {
		got = append(got, causeOf(n))
	}
	if !slices.Equal(got, want) || !slices.Equal(sources, []int{0, 1, 2, 4, 5}) {
		t.Errorf("nacked are %+v before %d, want %+v", got, sources, want)
	}
}

// NackedRecords counts the filtered records between the nacked ones, too.
func TestCopies_nackedRecords(t *testing.T) {
	for results, want := range map[string][]int{
		"nnn": {0, 1, 2, 3},
		"nfn": {0, 2, 3},
		"fff": {3},
		"nff": {0, 3},
		"ffn": {2, 3},
		"2f2": {0, 2, 3},
		"s-n": {0, 1, 2, 3},
	} {
		c := newCopies(3, nil)
		apply(c, results)
		nacked, sources := c.NackedRecords("task")
		if len(nacked) != len(want)-1 || !slices.Equal(sources, want) {
			t.Errorf("%s: %d nacked, before %d, want %d", results, len(nacked), sources, want)
		}
	}
}

// A task may change an original in place. A record that goes to the dead-letter queue
// has no spare capacity in its position either.
func TestCopies_originalsAreClipped(t *testing.T) {
	for name, split := range map[string]func(c *Copies){
		"by a task": func(c *Copies) { c.Split(0, records(10, 2)) },
		"by a processor": func(c *Copies) {
			apply(c, "2")
		},
		"by a processor, after marks": func(c *Copies) {
			c.Mark(0, 1, FlagRetry)
			apply(c, "2")
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCopies(1, nil)
			c.BeginTask(false)
			c.Records()[0].Position = positionWithRoom()
			split(c)
			c.EndTask(false)
			c.Nack(0, errNo)
			nacked, _ := c.NackedRecords("task")
			if p := nacked[0].Position; string(p) != "new" || len(p) < cap(p) {
				t.Errorf("the position is %q, with room for %d", p, cap(p))
			}
		})
	}
}

// Source records are delivered if a copy of them is active and not marked, unless the
// copies were settled before.
func TestCopies_markDelivered(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(c *Copies)
		want []bool
	}{
		"as read":             {func(*Copies) {}, []bool{true, true, true}},
		"filtered":            {func(c *Copies) { c.TakeOut(1, 2, FlagFilter) }, []bool{true, false, true}},
		"filtered by results": {func(c *Copies) { apply(c, "fsf") }, []bool{false, true, false}},
		"a part":              {func(c *Copies) { c.RetryFrom(1); parts(c) }, []bool{true, false, false}},
		"a later part":        {func(c *Copies) { c.Mark(0, 1, FlagRetry); _, p := parts(c); *c = *p[1] }, []bool{false, true, true}},
		"split, then filtered": {func(c *Copies) { apply(c, "2s3"); c.TakeOut(0, 3, FlagFilter) },
			[]bool{false, false, true}},
		"a piece is filtered": {func(c *Copies) { c.Split(2, records(10, 2)); c.TakeOut(3, 4, FlagFilter) }, []bool{true, true, true}},
		"nacked":              {func(c *Copies) { c.Nack(1, errNo) }, []bool{true, false, true}},
		"unanswered":          {func(c *Copies) { c.RetryFrom(2) }, []bool{true, true, false}},
		"settled":             {func(c *Copies) { _ = c.Settle() }, []bool{false, false, false}},
	} {
		c := newCopies(3, nil)
		tt.do(c)
		c.MarkDelivered()
		s := c.Source()
		for slot, want := range tt.want {
			if got := s.IsDelivered(slot); got != want {
				t.Errorf("%s: record %d is delivered: %t", name, slot, got)
			}
		}
		if s.Reset(); s.IsDelivered(0) {
			t.Errorf("%s: the next batch is delivered", name)
		}
	}
}
