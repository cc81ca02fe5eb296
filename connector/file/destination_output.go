package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/conduitio/funnel/internal/disk"
)

// output is a file that is open and locked for appending.
type output struct {
	path      string
	file      disk.File
	info      fs.FileInfo // to recognise the file by
	confirmed int64       // the size when the last Write ended
	size      int64
	isDirty   bool      // it was appended to after the last sync
	since     time.Time // when it was begun; zero if it is empty
	rotated   int       // the highest number of a rotated file, or -1 if not known
	isWritten bool      // it is among those that the current Write has appended to
}

// unfitError says that the name which a record has chosen cannot be that of a file. It is
// the fault of the record.
type unfitError struct{ err error }

func (e *unfitError) Error() string { return e.err.Error() }
func (e *unfitError) Unwrap() error { return e.err }

func unfit(format string, args ...any) error { return &unfitError{fmt.Errorf(format, args...)} }

// asUnfit returns err as an unfitError if the operating system objects to the name.
func asUnfit(err error) error {
	for _, errno := range []syscall.Errno{syscall.ENAMETOOLONG, syscall.ENOTDIR, syscall.EISDIR, syscall.ELOOP} {
		if errors.Is(err, errno) {
			return &unfitError{err}
		}
	}
	return err
}

// openLocked opens a file, and locks it. If the file is missing, openLocked makes it, and
// isNew is true.
func openLocked(c *destinationConfig, path string) (f *output, isNew bool, err error) {
	for range 10 {
		info, err := c.fsys.Stat(path)
		isNew = errors.Is(err, fs.ErrNotExist)
		if err == nil {
			// Opening something else may wait for somebody, or do harm.
			err = checkRegular(path, info)
		}
		if err != nil && !isNew {
			return nil, false, asUnfit(err)
		}
		file, err := c.fsys.OpenFile(path, openFlags, c.fileMode)
		if err != nil {
			return nil, false, asUnfit(err)
		}
		info, isCurrent, err := lock(c, path, file)
		if err == nil && isCurrent {
			f = &output{path: path, file: file, info: info, size: info.Size(), rotated: -1}
			return f, isNew && f.size == 0, nil
		}
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, false, err
		}
	}
	return nil, false, fmt.Errorf("%s is replaced again and again by another program", path)
}

// lock locks the file, and reports whether it still has this path: somebody else may have
// renamed it before it was locked.
func lock(c *destinationConfig, path string, file disk.File) (info fs.FileInfo, isCurrent bool, err error) {
	if err := file.Lock(); err != nil {
		if errors.Is(err, disk.ErrLocked) {
			err = fmt.Errorf("%s is written by another destination, or kept from writers by a source, here or in another process: %w", path, err)
		}
		return nil, false, err
	}
	if info, err = file.Stat(); err != nil {
		return nil, false, err
	}
	if err := checkRegular(path, info); err != nil {
		return nil, false, err
	}
	named, err := c.fsys.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	return info, err == nil && os.SameFile(info, named), err
}

func checkRegular(path string, info fs.FileInfo) error {
	kind := "no regular file"
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		kind = "a directory"
	case mode&fs.ModeNamedPipe != 0:
		kind = "a named pipe"
	case mode&fs.ModeSocket != 0:
		kind = "a socket"
	case mode&fs.ModeDevice != 0:
		kind = "a device"
	}
	return unfit("%s is %s, and records can only be appended to a regular file", path, kind)
}

// checkUnchanged returns an error if somebody else has removed, renamed, replaced or
// changed the file: what is appended could be lost.
func (o *output) checkUnchanged(c *destinationConfig) error {
	info, err := c.fsys.Stat(o.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s was removed or renamed by another program", o.path)
	case err != nil:
		return err
	case !os.SameFile(info, o.info):
		return fmt.Errorf("%s was replaced by another program", o.path)
	case info.Size() != o.size:
		return fmt.Errorf("%s has %d bytes, but was left with %d: another program changes it", o.path, info.Size(), o.size)
	}
	return nil
}

// append appends bytes. There is never more than one append after the last sync.
func (o *output) append(c *destinationConfig, p []byte) error {
	if o.isDirty {
		if err := o.sync(c); err != nil {
			return err
		}
	}
	o.isDirty = true
	n, err := o.file.WriteAt(p, o.size)
	if err == nil && n < len(p) {
		err = fmt.Errorf("%s: %d of %d bytes were written: %w", o.path, n, len(p), io.ErrShortWrite)
	}
	if err != nil {
		return err
	}
	o.size += int64(n)
	return nil
}

// sync makes durable what was appended.
func (o *output) sync(c *destinationConfig) error {
	if !o.isDirty || c.withoutSync {
		return nil
	}
	if err := o.file.Sync(); err != nil {
		return err
	}
	o.isDirty = false
	return nil
}

// undo cuts off what the current Write has appended.
func (o *output) undo(c *destinationConfig) error {
	err := o.file.Truncate(o.confirmed)
	if err == nil && !c.withoutSync {
		err = o.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("%s could not be cut back to %d bytes: %w", o.path, o.confirmed, err)
	}
	return nil
}

// rotate renames the file, to which the current Write has not appended, and begins a new
// one. The new file is made only once the old one has its new name for certain: if only the
// new file were on the disk, the old one would have no name.
func (o *output) rotate(c *destinationConfig) error {
	if o.rotated < 0 {
		last, err := lastRotated(o.path)
		if err != nil {
			return err
		}
		o.rotated = last
	}
	for {
		o.rotated++
		_, err := c.fsys.Stat(rotatedPath(o.path, o.rotated))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
	}
	isClosed := runtime.GOOS == "windows" // which does not rename a file that is open
	if isClosed {
		if err := o.file.Close(); err != nil {
			return err
		}
	}
	if err := c.fsys.Rename(o.path, rotatedPath(o.path, o.rotated)); err != nil {
		return err
	}
	if !c.withoutSync {
		if err := c.fsys.SyncDir(filepath.Dir(o.path)); err != nil {
			return err
		}
	}
	next, isNew, err := openLocked(c, o.path)
	if err != nil {
		return err
	}
	old := o.file
	next.rotated = o.rotated
	*o = *next
	if !isClosed {
		if err := old.Close(); err != nil {
			return err
		}
	}
	if !isNew {
		return fmt.Errorf("%s was made by another program during its rotation", o.path)
	}
	return nil
}
