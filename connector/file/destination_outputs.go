package file

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/conduitio/funnel/internal/disk"
)

// outputs are the files of a destination. A bounded number of them is open.
type outputs struct {
	*destinationConfig
	template *template
	encoder  *encoder
	now      func() time.Time // the clock, set by Open

	open   map[string]*list.Element // of byUse, by path
	byUse  list.List                // *output, the most recently used one first
	whole  map[string]int64         // the sizes of files that were closed whole, by path
	dirs   map[string]bool          // directories to sync
	writes []*output                // those that the current Write has appended to
}

// maxWhole is how many files are remembered to be whole when they are opened again.
const maxWhole = 10_000

func newOutputs(c *destinationConfig, t *template, e *encoder) *outputs {
	return &outputs{
		destinationConfig: c,
		template:          t,
		encoder:           e,
		open:              make(map[string]*list.Element),
		whole:             make(map[string]int64),
		dirs:              make(map[string]bool),
	}
}

// get returns the file at the path, ready for an append.
func (o *outputs) get(ctx context.Context, path string) (*output, error) {
	if e, ok := o.open[path]; ok {
		o.byUse.MoveToFront(e)
		f := e.Value.(*output)
		return f, f.checkUnchanged(o.destinationConfig)
	}
	for o.byUse.Len() >= o.maxOpenFiles {
		if err := o.close(o.byUse.Back()); err != nil {
			return nil, err
		}
	}
	f, err := o.openFile(ctx, path)
	if err != nil {
		return nil, err
	}
	o.open[path] = o.byUse.PushFront(f)
	return f, nil
}

// openFile opens a file, and repairs it.
func (o *outputs) openFile(ctx context.Context, path string) (f *output, err error) {
	if err := o.checkInside(path); err != nil {
		return nil, err
	}
	dir := filepath.Dir(path)
	if err := o.makeDir(dir); err != nil {
		return nil, err
	}
	if err := o.settleRotation(path); err != nil {
		return nil, err
	}
	f, isNew, err := openLocked(o.destinationConfig, path)
	if errors.Is(err, disk.ErrLocked) {
		err = o.checkAlias(path, err)
	}
	if err != nil {
		return nil, err
	}
	file := f.file
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	size, isKnown := o.whole[path]
	if isKnown && size == f.size {
		f.confirmed = f.size
	} else {
		if !isNew {
			if err := o.repair(ctx, f); err != nil {
				return nil, err
			}
		}
		if err := o.needSyncOfName(path); err != nil {
			return nil, err
		}
	}
	delete(o.whole, path)
	if f.size > 0 {
		f.since = f.info.ModTime()
	}
	return f, nil
}

// settleRotation makes a rotation durable that has ended after the file was renamed. A new
// file at its path must not be on the disk before that, see [output.rotate].
func (o *outputs) settleRotation(path string) error {
	if o.rotation == nil || o.withoutSync {
		return nil
	}
	if _, err := o.fsys.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return o.fsys.SyncDir(filepath.Dir(path))
	}
	return nil // another error comes again
}

// checkInside returns an error if a symbolic link leads from below the root to the outside.
// A link that somebody makes between this look and the opening is not noticed; who can do
// that can write the files, too.
func (o *outputs) checkInside(path string) error {
	if o.template.fixed != "" {
		return nil
	}
	rel, err := filepath.Rel(o.template.root, path)
	if err != nil || !filepath.IsLocal(rel) {
		return unfit("%s is not below %s", path, o.template.root)
	}
	root, err := os.OpenRoot(o.template.root)
	if err != nil {
		return err
	}
	defer root.Close()
	_, err = root.Stat(rel)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err = fmt.Errorf("%s cannot be a file below %s: %w", path, o.template.root, err)
	if errno := syscall.Errno(0); !errors.As(err, &errno) { // the link leads out
		return &unfitError{err}
	}
	return asUnfit(err)
}

// checkAlias explains why a file is locked if it is open already under another name.
func (o *outputs) checkAlias(path string, err error) error {
	info, statErr := o.fsys.Stat(path)
	if statErr != nil {
		return err
	}
	for e := o.byUse.Front(); e != nil; e = e.Next() {
		if f := e.Value.(*output); os.SameFile(f.info, info) {
			return unfit("%s is the same file as %s", path, f.path)
		}
	}
	return err
}

// makeRoot makes the root and the missing directories above it.
func (o *outputs) makeRoot() error {
	if o.withoutSync {
		return o.makeDir(o.template.root)
	}
	return disk.MkdirAll(o.fsys, o.template.root, o.dirMode())
}

// makeDir makes a directory and the missing ones above it.
func (o *outputs) makeDir(dir string) error {
	info, err := o.fsys.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return unfit("%s is no directory", dir)
	case !errors.Is(err, fs.ErrNotExist):
		return asUnfit(err)
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := o.makeDir(parent); err != nil {
			return err
		}
	}
	if err := o.fsys.Mkdir(dir, o.dirMode()); err != nil && !errors.Is(err, fs.ErrExist) {
		return asUnfit(err)
	}
	o.dirs[parent] = true
	return nil
}

