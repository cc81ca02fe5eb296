package disk

import (
	"io/fs"
	"os"
)

// OS is the file system of the operating system.
var OS FS = osFS{}

type osFS struct{}

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Stat(name string) (fs.FileInfo, error)     { return os.Stat(name) }
func (osFS) Mkdir(name string, perm fs.FileMode) error { return os.Mkdir(name, perm) }
func (osFS) Rename(from, to string) error              { return os.Rename(from, to) }
func (osFS) Remove(name string) error                  { return os.Remove(name) }
func (osFS) SyncDir(name string) error                 { return syncDir(name) }

type osFile struct{ *os.File }

func (f osFile) Sync() error { return syncData(f.File) }

func (f osFile) Lock() error { return lockFile(f.File, exclusive) }

// LockShared takes a shared lock of a file that is open for reading. Others may take one,
// too, but while they last nobody can take the exclusive lock, see [File]. If somebody has
// it, LockShared returns [ErrLocked] at once. The lock ends when f is closed.
func LockShared(f *os.File) error { return lockFile(f, shared) }

// lockMode is how a lock excludes others.
type lockMode bool

const (
	shared    lockMode = false
	exclusive lockMode = true
)

func lockFile(f *os.File, mode lockMode) error {
	if err := lock(f, mode); err != nil {
		return &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	return nil
}
