package parquet

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cespare/xxhash/v2"
)

// errUnsteady means that a file is written to while it is read.
var errUnsteady = errors.New("the file changed while it was read")

// checksum is a hash of the bytes of a file from an offset on, in the making.
type checksum struct {
	digest xxhash.Digest
	next   int64 // offset of the next byte
}

// newChecksum returns the checksum of no bytes yet.
func newChecksum(from int64) (c checksum) {
	c.digest.Reset()
	c.next = from
	return c
}

// extend adds the bytes up to an offset. After an error it may be called again.
func (c *checksum) extend(r io.ReaderAt, to int64, scratch []byte, ended func() error) error {
	for c.next < to {
		if err := ended(); err != nil {
			return err
		}
		b := scratch[:min(int64(len(scratch)), to-c.next)]
		if err := readFull(r, b, c.next); err != nil {
			return err
		}
		_, _ = c.digest.Write(b)
		c.next += int64(len(b))
	}
	return nil
}

// readFull fills b from an offset on.
func readFull(r io.ReaderAt, b []byte, offset int64) error {
	n, err := r.ReadAt(b, offset)
	switch {
	case n == len(b):
		return nil
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	default:
		return err
	}
}

// extendChecksum extends the checksum of a file up to an offset. At the end of the file, it
// returns an error if the file is not as it was when the checksum was begun.
func (s *session) extendChecksum(f *sourceFile, file *os.File, to int64) error {
	err := f.checksum.extend(file, to, s.scratch, s.ended)
	if err == nil && to == f.id.size {
		var info os.FileInfo
		info, err = file.Stat()
		if err == nil && stampOf(f.name, info).hash != f.stamp.hash {
			return errUnsteady
		}
	}
	if err != nil {
		return fmt.Errorf("its checksum: %w", err)
	}
	return nil
}
