// Package bolt keeps the positions of many sources in one file, a bbolt database.
//
// A save is a transaction of its own, and durable when it returns. It costs up to three times
// as much as a save in [position.Files], and concurrent saves of different sources wait for
// each other. In return, there is only one file to look after, and a host may keep other
// things in it.
package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/conduitio/funnel/internal/disk"
	"github.com/conduitio/funnel/position"
)

// defaultTimeout is how long Open waits for the lock of the file.
const defaultTimeout = time.Second

// bucket is the name of the bucket with the positions.
var bucket = []byte("funnel.positions")

// Store keeps positions in a bbolt database. It implements [position.Store]. [Open] and [New]
// make one.
//
// Each position is stored with the number of its claim, and each save compares that number in
// its transaction. So a claim is fenced even if it was taken over through another store over
// the same database.
//
// If bbolt finds a damaged page, the error wraps [position.ErrDamaged]. bbolt has no checksums
// for what it stores, so other damage can go unnoticed, unlike in a [position.Files].
//
// If the file is removed or replaced, the next save returns [position.ErrFenced].
//
// After a failed save, the next one is a new transaction, which writes all of its pages
// again. So no save relies on what the disk may have lost.
type Store struct {
	db     *bbolt.DB
	path   string      // of the database, absolute
	file   os.FileInfo // what was there when the store was made
	isOurs bool        // Close closes the database

	mu       sync.Mutex
	claims   map[string]*claim
	isClosed bool
}

// Option is an option of [Open].
type Option interface{ apply(*config) error }

type config struct {
	timeout time.Duration
	fsys    disk.FS // for tests
}

type option func(*config) error

func (o option) apply(c *config) error { return o(c) }

// WithTimeout sets how long Open waits while another process has the file open. The default
// is one second. The timeout must be positive: with 0, bbolt would wait forever.
func WithTimeout(d time.Duration) Option {
	return option(func(c *config) error {
		if d <= 0 {
			return fmt.Errorf("the timeout %v is not positive", d)
		}
		c.timeout = d
		return nil
	})
}

// Open returns a store in the database at path. It makes the file, and the directories above
// it, if they are missing, and a database if the file is empty. If the file system has links,
// a missing file is made under another name and then linked, so it appears as a whole. Only
// one store at a time can have the database open, in any process. If another store has, Open
// waits (see [WithTimeout]), and then returns an error that wraps [position.ErrClaimed]. The
// caller must close the store. A damaged file may stay locked until the process ends.
func Open(path string, opts ...Option) (*Store, error) {
	if path == "" {
		return nil, errors.New("the path of the database is missing")
	}
	c := config{timeout: defaultTimeout, fsys: disk.OS}
	for i, opt := range opts {
		if opt == nil {
			return nil, fmt.Errorf("option %d is nil", i)
		}
		if err := opt.apply(&c); err != nil {
			return nil, err
		}
	}
	if err := disk.MkdirAll(c.fsys, filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("failed to make the directory of %s: %w", path, err)
	}
	if err := create(path); err != nil {
		return nil, fmt.Errorf("failed to make the database %s: %w", path, err)
	}
	var db *bbolt.DB
	err := guard(func() (err error) {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: c.timeout})
		return err
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("%w: another process has %s open: %w", position.ErrClaimed, path, err)
	}
	if err != nil {
		return nil, openError(path, err)
	}
	// A process that has made the file may have been killed before its name was durable.
	if err := c.fsys.SyncDir(filepath.Dir(path)); err != nil {
		return nil, errors.Join(fmt.Errorf("failed to sync the directory of %s: %w", path, err), db.Close())
	}
	s, err := New(db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.isOurs = true
	return s, nil
}

// create makes a database if there is no file at path. bbolt cannot open a database if a kill
// or a full disk has interrupted its making. So create makes it under another name.
func create(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	name := file.Name()
	defer func() { _ = os.Remove(name) }()
	if err := file.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(name, 0o600, nil)
	if err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	// A link does not replace the database of another process. If the file system has no
	// links, bbolt makes the database in place.
	_ = os.Link(name, path)
	return nil
}

