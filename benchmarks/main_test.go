package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/conduitio/funnel/benchmarks/internal/measure"
	"github.com/conduitio/funnel/benchmarks/internal/report"
)

// Measured are the cases that match, and what was measured makes a table.
func TestMeasureAll(t *testing.T) {
	effort := measure.Effort{Rounds: 2, Length: 10 * time.Microsecond, Runs: 1}
	results, err := measureAll(t.Context(), effort, regexp.MustCompile("^(filter|destinations)$"))
	if err != nil {
		t.Fatal(err)
	}
	if want := 2 * (1 + 4); len(results.Points) != want {
		t.Errorf("got %d points, want %d: %v", len(results.Points), want, results.Points)
	}
	for _, p := range results.Points {
		if p.NS <= 0 || p.Allocs <= 0 {
			t.Errorf("got %v", p)
		}
	}
	table := report.Tables(results)
	for _, want := range []string{"| filtering every second record |", "| 2 destinations |", "| 4 destinations |", "| destinations | 1 | 2 | 4 | 8 |"} {
		if !strings.Contains(table, want) {
			t.Errorf("the table does not have %q:\n%s", want, table)
		}
	}
}

// What waits is measured, too.
func TestMeasureAll_waiting(t *testing.T) {
	results, err := measureAll(t.Context(), measure.Effort{Runs: 1}, regexp.MustCompile("^(read-ahead|parallel)"))
	if err != nil {
		t.Fatal(err)
	}
	if table := report.Tables(results); strings.Count(table, "× as fast |") != 3 {
		t.Errorf("got the table\n%s", table)
	}
}

const (
	funnelResults = `{
	"environment": {"go": "go1.2", "os": "plan9", "arch": "mips", "cpus": 3},
	"points": [
		{"case": "linear", "series": "loop", "x": 1, "ns": 43, "allocs": 1},
		{"case": "linear", "series": "engine", "x": 1, "ns": 143, "allocs": 2, "ratio": 3.3, "more": 100},
		{"case": "linear", "series": "loop", "x": 1000, "ns": 5, "allocs": 0.001},
		{"case": "linear", "series": "engine", "x": 1000, "ns": 8, "allocs": 0.001, "ratio": 1.6, "more": 3}
	]
}
`
	peersResults = `{"environment": {}, "points": [
		{"case": "linear", "series": "benthos", "x": 1, "ns": 2000, "allocs": 10},
		{"case": "linear", "series": "benthos", "x": 1000, "ns": 500, "allocs": 3}
	]}`
	beginTables   = "<!-- benchmarks:begin -->"
	endTables     = "<!-- benchmarks:end -->"
	emptyDocument = "# funnel\n\n" + beginTables + "\n" + endTables + "\n\nMore.\n"
)

// renderIn writes the files that are not empty into a directory, and renders. Both
// documents start with the same content.
func renderIn(t *testing.T, funnel, peers, document string) (files, error) {
	t.Helper()
	dir := t.TempDir()
	f := files{
		funnel:   filepath.Join(dir, "funnel.json"),
		peers:    filepath.Join(dir, "peers.json"),
		tables:   filepath.Join(dir, "TABLES.md"),
		headline: filepath.Join(dir, "README.md"),
		plot:     filepath.Join(dir, "cost.svg"),
	}
	for file, content := range map[string]string{f.funnel: funnel, f.peers: peers, f.tables: document, f.headline: document} {
		if content == "" {
			continue
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f, render(f)
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestRender(t *testing.T) {
	f, err := renderIn(t, funnelResults, peersResults, emptyDocument)
	if err != nil {
		t.Fatal(err)
	}
	tables, headline, plot := read(t, f.tables), read(t, f.headline), read(t, f.plot)
	const want = "# funnel\n\n" + beginTables + "\n\n" +
		"| per record | loop | engine | difference | target | allocations |\n" +
		"|---|--:|--:|--:|--:|--:|\n" +
		"| linear, batches of 1 | 43.0 ns | 143 ns | +100 ns, +1 allocs | ≤ +150 ns, ≤ +2 allocs ✓ | 2 |\n"
	for _, document := range []string{tables, headline} {
		if !strings.HasPrefix(document, want) || !strings.HasSuffix(document, "\n"+endTables+"\n\nMore.\n") {
			t.Errorf("got the document\n%s", document)
		}
	}
	if !strings.Contains(tables, "| Benthos |") || strings.Contains(headline, "| Benthos |") {
		t.Errorf("got the tables\n%s\nand the short one\n%s", tables, headline)
	}
	for _, want := range []string{"funnel", "hand-written loop", "Benthos"} {
		if !strings.Contains(plot, ">"+want+"<") {
			t.Errorf("the plot does not have %s", want)
		}
	}
	if err := render(f); err != nil {
		t.Fatal(err)
	}
	if read(t, f.tables) != tables || read(t, f.headline) != headline || read(t, f.plot) != plot {
		t.Error("rendering again makes other files")
	}
}

// Results of the peers are not required, but those of ours are, and so are the
// lines in the documents.
func TestRender_missing(t *testing.T) {
	f, err := renderIn(t, funnelResults, "", emptyDocument)
	if err != nil {
		t.Fatal(err)
	}
	if plot := read(t, f.plot); strings.Contains(plot, "Benthos") {
		t.Error("the plot shows a peer")
	}
	for name, tc := range map[string]struct{ funnel, peers, document, want string }{
		"no results":   {"", peersResults, emptyDocument, "funnel.json"},
		"broken peers": {funnelResults, "{", emptyDocument, "peers.json"},
		"no document":  {funnelResults, "", "", "TABLES.md"},
		"no lines":     {funnelResults, "", "# funnel\n", beginTables},
	} {
		if _, err := renderIn(t, tc.funnel, tc.peers, tc.document); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got the error %v, want one with %q", name, err, tc.want)
		}
	}
}
