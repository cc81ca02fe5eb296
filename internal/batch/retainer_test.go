package batch

import (
	"testing"

	"github.com/conduitio/funnel/internal/ledger"
)

// open returns how many copies of each slot are out. It settles them.
func open(l *ledger.Ledger[NackedRecord], n int) []int {
	copies := make([]int, n)
	for i := n - 1; i >= 0; i-- {
		for l.Settle(i, i+1, 1) == nil {
			copies[i]++
		}
	}
	return copies
}

func TestRetainer(t *testing.T) {
	type add struct{ slot, copies int }
	for name, adds := range map[string][]add{
		"none":             {},
		"one run":          {{0, 2}, {1, 2}, {2, 2}},
		"others in number": {{0, 1}, {1, 2}, {2, 2}, {3, 1}},
		"others between":   {{1, 1}, {3, 1}, {4, 1}},
		"a slot twice":     {{1, 1}, {2, 3}, {2, 3}, {2, 1}, {3, 1}},
		"the last one":     {{5, 4}},
	} {
		var l ledger.Ledger[NackedRecord]
		l.Reset(6)
		r := retainer{ledger: &l}
		want := [6]int{1, 1, 1, 1, 1, 1}
		for _, a := range adds {
			r.add(a.slot, a.copies)
			want[a.slot] += a.copies
		}
		r.flush()
		r.flush() // a second one adds nothing
		if got := open(&l, len(want)); [6]int(got) != want {
			t.Errorf("%s: copies %d, want %d", name, got, want)
		}
	}
}

// A run is added at once, so that the ledger need not count its slots one by one.
func TestRetainer_addsRuns(t *testing.T) {
	const n = 1_000
	if allocs := testing.AllocsPerRun(10, func() {
		var l ledger.Ledger[NackedRecord]
		l.Reset(n)
		r := retainer{ledger: &l}
		for i := range n {
			r.add(i, 2)
		}
		r.flush()
		if err := l.Settle(0, n, 3); err != nil {
			t.Fatal(err)
		}
	}); allocs > 1 {
		t.Errorf("%v allocations", allocs)
	}
}

// If a slot of a run is settled already, nothing is added to the run.
func TestRetainer_settled(t *testing.T) {
	var l ledger.Ledger[NackedRecord]
	l.Reset(3)
	if err := l.Settle(1, 2, 1); err != nil {
		t.Fatal(err)
	}
	r := retainer{ledger: &l}
	r.add(0, 1)
	r.add(1, 1)
	r.add(2, 2)
	r.flush()
	if got := open(&l, 3); [3]int(got) != [3]int{1, 0, 3} {
		t.Errorf("copies %d", got)
	}
}
