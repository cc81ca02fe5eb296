package framing

import "encoding/binary"

// Reader reads the content of a head or a tail. Once something is wrong, all that it reads
// is 0. Fixed sizes are little-endian.
type Reader struct {
	rest  []byte
	isBad bool
}

// IsDone returns true if all was read, and nothing was wrong.
func (r *Reader) IsDone() bool { return !r.isBad && len(r.rest) == 0 }

// Fail says that something is wrong.
func (r *Reader) Fail() { r.isBad, r.rest = true, nil }

// take returns the next n bytes, or at least 8 zeros if there are fewer.
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

// Number reads a varint that fits an int64.
func (r *Reader) Number() int64 {
	v := int64(r.Uvarint())
	if v < 0 {
		r.Fail()
		return 0
	}
	return v
}

// Count reads the number of parts that follow, each of which has at least a byte.
func (r *Reader) Count() int {
	v := r.Uvarint()
	if v > uint64(len(r.rest)) {
		r.Fail()
		return 0
	}
	return int(v)
}

// Text reads a text, and its length before it.
func (r *Reader) Text() string { return string(r.take(r.Count())) }
