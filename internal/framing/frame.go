// Package framing writes and reads positions that hold the state of many files, without the
// cost of encoding all of it for each record.
package framing

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Frame describes the format of a position. A position has a head, a tail and an end. The head
// holds what stays the same from one record to the next, and is made once for many records.
// The tail holds what changes with each record, and is appended to a copy of the head.
//
//	head  magic, version (1 byte), content
//	tail  content, up to 255 bytes
//	end   length of the tail (1 byte), checksum (4 bytes)
//
// The checksum is that of the tail and the checksum of the head, so the head is not hashed for
// each record.
type Frame struct {
	Magic   string
	Version byte
	Files   string // the kind of files that the source reads, for errors
	Sum     func([]byte) uint64
}

const (
	endSize = 1 + 4

	// maxTail is the largest size of a tail.
	maxTail = 255
)

// AppendStart appends the magic and the version. The content of the head follows.
func (f *Frame) AppendStart(b []byte) []byte {
	return append(append(b, f.Magic...), f.Version)
}

// AppendEnd appends the end of a position whose tail is b[tail:]. headSum is the checksum of
// the whole head. AppendEnd panics if the tail has more than 255 bytes.
func (f *Frame) AppendEnd(b []byte, tail int, headSum uint64) []byte {
	size := len(b) - tail
	if size > maxTail {
		panic(fmt.Sprintf("framing: a tail has %d bytes", size))
	}
	check := uint32(f.Sum(binary.LittleEndian.AppendUint64(b, headSum)[tail:]))
	return binary.LittleEndian.AppendUint32(append(b, byte(size)), check)
}

// Split checks a position, and returns readers of the contents of its head and tail.
func (f *Frame) Split(p []byte) (head, tail Reader, err error) {
	start := len(f.Magic) + 1
	if len(p) < start || string(p[:len(f.Magic)]) != f.Magic {
		return head, tail, fmt.Errorf("the position is not one of a source of %s", f.Files)
	}
	if v := p[start-1]; v != f.Version {
		return head, tail, fmt.Errorf("the position of a source of %s has version %d, only %d is known", f.Files, v, f.Version)
	}
	end := len(p) - endSize
	if end < start || int(p[end]) > end-start {
		return head, tail, f.Damaged()
	}
	middle := end - int(p[end])
	again := f.AppendEnd(append([]byte(nil), p[middle:end]...), 0, f.Sum(p[:middle]))
	if string(again) != string(p[middle:]) {
		return head, tail, f.Damaged()
	}
	return Reader{rest: p[start:middle]}, Reader{rest: p[middle:end]}, nil
}

// Damaged returns the error for a position with wrong content.
func (f *Frame) Damaged() error {
	return errors.New("the position of a source of " + f.Files + " is damaged")
}
