package main

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file"
	"github.com/conduitio/funnel/position"
)

func TestMain(m *testing.M) {
	beChild()
	os.Exit(m.Run())
}

// The lives of the first seeds have every option and fault.
const (
	firstSeed = 2978102
	seeds     = 3
)

// TestKills kills pipelines of every kind. To survive more kills, run the program.
func TestKills(t *testing.T) {
	const kills = 60
	total, err := run(t.Context(), firstSeed, kills, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(total)
	if total.kills < kills || total.lives < seeds || total.failures == 0 || total.repeats == 0 || total.rotations == 0 {
		t.Errorf("the runs do not try everything: %v", total)
	}
}

// TestPlans checks that the first seeds try every option and fault.
func TestPlans(t *testing.T) {
	var all string
	for seed := range uint64(seeds) {
		all += newPlan(firstSeed+seed).String() + "\n"
	}
	for _, word := range []string{
		"1 × ", "2 × ", "read-ahead", "whole batches", "coalesced saves", "gzip", "bolt", "names from records",
		"rotation by size", "rotation by age", "failing store", "limited files", "full disk",
	} {
		if !strings.Contains(all, word) {
			t.Errorf("no plan has %q in:\n%s", word, all)
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
	l := liveOnce(t, plan{sources: 1, records: 500, batch: 20})
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
			return append(lines, l.plan.inputLine(0, 9000))
		}, "should not be there"},
		"changed":      {"a.jsonl", replace("record", "RECORD"), "is damaged"},
		"another name": {"a.jsonl", replace(`"name":"n`, `"name":"m`), "is damaged"},
		"torn":         {"a.jsonl", replace("}\n", "}"), "is damaged"},
		"torn at the end": {"a.jsonl", func(lines []string) []string {
			lines[len(lines)-1] = strings.TrimSuffix(lines[len(lines)-1], "\n")
			return lines
		}, "part of a line"},
		"other type in a letter": {"queue-0.jsonl", replace("int64", "int32"), "the record in it"},
		"other reason":           {"queue-0.jsonl", replace(errRefused.Error(), "no reason"), "the reason"},
		"letter of another source": {"queue-0.jsonl", func(lines []string) []string {
			letter, err := parseLetter([]byte(lines[0]), l.plan)
			if err != nil {
				t.Fatal(err)
			}
			lines = replace(`"name":"`+l.plan.fate(0, letter.id).name, `"name":"`+l.plan.fate(1, letter.id).name)(lines)
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

// TestCheckFiles damages rotated files and files with names from records, and expects the
// check to see it.
func TestCheckFiles(t *testing.T) {
	l := liveOnce(t, plan{sources: 1, records: 500, batch: 20, openFiles: 2, rotation: file.Rotation{Bytes: 1000}})
	if l.report.rotations == 0 {
		t.Fatal("nothing was rotated")
	}
	for name, test := range map[string]struct {
		damage func(t *testing.T, dir string)
		want   string
	}{
		"lost file": {func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "a/n1/out.jsonl"))
		}, "is missing"},
		"lost rotated file": {func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "a/n1/out.000001.jsonl"))
		}, "is missing"},
		"gap": {func(t *testing.T, dir string) {
			rename(t, filepath.Join(dir, "queue-0/n1/out.000001.jsonl"), filepath.Join(dir, "queue-0/n1/out.000099.jsonl"))
		}, "is none of the outputs"},
		"unknown name": {func(t *testing.T, dir string) {
			rename(t, filepath.Join(dir, "b/n1"), filepath.Join(dir, "b/other"))
		}, "b/other/out.000001.jsonl is none of the outputs"},
		"torn": {func(t *testing.T, dir string) {
			path := filepath.Join(dir, "b/n2/out.000001.jsonl")
			write(t, path, strings.TrimSuffix(read(t, path), "\n"))
		}, "was rotated, but ends with a part of a line"},
		"empty": {func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "b/n2/out.000001.jsonl"), "")
		}, "is empty"},
		"too large": {func(t *testing.T, dir string) {
			first, second := filepath.Join(dir, "a/n1/out.000001.jsonl"), filepath.Join(dir, "a/n1/out.jsonl")
			write(t, second, strings.Repeat(read(t, first)+read(t, second), 20))
		}, "may have only 1000 bytes"},
		"names swapped": {func(t *testing.T, dir string) {
			rename(t, filepath.Join(dir, "a/n1"), filepath.Join(dir, "a/other"))
			rename(t, filepath.Join(dir, "a/n2"), filepath.Join(dir, "a/n1"))
			rename(t, filepath.Join(dir, "a/other"), filepath.Join(dir, "a/n2"))
		}, "has the name n2"},
	} {
		t.Run(name, func(t *testing.T) {
			damaged := *l
			damaged.dir = t.TempDir()
			if err := os.CopyFS(damaged.dir, os.DirFS(l.dir)); err != nil {
				t.Fatal(err)
			}
			test.damage(t, damaged.dir)
			wantError(t, damaged.check(), test.want)
		})
	}
}

