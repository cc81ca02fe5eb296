package batch

import (
	"fmt"
	"slices"
	"testing"
)

// KeepRead keeps the source records as the first task has left them, whatever becomes of the
// slices, and says which version a nacked record has.
func TestCopies_keepRead(t *testing.T) {
	for name, test := range map[string]struct {
		before func(c *Copies) // KeepRead
		after  func(c *Copies)
		want   []string // the records that are nacked then, and their versions
	}{
		"unedited":     {func(*Copies) {}, func(c *Copies) { c.Set(0, records(10, 3)) }, []string{"0 2", "1 2", "2 2"}},
		"split":        {func(*Copies) {}, func(c *Copies) { c.Split(1, records(10, 2)) }, []string{"0 2", "1 2", "2 2"}},
		"taken out":    {func(*Copies) {}, func(c *Copies) { c.Nack(0); _ = c.StepOut("p") }, []string{"1 2", "2 2"}},
		"split before": {func(c *Copies) { c.Split(1, records(10, 2)); c.TakeOut(1, 2, FlagFilter) }, func(*Copies) {}, []string{"0 2", "1 2", "2 2"}},
		"set before":   {func(c *Copies) { c.Set(1, records(10, 1)) }, func(*Copies) {}, []string{"0 2", "10 2", "2 2"}},
		"filtered":     {func(c *Copies) { c.TakeOut(0, 1, FlagFilter) }, func(*Copies) {}, []string{"1 2", "2 2"}},
		"unanswered":   {func(c *Copies) { c.RetryFrom(1) }, func(*Copies) {}, []string{"0 2", "1 2", "2 2"}},
	} {
		c := newCopies(3, nil)
		test.before(c)
		c.KeepRead()
		if !c.IsShared() {
			t.Errorf("%s: the copies are not shared", name)
		}
		test.after(c)
		nacked, _ := c.NackedRecords("p")
		var got []string
		for _, n := range nacked {
			got = append(got, fmt.Sprint(nameOf(&n.Record), " ", n.Version))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: nacked are %q, want %q", name, got, test.want)
		}
	}
}