// needSync has the names in a directory synced before records are acked, and those of the
// directories above it, up to the root. A process that was killed may have made them
// without a sync.
func (o *outputs) needSync(dir string) {
	for o.dirs[dir] = true; dir != o.template.root; o.dirs[dir] = true {
		dir = filepath.Dir(dir)
	}
}

// needSyncOfName is needSync for the name of a file. If the name is a symbolic link, the
// file has another one, which may be new, too.
func (o *outputs) needSyncOfName(path string) error {
	o.needSync(filepath.Dir(path))
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return err
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	o.dirs[filepath.Dir(target)] = true
	return nil
}

// syncDirs syncs the directories that need it.
func (o *outputs) syncDirs() error {
	for dir := range o.dirs {
		if !o.withoutSync {
			if err := o.fsys.SyncDir(dir); err != nil {
				return err
			}
		}
		delete(o.dirs, dir)
	}
	return nil
}

// repair checks the header of the file, and cuts off what a crash has torn. An empty file is
// cut off, too: what was in it before may not be off the disk yet.
func (o *outputs) repair(ctx context.Context, f *output) error {
	t, err := o.tail(f)
	if err == nil && o.encoder.format == CSV && t.end > 0 {
		err = o.encoder.csv.checkHeader(io.NewSectionReader(f.file, 0, t.end))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if torn := f.size - t.end; torn > 0 {
		o.logger.Warn(ctx).Str("file", f.path).Int64("bytes", torn).Int64("offset", t.end).
			Msg("cutting off the torn end of the file, which was never acked")
	}
	if err := repair(f.file, t, !o.withoutSync); err != nil {
		return fmt.Errorf("repairing %s: %w", f.path, err)
	}
	f.size, f.confirmed = t.end, t.end
	return nil
}

func (o *outputs) tail(f *output) (tail, error) {
	if o.encoder.format == CSV {
		return tailOfCSV(f.file, f.size, int64(o.maxAppend), o.encoder.csv.separator)
	}
	return tailOfLines(f.file, f.size, int64(o.maxAppend))
}

// append appends text, which begins with the header. The header is for an empty file only.
// If the file is full, it is rotated before, unless the current Write has appended to it.
func (o *outputs) append(f *output, text []byte) error {
	header := len(o.encoder.header)
	if r := o.rotation; r != nil && !f.isWritten && f.size > int64(header) {
		now := o.now()
		if now.Before(f.since) { // the clock was set back
			f.since = now
		}
		if r.isDue(f.size, now.Sub(f.since), len(text)-header) {
			if err := f.rotate(o.destinationConfig); err != nil {
				return err
			}
			o.needSync(filepath.Dir(f.path))
		}
	}
	if f.size > 0 {
		text = text[header:]
	}
	if len(text) == 0 {
		return nil
	}
	if f.since.IsZero() {
		f.since = o.now()
	}
	if !f.isWritten {
		f.isWritten = true
		o.writes = append(o.writes, f)
	}
	return f.append(o.destinationConfig, text)
}

// confirm makes durable what the current Write has appended.
func (o *outputs) confirm() error {
	for _, f := range o.writes {
		if err := f.sync(o.destinationConfig); err != nil {
			return err
		}
	}
	if err := o.syncDirs(); err != nil {
		return err
	}
	for _, f := range o.writes {
		f.confirmed, f.isWritten = f.size, false
	}
	clear(o.writes)
	o.writes = o.writes[:0]
	return nil
}

// close syncs and closes a file.
func (o *outputs) close(e *list.Element) error {
	f := e.Value.(*output)
	err := errors.Join(f.sync(o.destinationConfig), f.file.Close())
	o.byUse.Remove(e)
	delete(o.open, f.path)
	o.writes = slices.DeleteFunc(o.writes, func(w *output) bool { return w == f })
	if err == nil {
		if len(o.whole) == maxWhole {
			clear(o.whole)
		}
		o.whole[f.path] = f.size
	}
	return err
}

// closeAll closes all files.
func (o *outputs) closeAll() error {
	var err error
	for o.byUse.Len() > 0 {
		err = errors.Join(err, o.close(o.byUse.Back()))
	}
	clear(o.whole)
	return err
}

// abandon cuts off what the current Write has appended, and closes all files.
func (o *outputs) abandon() error {
	var err error
	for _, f := range o.writes {
		err = errors.Join(err, f.undo(o.destinationConfig))
	}
	for _, e := range o.open {
		f := e.Value.(*output)
		f.isDirty = false // what is left is not trusted: it is repaired when it is opened
		err = errors.Join(err, f.file.Close())
	}
	clear(o.open)
	o.byUse.Init()
	clear(o.whole)
	clear(o.writes)
	o.writes = o.writes[:0]
	return err
}
