package batch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// divideAll divides copies and returns all parts with their flags.
func divideAll(c *Copies) (flags []Flag, all []*Copies) {
	first := c.Divide(func(flag Flag) *Copies {
		flags, all = append(flags, flag), append(all, &Copies{})
		return all[len(all)-1]
	})
	return slices.Insert(flags, 0, first), slices.Insert(all, 0, c)
}

// parts divides copies and returns a line for each part.
func parts(c *Copies) (lines []string, all []*Copies) {
	flags, all := divideAll(c)
	for i, part := range all {
		copies := []string{}
		for _, s := range part.contents(nil) {
			text := fmt.Sprintf("%d:%s", s.slot, s.record)
			if s.flag == FlagFilter {
				text = fmt.Sprintf("%d:filtered", s.slot)
			}
			if s.err != nil {
				text += " " + s.err.Error()
			}
			copies = append(copies, text)
		}
		names := [...]string{"ack", "nack", "retry"}
		lines = append(lines, names[flags[i]]+" ["+strings.Join(copies, ", ")+"]")
	}
	return lines, all
}

func TestCopies_divide(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(c *Copies)
		want []string
	}{
		"nothing": {func(*Copies) {}, []string{"ack [0:0, 1:1, 2:2, 3:3]"}},
		"filtered": {func(c *Copies) { c.TakeOut(1, 3, FlagFilter) },
			[]string{"ack [0:0, 1:filtered, 2:filtered, 3:3]"}},
		"each": {func(c *Copies) { c.Nack(1, errNo); c.Mark(2, 3, FlagRetry) },
			[]string{"ack [0:0]", "nack [1:1 no]", "retry [2:2]", "ack [3:3]"}},
		"runs": {func(c *Copies) { c.Nack(0, errNo, nil); c.RetryFrom(2) },
			[]string{"nack [0:0 no, 1:1]", "retry [2:2, 3:3]"}},
		"unanswered": {func(c *Copies) { c.RetryFrom(1) },
			[]string{"ack [0:0]", "retry [1:1, 2:2, 3:3]"}},
		"all unanswered": {func(c *Copies) { c.RetryFrom(0) },
			[]string{"retry [0:0, 1:1, 2:2, 3:3]"}},
		"filtered among unanswered": {func(c *Copies) { c.TakeOut(2, 3, FlagFilter); c.RetryFrom(1) },
			[]string{"ack [0:0]", "retry [1:1]", "ack [2:filtered]", "retry [3:3]"}},
		"filtered before unanswered": {func(c *Copies) { c.TakeOut(0, 1, FlagFilter); c.RetryFrom(0) },
			[]string{"ack [0:filtered]", "retry [1:1, 2:2, 3:3]"}},
		"run goes on unanswered": {func(c *Copies) { c.RetryFrom(2); c.Mark(1, 2, FlagRetry) },
			[]string{"ack [0:0]", "retry [1:1, 2:2, 3:3]"}},
		"run ends before unanswered": {func(c *Copies) { c.RetryFrom(3); c.Mark(1, 2, FlagRetry) },
			[]string{"ack [0:0]", "retry [1:1]", "ack [2:2]", "retry [3:3]"}},
		"siblings": {func(c *Copies) { c.Split(1, records(10, 3)); c.Nack(2, errNo); c.Mark(3, 4, FlagRetry) },
			[]string{"ack [0:0]", "nack [1:10 no, 1:11 no, 1:12 no]", "ack [2:2, 3:3]"}},
		"filtered siblings": {func(c *Copies) { c.Split(1, records(10, 4)); c.TakeOut(3, 4, FlagFilter); c.Nack(2, errNo) },
			[]string{"ack [0:0]", "nack [1:10 no, 1:11 no]", "ack [1:filtered]", "nack [1:13 no]", "ack [2:2, 3:3]"}},
		"siblings with errors": {func(c *Copies) { c.Split(1, records(10, 3)); c.Nack(2, nil, errNo) },
			[]string{"ack [0:0]", "nack [1:10, 1:11, 1:12 no]", "ack [2:2, 3:3]"}},
		"unanswered siblings": {func(c *Copies) {
			c.Split(1, records(10, 4))
			c.TakeOut(3, 4, FlagFilter)
			c.RetryFrom(2)
			c.Nack(1, errNo)
		}, []string{"ack [0:0]", "nack [1:10 no, 1:11 no]", "ack [1:filtered]", "nack [1:13 no]", "retry [2:2, 3:3]"}},
		"only siblings unanswered": {func(c *Copies) {
			c.Split(3, records(10, 2))
			c.RetryFrom(4)
			c.Nack(3, errNo)
		}, []string{"ack [0:0, 1:1, 2:2]", "nack [3:10 no, 3:11 no]"}},
		"no siblings unanswered": {func(c *Copies) { c.Split(1, records(10, 2)); c.RetryFrom(3); c.Nack(1, errNo) },
			[]string{"ack [0:0]", "nack [1:10 no, 1:11 no]", "retry [2:2, 3:3]"}},
		"last piece": {func(c *Copies) { c.Split(3, records(10, 2)); c.Nack(4, errNo) },
			[]string{"ack [0:0, 1:1, 2:2]", "nack [3:10 no, 3:11 no]"}},
		"pieces, marks elsewhere": {func(c *Copies) { c.Split(1, records(10, 2)); c.Nack(0, errNo) },
			[]string{"nack [0:0 no]", "ack [1:10, 1:11, 2:2, 3:3]"}},
	} {
		c := newCopies(4, nil)
		test.do(c)
		got, all := parts(c)
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
		for i, part := range all {
			if err := part.insides(); err != nil {
				t.Errorf("%s: part %d: %v", name, i, err)
			}
		}
	}
}

// Dividing copies no records.
func TestCopies_divideCopiesNothing(t *testing.T) {
	c := newCopies(100, nil)
	c.Nack(10, make([]error, 50)...)
	c.RetryFrom(70)
	before := c.records.All()
	_, all := parts(c)
	at := 0
	for i, part := range all {
		records := part.records.All()
		if !isSame(records, before[min(at, len(before)-1):]) && at < len(before) {
			t.Errorf("part %d was copied", i)
		}
		if cap(records) != len(records) {
			t.Errorf("part %d reaches into the next one", i)
		}
		at += len(records)
	}
}

// Copies that stay whole keep their pieces and their pool.
func TestCopies_divideWhole(t *testing.T) {
	pool := &Pool{}
	c := newCopies(3, pool)
	apply(c, "2fs")
	_, all := parts(c)
	if len(all) != 1 || all[0].pieces == nil || all[0].pool != pool {
		t.Errorf("the parts are %+v", all)
	}
}

// Once the pieces of a record are in different parts, nacking one does not nack others.
func TestCopies_divideDivided(t *testing.T) {
	c := newCopies(1, nil)
	c.Split(0, records(10, 3))
	c.Mark(1, 2, FlagRetry)
	_, all := parts(c)
	all[1].Nack(0, errNo)
	var got []string
	for _, part := range all {
		lines, _ := parts(part)
		got = append(got, lines...)
	}
	if want := []string{"ack [0:10]", "nack [0:11 no]", "ack [0:12]"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