// New returns a store in an open database, which the host closes after the store. The store
// uses the bucket "funnel.positions". The database must be writable, and must sync (NoSync is
// false). Make one store per database: a claim through a second store takes over the claim of
// the first.
func New(db *bbolt.DB) (*Store, error) {
	switch {
	case db == nil:
		return nil, errors.New("the database is nil")
	case db.IsReadOnly():
		return nil, fmt.Errorf("the database %s is read-only", db.Path())
	case db.NoSync:
		return nil, fmt.Errorf("the database %s does not sync, so no position in it would be durable", db.Path())
	}
	err := update(db, func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("failed to prepare %s: %w", db.Path(), err)
	}
	path, err := filepath.Abs(db.Path())
	if err != nil {
		return nil, fmt.Errorf("failed to prepare %s: %w", db.Path(), err)
	}
	file, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("failed to prepare %s: %w", path, err)
	}
	return &Store{db: db, path: path, file: file, claims: make(map[string]*claim)}, nil
}

// Claim implements [position.Store]. It needs one transaction.
func (s *Store) Claim(ctx context.Context, id string) (position.Claim, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := &claim{store: s, id: id, key: keyOf(id)}
	if err := s.enter(c); err != nil {
		return nil, c.wrap(err)
	}
	isClaimed := false
	defer func() { // also after a panic
		if !isClaimed {
			s.leave(c)
		}
	}()
	if err := update(s.db, c.takeOver); err != nil {
		return nil, c.wrap(err)
	}
	isClaimed = true
	return c, nil
}

// enter adds a claim, unless the source is claimed.
func (s *Store) enter(c *claim) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.isClosed:
		return errClosed
	case s.claims[c.id] != nil:
		return position.ErrClaimed
	}
	s.claims[c.id] = c
	return nil
}

// leave removes a claim, unless another one has taken its place.
func (s *Store) leave(c *claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claims[c.id] == c {
		delete(s.claims, c.id)
	}
}

// check returns an error if the claim was released or the store is closed.
func (s *Store) check(c *claim) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.isClosed:
		return fmt.Errorf("%w: %w", position.ErrFenced, errClosed)
	case s.claims[c.id] != c:
		return fmt.Errorf("%w: it was released", position.ErrFenced)
	default:
		return nil
	}
}

var errClosed = errors.New("the store is closed")

// Close closes the store and, if [Open] has opened it, the database, for which it waits for
// saves that have begun. Claims that were not released are fenced: Load and Save return
// [position.ErrFenced], so nothing is lost without an error. A second call does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	wasClosed := s.isClosed
	s.isClosed = true
	s.mu.Unlock()
	if wasClosed || !s.isOurs {
		return nil
	}
	return s.db.Close()
}

// claim is a claim of a source.
type claim struct {
	store  *Store
	id     string
	key    []byte
	number uint64
}

// takeOver gives the claim its number, which fences every older claim.
func (c *claim) takeOver(tx *bbolt.Tx) error {
	e, err := c.read(tx)
	if err != nil {
		return err
	}
	c.number = e.number + 1
	return c.write(tx, e.position)
}

// Load returns the last saved position.
func (c *claim) Load(ctx context.Context) (p opencdc.Position, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := c.store.check(c); err != nil {
		return nil, c.wrap(err)
	}
	err = view(c.store.db, func(tx *bbolt.Tx) error {
		e, err := c.readOwn(tx)
		if len(e.position) > 0 {
			p = append(p, e.position...)
		}
		return err
	})
	if err != nil {
		return nil, c.wrap(c.fencedIfClosed(err))
	}
	return p, nil
}

// Save saves a position in a transaction. It checks the context only before it begins.
func (c *claim) Save(ctx context.Context, p opencdc.Position) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.store.check(c); err != nil {
		return c.wrap(err)
	}
	if len(p) == 0 {
		return c.wrap(position.ErrEmpty)
	}
	err := update(c.store.db, func(tx *bbolt.Tx) error {
		if _, err := c.readOwn(tx); err != nil {
			return err
		}
		return c.write(tx, p)
	})
	if err != nil {
		return c.wrap(c.fencedIfClosed(err))
	}
	// bbolt does not notice if its file is removed, and saves to what nobody can open again.
	if file, err := os.Stat(c.store.path); errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(file, c.store.file) {
		return c.wrap(fmt.Errorf("%w: the file was removed or replaced", position.ErrFenced))
	}
	return nil
}

// Release ends the claim. It needs no transaction, and never fails.
func (c *claim) Release(context.Context) error {
	c.store.leave(c)
	return nil
}

// fencedIfClosed wraps ErrFenced as well if the database was closed in the meantime.
func (c *claim) fencedIfClosed(err error) error {
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return fmt.Errorf("%w: %w", position.ErrFenced, err)
	}
	return err
}

// wrap says which file an error is about.
func (c *claim) wrap(err error) error {
	return fmt.Errorf("%s: %w", c.store.db.Path(), err)
}
