package prometheus_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// alerts returns the expressions of alerts.yaml by the name of the alert.
func alerts(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	exprs := make(map[string]string)
	for _, m := range regexp.MustCompile(`- alert: (\w+)\n\s+expr: (.+)\n`).FindAllStringSubmatch(string(text), -1) {
		exprs[m[1]] = m[2]
	}
	if n := strings.Count(string(text), "- alert: "); n != len(exprs) || n == 0 {
		t.Fatalf("%d of %d alerts have an expression on the line after their name", len(exprs), n)
	}
	return exprs
}

// Every alert uses only series and labels that are exported.
func TestAlerts_names(t *testing.T) {
	all := exportedSeries(t)
	for name, expr := range alerts(t) {
		for _, fault := range all.check(expr) {
			t.Errorf("%s: %s", name, fault)
		}
	}
}

// Every alert has a test in alerts_test.yaml in which it fires, and one in which it does not.
func TestAlerts_tested(t *testing.T) {
	text, err := os.ReadFile("alerts_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name := range alerts(t) {
		for _, expects := range []string{`exp_alerts:\n\s+- exp_labels`, `exp_alerts: \[\]`} {
			if !regexp.MustCompile(`alertname: ` + name + `\n\s+` + expects).Match(text) {
				t.Errorf("%s: no test with %s", name, expects)
			}
		}
	}
}

func TestAlerts_promtool(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
		if err := promtool(t, args...); err != nil {
			t.Error(err)
		}
	}
}
