package bolt

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/position"
)

// entry is the value that is stored for a source: one byte for the version, the number of the
// last claim in big endian, and the position, which is empty if none was saved.
type entry struct {
	number   uint64
	position opencdc.Position
}

const (
	entryVersion = 1
	entryHeader  = 1 + 8

	maxPlainID = 1000 // bytes
)

// keyOf returns the key of a source: "=" and the ID or, if the ID is long, "#" and its
// SHA-256 checksum.
func keyOf(id string) []byte {
	if len(id) <= maxPlainID {
		return append([]byte("="), id...)
	}
	sum := sha256.Sum256([]byte(id))
	return append([]byte("#"), sum[:]...)
}

// read returns the entry of the source, or the zero entry if there is none. The position is
// valid during the transaction.
func (c *claim) read(tx *bbolt.Tx) (entry, error) {
	b := tx.Bucket(bucket)
	if b == nil {
		return entry{}, fmt.Errorf("%w: the bucket %q was removed", position.ErrFenced, bucket)
	}
	value := b.Get(c.key)
	switch {
	case value == nil && b.Bucket(c.key) != nil:
		return entry{}, damaged("a bucket has its name")
	case value == nil:
		return entry{}, nil
	case len(value) < entryHeader:
		return entry{}, damaged("it has %d bytes", len(value))
	case value[0] != entryVersion:
		return entry{}, damaged("it has version %d, and only version %d is known", value[0], entryVersion)
	}
	return entry{number: binary.BigEndian.Uint64(value[1:]), position: value[entryHeader:]}, nil
}

// readOwn returns the entry, or an error if the claim was taken over or the entry removed.
func (c *claim) readOwn(tx *bbolt.Tx) (entry, error) {
	e, err := c.read(tx)
	if err == nil && e.number != c.number {
		err = fmt.Errorf("%w: it was taken over, or what was stored was removed", position.ErrFenced)
	}
	return e, err
}

// write stores a position with the number of the claim.
func (c *claim) write(tx *bbolt.Tx, p opencdc.Position) error {
	value := make([]byte, entryHeader, entryHeader+len(p))
	value[0] = entryVersion
	binary.BigEndian.PutUint64(value[1:], c.number)
	return tx.Bucket(bucket).Put(c.key, append(value, p...))
}

// damaged returns an error about an entry that was not written by a store.
func damaged(format string, args ...any) error {
	return funnel.FatalError(fmt.Errorf("%w: "+format, append([]any{position.ErrDamaged}, args...)...))
}

// openError says what is wrong with a file that cannot be opened.
func openError(path string, err error) error {
	if errors.Is(err, berrors.ErrInvalid) || errors.Is(err, berrors.ErrVersionMismatch) || errors.Is(err, berrors.ErrChecksum) {
		return funnel.FatalError(fmt.Errorf("%w: %s is not a bbolt database, or is damaged: %w", position.ErrDamaged, path, err))
	}
	return fmt.Errorf("failed to open the database %s: %w", path, err)
}
