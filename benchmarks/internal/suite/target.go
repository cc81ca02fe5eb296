package suite

import (
	"fmt"
	"strings"

	"github.com/conduitio/funnel/benchmarks/internal/measure"
)

// Target is what the subject of a comparison is to reach. What is 0 is not asked
// for.
type Target struct {
	Ratio      float64 // subject / base, at most
	More       float64 // ns per record that the subject takes more than the base, at most
	MoreAllocs float64 // allocations per record that it makes more than the base, at most
	Allocs     float64 // allocations per record, fewer than that
	Speedup    float64 // base / subject, at least
}

// IsSet returns true if there is something to reach.
func (t Target) IsSet() bool {
	return t != Target{}
}

// IsMet returns true if a comparison shows what is to be reached.
func (t Target) IsMet(c measure.Comparison) bool {
	return (t.Ratio == 0 || c.Ratio <= t.Ratio) &&
		(t.More == 0 || c.More <= t.More) &&
		(t.MoreAllocs == 0 || c.Subject.Allocs-c.Base.Allocs <= t.MoreAllocs) &&
		(t.Allocs == 0 || c.Subject.Allocs < t.Allocs) &&
		(t.Speedup == 0 || 1/c.Ratio >= t.Speedup)
}

// String says what is to be reached.
func (t Target) String() string {
	var parts []string
	add := func(value float64, format string) {
		if value > 0 {
			parts = append(parts, fmt.Sprintf(format, value))
		}
	}
	add(t.Ratio, "≤ %g×")
	if t.More < 1_000 {
		add(t.More, "≤ +%g ns")
	} else {
		add(t.More/1_000, "≤ +%g µs")
	}
	add(t.MoreAllocs, "≤ +%g allocs")
	add(t.Allocs, "< %g allocs")
	add(t.Speedup, "≥ %g× as fast")
	return strings.Join(parts, ", ")
}
