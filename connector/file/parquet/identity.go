package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	magic      = "PAR1"
	trailer    = 8 // bytes at the end of a file: the length of the metadata, and the magic
	blockSize  = 1 << 10
	blockCount = 16
)

// identify returns the identity of a file, and how many bytes are before its footer. It
// returns an error if the file has no footer.
func identify(r io.ReaderAt, size int64, scratch []byte, ended func() error) (id identity, body int64, err error) {
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
	footer := newChecksum(body)
	if err := footer.extend(r, size, scratch, ended); err != nil {
		return identity{}, 0, err
	}
	id.footer = footer.digest.Sum64()
	id.sample, err = hashSample(r, body, scratch, ended)
	return id, body, err
}

var errEncrypted = errors.New("it is encrypted, which is not supported")

// hashSample returns the hash of blocks from the first bytes up to the end of the body, at
// equal distances. Two files may have the same footer and begin with the same bytes.
func hashSample(r io.ReaderAt, body int64, scratch []byte, ended func() error) (uint32, error) {
	sample := newChecksum(0)
	if body <= blockSize*blockCount {
		err := sample.extend(r, body, scratch, ended)
		return uint32(sample.digest.Sum64()), err
	}
	for i := range int64(blockCount) {
		sample.next = (body - blockSize) / (blockCount - 1) * i
		if err := sample.extend(r, sample.next+blockSize, scratch, ended); err != nil {
			return 0, err
		}
	}
	return uint32(sample.digest.Sum64()), nil
}
