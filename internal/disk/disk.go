// Package disk is the part of a file system that durable state needs. Code that writes files
// goes through [FS], so that tests can make calls fail, and rebuild what a crash of the
// machine can leave behind.
//
// Two things survive such a crash: the content of a file as of its last successful Sync, and
// the names in a directory as of its last successful SyncDir. Any later change may be there
// in full, in part, or not at all.
package disk

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
)

// ErrLocked means that the lock of a file is taken.
var ErrLocked = errors.New("the file is locked by another process or by another part of this one")

// FS is a file system. Its methods can be called concurrently.
type FS interface {
	// OpenFile opens a file, as [os.OpenFile] does.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Stat describes a file. It follows symbolic links.
	Stat(name string) (fs.FileInfo, error)
	// Mkdir makes a directory.
	Mkdir(name string, perm fs.FileMode) error
	// Rename renames a file. It replaces a file that has the new name.
	Rename(from, to string) error
	// Remove removes a file.
	Remove(name string) error
	// SyncDir makes the names in the directory durable: creates, renames and removes.
	SyncDir(name string) error
}

// File is an open file. Its methods can be called concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Truncate sets the size.
	Truncate(size int64) error
	// Sync makes the content and the size durable. If it fails, every write since the last
	// successful Sync may be lost, even if a later Sync on the same File succeeds.
	Sync() error
	// Stat describes the file.
	Stat() (fs.FileInfo, error)
	// Lock takes the exclusive lock of the file. The lock is advisory, belongs to this File
	// and not to the process, and ends at Close or with the process. If the lock is taken,
	// Lock returns [ErrLocked] at once.
	Lock() error
	// Close closes the file without syncing it.
	Close() error
}

// MkdirAll makes a directory and the missing ones above it, and makes their names durable. It
// also makes the name of the lowest existing directory durable, since the process that made
// it may have been killed before it synced that name.
func MkdirAll(fsys FS, dir string, perm fs.FileMode) error {
	parent := filepath.Dir(dir)
	info, err := fsys.Stat(dir)
	switch {
	case err == nil && !info.IsDir():
		return &fs.PathError{Op: "mkdir", Path: dir, Err: errors.New("a file is in the way")}
	case err == nil:
		// A process that may not read the parent has made nothing there.
		if err := fsys.SyncDir(parent); !errors.Is(err, fs.ErrPermission) {
			return err
		}
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if parent != dir {
		if err := MkdirAll(fsys, parent, perm); err != nil {
			return err
		}
	}
	if err := fsys.Mkdir(dir, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return fsys.SyncDir(parent)
}
