package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go/encoding/thrift"
)

// Footers, indexes and the headers of pages are structs in the compact protocol of Thrift.
// The library decodes them without bounds: it allocates the size that a list claims before it
// checks it, and deep nesting overflows the stack, which ends the process. So the source walks
// over each of them first.

const maxNesting = 100

// decode decodes the struct at the beginning of b into v, and returns its size. The error
// wraps [io.ErrUnexpectedEOF] if the struct does not end within b.
func decode(b []byte, v any) (size int, err error) {
	w := thriftWalker{rest: b}
	if err := w.fields(0); err != nil {
		return 0, err
	}
	size = len(b) - len(w.rest)
	var protocol thrift.CompactProtocol
	return size, thrift.NewDecoder(protocol.NewReaderFromBytes(b[:size])).Decode(v)
}

// thriftWalker walks over a struct without looking at its values.
type thriftWalker struct{ rest []byte }

var errNesting = errors.New("its parts are nested too deep")

// fields walks over the fields of a struct at a depth, and over its end.
func (w *thriftWalker) fields(depth int) error {
	if depth > maxNesting {
		return errNesting
	}
	for {
		head, err := w.byte()
		if err != nil || head == 0 {
			return err
		}
		if head>>4 == 0 { // the number of the field follows
			if _, err := w.varint(); err != nil {
				return err
			}
		}
		switch kind := thrift.Type(head & 0xf); kind {
		case thrift.TRUE, thrift.FALSE: // the type is the value
		default:
			if err := w.value(kind, depth); err != nil {
				return err
			}
		}
	}
}

// value walks over a value, or over an element of a list, set or map.
func (w *thriftWalker) value(kind thrift.Type, depth int) error {
	switch kind {
	case thrift.TRUE, thrift.FALSE, thrift.I8:
		return w.skip(1)
	case thrift.I16, thrift.I32, thrift.I64:
		_, err := w.varint()
		return err
	case thrift.DOUBLE:
		return w.skip(8)
	case thrift.BINARY:
		size, err := w.varint()
		if err != nil {
			return err
		}
		return w.skip(size)
	case thrift.UUID:
		return w.skip(16)
	case thrift.LIST, thrift.SET:
		head, err := w.byte()
		if err != nil {
			return err
		}
		n := uint64(head >> 4)
		if n == 15 {
			if n, err = w.varint(); err != nil {
				return err
			}
		}
		return w.elements(n, depth+1, thrift.Type(head&0xf))
	case thrift.MAP:
		n, err := w.varint()
		if err != nil || n == 0 {
			return err
		}
		kinds, err := w.byte()
		if err != nil {
			return err
		}
		return w.elements(n, depth+1, thrift.Type(kinds>>4), thrift.Type(kinds&0xf))
	case thrift.STRUCT:
		return w.fields(depth + 1)
	default:
		return fmt.Errorf("the type %d is unknown", kind)
	}
}

// elements walks over n elements, each of which has values of these kinds.
func (w *thriftWalker) elements(n uint64, depth int, kinds ...thrift.Type) error {
	switch {
	case depth > maxNesting:
		return errNesting
	case n > uint64(len(w.rest)): // each has at least a byte
		return io.ErrUnexpectedEOF
	}
	for range n {
		for _, kind := range kinds {
			if err := w.value(kind, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *thriftWalker) byte() (byte, error) {
	if len(w.rest) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	b := w.rest[0]
	w.rest = w.rest[1:]
	return b, nil
}

func (w *thriftWalker) varint() (uint64, error) {
	v, n := binary.Uvarint(w.rest)
	switch {
	case n == 0:
		return 0, io.ErrUnexpectedEOF
	case n < 0:
		return 0, errors.New("a number is too large")
	}
	w.rest = w.rest[n:]
	return v, nil
}

func (w *thriftWalker) skip(n uint64) error {
	if n > uint64(len(w.rest)) {
		return io.ErrUnexpectedEOF
	}
	w.rest = w.rest[n:]
	return nil
}
