package suite

import (
	"fmt"
	"strings"

	"github.com/conduitio/funnel/benchmarks/internal/measure"
)

// Target is what the subject of a comparison must reach. Fields that are 0 set no
// target.
type Target struct {
	Ratio      float64 // subject / base, at most
	More       float64 // ns per record more than the base, at most
	MoreAllocs float64 // allocations per record more than the base, at most
	Allocs     float64 // allocations per record, fewer than this
	Speedup    float64 // base / subject, at least
}

// IsSet returns true if there is a target.
func (t Target) IsSet() bool {
	return t != Target{}
}

// IsMet returns true if a comparison meets the target.
func (t Target) IsMet(c measure.Comparison) bool {
	return (t.Ratio == 0 || c.Ratio <= t.Ratio) &&
		(t.More == 0 || c.More <= t.More) &&
		(t.MoreAllocs == 0 || c.Subject.Allocs-c.Base.Allocs <= t.MoreAllocs) &&
		(t.Allocs == 0 || c.Subject.Allocs < t.Allocs) &&
		(t.Speedup == 0 || 1/c.Ratio >= t.Speedup)
}

// String formats the target.
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
