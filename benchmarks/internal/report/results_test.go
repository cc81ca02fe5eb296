package report_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/conduitio/funnel/benchmarks/internal/measure"
	"github.com/conduitio/funnel/benchmarks/internal/report"
	"github.com/conduitio/funnel/benchmarks/internal/suite"
)

// results returns results of a few cases.
func results() *report.Results {
	r := &report.Results{Environment: report.Environment{Go: "go1.2", OS: "plan9", Arch: "mips", CPUs: 3}}
	for _, row := range suite.Rows() {
		c := measure.Comparison{
			Base:    measure.Cost{NS: 10, Allocs: 0.001},
			Subject: measure.Cost{NS: 19, Allocs: 0.0021234},
			Ratio:   1.9,
			More:    9,
		}
		switch row.Case {
		case "linear", "filter", "metrics, raw":
		case "parallel":
			c.Base.NS, c.Subject.NS, c.Ratio, c.More = 2_100_000, 140_000, 1/15., -1_960_000
		default:
			continue
		}
		if row.X == 1 {
			c = measure.Comparison{Base: measure.Cost{NS: 43.21, Allocs: 1}, Subject: measure.Cost{NS: 143.2, Allocs: 3}, Ratio: 3.3, More: 99.96}
		}
		r.Add(row, c)
	}
	r.AddBytes(suite.MemoryCase, 10, 51_200)
	r.AddBytes(suite.MemoryCase, 10_000, 51_300)
	return r
}

func TestResults_Save(t *testing.T) {
	const want = `{
	"environment": {"go": "go1.2", "os": "plan9", "arch": "mips", "cpus": 3},
	"points": [
		{"case": "linear", "series": "loop", "x": 10, "ns": 1234, "allocs": 0.00001235},
		{"case": "linear", "series": "engine", "x": 10, "ns": 20, "allocs": 0, "ratio": 1.333, "more": -5},
		{"case": "memory", "series": "engine", "x": 10, "ns": 0, "allocs": 0, "bytes": 123456}
	]
}
`
	r := &report.Results{Environment: report.Environment{Go: "go1.2", OS: "plan9", Arch: "mips", CPUs: 3}}
	r.Add(suite.Row{Case: "linear", X: 10, Base: suite.Loop, Subject: suite.Engine}, measure.Comparison{
		Base: measure.Cost{NS: 1234.4, Allocs: 0.0000123451}, Subject: measure.Cost{NS: 20}, Ratio: 4 / 3., More: -5,
	})
	r.AddBytes(suite.MemoryCase, 10, 123_456)
	file := filepath.Join(t.TempDir(), "results.json")
	if err := r.Save(file); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil || string(data) != want {
		t.Errorf("got %s, %v, want %s", data, err, want)
	}
	loaded, err := report.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if again := loaded.String(); again != want {
		t.Errorf("loaded and saved again it is %s", again)
	}
	if !reflect.DeepEqual(loaded.Environment, r.Environment) {
		t.Errorf("the environment is %+v", loaded.Environment)
	}
}

func TestLoad_errors(t *testing.T) {
	dir := t.TempDir()
	if _, err := report.Load(filepath.Join(dir, "none.json")); !os.IsNotExist(err) {
		t.Errorf("got %v for a missing file", err)
	}
	file := filepath.Join(dir, "broken.json")
	if err := os.WriteFile(file, []byte(`{"points": [`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := report.Load(file); err == nil {
		t.Error("no error for a broken file")
	}
}
