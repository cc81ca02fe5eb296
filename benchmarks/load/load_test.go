package main

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestWork checks that all contestants do the same work, and do it right.
func TestWork(t *testing.T) {
	in := filepath.Join(t.TempDir(), "input.jsonl")
	lines, err := makeInput(in, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var kept, refusedIDs []any
	for _, event := range readLines(t, in) {
		switch {
		case int(event["id"].(float64))%filterEvery == 0:
		case event["status"] == float64(refused):
			refusedIDs = append(refusedIDs, event["id"])
		default:
			event["service"] = servicePrefix + event["service"].(string)
			kept = append(kept, event)
		}
	}
	if len(refusedIDs) == 0 || len(kept)+len(refusedIDs) >= lines {
		t.Fatalf("of %d events %d are kept and %d refused", lines, len(kept), len(refusedIDs))
	}
	for _, c := range contestants {
		t.Run(c.name, func(t *testing.T) {
			out := t.TempDir()
			if err := c.run(in, out); err != nil {
				t.Fatal(err)
			}
			if err := check(lines, out); err != nil {
				t.Error(err)
			}
			for i, event := range readLines(t, eventsPath(out)) {
				if !reflect.DeepEqual(any(event), kept[i]) {
					t.Fatalf("event %d is %v, want %v", i, event, kept[i])
				}
			}
			for i, letter := range readLines(t, lettersPath(out)) {
				if id := idOf(t, c.name, letter); id != refusedIDs[i] {
					t.Errorf("dead letter %d is that of event %v, want %v", i, id, refusedIDs[i])
				}
			}
		})
	}
}

func TestCheck(t *testing.T) {
	out := t.TempDir()
	for path, lines := range map[string]int{eventsPath(out): 799, lettersPath(out): 1} {
		if err := os.WriteFile(path, []byte(strings.Repeat("x\n", lines)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := check(1000, out); err != nil {
		t.Error(err)
	}
	if err := check(1002, out); err == nil || !strings.Contains(err.Error(), "has 799 lines, want 800") {
		t.Errorf("one event is missing: %v", err)
	}
}

// TestFlags checks that flags that cannot work are refused before anything runs.
func TestFlags(t *testing.T) {
	dir := t.TempDir()
	regular := filepath.Join(dir, "file")
	if err := os.WriteFile(regular, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		c    comparison
		want string
	}{
		"no runs":           {comparison{MiB: 1}, "-runs 0"},
		"negative runs":     {comparison{MiB: 1, Runs: -1}, "-runs -1"},
		"no input":          {comparison{Runs: 1}, "-mib 0"},
		"negative size":     {comparison{MiB: -1, Runs: 1}, "-mib -1"},
		"size too large":    {comparison{MiB: 1 << 50, Runs: 1}, "-mib 1125899906842624"},
		"no such program":   {comparison{MiB: 1, Runs: 1, benthos: filepath.Join(dir, "none")}, "-benthos"},
		"no such directory": {comparison{MiB: 1, Runs: 1, results: filepath.Join(dir, "none", "load.json")}, "-o"},
		"below a file":      {comparison{MiB: 1, Runs: 1, results: filepath.Join(regular, "load.json")}, "is no directory"},
		"a directory":       {comparison{MiB: 1, Runs: 1, results: dir}, "is a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := test.c.run(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want %q in it", err, test.want)
			}
		})
	}
	for _, c := range []comparison{{MiB: 1, Runs: 1}, {MiB: maxMiB, Runs: 9, results: regular}, {MiB: 1, Runs: 1, results: filepath.Join(dir, "new")}} {
		if err := c.validate(); err != nil {
			t.Error(err)
		}
	}
}

// idOf returns the ID of the event in a dead letter.
func idOf(t *testing.T, contestant string, letter map[string]any) any {
	t.Helper()
	if contestant == "struct" {
		return letter["id"] // the line itself
	}
	payload, _ := letter["payload"].(map[string]any)
	record, _ := payload["after"].(map[string]any)
	payload, _ = record["payload"].(map[string]any)
	event, _ := payload["after"].(map[string]any)
	return event["id"]
}

func readLines(t *testing.T, path string) (lines []map[string]any) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		var line map[string]any
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}
