package file_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector/file"
	"github.com/conduitio/funnel/internal/disk/disktest"
)

// to returns a record of raw data for a file.
func to(name, text string) opencdc.Record {
	rec := raw(text)
	rec.Metadata = opencdc.Metadata{"to": name}
	return rec
}

// Whichever call of the disk fails, and however: the call of the destination fails, nothing
// is acked, and what was acked before is all that is left. Opened again, all goes on.
func TestDestination_faults(t *testing.T) {
	kinds := map[string]func(disktest.Call) error{
		"fails":            func(disktest.Call) error { return errFault },
		"fails in the end": func(disktest.Call) error { return disktest.Anyway(errFault) },
		"fails half-way":   func(c disktest.Call) error { return disktest.Partly(int(c.Length/2), errFault) },
	}
	for kind, fault := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			for n := 0; testFault(t, kind, fault, n); n++ {
			}
		})
	}
}

// testFault lets call n fail. It returns false if there are fewer calls.
func testFault(t *testing.T, kind string, fault func(disktest.Call) error, n int) bool {
	dir := t.TempDir()
	fsys := disktest.New(t, dir)
	d := newDestination(t, filepath.Join(dir, "d", "{{metadata:to}}"), file.Lines, file.WithDisk(fsys), file.WithMaxOpenFiles(2), file.WithMaxAppend(10))
	var failed disktest.Call
	arm := func(n int) {
		fsys.SetHook(func(c disktest.Call) error {
			// A file that is not closed stays locked, and a Stat has nothing to end.
			if isEnd := kind == "fails in the end"; isEnd && c.Kind == disktest.Stat || !isEnd && c.Kind == disktest.Close {
				return nil
			}
			if n--; n != -1 {
				return nil
			}
			failed = c
			return fault(c)
		})
	}
	arm(n)
	want := map[string]string{"a": "", "b": "", "c": ""}
	var err error
	round := 0
	for ; err == nil && round < 2; round++ {
		if round == 0 {
			err = d.Open(t.Context())
		}
		var recs []opencdc.Record
		for _, name := range []string{"a", "b", "c", "a"} {
			recs = append(recs, to(name, fmt.Sprint("record ", round)))
		}
		if err == nil {
			err = d.Write(t.Context(), recs)
		}
		if err == nil {
			for _, rec := range recs {
				want[rec.Metadata["to"]] += string(rec.Payload.After.Bytes()) + "\n"
			}
		} else if acks, _ := d.Ack(t.Context()); len(acks) > 0 {
			t.Errorf("%s %s: there are acks", failed, kind)
		}
	}
	if err == nil {
		err = d.Teardown(t.Context())
	}
	fsys.SetHook(nil)
	if failed.Kind == "" {
		if err != nil || n < 30 {
			t.Errorf("there were %d calls, %v", n, err)
		}
		return false
	}
	if !errors.Is(err, errFault) || !strings.Contains(err.Error(), "file destination: ") {
		t.Errorf("%s %s: %v", failed, kind, err)
	}
	if round < 2 {
		if err := d.Write(t.Context(), []opencdc.Record{to("a", "x")}); err == nil {
			t.Errorf("%s %s: a Write after it has succeeded", failed, kind)
		}
	}
	if err := d.Open(t.Context()); err != nil {
		t.Errorf("%s %s: %v", failed, kind, err)
		return false
	}
	for name := range want {
		mustWrite(t, d, to(name, "last"))
		want[name] += "last\n"
	}
	if err := d.Teardown(t.Context()); err != nil {
		t.Error(err)
	}
	for name, text := range want {
		got := content(filepath.Join(dir, "d", name))
		// A file that was closed during the Write that failed is not cut back.
		if got != text && !isRepeat(got, text, round) {
			t.Errorf("%s %s: %s holds %q, want %q", failed, kind, name, got, text)
		}
	}
	open := 0
	for _, c := range fsys.Calls() {
		switch {
		case c.Kind == disktest.Open && c.Err == nil:
			open++
		case c.Kind == disktest.Close:
			open--
		}
	}
	if open > 0 {
		t.Errorf("%s %s: %d files are still open", failed, kind, open)
	}
	return true
}

