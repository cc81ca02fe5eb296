// Package disktest tests code that writes files through [disk.FS]: it makes calls fail, and
// rebuilds what a crash of the machine can leave behind.
//
// An [FS] works in a real directory and records its calls. A test makes one, lets the code
// under test use it, and records with [FS.Note] what that code has promised:
//
//	fsys := disktest.New(t, t.TempDir())
//	fsys.Note("saving 1")
//	save(fsys, 1)
//	fsys.Note("saved 1")
//	for crash := range fsys.Crashes(t, disktest.Sample{}) {
//		got := load(disk.OS, crash.Dir) // compare with what crash.Notes promise
//	}
//
// [FS.Crashes] goes through the calls. After each call that changes something, it builds the
// states in which a crash can then leave the directory, each state in a directory of its own:
//
//   - What was synced is there: the content of a file as of its last successful Sync, and the
//     names of a directory as of its last successful SyncDir. A file whose name is not there
//     is lost, even if its content was synced.
//   - Of every other write, any subset of its sectors is there. A sector has 512 bytes and
//     begins at a multiple of 512 in the file. Where a write makes the file longer, each
//     sector's part of the growth is there or not as well: a sector that lies within the
//     length, but was not written, is zero.
//   - Every other truncation has happened or not.
//   - Every other create, rename, remove and mkdir has happened or not, independently of
//     those before it. A rename between two directories needs a SyncDir of both.
//   - After a failed Sync, the changes that it covered stay uncertain, even if a later Sync
//     succeeds. Only if the same bytes are written again and synced are they certain.
//
// If there are too many states after a call, Crashes builds a random sample of them. A test
// can continue in a state with another FS over its directory, and crash again.
//
// A hook ([FS.SetHook]) decides which calls fail, and how: [Partly], [Anyway], [Full].
package disktest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/conduitio/funnel/internal/disk"
)

// Kind is what a call does.
type Kind string

// The kinds of calls: those of [disk.FS] and [disk.File], and notes.
const (
	Open     Kind = "open"
	Stat     Kind = "stat" // of the FS
	Mkdir    Kind = "mkdir"
	Rename   Kind = "rename"
	Remove   Kind = "remove"
	SyncDir  Kind = "syncdir"
	Read     Kind = "read"
	Write    Kind = "write"
	Truncate Kind = "truncate"
	Sync     Kind = "sync"
	Describe Kind = "describe" // Stat of a file
	Lock     Kind = "lock"
	Close    Kind = "close"
	Note     Kind = "note"
)

// Call is a call of an [FS] or of one of its files.
type Call struct {
	Kind Kind
	// Name is the name of the file or directory, relative to the directory of the FS. For a
	// call of a file, it is the name under which the file was opened.
	Name string
	// To is the new name in a Rename.
	To string
	// Flag holds the flags of an Open.
	Flag int
	// Created is true for an Open that creates the file.
	Created bool
	// Offset is where a Read or a Write begins. Length is its number of bytes or, for a
	// Truncate, the new size.
	Offset, Length int64
	// Growth is the number of bytes by which a Write or Truncate makes the file longer.
	Growth int64
	// Note is the value that was noted.
	Note any
	// Err is the error that the call has returned. A hook does not see it.
	Err error

	data    []byte // of a Write
	file    int    // the number of the file, from 1
	parent  string // the directory of Name
	toDir   string // the directory of To
	hasDone bool   // the call has taken effect; a Sync or SyncDir has made durable what it covers
}

// String describes the call in a few words.
func (c Call) String() string {
	s := string(c.Kind)
	switch c.Kind {
	case Note:
		return fmt.Sprintf("note %v", c.Note)
	case Open:
		if c.Created {
			s = "create"
		}
		s += " " + c.Name
	case Rename:
		s += " " + c.Name + " to " + c.To
	case Read, Write:
		s += fmt.Sprintf(" %s, %d bytes at %d", c.Name, c.Length, c.Offset)
	case Truncate:
		s += fmt.Sprintf(" %s to %d bytes", c.Name, c.Length)
	default:
		s += " " + c.Name
	}
	if c.Err != nil {
		s += fmt.Sprintf(": %v", c.Err)
	}
	return s
}

// Hook is called before each call, except notes. If it returns an error, the call fails with
// this error and does nothing, unless the error is made by [Partly] or [Anyway]. Calls run
// one at a time, and so does the hook; it must not use the FS. A Sync that fails leaves what
// it covers uncertain, see the package documentation.
type Hook func(Call) error

// Partly returns an error for a hook: a Write writes its first n bytes, and then fails
// with err. Any other call does nothing and fails with err.
func Partly(n int, err error) error { return &fault{err: err, bytes: n} }

// Anyway returns an error for a hook: the call does its work, but fails with err. After a
// Sync or SyncDir, what it covers does not count as durable.
func Anyway(err error) error { return &fault{err: err, isDone: true} }

