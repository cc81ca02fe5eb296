package report_test

import (
	"strings"
	"testing"

	"github.com/conduitio/funnel/benchmarks/internal/report"
	"github.com/conduitio/funnel/benchmarks/internal/suite"
)

func TestTables(t *testing.T) {
	const want = `| per record | loop | engine | difference | target | allocations |
|---|--:|--:|--:|--:|--:|
| linear, batches of 1 | 43.2 ns | 143 ns | +100 ns, +2 allocs | ≤ +150 ns, ≤ +2 allocs ✓ | 3 |
| linear, batches of 100 | 10.0 ns | 19.0 ns | 1.90× | ≤ 2×, < 0.03 allocs ✓ | 0.002 |
| linear, batches of 1,000 | 10.0 ns | 19.0 ns | 1.90× | ≤ 2×, < 0.03 allocs ✓ | 0.002 |
| linear, batches of 10,000 | 10.0 ns | 19.0 ns | 1.90× | ≤ 2×, < 0.03 allocs ✓ | 0.002 |
| filtering every second record | 10.0 ns | 19.0 ns | 1.90× | ≤ 1.3× ✗ | 0.002 |

| per record | without | with | difference | target | allocations |
|---|--:|--:|--:|--:|--:|
| metrics on, raw payloads | 10.0 ns | 19.0 ns | +9.00 ns | ≤ +40 ns, < 0.03 allocs ✓ | 0.002 |
| parallel processor of 2 ms per record, 16 workers | 2.10 ms | 140 µs | 15.0× as fast | ≥ 14× as fast ✓ |  |

Memory of a worker, whose batches are of mixed sizes up to 1,000: 50 KiB after 10, 50 KiB after 10,000 batches.

| records per batch | 1 | 10 | 100 | 1,000 | 10,000 | 100,000 |
|---|--:|--:|--:|--:|--:|--:|
| loop | 43.2 ns | 10.0 ns | 10.0 ns | 10.0 ns | 10.0 ns | 10.0 ns |
| engine | 143 ns | 19.0 ns | 19.0 ns | 19.0 ns | 19.0 ns | 19.0 ns |

Batches have 1,000 records unless stated otherwise. Measured with go1.2 on plan9/mips with 3 CPUs.
`
	if got := report.Tables(results()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// The short table has a few of the rows, and no more.
func TestHeadlines(t *testing.T) {
	const want = `| per record | loop | engine | difference | target | allocations |
|---|--:|--:|--:|--:|--:|
| linear, batches of 1 | 43.2 ns | 143 ns | +100 ns, +2 allocs | ≤ +150 ns, ≤ +2 allocs ✓ | 3 |
| linear, batches of 1,000 | 10.0 ns | 19.0 ns | 1.90× | ≤ 2×, < 0.03 allocs ✓ | 0.002 |

Batches have 1,000 records unless stated otherwise. Measured with go1.2 on plan9/mips with 3 CPUs.
`
	if got := report.Headlines(results()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := len(suite.Headlines()); got != 5 {
		t.Errorf("got %d headlines, want 5", got)
	}
}

// Where peers were measured they are shown beside the engine.
func TestTables_peers(t *testing.T) {
	r := results()
	for _, x := range []int{1, 1000} {
		r.Points = append(r.Points, report.Point{Case: "linear", Series: "benthos", X: x, NS: 250})
	}
	const want = `| engine | 143 ns | 19.0 ns | 19.0 ns | 19.0 ns | 19.0 ns | 19.0 ns |
| Benthos | 250 ns |  |  | 250 ns |  |  |

`
	if got := report.Tables(r); !strings.Contains(got, want) {
		t.Errorf("got\n%s\nwithout\n%s", got, want)
	}
}

// Without measurements there is nothing to show.
func TestTables_empty(t *testing.T) {
	if got := report.Tables(&report.Results{}); got != "" {
		t.Errorf("got %q", got)
	}
}