// isRepeat reports whether got differs from want only by whole records of the round that has
// failed.
func isRepeat(got, want string, round int) bool {
	return strings.ReplaceAll(got, fmt.Sprintf("record %d\n", round-1), "") == strings.ReplaceAll(want, fmt.Sprintf("record %d\n", round-1), "")
}

// A worker stops when a sync fails, and the next one writes what was not acked.
func TestDestination_worker(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	fsys := disktest.New(t, dir)
	d := newDestination(t, path, file.Lines, file.WithDisk(fsys))
	syncs := 0
	fsys.SetHook(func(c disktest.Call) error {
		if c.Kind == disktest.Sync {
			if syncs++; syncs == 2 {
				return errFault
			}
		}
		return nil
	})
	all := lines(0, 9)
	run := func(recs []opencdc.Record) error {
		source := funnel.SourceFunc(func(context.Context) ([]opencdc.Record, error) {
			if len(recs) == 0 {
				return nil, io.EOF
			}
			batch := recs[:3:3]
			recs = recs[3:]
			return batch, nil
		})
		return funnel.From("in", source).To("out", d).Run(t.Context())
	}
	if err := run(all); !errors.Is(err, errFault) {
		t.Fatal(err)
	}
	wantContent(t, path, "line 0\nline 1\nline 2\n")
	if err := run(all[3:]); err != nil {
		t.Fatal(err)
	}
	want := ""
	for _, rec := range all {
		want += string(rec.Payload.After.Bytes()) + "\n"
	}
	wantContent(t, path, want)
}

// Without a sync, no call makes anything durable, but all is written.
func TestWithoutSync(t *testing.T) {
	dir := t.TempDir()
	fsys := disktest.New(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "a.x"), []byte("1\ntorn"), 0o644); err != nil {
		t.Fatal(err)
	}
	d := openDestination(t, filepath.Join(dir, "{{metadata:to}}.x"), file.Lines, file.WithDisk(fsys), file.WithoutSync(),
		file.WithMaxOpenFiles(1), file.WithMaxAppend(4), file.WithRotation(file.Rotation{Bytes: 10}))
	for range 3 {
		mustWrite(t, d, to("a", "2"), to("b", "3"), to("a", "4"), to("a", "5"), to("b", "6"))
	}
	want := "a.000001.x=1\n2\n4\n5\n a.x=2\n4\n5\n2\n4\n5\n b.000001.x=3\n6\n3\n6\n b.x=3\n6\n"
	if got := tree(t, dir); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, c := range fsys.Calls() {
		if c.Kind == disktest.Sync || c.Kind == disktest.SyncDir {
			t.Errorf("there is a call %s", c)
		}
	}
}

// Each Write costs a sync of each file, and the directory of a new file.
func TestDestination_syncs(t *testing.T) {
	dir := t.TempDir()
	fsys := disktest.New(t, dir)
	d := openDestination(t, filepath.Join(dir, "d", "{{metadata:to}}"), file.Lines, file.WithDisk(fsys))
	seen := len(fsys.Calls())
	for i, want := range []string{"sync d/a sync d/b syncdir d", "sync d/a sync d/b", "sync d/a"} {
		recs := []opencdc.Record{to("a", "1"), to("b", "2"), to("a", "3")}
		if i == 2 {
			recs = recs[:1]
		}
		mustWrite(t, d, recs...)
		var got []string
		for _, c := range fsys.Calls()[seen:] {
			if c.Kind == disktest.Sync || c.Kind == disktest.SyncDir {
				got = append(got, c.String())
			}
		}
		seen = len(fsys.Calls())
		if text := strings.Join(got, " "); text != want {
			t.Errorf("write %d: got %s, want %s", i, text, want)
		}
	}
}

