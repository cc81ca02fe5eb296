package report

import (
	"fmt"
	"math"
	"strconv"

	"github.com/conduitio/funnel/benchmarks/internal/suite"
)

// nanoseconds formats a time with three significant digits and a unit.
func nanoseconds(ns float64) string {
	unit := "ns"
	for _, next := range []string{"µs", "ms", "s"} {
		if math.Abs(ns) < 999.5 {
			break
		}
		ns, unit = ns/1000, next
	}
	return significant(ns) + " " + unit
}

// significant formats a number with three significant digits, of which at most two are
// decimals.
func significant(value float64) string {
	switch size := math.Abs(value); {
	case size >= 99.95:
		return strconv.FormatFloat(value, 'f', 0, 64)
	case size >= 9.995:
		return strconv.FormatFloat(value, 'f', 1, 64)
	default:
		return strconv.FormatFloat(value, 'f', 2, 64)
	}
}

// allocations formats a number of allocations: 0 only if there are none at all.
func allocations(value float64) string {
	if value > 0 && value < 0.0005 {
		return "< 0.001"
	}
	return thousandths(value)
}

// thousandths formats a number with at most three decimals.
func thousandths(value float64) string {
	return strconv.FormatFloat(math.Round(value*1000)/1000+0, 'f', -1, 64)
}

// kibibytes formats a number of bytes in KiB.
func kibibytes(bytes int64) string {
	return fmt.Sprintf("%s KiB", suite.Thousands(int(math.Round(float64(bytes)/1024))))
}
