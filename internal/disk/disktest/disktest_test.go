package disktest_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/conduitio/funnel/internal/disk"
	"github.com/conduitio/funnel/internal/disk/disktest"
)

var errDisk = errors.New("the disk is broken")

// bench is an FS with a file, and what a test does with them.
type bench struct {
	t    *testing.T
	fs   *disktest.FS
	dir  string
	file disk.File
}

// newBench begins with a file "a" that holds the content and is synced.
func newBench(t *testing.T, content string) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir()}
	if err := os.WriteFile(b.path("a"), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	b.fs = disktest.New(t, b.dir)
	b.file = b.open("a", 0)
	return b
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) open(name string, flag int) disk.File {
	b.t.Helper()
	f, err := b.fs.OpenFile(b.path(name), os.O_RDWR|flag, 0o644)
	b.must(err)
	b.t.Cleanup(func() { _ = f.Close() })
	return f
}

func (b *bench) must(errs ...error) {
	b.t.Helper()
	if err := errors.Join(errs...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) write(text string, offset int64) {
	b.t.Helper()
	_, err := b.file.WriteAt([]byte(text), offset)
	b.must(err)
}

// wantStates compares all states after the last call with the wanted ones. A state is the
// files with their contents, as show prints them.
func (b *bench) wantStates(want ...string) {
	b.t.Helper()
	b.fs.Note("end")
	var got []string
	for crash := range b.fs.Crashes(b.t, disktest.Sample{States: 1 << 12}) {
		if len(crash.Notes) > 0 {
			got = append(got, show(b.t, crash.Dir))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		b.t.Errorf("the states are\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// show prints the files of a directory. A run of a byte is printed as its length.
func show(t *testing.T, dir string) string {
	t.Helper()
	var parts []string
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if entry.IsDir() {
			parts = append(parts, name+"/")
			return nil
		}
		content, err := os.ReadFile(path)
		text := strings.ReplaceAll(string(content), "\x00", "0")
		for _, c := range "xyz0" {
			for _, n := range []int{1024, 512} {
				text = strings.ReplaceAll(text, strings.Repeat(string(c), n), fmt.Sprintf("%d%c", n, c))
			}
		}
		parts = append(parts, name+"="+text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(parts, " ")
}

func xs(n int) string { return strings.Repeat("x", n) }
func ys(n int) string { return strings.Repeat("y", n) }

func TestStates(t *testing.T) {
	tests := []struct {
		name string
		do   func(*bench)
		want []string
	}{
		{"nothing", func(*bench) {}, []string{"a=old"}},
		{"unsynced write", func(b *bench) { b.write("new", 0) }, []string{"a=old", "a=new"}},
		{"synced write", func(b *bench) { b.write("new", 0); b.must(b.file.Sync()) }, []string{"a=new"}},
		{"synced through another file", func(b *bench) { b.write("new", 0); b.must(b.open("a", 0).Sync()) }, []string{"a=new"}},
		{"closed", func(b *bench) { b.write("new", 0); b.must(b.file.Close()) }, []string{"a=old", "a=new"}},
		{"write after a sync", func(b *bench) { b.write("one", 0); b.must(b.file.Sync()); b.write("two", 0) }, []string{"a=one", "a=two"}},
		{"two writes", func(b *bench) { b.write("O", 0); b.write("D", 2) }, []string{"a=old", "a=Old", "a=olD", "a=OlD"}},
		{"longer", func(b *bench) { b.write("new!", 0) }, []string{"a=old", "a=new", "a=old0", "a=new!"}},
		{"behind the end", func(b *bench) { b.write("new", 3) }, []string{"a=old", "a=old000", "a=oldnew"}},
		{"truncated", func(b *bench) { b.must(b.file.Truncate(1)) }, []string{"a=old", "a=o"}},
		{"grown", func(b *bench) { b.must(b.file.Truncate(4)) }, []string{"a=old", "a=old0"}},
		{"truncated by opening", func(b *bench) { b.open("a", os.O_TRUNC) }, []string{"a=old", "a="}},
		{"truncated, grown and synced", func(b *bench) {
			b.must(b.file.Truncate(1), b.file.Truncate(3), b.file.Sync())
		}, []string{"a=o00"}},

		{"failed sync", func(b *bench) { b.write("new", 0); b.failing(disktest.Sync); b.must(b.file.Sync()) }, []string{"a=old", "a=new"}},
		{"written again after a failed sync", func(b *bench) {
			b.write("new", 0)
			b.failing(disktest.Sync)
			b.write("N", 0)
			b.must(b.file.Sync())
		}, []string{"a=Nld", "a=New"}},
		{"a sync that fails after its work", func(b *bench) {
			b.write("new", 0)
			b.fs.SetHook(func(disktest.Call) error { return disktest.Anyway(errDisk) })
			b.wantError(b.file.Sync())
			b.fs.SetHook(nil)
		}, []string{"a=old", "a=new"}},
		{"a write in part", func(b *bench) {
			b.fs.SetHook(func(disktest.Call) error { return disktest.Partly(2, errDisk) })
			n, err := b.file.WriteAt([]byte("new"), 0)
			b.wantError(err)
			if n != 2 {
				b.t.Errorf("%d bytes were written", n)
			}
			b.fs.SetHook(nil)
			b.must(b.file.Sync())
		}, []string{"a=ned"}},

		{"created", func(b *bench) { b.open("b", os.O_CREATE) }, []string{"a=old", "a=old b="}},
		{"created, content synced", func(b *bench) {
			b.file = b.open("b", os.O_CREATE)
			b.write("new", 0)
			b.must(b.file.Sync())
		}, []string{"a=old", "a=old b=new"}},
		{"created, directory synced", func(b *bench) {
			b.file = b.open("b", os.O_CREATE)
			b.write("new", 0)
			b.must(b.fs.SyncDir(b.dir))
		}, []string{"a=old b=", "a=old b=000", "a=old b=new"}},
		{"opened to create, but it exists", func(b *bench) { b.open("a", os.O_CREATE) }, []string{"a=old"}},
		{"removed", func(b *bench) { b.must(b.fs.Remove(b.path("a"))) }, []string{"a=old", ""}},
		{"removed for good", func(b *bench) { b.must(b.fs.Remove(b.path("a")), b.fs.SyncDir(b.dir)) }, []string{""}},
		{"renamed", func(b *bench) { b.must(b.fs.Rename(b.path("a"), b.path("b"))) }, []string{"a=old", "b=old"}},
		{"renamed, directory sync failed", func(b *bench) {
			b.must(b.fs.Rename(b.path("a"), b.path("b")))
			b.failing(disktest.SyncDir)
		}, []string{"a=old", "b=old"}},
		{"renamed over", func(b *bench) {
			b.file = b.open("t", os.O_CREATE)
			b.write("new", 0)
			b.must(b.file.Sync(), b.fs.Rename(b.path("t"), b.path("a")))
		}, []string{"a=old", "a=old t=new", "a=new"}},
		{"renamed over and written by the old file", func(b *bench) {
			old := b.file
			b.file = b.open("t", os.O_CREATE)
			b.must(b.fs.Rename(b.path("t"), b.path("a")), b.fs.SyncDir(b.dir))
			b.file = old
			b.write("new", 0)
		}, []string{"a="}},
		{"mkdir", func(b *bench) {
			b.must(b.fs.Mkdir(b.path("d"), 0o755))
			b.file = b.open("d/f", os.O_CREATE)
			b.must(b.fs.SyncDir(b.path("d")))
		}, []string{"a=old", "a=old d/ d/f="}},
		{"renamed into another directory, which is synced", func(b *bench) {
			b.must(b.fs.Mkdir(b.path("d"), 0o755), b.fs.SyncDir(b.dir), b.fs.Rename(b.path("a"), b.path("d/a")), b.fs.SyncDir(b.path("d")))
		}, []string{"a=old d/", "d/ d/a=old"}},
		{"renamed out of a directory, which is synced", func(b *bench) {
			b.must(b.fs.Mkdir(b.path("d"), 0o755), b.fs.SyncDir(b.dir), b.fs.Rename(b.path("a"), b.path("d/a")), b.fs.SyncDir(b.dir))
		}, []string{"a=old d/", "d/ d/a=old"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, "old")
			test.do(b)
			b.wantStates(test.want...)
		})
	}
}

// failing makes one call of the kind fail.
func (b *bench) failing(kind disktest.Kind) {
	b.t.Helper()
	b.fs.SetHook(func(c disktest.Call) error {
		if c.Kind == kind {
			return errDisk
		}
		return nil
	})
	if kind == disktest.Sync {
		b.wantError(b.file.Sync())
	} else {
		b.wantError(b.fs.SyncDir(b.dir))
	}
	b.fs.SetHook(nil)
}

func (b *bench) wantError(err error) {
	b.t.Helper()
	if !errors.Is(err, errDisk) {
		b.t.Errorf("the error is %v", err)
	}
}

func TestStates_tornAtSectors(t *testing.T) {
	b := newBench(t, xs(1024))
	b.write(ys(600), 500) // three sectors, of which the middle one is whole
	b.must(b.file.Truncate(1024))
	b.fs.Note("end")
	seen := make(map[string]bool)
	for crash := range b.fs.Crashes(t, disktest.Sample{States: 1 << 12}) {
		content, err := os.ReadFile(filepath.Join(crash.Dir, "a"))
		b.must(err)
		if len(crash.Notes) > 0 {
			seen[string(content)] = true
		}
	}
	for _, want := range []string{
		xs(1024),
		xs(500) + ys(12) + xs(512),
		xs(512) + ys(512),
		xs(500) + ys(524),
		xs(500) + ys(524) + ys(76),
		xs(1024) + ys(76),
		xs(1024) + strings.Repeat("\x00", 76),
	} {
		if !seen[want] {
			t.Errorf("the state %q is missing", want)
		}
	}
	if len(seen) != 4+4*2 {
		t.Errorf("there are %d states", len(seen))
	}
}

func TestCrashes_eachPrefix(t *testing.T) {
	b := newBench(t, "0")
	for _, text := range []string{"1", "2"} {
		b.fs.Note("before " + text)
		b.write(text, 0)
		b.must(b.file.Sync())
		b.fs.Note("after " + text)
	}
	var got []string
	for crash := range b.fs.Crashes(t, disktest.Sample{}) {
		got = append(got, fmt.Sprint(crash.Notes, " ", show(t, crash.Dir)))
	}
	want := []string{
		"[] a=0", "[before 1] a=0", "[before 1] a=1", "[before 1 after 1] a=1",
		"[before 1 after 1 before 2] a=1", "[before 1 after 1 before 2] a=2", "[before 1 after 1 before 2 after 2] a=2",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

func TestCrashes_sample(t *testing.T) {
	b := newBench(t, "")
	b.write(ys(64*512), 0)
	count := func(s disktest.Sample) (n int, all, none bool, first string) {
		for crash := range b.fs.Crashes(t, s) {
			content, err := os.ReadFile(filepath.Join(crash.Dir, "a"))
			b.must(err)
			n++
			all = all || string(content) == ys(64*512)
			none = none || len(content) == 0
			first += string(content[:min(len(content), 1)])
		}
		return n, all, none, first
	}
	n, all, none, first := count(disktest.Sample{States: 32})
	if n < 20 || n > 35 || !all || !none {
		t.Errorf("%d states, with all %t, with none %t", n, all, none)
	}
	if _, _, _, again := count(disktest.Sample{States: 32}); again != first {
		t.Error("the same seed gives other states")
	}
	for crash := range b.fs.Crashes(t, disktest.Sample{}) {
		if text := crash.String(); strings.Contains(text, "lost") && !strings.Contains(text, "write a, 32768 bytes at 0") {
			t.Errorf("the description does not say what was lost: %s", text)
		}
		if _, err := os.Stat(crash.Dir); err != nil {
			t.Error(err)
		}
		if len(crash.Calls) > 0 {
			break
		}
	}
}

func TestHook(t *testing.T) {
	b := newBench(t, "old")
	var asked []string
	b.fs.SetHook(func(c disktest.Call) error {
		asked = append(asked, c.String())
		return errDisk
	})
	_, err := b.fs.OpenFile(b.path("b"), os.O_CREATE|os.O_RDWR, 0o644)
	b.wantError(err)
	_, err = b.fs.Stat(b.path("a"))
	b.wantError(err)
	b.wantError(b.fs.Mkdir(b.path("d"), 0o755))
	b.wantError(b.fs.Rename(b.path("a"), b.path("b")))
	b.wantError(b.fs.Remove(b.path("a")))
	b.wantError(b.fs.SyncDir(b.dir))
	_, err = b.file.ReadAt(make([]byte, 3), 0)
	b.wantError(err)
	_, err = b.file.WriteAt([]byte("new!"), 0)
	b.wantError(err)
	b.wantError(b.file.Truncate(0))
	b.wantError(b.file.Sync())
	_, err = b.file.Stat()
	b.wantError(err)
	b.wantError(b.file.Lock())
	b.wantError(b.file.Close())
	want := []string{
		"create b", "stat a", "mkdir d", "rename a to b", "remove a", "syncdir .", "read a, 3 bytes at 0",
		"write a, 4 bytes at 0", "truncate a to 0 bytes", "sync a", "describe a", "lock a", "close a",
	}
	if !slices.Equal(asked, want) {
		t.Errorf("the hook was asked %q", asked)
	}
	if got := show(t, b.dir); got != "a=old" {
		t.Errorf("calls that failed left %s", got)
	}
	if calls := b.fs.Calls(); len(calls) != 1+len(want) || !errors.Is(calls[1].Err, errDisk) {
		t.Errorf("the calls are %v", calls)
	}
	b.fs.SetHook(nil)
	b.must(b.file.Lock(), b.file.Close())
}

func TestHook_anyway(t *testing.T) {
	b := newBench(t, "old")
	b.fs.SetHook(func(disktest.Call) error { return disktest.Anyway(errDisk) })
	b.wantError(b.fs.Rename(b.path("a"), b.path("b")))
	_, err := b.fs.OpenFile(b.path("c"), os.O_CREATE|os.O_RDWR, 0o644)
	b.wantError(err)
	b.fs.SetHook(nil)
	b.wantStates("a=old", "b=old", "a=old c=", "b=old c=")
}

func TestFull(t *testing.T) {
	b := newBench(t, "old")
	b.fs.SetHook(disktest.Full(4))
	b.write("new", 0)
	b.write("12", 3)
	n, err := b.file.WriteAt([]byte("1234"), 4)
	if n != 3 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%d bytes, %v", n, err)
	}
	b.write("NEW", 0)
	if _, err := b.fs.OpenFile(b.path("b"), os.O_CREATE|os.O_RDWR, 0o644); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a file was created: %v", err)
	}
	if got := show(t, b.dir); got != "a=NEW1123" {
		t.Errorf("the disk holds %s", got)
	}
}

func TestFS_staysInside(t *testing.T) {
	b := newBench(t, "old")
	outside := filepath.Join(t.TempDir(), "x")
	if _, err := b.fs.OpenFile(outside, os.O_CREATE|os.O_RDWR, 0o644); err == nil {
		t.Error("a file outside was created")
	}
	if err := b.fs.Rename(b.path("a"), outside); err == nil {
		t.Error("a file was renamed out of the directory")
	}
	b.must(disk.MkdirAll(b.fs, b.path("d/e"), 0o755))
	if err := b.fs.Rename(b.path("d"), b.path("f")); err == nil {
		t.Error("a directory was renamed")
	}
	b.wantStates("a=old d/ d/e/")
}
