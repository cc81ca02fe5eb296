package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if args, ok := childArgs(); ok {
		os.Exit(runChild(args))
	}
	os.Exit(m.Run())
}

// TestKills kills pipelines of every kind. To survive more kills, run the program.
func TestKills(t *testing.T) {
	const kills = 60
	total, err := run(t.Context(), 1, kills, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(total)
	if total.kills < kills || total.lives < 2 || total.failures == 0 || total.repeats == 0 {
		t.Errorf("the runs do not try everything: %v", total)
	}
}

// TestPlans checks that the first seeds try every option and fault.
func TestPlans(t *testing.T) {
	var all string
	for seed := range uint64(20) {
		all += newPlan(seed).String() + "\n"
	}
	for _, word := range []string{
		"1 × ", "2 × ", "read-ahead", "whole batches", "coalesced saves", "gzip", "failing store", "limited files",
	} {
		if !strings.Contains(all, word) {
			t.Errorf("no plan has %q", word)
		}
	}
	if a, b := newPlan(7), newPlan(7); a != b || a.fate(0, 9) != b.fate(0, 9) {
		t.Error("a seed makes different plans")
	}
}

// TestCheckContent damages the outputs of a life, and expects the check to see it.
func TestCheckContent(t *testing.T) {
	type edit func(lines []string) []string
	without := func(from, to int) edit {
		return func(lines []string) []string { return append(lines[:from:from], lines[to:]...) }
	}
	replace := func(old, new string) edit {
		return func(lines []string) []string {
			lines[0] = strings.ReplaceAll(lines[0], old, new)
			return lines
		}
	}
	l := liveOnce(t)
	for name, test := range map[string]struct {
		file string
		edit edit
		want string
	}{
		"lost":              {"a.jsonl", without(10, 11), "is missing"},
		"lost first":        {"a.jsonl", without(0, 1), "is missing"},
		"lost in b":         {"b.jsonl", without(10, 11), "is missing"},
		"lost letter":       {"queue-0.jsonl", without(3, 4), "is missing"},
		"swapped":           {"a.jsonl", func(lines []string) []string { lines[10], lines[11] = lines[11], lines[10]; return lines }, "behind"},
		"repeated in a run": {"a.jsonl", func(lines []string) []string { return append(lines, lines[0]) }, "behind"},
		"unknown record": {"a.jsonl", func(lines []string) []string {
			return append(lines, `{"id":9000,"source":0,"text":"record 9000 of source 0"}`+"\n")
		}, "should not be there"},
		"changed": {"a.jsonl", replace("record", "RECORD"), "is damaged"},
		"torn":    {"a.jsonl", replace("}\n", "}"), "is damaged"},
		"torn at the end": {"a.jsonl", func(lines []string) []string {
			lines[len(lines)-1] = strings.TrimSuffix(lines[len(lines)-1], "\n")
			return lines
		}, "part of a line"},
		"other type in a letter": {"queue-0.jsonl", replace("int64", "int32"), "the record in it"},
		"other reason":           {"queue-0.jsonl", replace(errRefused.Error(), "no reason"), "the reason"},
		"letter of another source": {"queue-0.jsonl", func(lines []string) []string {
			lines = replace(`"source":0`, `"source":1`)(lines)
			return replace("of source 0", "of source 1")(lines)
		}, "of other sources"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(l.dir, test.file)
			text := read(t, path)
			defer write(t, path, text)
			lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
			lines[len(lines)-1] += "\n"
			edited := strings.Join(test.edit(lines), "")
			write(t, path, edited)

			damaged := *l
			damaged.starts = []start{l.starts[0], {acked: l.starts[1].acked, sizes: maps.Clone(l.starts[1].sizes)}}
			damaged.starts[1].sizes[test.file] = int64(len(edited))
			wantError(t, damaged.check(), test.want)
		})
	}
}

// TestCheckRuns changes which run wrote which lines, and expects the check to see it.
func TestCheckRuns(t *testing.T) {
	l := liveOnce(t)
	begin, end := l.starts[0], l.starts[1]
	none, all := begin.acked, end.acked
	for name, test := range map[string]struct {
		starts []start
		want   string
	}{
		"acked and written again": {[]start{{[]int{5}, begin.sizes}, end}, "were acked when it began"},
		"too much in flight":      {[]start{begin, {none, end.sizes}, end}, "can have been in flight"},
		"lines removed":           {[]start{begin, end, {all, begin.sizes}}, "has removed whole lines"},
		"written after the end":   {[]start{begin, begin}, "after the last run"},
		"not saved at the end":    {[]start{begin, {none, end.sizes}}, "at the end, 0 of 500 records"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := *l
			changed.starts = test.starts
			wantError(t, changed.check(), test.want)
		})
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the check says %v, want %q in it", err, want)
	}
}

// liveOnce returns a life without a kill, whose check passes.
func liveOnce(t *testing.T) *life {
	t.Helper()
	l := newLife(0)
	l.plan = plan{seed: 0, sources: 1, records: 500, batch: 20}
	l.dir = t.TempDir()
	if err := l.plan.makeInput(l.dir, 0); err != nil {
		t.Fatal(err)
	}
	if err := l.noteStart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := (&child{plan: l.plan, dir: l.dir, isReady: func() {}}).run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.noteStart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.check(); err != nil {
		t.Fatal(err)
	}
	return l
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