// TestSmallDisk fills a small disk, and makes room on it again.
func TestSmallDisk(t *testing.T) {
	disk, err := newSmallDisk(t.TempDir())
	if err != nil {
		t.Skipf("this machine has refused a small disk: %v", err)
	}
	path := filepath.Join(disk.dir, "file")
	fill := func(n int) error { return os.WriteFile(path, make([]byte, n), 0o600) }
	if err := disk.leave(100 << 10); err != nil {
		t.Fatal(err)
	}
	if err := fill(50 << 10); err != nil {
		t.Errorf("50 of 100 KiB: %v", err)
	}
	if err := fill(150 << 10); !isDiskFull(err) {
		t.Errorf("150 of 100 KiB: %v", err)
	}
	if err := disk.empty(); err != nil {
		t.Fatal(err)
	}
	if err := fill(150 << 10); err != nil {
		t.Errorf("150 KiB on an empty disk: %v", err)
	}
	if err := disk.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the disk is still there")
	}
}

// TestFailingStore checks that some of the saves that fail have happened.
func TestFailingStore(t *testing.T) {
	inner := position.NewMemory()
	store := &failingStore{Store: inner, rng: rand.New(rand.NewPCG(1, 1)), left: 1}
	claim, err := store.Claim(t.Context(), "id")
	if err != nil {
		t.Fatal(err)
	}
	happened := 0
	for i := range 20 {
		text := fmt.Sprint(i)
		if err := claim.Save(t.Context(), opencdc.Position(text)); (err == nil) != (i == 0) || err != nil && !errors.Is(err, errInjected) {
			t.Fatalf("save %d: %v", i, err)
		}
		saved, err := claim.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if string(saved) == text {
			happened++
		} else if i == 0 {
			t.Error("the save that has succeeded has not happened")
		}
	}
	if happened < 5 || happened > 15 {
		t.Errorf("%d of 20 saves have happened", happened)
	}
}

// TestJumpingClock checks that the clock goes forward and back by more than the age of a
// rotation.
func TestJumpingClock(t *testing.T) {
	now := jumpingClock(rand.New(rand.NewPCG(1, 1)))
	var forward, back, still int
	for last, i := now(), 0; i < 1000; i++ {
		next := now()
		switch d := next.Sub(last); {
		case d > time.Hour:
			forward++
		case d < -time.Hour:
			back++
		case d >= 0 && d < time.Minute:
			still++
		}
		last = next
	}
	if forward < 5 || back < 5 || still < 800 {
		t.Errorf("of 1000 steps %d go forward, %d back and %d nowhere", forward, back, still)
	}
}

// TestCheckRuns changes which run wrote which lines, and expects the check to see it.
func TestCheckRuns(t *testing.T) {
	l := liveOnce(t, plan{sources: 1, records: 500, batch: 20})
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
func liveOnce(t *testing.T, p plan) *life {
	t.Helper()
	l := newLife(0)
	l.plan = p
	l.dir = t.TempDir()
	if err := l.plan.makeInput(l.dir, 0); err != nil {
		t.Fatal(err)
	}
	if err := l.noteStart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := (&child{plan: p, dir: l.dir, isReady: func() {}}).run(t.Context()); err != nil {
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

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
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
