package prometheus_test

import (
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	dto "github.com/prometheus/client_model/go"

	"github.com/conduitio/funnel/internal/fake"
)

// documented returns the families of the table in the package documentation: name, kind
// and labels.
func documented(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for line := range strings.Lines(file.Doc.Text()) {
		fields := strings.Fields(line)
		if len(fields) >= 3 && slices.Contains([]string{"counter", "gauge", "histogram"}, fields[1]) {
			rows = append(rows, strings.Join(fields, " "))
		}
	}
	return rows
}

// row describes a family that was gathered: name, kind and labels.
func row(f *dto.MetricFamily) string {
	var labels []string
	for _, pair := range f.GetMetric()[0].GetLabel() {
		labels = append(labels, pair.GetName())
	}
	return f.GetName() + " " + strings.ToLower(f.GetType().String()) + " " + strings.Join(labels, ", ")
}

// sortedLabels sorts the labels of a documented row. Those of a gathered row are sorted.
func sortedLabels(row string) string {
	fields := strings.SplitN(row, " ", 3)
	labels := strings.Split(fields[2], ", ")
	slices.Sort(labels)
	return fields[0] + " " + fields[1] + " " + strings.Join(labels, ", ")
}

// The table of the documentation lists exactly the exported families.
func TestDoc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, registry := newExporter(t)
		w := newWorld(t, e)
		if err := e.Watch(statsOf(workersOf(w))); err != nil {
			t.Fatal(err)
		}
		fake.WantNoError(t, fake.RunWorker(t, w))
		table := make(map[string]bool)
		for _, row := range documented(t) {
			table[sortedLabels(row)] = true
		}
		for _, f := range gather(t, registry) {
			if !table[row(f)] {
				t.Errorf("exported but not documented: %s", row(f))
			}
			delete(table, row(f))
		}
		for _, row := range slices.Sorted(maps.Keys(table)) {
			t.Errorf("documented but not exported: %s", row)
		}
	})
}
