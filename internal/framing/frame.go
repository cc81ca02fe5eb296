// Package framing writes and reads the positions of sources, which hold the state of many
// files, without the cost of writing all of it for each record.
package framing

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Frame is what is around the content of a position. A position has two parts. The head
// holds what stays the same from one record to the next, and is made once for many of them.
// The tail holds what is new with each record, and is appended to a copy of the head.
//
//	head  magic, version (1 byte), content
//	tail  content
//	end   length of the tail (1 byte), checksum of all before (4 bytes)
//
// That checksum is the one of the tail and of the checksum of the head, so that the head is
// not read for each record.
type Frame struct {
	Magic   string
	Version byte
	Files   string // what the source reads, for errors
	Sum     func([]byte) uint64
}

const (
	endSize = 1 + 4

	// maxTail is the largest size of a tail.
	maxTail = 255
)

// AppendStart appends what stands before the content of a head.
func (f *Frame) AppendStart(b []byte) []byte {
	return append(append(b, f.Magic...), f.Version)
}

// AppendEnd appends what ends a position whose tail begins at a place in b. headSum is the
// checksum of the whole head.
func (f *Frame) AppendEnd(b []byte, tail int, headSum uint64) []byte {
	size := len(b) - tail
	if size > maxTail {
		panic(fmt.Sprintf("framing: a tail has %d bytes", size))
	}
	check := uint32(f.Sum(binary.LittleEndian.AppendUint64(b, headSum)[tail:]))
	return binary.LittleEndian.AppendUint32(append(b, byte(size)), check)
}

// Split checks a position, and returns readers of the contents of head and tail.
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

// Damaged returns the error of a position whose content is wrong.
func (f *Frame) Damaged() error {
	return errors.New("the position of a source of " + f.Files + " is damaged")
}
