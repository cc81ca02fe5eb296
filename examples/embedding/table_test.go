package embedding_test

import (
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/conduitio/funnel/runner"
)

// page is a link to the page whose code this package holds. The tests of the root module
// check that its blocks of code are here; those below check its table of failures. As a link
// within this module, it is an input of the tests, so a changed page makes them run again.
const page = "testdata/embedding.md"

// failure is a row of the table.
type failure struct {
	what string
	try  func(w *world, p *parts) // has it happen, and does what the row says
}

// Each row is tried: a reader sees what the row says, and no record is lost if the reader
// does what the row says.
func TestFailures(t *testing.T) {
	rows := tableOf(t)
	for _, f := range failures {
		t.Run(f.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, p := newWorld(t), numbers(10)
				f.try(w, p)
				if !w.isEnded {
					w.look()
					want(t, w.end())
				}
				w.wantSeen(rows[f.what])
				p.wantAll(t)
			})
		})
	}
	for _, f := range processFailures {
		t.Run(f.what, func(t *testing.T) {
			w := &world{t: t}
			f.try(w, nil)
			w.wantSeen(rows[f.what])
		})
	}
	tried := slices.Concat(failures, processFailures)
	if runtime.GOOS != "linux" {
		return
	}
	for what := range rows {
		if !slices.ContainsFunc(tried, func(f failure) bool { return f.what == what }) {
			t.Errorf("the row %q is not tried", what)
		}
	}
}

// The alerts that the page names are in the file of alerts.
func TestAlerts(t *testing.T) {
	text, err := os.ReadFile(page)
	want(t, err)
	w := &world{t: t}
	names := regexp.MustCompile("`(Funnel[^`]+)`").FindAllStringSubmatch(string(text), -1)
	for _, name := range names {
		if !w.hasSeen(name[1]) {
			t.Errorf("there is no alert %q", name[1])
		}
	}
	if len(names) < 5 {
		t.Errorf("the page names the alerts %q only", names)
	}
}

// tableOf returns what one sees, by what happened.
func tableOf(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(page)
	want(t, err)
	_, table, ok := strings.Cut(string(text), "\n| what happened | what you see | what you do |\n")
	if !ok {
		t.Fatal("the page has no table of failures")
	}
	rows := make(map[string]string)
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		switch {
		case strings.HasPrefix(line, "|--"):
		case len(cells) == 3:
			rows[strings.TrimPrefix(cells[0], "| ")] = cells[1]
		case !strings.HasPrefix(line, "|"):
			return rows
		default:
			t.Errorf("this row has %d cells: %s", len(cells), line)
		}
	}
	return rows
}

var quoted = regexp.MustCompile("`([^`]+)`")

// wantSeen checks that whatever a cell quotes was seen.
func (w *world) wantSeen(cell string) {
	w.t.Helper()
	quotes := quoted.FindAllStringSubmatch(cell, -1)
	if len(quotes) == 0 {
		w.t.Error("the row says of nothing that it is seen")
	}
	for _, q := range quotes {
		if text := q[1]; !w.hasSeen(text) {
			w.t.Errorf("%q was not seen in\n%s\n%s", text, strings.Join(w.texts, "\n"), strings.Join(w.series, "\n"))
		}
	}
}

func (w *world) hasSeen(text string) bool {
	name, labels, _ := strings.Cut(strings.TrimSuffix(text, "}"), "{")
	switch {
	case isState(text):
		return w.hasSeries("funnel_pipeline_state", `state="`+text+`"`)
	case strings.HasPrefix(text, "funnel_"), strings.HasPrefix(text, "conduit_"):
		return w.hasSeries(name, labels)
	case regexp.MustCompile(`^Funnel\w+$`).MatchString(text):
		alerts, err := os.ReadFile("../../metrics/prometheus/alerts.yaml")
		want(w.t, err)
		return strings.Contains(string(alerts), "alert: "+text+"\n")
	}
	return slices.ContainsFunc(w.texts, func(t string) bool { return strings.Contains(t, text) })
}

// hasSeries returns true if a series of this name with this label was not 0.
func (w *world) hasSeries(name, label string) bool {
	return slices.ContainsFunc(w.series, func(line string) bool {
		return strings.HasPrefix(line, name) && strings.Contains(line, label)
	})
}

func isState(text string) bool {
	return slices.Contains([]runner.State{
		runner.Stopped, runner.Starting, runner.Running, runner.Draining,
		runner.Recovering, runner.Degraded, runner.Stuck, runner.Done,
	}, runner.State(text))
}
