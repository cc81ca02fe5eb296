package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
)

const (
	magic      = "PAR1"
	trailer    = 8 // bytes at the end of a file: the length of the metadata, and the magic
	blockSize  = 1 << 10
	blockCount = 16
)

// identify returns the identity of a file, and how many bytes are before its footer. It
// returns an error if the file has no footer.
func identify(r io.ReaderAt, size int64, scratch []byte) (id identity, body int64, err error) {
	if size < int64(len(magic))+trailer {
		return identity{}, 0, fmt.Errorf("it is no Parquet file: it has only %d bytes", size)
	}
	var end [trailer]byte
	if err := readFull(r, end[:], size-trailer); err != nil {
		return identity{}, 0, err
	}
	switch string(end[4:]) {
	case magic:
	case "PARE":
		return identity{}, 0, errEncrypted
	default:
		return identity{}, 0, fmt.Errorf("it is no Parquet file, or it was truncated: it ends with %q, not %q", end[4:], magic)
	}
	body = size - trailer - int64(binary.LittleEndian.Uint32(end[:]))
	if body < int64(len(magic)) {
		return identity{}, 0, fmt.Errorf("the footer has %d bytes, more than the file", size-body)
	}
	id.size = size
	if id.footer, err = hashRange(r, body, size, scratch); err != nil {
		return identity{}, 0, err
	}
	id.sample, err = hashSample(r, body, scratch)
	return id, body, err
}

var errEncrypted = errors.New("it is encrypted, which is not supported")

// hashRange returns the hash of the bytes from one offset to another.
func hashRange(r io.ReaderAt, from, to int64, scratch []byte) (uint64, error) {
	var digest xxhash.Digest
	digest.Reset()
	for from < to {
		b := scratch[:min(int64(len(scratch)), to-from)]
		if err := readFull(r, b, from); err != nil {
			return 0, err
		}
		_, _ = digest.Write(b)
		from += int64(len(b))
	}
	return digest.Sum64(), nil
}

// hashSample returns the hash of blocks from the first bytes up to the end of the body, at
// equal distances. Two files may have the same footer and begin with the same bytes.
func hashSample(r io.ReaderAt, body int64, scratch []byte) (uint32, error) {
	if body <= blockSize*blockCount {
		sum, err := hashRange(r, 0, body, scratch)
		return uint32(sum), err
	}
	var digest xxhash.Digest
	digest.Reset()
	for i := range int64(blockCount) {
		b := scratch[:blockSize]
		if err := readFull(r, b, (body-blockSize)/(blockCount-1)*i); err != nil {
			return 0, err
		}
		_, _ = digest.Write(b)
	}
	return uint32(digest.Sum64()), nil
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
