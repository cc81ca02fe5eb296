package prometheus_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// dashboard holds the parts of dashboard.json that the tests need.
type dashboard struct {
	Templating struct {
		List []struct {
			Name, Type string
			Query      json.RawMessage
		}
	}
	Panels []struct {
		ID          int
		Type, Title string
		Description string
		Datasource  struct{ UID string }
		GridPos     struct{ H, W, X, Y int }
		Targets     []struct {
			RefID, Expr, LegendFormat string
			Datasource                struct{ UID string }
		}
	}
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	text, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// queries returns the expressions of the dashboard, with values in place of variables.
func (d dashboard) queries() (exprs []string) {
	variables := strings.NewReplacer("$pipeline", "shop|other", "$__rate_interval", "1m")
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			exprs = append(exprs, variables.Replace(target.Expr))
		}
	}
	return exprs
}

// Every query of the dashboard uses only series and labels that are exported, and every
// exported family is in a query.
func TestDashboard_names(t *testing.T) {
	all, d := exportedSeries(t), readDashboard(t)
	unused := make(map[string]bool)
	for name := range all {
		name = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		unused[name] = true
	}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			for _, fault := range all.check(target.Expr, target.LegendFormat) {
				t.Errorf("panel %q, query %s: %s", p.Title, target.RefID, fault)
			}
			for name := range unused {
				if strings.Contains(target.Expr, name) {
					delete(unused, name)
				}
			}
			if rest := strings.NewReplacer("$pipeline", "", "$__rate_interval", "").Replace(target.Expr); strings.Contains(rest, "$") {
				t.Errorf("panel %q: an unknown variable in %s", p.Title, target.Expr)
			}
			if !strings.Contains(target.Expr, `pipeline_name=~"$pipeline"`) {
				t.Errorf("panel %q ignores the variable pipeline: %s", p.Title, target.Expr)
			}
		}
	}
	for name := range unused {
		t.Errorf("%s is on no panel", name)
	}
}

// Every query of the dashboard has a result when it is evaluated on the exported series.
func TestDashboard_results(t *testing.T) {
	if err := exportedSeries(t).evaluate(t, readDashboard(t).queries()...); err != nil {
		t.Error(err)
	}
}

// Every panel uses the variable for the data source. It has a title, a description, an ID of
// its own, and overlaps no other panel.
func TestDashboard_panels(t *testing.T) {
	d := readDashboard(t)
	var ids []int
	for i, p := range d.Panels {
		if slices.Contains(ids, p.ID) {
			t.Errorf("panel %q has the ID of another one", p.Title)
		}
		ids = append(ids, p.ID)
		for _, other := range d.Panels[:i] {
			a, b := p.GridPos, other.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("panels %q and %q overlap", p.Title, other.Title)
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource.UID != "${datasource}" || p.Title == "" || p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("panel %q: %+v", p.Title, p)
		}
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" || target.LegendFormat == "" {
				t.Errorf("panel %q: %+v", p.Title, target)
			}
		}
	}
}

// The variables are a data source, and the pipelines, taken from a label that is exported.
func TestDashboard_variables(t *testing.T) {
	all, d := exportedSeries(t), readDashboard(t)
	if len(d.Templating.List) != 2 || d.Templating.List[0].Name != "datasource" || d.Templating.List[0].Type != "datasource" {
		t.Fatalf("the variables are %+v", d.Templating.List)
	}
	pipeline := d.Templating.List[1]
	var query struct{ Query string }
	if err := json.Unmarshal(pipeline.Query, &query); err != nil || pipeline.Name != "pipeline" {
		t.Fatal(pipeline, err)
	}
	if faults := all.check(query.Query); len(faults) > 0 || !strings.HasSuffix(query.Query, ", pipeline_name)") {
		t.Errorf("%s: %q", query.Query, faults)
	}
}
