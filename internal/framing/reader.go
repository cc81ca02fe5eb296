package framing

import "encoding/binary"

// Reader reads the content of a head or a tail. After an error, or after Fail, it returns only
// zero values, and IsDone returns false. Integers of a fixed size are little-endian.
type Reader struct {
	rest  []byte
	isBad bool
}

// IsDone returns true if all was read without an error.
func (r *Reader) IsDone() bool { return !r.isBad && len(r.rest) == 0 }

// Fail says that a value is wrong.
func (r *Reader) Fail() { r.isBad, r.rest = true, nil }

// take returns the next n bytes. If there are fewer, it fails and returns 8 zeros.
func (r *Reader) take(n int) []byte {
	if n > len(r.rest) {
		r.Fail()
		return make([]byte, 8)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// Byte reads a byte.
func (r *Reader) Byte() byte { return r.take(1)[0] }

// Uint32 reads 4 bytes.
func (r *Reader) Uint32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }

// Uint64 reads 8 bytes.
func (r *Reader) Uint64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

// Uvarint reads a varint.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// Number reads a varint that must fit into an int64.
func (r *Reader) Number() int64 {
	v := int64(r.Uvarint())
	if v < 0 {
		r.Fail()
		return 0
	}
	return v
}

// Count reads the number of elements that follow, each of which has at least a byte.
func (r *Reader) Count() int {
	v := r.Uvarint()
	if v > uint64(len(r.rest)) {
		r.Fail()
		return 0
	}
	return int(v)
}

// Text reads the length of a text and then the text.
func (r *Reader) Text() string { return string(r.take(r.Count())) }
