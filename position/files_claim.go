package position

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/disk"
)

// fileClaim is the claim of a file.
type fileClaim struct {
	store *Files
	id    string
	path  string

	mu           sync.Mutex
	file         disk.File   // locked; nil after Release has succeeded
	info         fs.FileInfo // of the file
	layout       layout
	saved        saved  // what was saved last
	slot         int    // that holds it
	buffer       []byte // of the last slot
	isDistrusted bool   // a write or sync has failed: the file must be replaced
	fenced       error  // why the claim no longer holds
}

// lock locks the file. If the name does not stand for it anymore, the error is errChanged.
func (c *fileClaim) lock() error {
	if err := c.file.Lock(); err != nil {
		return err
	}
	var err error
	if c.info, err = c.file.Stat(); err != nil {
		return err
	}
	isNamed, err := c.isNamed(c.info)
	if err == nil && !isNamed {
		err = errChanged
	}
	return err
}

// isNamed returns true if the path is the name of the file with this description.
func (c *fileClaim) isNamed(file fs.FileInfo) (bool, error) {
	info, err := c.store.config.FS.Stat(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(info, file), err
}

// read reads what the file holds.
func (c *fileClaim) read() error {
	content, err := readAll(c.file)
	if err != nil {
		return err
	}
	if c.layout, c.saved, c.slot, err = parseFile(content, c.id); err != nil {
		return damaged(err)
	}
	return nil
}

// Load returns the position that was saved last.
func (c *fileClaim) Load(ctx context.Context) (opencdc.Position, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.check(); err != nil {
		return nil, c.wrap(err)
	}
	if len(c.saved.position) == 0 {
		return nil, nil
	}
	return bytes.Clone(c.saved.position), nil
}

// Save saves a position. It looks at the context only before it begins.
func (c *fileClaim) Save(ctx context.Context, p opencdc.Position) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.save(p); err != nil {
		return c.wrap(err)
	}
	return nil
}

func (c *fileClaim) save(p opencdc.Position) error {
	switch err := checkSize(len(p)); {
	case c.fenced != nil:
		return c.fenced
	case err != nil:
		return err
	case c.isDistrusted || !c.layout.fits(len(p)):
		return c.replace(p)
	}
	if err := c.writeSlot(p); err != nil {
		return err
	}
	// Only now, for what is removed before the sync is not saved.
	return c.check()
}

// Release closes the file, which ends the lock. It does so even if the context has ended.
func (c *fileClaim) Release(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fenced = fmt.Errorf("%w: it was released", ErrFenced)
	if c.file == nil {
		return nil
	}
	if err := c.file.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		return c.wrap(err)
	}
	c.file = nil
	return nil
}

// check returns an error if the claim no longer holds.
func (c *fileClaim) check() error {
	if c.fenced != nil {
		return c.fenced
	}
	isNamed, err := c.isNamed(c.info)
	if err == nil && !isNamed {
		c.fenced = fmt.Errorf("%w: the file was removed or replaced", ErrFenced)
		err = c.fenced
	}
	return err
}

// writeSlot saves a position in the slot that does not hold the current one.
func (c *fileClaim) writeSlot(p opencdc.Position) error {
	next := saved{sequence: c.saved.sequence + 1, position: p}
	var slot []byte
	c.buffer, slot = c.layout.appendSlot(c.buffer, next)
	_, err := c.file.WriteAt(slot, c.layout.offset(1-c.slot))
	if err == nil {
		err = c.file.Sync()
	}
	if err != nil {
		c.isDistrusted = true
		return err
	}
	c.slot = 1 - c.slot
	c.remember(next)
	return nil
}

// remember records what was saved. It copies the position.
func (c *fileClaim) remember(s saved) {
	c.saved.sequence = s.sequence
	c.saved.position = append(c.saved.position[:0], s.position...)
}

// replace saves a position in a new file, and lets it take the place of the current one.
// The new one is locked before it has the name, so that nobody else can claim it.
func (c *fileClaim) replace(p opencdc.Position) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	store, temp := c.store, c.path+nextSuffix
	l := newLayout(c.id, slotSizeFor(len(p)))
	file, err := store.config.FS.OpenFile(temp, os.O_RDWR|os.O_CREATE, store.config.Mode)
	if err != nil {
		return err
	}
	info, err := writeLocked(file, l.newFile(p))
	if err == nil {
		err = store.config.FS.Rename(temp, c.path)
	}
	if err != nil {
		// A rename can report an error and have happened.
		if isNamed, e := c.isNamed(info); info == nil || e != nil || !isNamed {
			_ = store.config.FS.Remove(temp) // the next replacement overwrites it
			return errors.Join(err, file.Close())
		}
	}
	old := c.file
	c.file, c.info, c.layout, c.slot = file, info, l, 0
	c.isDistrusted = true // until the name is durable
	_ = old.Close()       // nothing of it counts anymore
	if err == nil {
		err = store.config.FS.SyncDir(store.dir)
	}
	if err != nil {
		return err
	}
	c.isDistrusted = false
	c.remember(saved{sequence: firstSequence, position: p})
	return c.check()
}

// writeLocked locks a new file, writes its content, and returns its description.
func writeLocked(file disk.File, content []byte) (fs.FileInfo, error) {
	if err := file.Lock(); err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return info, writeNew(file, content)
}

// wrap says which file an error is about.
func (c *fileClaim) wrap(err error) error {
	return fmt.Errorf("%s: %w", c.path, err)
}
