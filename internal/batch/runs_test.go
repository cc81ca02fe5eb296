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

func TestRuns(t *testing.T) {
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
		r := runs{ledger: &l}
		want := [6]int{1, 1, 1, 1, 1, 1}
		for _, a := range adds {
			r.add(a.slot, a.copies)
			want[a.slot] += a.copies
		}
		for range 2 { // the second time adds nothing
			if err := r.flush(); err != nil {
				t.Error(name, err)
			}
		}
		if got := open(&l, len(want)); [6]int(got) != want {
			t.Errorf("%s: copies %d, want %d", name, got, want)
		}
	}
}

// A run is added at once, so that the ledger need not count its slots one by one.
func TestRuns_addsRuns(t *testing.T) {
	const n = 1_000
	if allocs := testing.AllocsPerRun(10, func() {
		var l ledger.Ledger[NackedRecord]
		l.Reset(n)
		r := runs{ledger: &l}
		for i := range n {
			r.add(i, 2)
		}
		if err := r.flush(); err != nil {
			t.Fatal(err)
		}
		if err := l.Settle(0, n, 3); err != nil {
			t.Fatal(err)
		}
	}); allocs > 1 {
		t.Errorf("%v allocations", allocs)
	}
}

// If a slot of a run is settled already, nothing is added to the run, and the error is
// kept.
func TestRuns_error(t *testing.T) {
	var l ledger.Ledger[NackedRecord]
	l.Reset(3)
	if err := l.Settle(1, 2, 1); err != nil {
		t.Fatal(err)
	}
	r := runs{ledger: &l}
	r.add(0, 1)
	r.add(1, 1)
	r.add(2, 2)
	if err := r.flush(); err == nil {
		t.Error("there is no error")
	}
	if got := open(&l, 3); [3]int(got) != [3]int{1, 0, 3} {
		t.Errorf("copies %d", got)
	}
}
