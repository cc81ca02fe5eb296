package main

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// The files are links into the module metrics/prometheus, whose tests know no supervisor.
var operatorFiles = []string{"testdata/dashboard.json", "testdata/alerts.yaml"}

var (
	selection = regexp.MustCompile(`\b(?:funnel|conduit)_[a-z_]+\b(?:\{[^}]*\})?`)
	matcher   = regexp.MustCompile(`\w+="[^"$]+"`)
)

// Whatever the dashboard and the alerts select is exported by a service with everything
// switched on: its engine, and its supervisor in the states that it has been in.
func TestService_operatorFiles(t *testing.T) {
	p := start(t, t.TempDir(), "-customers", "5")
	p.order(`{"id":"1","item":"unicorn","count":1}`, 202)
	p.see("totals", 200, `^[1-9]\d* orders`)
	p.see("metrics", 200, `funnel_lag_seconds\{pipeline_name="totals"\} \d`)
	p.see("metrics", 200, `funnel_records_total\{outcome="dead_lettered",pipeline_name="pricing"\} [1-9]`)
	_, exported := p.get("metrics")
	lines := strings.Split(exported, "\n")
	for _, path := range operatorFiles {
		text, err := os.ReadFile(filepath.FromSlash(path))
		if err != nil {
			t.Fatal(err)
		}
		all := selection.FindAllString(strings.ReplaceAll(string(text), `\"`, `"`), -1)
		if len(all) == 0 {
			t.Errorf("%s selects nothing", path)
		}
		for _, s := range all {
			name, labels, _ := strings.Cut(s, "{")
			if !isExported(lines, name+"{", matcher.FindAllString(labels, -1)) {
				t.Errorf("%s selects %s, which is not exported", path, s)
			}
		}
	}
	p.end(syscall.SIGTERM)
}

// isExported returns true if a line begins with the prefix and has all labels.
func isExported(lines []string, prefix string, labels []string) bool {
	for _, l := range lines {
		ok := strings.HasPrefix(l, prefix)
		for _, label := range labels {
			ok = ok && strings.Contains(l, label)
		}
		if ok {
			return true
		}
	}
	return false
}

// span is what the test needs of a span in spans.jsonl.
type span struct {
	Name        string
	SpanContext spanContext
	Links       []struct{ SpanContext spanContext }
}

type spanContext struct{ TraceID, SpanID string }

// A file of records passes the trace on: a batch of pricing links to the one of intake which
// has stored its records.
func TestService_links(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "-traces", "1")
	p.order(`{"id":"1","item":"apple","count":1}`, 202)
	p.see("totals", 200, `^1 orders`)
	p.end(syscall.SIGTERM)
	file, err := os.Open(filepath.Join(dir, "spans.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	byName := make(map[string]span)
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var s span
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		byName[s.Name] = s
	}
	from, to := byName["task trace"], byName["process pricing"]
	if len(to.Links) != 1 || to.Links[0].SpanContext != from.SpanContext || from.SpanContext.TraceID == "" {
		t.Errorf("the span %+v does not link to %+v", to, from)
	}
}
