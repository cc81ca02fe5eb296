package disk_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conduitio/funnel/internal/disk"
	"github.com/conduitio/funnel/internal/disk/disktest"
)

func open(t *testing.T, name string) disk.File {
	t.Helper()
	f, err := disk.OS.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestLock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	first, second := open(t, name), open(t, name)
	if err := first.Lock(); err != nil {
		t.Fatal(err)
	}
	if err := second.Lock(); !errors.Is(err, disk.ErrLocked) || !strings.Contains(err.Error(), name) {
		t.Errorf("while another file holds the lock: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := second.Lock(); err != nil {
		t.Errorf("after the other file was closed: %v", err)
	}
}

func TestLockShared(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	writer := open(t, name)
	var readers []*os.File
	for range 2 {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		if err := disk.LockShared(f); err != nil {
			t.Fatal(err)
		}
		readers = append(readers, f)
	}
	for _, f := range readers {
		if err := writer.Lock(); !errors.Is(err, disk.ErrLocked) {
			t.Errorf("while a reader holds a shared lock: %v", err)
		}
		_ = f.Close()
	}
	if err := writer.Lock(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := disk.LockShared(f); !errors.Is(err, disk.ErrLocked) || !strings.Contains(err.Error(), name) {
		t.Errorf("while a writer holds the lock: %v", err)
	}
}

func TestWriteAndSync(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	f := open(t, name)
	if _, err := f.WriteAt([]byte("hello, world"), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(5); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), disk.OS.SyncDir(dir)); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(name); err != nil || string(got) != "hello" {
		t.Errorf("read %q, %v", got, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err == nil {
		t.Error("Sync of a closed file returned nil")
	}
	if err := disk.OS.SyncDir(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("SyncDir of a missing directory: %v", err)
	}
}

func TestMkdirAll(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b", "c")
	for range 2 {
		if err := disk.MkdirAll(disk.OS, deep, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(deep); err != nil || !info.IsDir() {
		t.Fatalf("%v, %v", info, err)
	}
	open(t, filepath.Join(deep, "file"))
	for _, name := range []string{filepath.Join(deep, "file"), filepath.Join(deep, "file", "d")} {
		if err := disk.MkdirAll(disk.OS, name, 0o755); err == nil {
			t.Errorf("MkdirAll(%s) returned nil", name)
		}
	}
}

// A process that is killed between making a directory and syncing its parent leaves a
// directory that a crash of the machine can remove, with all that the next process puts
// there.
func TestMkdirAll_afterKill(t *testing.T) {
	root := t.TempDir()
	fsys := disktest.New(t, root)
	if err := fsys.Mkdir(filepath.Join(root, "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := disk.MkdirAll(fsys, filepath.Join(root, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	fsys.Note("made")
	isMade := false
	for crash := range fsys.Crashes(t, disktest.Sample{}) {
		if len(crash.Notes) == 0 {
			continue
		}
		isMade = true
		if _, err := os.Stat(filepath.Join(crash.Dir, "a", "b")); err != nil {
			t.Error(err)
		}
	}
	if !isMade {
		t.Error("no crash came after MkdirAll had returned")
	}
}
