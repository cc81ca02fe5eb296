package prometheus_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/expfmt"

	"github.com/conduitio/funnel/internal/fake"
)

// series are the series that a registry exports, by name, such as
// conduit_connector_bytes_bucket.
type series map[string][]line

// line is a line of the text exposition.
type line struct {
	labels string // {a="b",c="d"}
	value  string
	names  []string // of the labels
}

var (
	exposition = regexp.MustCompile(`^(\w+)(\{.*\})? (\S+)$`)
	matcher    = regexp.MustCompile(`(\w+)(=~|!~|!=|=)"((?:[^"\\]|\\.)*)"`)
)

// exportedSeries runs a worker that does everything, and returns the series that a registry
// then exports, with those of a supervisor.
func exportedSeries(t *testing.T) series {
	t.Helper()
	all := make(series)
	synctest.Test(t, func(t *testing.T) {
		e, registry := newExporter(t)
		superviseIn(e.Set(), "shop")
		w := newWorld(t, e)
		if err := e.Watch(statsOf(workersOf(w))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		fake.WantNoError(t, fake.RunWorker(t, w))
		var text bytes.Buffer
		for _, f := range gather(t, registry) {
			if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
				t.Fatal(err)
			}
		}
		for l := range strings.Lines(text.String()) {
			if m := exposition.FindStringSubmatch(strings.TrimSpace(l)); m != nil {
				var names []string
				for _, label := range matcher.FindAllStringSubmatch(m[2], -1) {
					names = append(names, label[1])
				}
				all[m[1]] = append(all[m[1]], line{labels: m[2], value: m[3], names: names})
			}
		}
	})
	return all
}

var (
	// selection is a name of a series, with its matchers if there are any.
	selection = regexp.MustCompile(`\b((?:funnel|conduit)_\w+)(?:\{([^}]*)\})?`)
	grouping  = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
	legend    = regexp.MustCompile(`\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}`)
)

// check returns a fault in the names of an expression: a series or a label that is not
// exported, or a label value that is matched exactly and never occurs.
func (all series) check(expr string, legends ...string) []string {
	var faults, labels []string
	selections := selection.FindAllStringSubmatch(expr, -1)
	if len(selections) == 0 {
		faults = append(faults, "it selects no series")
	}
	for _, s := range selections {
		lines, ok := all[s[1]]
		if !ok {
			faults = append(faults, "no series "+s[1])
			continue
		}
		labels = append(labels, lines[0].names...)
		for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
			if !slices.Contains(lines[0].names, m[1]) {
				faults = append(faults, fmt.Sprintf("%s has no label %s", s[1], m[1]))
			}
			if m[2] == "=" && !slices.ContainsFunc(lines, func(l line) bool { return strings.Contains(l.labels, fmt.Sprintf("%s=%q", m[1], m[3])) }) {
				faults = append(faults, fmt.Sprintf("%s never has %s=%q", s[1], m[1], m[3]))
			}
		}
	}
	want := func(label string) {
		if label = strings.TrimSpace(label); label != "" && !slices.Contains(labels, label) {
			faults = append(faults, "no label "+label)
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(g[1], ",") {
			want(label)
		}
	}
	for _, text := range legends {
		for _, l := range legend.FindAllStringSubmatch(text, -1) {
			want(l[1])
		}
	}
	return faults
}

// The check finds each kind of fault.
func TestCheck(t *testing.T) {
	all := exportedSeries(t)
	for expr, want := range map[string]string{
		`rate(funnel_records_total{outcome="acked"}[5m])`:              "",
		`sum by (le) (rate(funnel_batch_records_bucket[5m]))`:          "",
		`rate(funnel_record_total[5m])`:                                "no series funnel_record_total",
		`funnel_batch_records`:                                         "no series funnel_batch_records",
		`funnel_records_total{result="acked"}`:                         "no label result",
		`funnel_records_total{outcome="lost"}`:                         `never has outcome="lost"`,
		`sum by (plugin) (funnel_records_total)`:                       "no label plugin",
		`vector(1)`:                                                    "no series",
		`funnel_in_flight_records / ignoring (x) funnel_records_total`: "no label x",
	} {
		if got := strings.Join(all.check(expr), "; "); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
	if faults := all.check("funnel_in_flight_records", "{{pipeline_name}} {{task}}"); len(faults) != 1 {
		t.Errorf("legend: %q", faults)
	}
}

// promtool runs promtool in this directory. It skips the test if promtool is not installed.
func promtool(t *testing.T, args ...string) error {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed: it is in Debian's package prometheus")
	}
	if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("promtool %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// evaluate has promtool evaluate each expression on the series, which go from 0 to their
// values within a minute. It returns an error unless each expression has a number as a result.
func (all series) evaluate(t *testing.T, exprs ...string) error {
	t.Helper()
	var rules strings.Builder
	rules.WriteString("evaluation_interval: 30s\ntests:\n  - interval: 30s\n    input_series:\n")
	for name, lines := range all {
		for _, l := range lines {
			fmt.Fprintf(&rules, "      - series: '%s%s'\n        values: '0 %s %s'\n", name, l.labels, l.value, l.value)
		}
	}
	rules.WriteString("    promql_expr_test:\n")
	for _, expr := range exprs {
		fmt.Fprintf(&rules, "      - expr: 'count((%s) > -Inf) > bool 0'\n        eval_time: 1m\n        exp_samples:\n          - labels: '{}'\n            value: 1\n",
			strings.ReplaceAll(expr, "'", "''"))
	}
	path := filepath.Join(t.TempDir(), "queries.yaml")
	if err := os.WriteFile(path, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return promtool(t, "test", "rules", path)
}

// An evaluation fails if an expression has no number as its result, or is not PromQL.
func TestEvaluate(t *testing.T) {
	all := exportedSeries(t)
	if err := all.evaluate(t, "funnel_in_flight_records"); err != nil {
		t.Error(err)
	}
	for _, expr := range []string{"funnel_in_flight_record", `funnel_records_total{outcome="lost"}`, "sum by (funnel_records_total", "funnel_in_flight_records / funnel_in_flight_records"} {
		wantText(t, all.evaluate(t, "funnel_in_flight_records", expr), "promtool test rules", "FAILED")
	}
}
