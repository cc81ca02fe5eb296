package position

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/disk"
	"github.com/conduitio/funnel/internal/positionfs"
)

// Files is a [Store] that keeps the position of each source in a file of its own. [NewFiles]
// makes one.
//
// The file has two slots with checksums. A save writes the slot that does not hold the
// current position, with one write and one sync. So a crash of the process or the machine
// leaves either the current position or the new one: a torn slot is invalid, and the other
// slot counts. A new file is written under a temporary name, synced and renamed. It begins
// with a valid slot, which says that nothing was saved yet. So a file without a valid slot is
// always damaged: Claim then returns [ErrDamaged], with the name of the file, and never
// starts from nothing.
//
// A position that does not fit into a slot is saved in a new file, which replaces the old one
// in the same way. So is the first position after a failed write or sync: the operating
// system may drop what it could not write and report success for the next sync, so the old
// file is not used again.
//
// A claim holds a lock of the operating system on the file. The lock ends with the process,
// however the process ends, and excludes claims in this process and in others. If the file is
// removed or replaced while it is claimed, Load and Save return [ErrFenced].
//
// A save costs one sync, about 100 µs on an SSD, and little else. A claim, or a save that
// replaces the file, costs about five times as much. A position, and an ID, can
// have almost 64 MiB.
//
// Files needs file locks, and the ability to rename open files, as Unix systems provide them.
// On a network file system, the locks must work between machines; a local disk is better.
type Files struct {
	dir    string
	config positionfs.Config
}

// FilesOption is an option of [NewFiles].
type FilesOption = positionfs.Option

// WithFileMode sets the permissions of new files, before the umask. The default is 0o600.
func WithFileMode(mode fs.FileMode) FilesOption {
	return func(c *positionfs.Config) { c.Mode = mode }
}

// NewFiles returns a store that keeps its files in the directory dir, and makes the directory
// if it is missing. The file of a source is named after its ID, with the suffix ".position".
// To make a source begin anew, remove its file while it is not claimed.
func NewFiles(dir string, opts ...FilesOption) (*Files, error) {
	if dir == "" {
		return nil, errors.New("the directory of the positions is missing")
	}
	config := positionfs.Config{FS: disk.OS, Mode: 0o600}
	for i, opt := range opts {
		if opt == nil {
			return nil, fmt.Errorf("option %d is nil", i)
		}
		opt(&config)
	}
	if config.Mode&^fs.ModePerm != 0 || config.Mode&0o600 != 0o600 {
		return nil, fmt.Errorf("the mode %v must let the owner read and write, and have only permission bits", config.Mode)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := disk.MkdirAll(config.FS, dir, 0o755); err != nil {
		return nil, fmt.Errorf("failed to make the directory of the positions: %w", err)
	}
	return &Files{dir: dir, config: config}, nil
}

// maxTurns is how often Claim begins again because the file has changed meanwhile.
const maxTurns = 100

// errChanged means that a file was replaced while it was opened.
var errChanged = errors.New("the file changes all the time")

// Claim locks the file of a source, and makes it if it is missing. A process that was killed
// during a save may have left a position that is not durable yet, so Claim saves once more
// the position that it finds.
func (f *Files) Claim(ctx context.Context, id string) (Claim, error) {
	if len(id) > maxID {
		return nil, errTooLongID
	}
	path := filepath.Join(f.dir, fileName(id))
	err := errChanged
	for turn := 0; turn < maxTurns && errors.Is(err, errChanged); turn++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var c *fileClaim
		if c, err = f.open(path, id); errors.Is(err, fs.ErrNotExist) {
			c, err = f.create(path, id)
		}
		if err == nil {
			return c, nil
		}
	}
	if errors.Is(err, disk.ErrLocked) {
		return nil, fmt.Errorf("%w: %w", ErrClaimed, err)
	}
	return nil, fmt.Errorf("%s: %w", path, err)
}

// open claims a file that is there. If there is none, the error is fs.ErrNotExist.
func (f *Files) open(path, id string) (_ *fileClaim, err error) {
	file, err := f.config.FS.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	c := &fileClaim{store: f, id: id, path: path, file: file}
	defer closeUnless(&err, file)
	if err := c.lock(); err != nil {
		return nil, err
	}
	if err := c.read(); err != nil {
		return nil, err
	}
	_ = f.config.FS.Remove(path + nextSuffix) // a crash may have left it; the next replacement overwrites it
	if err := errors.Join(c.writeSlot(c.saved.position), f.config.FS.SyncDir(f.dir)); err != nil {
		return nil, err
	}
	return c, nil
}

// create makes a file, and claims it.
func (f *Files) create(path, id string) (_ *fileClaim, err error) {
	file, err := f.config.FS.OpenFile(path+newSuffix, os.O_RDWR|os.O_CREATE, f.config.Mode)
	if err != nil {
		return nil, err
	}
	c := &fileClaim{store: f, id: id, path: path + newSuffix, file: file}
	defer closeUnless(&err, file)
	if err := c.lock(); err != nil {
		return nil, err
	}
	if _, err := f.config.FS.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		if err == nil { // another claim was faster
			err = errors.Join(errChanged, f.config.FS.Remove(c.path))
		}
		return nil, err
	}
	c.layout, c.saved = newLayout(id, slotSizeFor(0)), saved{sequence: firstSequence}
	if err := writeNew(file, c.layout.newFile(nil)); err != nil {
		return nil, errors.Join(err, f.config.FS.Remove(c.path))
	}
	if err := f.config.FS.Rename(c.path, path); err != nil {
		return nil, err
	}
	c.path = path
	if err := f.config.FS.SyncDir(f.dir); err != nil {
		return nil, err
	}
	return c, nil
}

// writeNew makes the content of a file, and makes it durable.
func writeNew(file disk.File, content []byte) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	if _, err := file.WriteAt(content, 0); err != nil {
		return err
	}
	return file.Sync()
}

// closeUnless closes a file unless the error is nil. It is for defer.
func closeUnless(err *error, file disk.File) {
	if *err != nil {
		*err = errors.Join(*err, file.Close())
	}
}

// damaged returns an error that names a file which is damaged or foreign.
func damaged(err error) error {
	return funnel.FatalError(fmt.Errorf("%w: %w", ErrDamaged, err))
}

// readAll returns the content of a file.
func readAll(file disk.File) ([]byte, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, damaged(fmt.Errorf("it has %d bytes", info.Size()))
	}
	content := make([]byte, info.Size())
	if n, err := file.ReadAt(content, 0); err != nil && (err != io.EOF || n < len(content)) {
		return nil, err
	}
	return content, nil
}