// The directories between the root and the file are synced, wherever they are, and so is the
// parent of the root.
func TestDestination_syncsDirectories(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	fsys := disktest.New(t, dir)
	for _, name := range []string{"a", "b/c"} { // made by a process that was killed
		if err := os.MkdirAll(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{"{{metadata:to}}/x": ". . a", "b/{{metadata:to}}/d/x": ". b b/a b/a/d", "b/c/x": "b b/c"} {
		seen := len(fsys.Calls())
		mustWrite(t, openDestination(t, path, file.Lines, file.WithDisk(fsys)), to("a", "text"))
		var got []string
		for _, c := range fsys.Calls()[seen:] {
			if c.Kind == disktest.SyncDir {
				got = append(got, c.Name)
			}
		}
		slices.Sort(got)
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%s: the directories %s were synced, want %s", path, text, want)
		}
	}
}

// If a process that was killed has made the directories, and they are not on the disk yet,
// they are there once records are acked.
func TestDestination_directoriesLeft(t *testing.T) {
	dir := t.TempDir()
	fsys := disktest.New(t, dir)
	path := filepath.Join(dir, "a", "b", "out.x")
	for _, name := range []string{"a", "a/b"} {
		fsys.SetHook(func(c disktest.Call) error {
			if c.Kind == disktest.SyncDir || c.Kind == disktest.Mkdir && c.Name != name {
				return errFault
			}
			return nil
		})
		if err := newDestination(t, path, file.Lines, file.WithDisk(fsys)).Open(t.Context()); !errors.Is(err, errFault) {
			t.Fatal(err)
		}
	}
	fsys.SetHook(nil)
	mustWrite(t, openDestination(t, path, file.Lines, file.WithDisk(fsys)), raw("1"))
	fsys.Note("acked")
	for c := range fsys.Crashes(t, disktest.Sample{}) {
		if got := content(filepath.Join(c.Dir, "a", "b", "out.x")); len(c.Notes) > 0 && got != "1\n" {
			t.Errorf("there is %q after %s", got, c)
		}
	}
}

// A symbolic link may name a file that is made in another directory.
func TestDestination_syncsDirectoryOfTarget(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"links", "files"} {
		if err := os.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	fsys := disktest.New(t, dir)
	if err := os.Symlink(filepath.Join("..", "files", "x"), filepath.Join("links", "x")); err != nil {
		t.Skip(err)
	}
	mustWrite(t, openDestination(t, "links/x", file.Lines, file.WithDisk(fsys)), raw("1"))
	isSynced := func(c disktest.Call) bool { return c.Kind == disktest.SyncDir && c.Name == "files" }
	if !slices.ContainsFunc(fsys.Calls(), isSynced) {
		t.Errorf("the directory of the file was not synced: %v", fsys.Calls())
	}
}

// What a Write that has failed leaves of an empty file does not mix with the next append.
func TestDestination_emptyAfterFailure(t *testing.T) {
	dir := t.TempDir()
	fsys := disktest.New(t, dir)
	path := filepath.Join(dir, "out.x")
	d := newDestination(t, path, file.Lines, file.WithDisk(fsys))
	if err := d.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	fsys.SetHook(func(c disktest.Call) error {
		if c.Kind == disktest.Sync {
			return errFault
		}
		return nil
	})
	if err := d.Write(t.Context(), []opencdc.Record{raw(strings.Repeat("a", 530))}); !errors.Is(err, errFault) {
		t.Fatal(err)
	}
	fsys.SetHook(nil)
	mustWrite(t, openDestination(t, path, file.Lines, file.WithDisk(fsys)), raw(strings.Repeat("b", 620)))
	for c := range fsys.Crashes(t, disktest.Sample{States: 1024}) {
		openDestination(t, filepath.Join(c.Dir, "out.x"), file.Lines, file.WithDisk(disktest.New(t, c.Dir)))
		if t.Failed() {
			t.Fatal(c)
		}
		if got := content(filepath.Join(c.Dir, "out.x")); strings.Contains(got, "ab") || strings.Contains(got, "ba") {
			t.Fatalf("%q is there after %s", got, c)
		}
	}
}
