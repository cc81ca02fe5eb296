// Package report stores measurements in files and shows them as tables and a plot.
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/conduitio/funnel/benchmarks/internal/measure"
	"github.com/conduitio/funnel/benchmarks/internal/suite"
)

// Results are measurements and the environment they were made in.
type Results struct {
	Environment Environment `json:"environment"`
	Points      []Point     `json:"points"`
}

// Environment is where measurements were made.
type Environment struct {
	Go   string `json:"go"`
	OS   string `json:"os"`
	Arch string `json:"arch"`
	CPUs int    `json:"cpus"`
}

// Point is the measurement of one series of a case.
type Point struct {
	Case   string  `json:"case"`
	Series string  `json:"series"`
	X      int     `json:"x"`
	NS     float64 `json:"ns"`     // nanoseconds per record
	Allocs float64 `json:"allocs"` // heap allocations per record

	// For the subject of a comparison: the medians of subject / base and of subject -
	// base, the latter in ns per record.
	Ratio float64 `json:"ratio"`
	More  float64 `json:"more"`

	Bytes int64 `json:"bytes"` // bytes kept on the heap, if the case measures memory
}

// NewResults returns results without measurements, with the environment of this
// program.
func NewResults() *Results {
	return &Results{Environment: Environment{
		Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(),
	}}
}

// Add adds a comparison.
func (r *Results) Add(row suite.Row, c measure.Comparison) {
	r.Points = append(r.Points,
		Point{Case: row.Case, Series: row.Base, X: row.X, NS: c.Base.NS, Allocs: c.Base.Allocs},
		Point{Case: row.Case, Series: row.Subject, X: row.X, NS: c.Subject.NS, Allocs: c.Subject.Allocs, Ratio: c.Ratio, More: c.More},
	)
}

// AddBytes adds the number of bytes that a worker keeps.
func (r *Results) AddBytes(name string, x int, bytes int64) {
	r.Points = append(r.Points, Point{Case: name, Series: suite.Engine, X: x, Bytes: bytes})
}

// Comparison returns the measurement of a row. ok is false if there is none.
func (r *Results) Comparison(row suite.Row) (c measure.Comparison, ok bool) {
	base, ok := r.find(row.Case, row.Base, row.X)
	if !ok {
		return c, false
	}
	subject, ok := r.find(row.Case, row.Subject, row.X)
	return measure.Comparison{
		Base:    measure.Cost{NS: base.NS, Allocs: base.Allocs},
		Subject: measure.Cost{NS: subject.NS, Allocs: subject.Allocs},
		Ratio:   subject.Ratio,
		More:    subject.More,
	}, ok
}

func (r *Results) find(name, series string, x int) (Point, bool) {
	for _, p := range r.Points {
		if p.Case == name && p.Series == series && p.X == x {
			return p, true
		}
	}
	return Point{}, false
}

// Load reads results from a file.
func Load(file string) (*Results, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &Results{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// Save writes the results to a file, one line per point.
func (r *Results) Save(file string) error {
	return os.WriteFile(file, []byte(r.String()), 0o644)
}

// String returns the results as JSON.
func (r *Results) String() string {
	var s strings.Builder
	e := r.Environment
	fmt.Fprintf(&s, "{\n\t\"environment\": {\"go\": %q, \"os\": %q, \"arch\": %q, \"cpus\": %d},\n\t\"points\": [", e.Go, e.OS, e.Arch, e.CPUs)
	separator := ""
	for _, p := range r.Points {
		fmt.Fprintf(&s, "%s\n\t\t%s", separator, p)
		separator = ","
	}
	s.WriteString("\n\t]\n}\n")
	return s.String()
}

// String returns the point as JSON.
func (p Point) String() string {
	s := fmt.Sprintf(`{"case": %q, "series": %q, "x": %d, "ns": %s, "allocs": %s`,
		p.Case, p.Series, p.X, rounded(p.NS), rounded(p.Allocs))
	if p.Ratio != 0 {
		s += fmt.Sprintf(`, "ratio": %s, "more": %s`, rounded(p.Ratio), rounded(p.More))
	}
	if p.Bytes != 0 {
		s += fmt.Sprintf(`, "bytes": %d`, p.Bytes)
	}
	return s + "}"
}

// rounded rounds a number to four significant digits.
func rounded(value float64) string {
	short, err := strconv.ParseFloat(strconv.FormatFloat(value, 'g', 4, 64), 64)
	if err != nil {
		short = value
	}
	return strconv.FormatFloat(short, 'f', -1, 64)
}
