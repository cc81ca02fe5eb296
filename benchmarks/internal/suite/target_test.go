package suite_test

import (
	"testing"

	"github.com/conduitio/funnel/benchmarks/internal/measure"
	"github.com/conduitio/funnel/benchmarks/internal/suite"
)

func TestTarget(t *testing.T) {
	measured := measure.Comparison{
		Base:    measure.Cost{NS: 20, Allocs: 1},
		Subject: measure.Cost{NS: 30, Allocs: 3},
		Ratio:   1.5,
		More:    10,
	}
	for _, tc := range []struct {
		target suite.Target
		isMet  bool
		text   string
	}{
		{suite.Target{}, true, ""},
		{suite.Target{Ratio: 1.5}, true, "≤ 1.5×"},
		{suite.Target{Ratio: 1.4}, false, "≤ 1.4×"},
		{suite.Target{More: 10}, true, "≤ +10 ns"},
		{suite.Target{More: 9}, false, "≤ +9 ns"},
		{suite.Target{More: 1_500}, true, "≤ +1.5 µs"},
		{suite.Target{More: 10, MoreAllocs: 2}, true, "≤ +10 ns, ≤ +2 allocs"},
		{suite.Target{More: 10, MoreAllocs: 1}, false, "≤ +10 ns, ≤ +1 allocs"},
		{suite.Target{Ratio: 2, Allocs: 3.1}, true, "≤ 2×, < 3.1 allocs"},
		{suite.Target{Ratio: 2, Allocs: 3}, false, "≤ 2×, < 3 allocs"},
		{suite.Target{Speedup: 0.6}, true, "≥ 0.6× as fast"},
		{suite.Target{Speedup: 2}, false, "≥ 2× as fast"},
	} {
		if got := tc.target.IsMet(measured); got != tc.isMet {
			t.Errorf("%v: met %v, want %v", tc.target, got, tc.isMet)
		}
		if got := tc.target.String(); got != tc.text {
			t.Errorf("got %q, want %q", got, tc.text)
		}
		if got := tc.target.IsSet(); got != (tc.text != "") {
			t.Errorf("%v: set %v", tc.target, got)
		}
	}
}

// A case and its number tell each row from all others.
func TestRows_unique(t *testing.T) {
	type key struct {
		name string
		x    int
	}
	seen := map[key]bool{}
	for _, row := range suite.Rows() {
		if k := (key{row.Case, row.X}); seen[k] {
			t.Errorf("there are two rows of %+v", k)
		} else {
			seen[k] = true
		}
		if row.Title == "" || row.Base == "" || row.Subject == "" || row.Base == row.Subject {
			t.Errorf("incomplete row %+v", row)
		}
	}
	for _, g := range suite.Growths() {
		if len(g.Rows) < 3 {
			t.Errorf("%s: %d rows", g.Title, len(g.Rows))
		}
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1_000: "1,000", 12_345: "12,345", 100_000: "100,000", 1_234_567: "1,234,567"} {
		if got := suite.Thousands(n); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
