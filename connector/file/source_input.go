package file

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/conduitio/funnel/internal/place"
)

// compression is how the bytes of a file are compressed.
type compression int

const (
	plain compression = iota
	gzipped
	zstandard
	undecided // there are too few bytes to tell
)

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
	// A zstd frame that decoders skip may come first. The low half of its first byte varies.
	skipMagic = []byte{0x50, 0x2a, 0x4d, 0x18}
)

const (
	magicSize      = 4
	inputBuffer    = 64 << 10
	maxZstdWindow  = 128 << 20
	zstdGoroutines = 1 // no others than that of Read
)

// compressionOf tells the compression by the first bytes of a file.
func compressionOf(b []byte) compression {
	begins := func(magic []byte) bool { return bytes.HasPrefix(b, magic) }
	skip := append([]byte(nil), b[:min(len(b), magicSize)]...)
	if len(skip) > 0 {
		skip[0] &= 0xf0
	}
	switch {
	case begins(gzipMagic):
		return gzipped
	case begins(zstdMagic), bytes.HasPrefix(skip, skipMagic):
		return zstandard
	case bytes.HasPrefix(gzipMagic, b), bytes.HasPrefix(zstdMagic, b), bytes.HasPrefix(skipMagic, skip):
		return undecided
	}
	return plain
}

// input reads the decompressed bytes of a file.
type input struct {
	name string
	file *os.File
	info os.FileInfo // when the file was opened
	kind compression

	raw     *bufio.Reader // of a compressed file
	gzip    *gzip.Reader
	zstd    *zstd.Decoder
	isBegun bool
}

// openInput opens a file for reading. It returns an error that wraps fs.ErrNotExist if the
// file is gone.
func openInput(name string) (*input, error) {
	// A pipe that was put there meanwhile would block the opening.
	file, err := place.Open(name)
	if err != nil {
		return nil, err
	}
	in := &input{name: name, file: file}
	if err := in.begin(); err != nil {
		_ = file.Close()
		return nil, err
	}
	return in, nil
}

func (in *input) begin() error {
	var err error
	if in.info, err = in.file.Stat(); err != nil {
		return err
	}
	if !in.info.Mode().IsRegular() {
		return &fs.PathError{Op: "read", Path: in.name, Err: errors.New("it is not a regular file")}
	}
	return in.detect()
}

// detect tells the compression by the bytes that are there now.
func (in *input) detect() error {
	var magic [magicSize]byte
	n, err := in.file.ReadAt(magic[:], 0)
	if err != nil && err != io.EOF {
		return err
	}
	in.kind = compressionOf(magic[:n])
	return nil
}

// isPlain returns true if the bytes of the file are those that are read.
func (in *input) isPlain() bool { return in.kind == plain || in.kind == undecided }

// readAt reads the decompressed bytes from offset on, and at least one. It returns io.EOF
// at the end of what is there, and an error that wraps errIncomplete if a compressed file
// has no end. Those who read a compressed file do so from its beginning without gaps.
func (in *input) readAt(b []byte, offset int64) (int, error) {
	if in.isPlain() {
		n, err := in.file.ReadAt(b, offset)
		if n > 0 && err == io.EOF {
			err = nil
		}
		return n, err
	}
	if !in.isBegun {
		in.isBegun = true
		if err := in.decompress(); err != nil {
			return 0, in.failure(err)
		}
	}
	for {
		var n int
		var err error
		if in.kind == gzipped {
			n, err = in.gzip.Read(b)
		} else {
			n, err = in.zstd.Read(b)
		}
		switch {
		case n > 0:
			return n, nil // a decompressor returns its error again
		case err == io.EOF:
			return 0, io.EOF
		case err != nil:
			return 0, in.failure(err)
		}
	}
}

// decompress makes the decompressor.
func (in *input) decompress() (err error) {
	in.raw = bufio.NewReaderSize(io.NewSectionReader(in.file, 0, 1<<62), inputBuffer)
	if in.kind == gzipped {
		in.gzip, err = gzip.NewReader(in.raw)
		return err
	}
	in.zstd, err = zstd.NewReader(in.raw, zstd.WithDecoderConcurrency(zstdGoroutines),
		zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
	return err
}

// errIncomplete means that a compressed file ends in the middle.
var errIncomplete = errors.New("the compressed file is incomplete")

func (in *input) failure(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF {
		return errIncomplete
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return err
	}
	return fmt.Errorf("the compressed file is corrupt: %w", err)
}

// again returns an input that reads the same open file from its beginning. It is stopped, but
// not closed.
func (in *input) again() *input {
	return &input{name: in.name, file: in.file, info: in.info, kind: in.kind}
}

// stop ends the decompression.
func (in *input) stop() {
	if in.zstd != nil {
		in.zstd.Close()
	}
}

// close closes the file.
func (in *input) close() error {
	in.stop()
	return in.file.Close()
}