type fault struct {
	err    error
	bytes  int
	isDone bool
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// FS is a file system over a directory. It records all calls. Its methods, and those of
// its files, can be called concurrently; they run one at a time. Sync and SyncDir are only
// recorded: nothing is synced, so tests are fast.
type FS struct {
	root string

	mu    sync.Mutex
	hook  Hook
	calls []Call
	names map[string]int // the numbers of the existing files, by name
	sizes map[int]int64  // by the number of the file
	start *state         // what was there when the FS was made
}

var _ disk.FS = (*FS)(nil)

// New returns a file system over the directory root, which must exist. Its content counts as
// synced.
func New(t testing.TB, root string) *FS {
	t.Helper()
	root, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	f := &FS{root: root, names: make(map[string]int), sizes: make(map[int]int64), start: newState()}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name := f.relative(path)
		if entry.IsDir() {
			f.start.names[name] = node{isDir: true}
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n := f.newFile(name, int64(len(content)))
		f.start.names[name] = node{file: n}
		f.start.files[n] = &fileContent{base: content, size: int64(len(content))}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// SetHook sets the hook. With a nil hook, no call is made to fail.
func (f *FS) SetHook(hook Hook) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

// Note records a note among the calls, for [Crash.Notes].
func (f *FS) Note(note any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, Call{Kind: Note, Note: note})
}

// Calls returns the calls so far, including the notes.
func (f *FS) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// OpenFile implements [disk.FS].
func (f *FS) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	var file disk.File
	err := f.call(Call{Kind: Open, Name: name, Flag: flag}, func(c *Call) (err error) {
		if file, err = disk.OS.OpenFile(name, flag, perm); err != nil {
			return err
		}
		if c.Created {
			c.file = f.newFile(c.Name, 0)
		} else if flag&os.O_TRUNC != 0 {
			f.sizes[c.file] = 0
		}
		file = &recordedFile{fs: f, file: file, name: name, number: c.file}
		return nil
	})
	if err != nil {
		if file != nil {
			_ = file.(*recordedFile).file.Close()
		}
		return nil, err
	}
	return file, nil
}

// Stat implements [disk.FS].
func (f *FS) Stat(name string) (info fs.FileInfo, err error) {
	err = f.call(Call{Kind: Stat, Name: name}, func(*Call) (err error) {
		info, err = disk.OS.Stat(name)
		return err
	})
	return info, err
}

// Mkdir implements [disk.FS].
func (f *FS) Mkdir(name string, perm fs.FileMode) error {
	return f.call(Call{Kind: Mkdir, Name: name}, func(*Call) error { return disk.OS.Mkdir(name, perm) })
}

// Rename implements [disk.FS], for files.
func (f *FS) Rename(from, to string) error {
	return f.call(Call{Kind: Rename, Name: from, To: to}, func(c *Call) error {
		if info, err := disk.OS.Stat(from); err == nil && info.IsDir() {
			return fmt.Errorf("disktest: %s is a directory, and only files can be renamed", from)
		}
		if err := disk.OS.Rename(from, to); err != nil {
			return err
		}
		delete(f.names, c.Name)
		f.names[c.To] = c.file
		return nil
	})
}

// Remove implements [disk.FS].
func (f *FS) Remove(name string) error {
	return f.call(Call{Kind: Remove, Name: name}, func(c *Call) error {
		if err := disk.OS.Remove(name); err != nil {
			return err
		}
		delete(f.names, c.Name)
		return nil
	})
}

// SyncDir implements [disk.FS].
func (f *FS) SyncDir(name string) error {
	return f.call(Call{Kind: SyncDir, Name: name}, func(*Call) error {
		_, err := disk.OS.Stat(name)
		return err
	})
}

// call makes a call, if the hook allows it, and records it.
func (f *FS) call(c Call, do func(*Call) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.complete(&c); err != nil {
		return err
	}
	err := f.perform(&c, do)
	c.Err = err
	f.calls = append(f.calls, c)
	return err
}

// perform asks the hook, and makes the call.
func (f *FS) perform(c *Call, do func(*Call) error) error {
	var injected error
	if f.hook != nil {
		injected = f.hook(*c)
	}
	if injected == nil {
		err := do(c)
		c.hasDone = err == nil
		return err
	}
	var how *fault
	if !errors.As(injected, &how) {
		return injected
	}
	switch {
	case how.isDone:
		if err := do(c); err != nil {
			return err
		}
		c.hasDone = c.Kind != Sync && c.Kind != SyncDir
	case c.Kind == Write && how.bytes > 0:
		c.cut(how.bytes)
		if err := do(c); err != nil {
			return err
		}
		c.hasDone = true
	}
	return how.err
}

// cut shortens a write.
func (c *Call) cut(n int) {
	if n >= len(c.data) {
		return
	}
	c.Growth = max(c.Growth-int64(len(c.data)-n), 0)
	c.data = c.data[:n]
	c.Length = int64(n)
}

// complete fills in the fields that a hook may look at.
func (f *FS) complete(c *Call) error {
	path := c.Name
	c.Name, c.parent = f.relative(path), f.relative(filepath.Dir(path))
	if c.Kind != Stat && c.Kind != SyncDir { // these two change no name
		if err := f.checkInside(path, c.Name); err != nil {
			return err
		}
	}
	switch c.Kind {
	case Rename:
		path = c.To
		c.To, c.toDir = f.relative(path), f.relative(filepath.Dir(path))
		c.file = f.names[c.Name]
		return f.checkInside(path, c.To)
	case Open:
		n, ok := f.names[c.Name]
		c.file, c.Created = n, !ok && c.Flag&os.O_CREATE != 0
	case Write:
		c.Growth = max(c.Offset+c.Length-f.sizes[c.file], 0)
	case Truncate:
		c.Growth = max(c.Length-f.sizes[c.file], 0)
	}
	return nil
}

func (f *FS) relative(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	name, err := filepath.Rel(f.root, path)
	if err != nil {
		return ".."
	}
	return filepath.ToSlash(name)
}

// checkInside returns an error if a path leads out of the directory.
func (f *FS) checkInside(path, name string) error {
	if name == ".." || strings.HasPrefix(name, "../") {
		return fmt.Errorf("disktest: %s is not in %s", path, f.root)
	}
	return nil
}

// newFile gives a file its number.
func (f *FS) newFile(name string, size int64) int {
	n := len(f.sizes) + 1
	f.sizes[n], f.names[name] = size, n
	return n
}
