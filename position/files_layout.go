package position

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"
)

// The layout of a file. All numbers are little endian.
//
//	header   magic (8 bytes), version (4), size of a slot (4), length of the ID (4), ID,
//	         checksum of all this (32), and zeros up to a multiple of 4,096 bytes
//	slot 0   sequence number (8), length of the position (8), position, checksum (32)
//	slot 1   the same
//
// The checksum of a slot covers that of the header too, so a slot that was written for
// another source, or in another layout, is not valid. A length of 0 means that nothing was
// saved yet. A valid slot with the higher sequence number holds the position.
//
// Checksums are SHA-256. What a crash leaves in a slot is a mixture of two positions that
// may differ in a digit: where a CRC would have to be argued for, this one costs less than
// a hundredth of the sync.
//
// The slots begin at multiples of 4,096 bytes because disks with sectors of that size
// write no less: a write that is torn damages one slot only.
const (
	fileMagic   = "\xf1FUNPOS\n"
	fileVersion = 1
	pageSize    = 4096

	fixedHeader = len(fileMagic) + 12          // without the ID and the checksum
	slotFixed   = 8 + 8                        // before the position
	slotRest    = slotFixed + sha256.Size      // of a slot besides the position
	maxSlot     = 64 << 20                     // bytes
	maxID       = 64 << 20                     // bytes
	maxPosition = maxSlot - slotRest           // bytes
	maxFile     = maxID + pageSize + 2*maxSlot // bytes
)

// layout is where things are in the file of a source.
type layout struct {
	headerSize, slotSize int64
	header               []byte // without the zeros
}

// newLayout returns the layout of a file of the source whose slots have at least this size.
func newLayout(id string, slotSize int64) layout {
	l := layout{headerSize: pages(int64(fixedHeader + len(id) + sha256.Size)), slotSize: slotSize}
	l.header = append(l.header, fileMagic...)
	l.header = binary.LittleEndian.AppendUint32(l.header, fileVersion)
	l.header = binary.LittleEndian.AppendUint32(l.header, uint32(slotSize))
	l.header = binary.LittleEndian.AppendUint32(l.header, uint32(len(id)))
	l.header = append(l.header, id...)
	sum := sha256.Sum256(l.header)
	l.header = append(l.header, sum[:]...)
	return l
}

// slotSizeFor returns the size of slots that hold a position of this length, and some that
// are longer.
func slotSizeFor(length int) int64 {
	size := int64(pageSize)
	for size < int64(slotRest+length) {
		size *= 2
	}
	return size
}

// pages rounds up to a multiple of the page size.
func pages(n int64) int64 { return (n + pageSize - 1) / pageSize * pageSize }

// fileSize returns the size of the file.
func (l *layout) fileSize() int64 { return l.headerSize + 2*l.slotSize }

// offset returns where a slot begins.
func (l *layout) offset(slot int) int64 { return l.headerSize + int64(slot)*l.slotSize }

// fits returns true if a slot has room for a position of this length.
func (l *layout) fits(length int) bool { return int64(length)+slotRest <= l.slotSize }

// sum returns the checksum of the header.
func (l *layout) sum() []byte { return l.header[len(l.header)-sha256.Size:] }

const firstSequence = 1

// saved is what a slot holds.
type saved struct {
	sequence uint64
	position opencdc.Position // empty if nothing was saved yet
}

// appendSlot appends a slot to buffer[:0], and returns the buffer and the part of it that
// is the slot.
func (l *layout) appendSlot(buffer []byte, s saved) (all, slot []byte) {
	buffer = append(buffer[:0], l.sum()...)
	buffer = binary.LittleEndian.AppendUint64(buffer, s.sequence)
	buffer = binary.LittleEndian.AppendUint64(buffer, uint64(len(s.position)))
	buffer = append(buffer, s.position...)
	sum := sha256.Sum256(buffer)
	buffer = append(buffer, sum[:]...)
	return buffer, buffer[sha256.Size:]
}

// newFile returns the content of a file whose first slot holds the position, with the
// sequence number firstSequence.
func (l *layout) newFile(p opencdc.Position) []byte {
	content := make([]byte, l.fileSize())
	copy(content, l.header)
	_, slot := l.appendSlot(nil, saved{sequence: firstSequence, position: p})
	copy(content[l.offset(0):], slot)
	return content
}

// readSlot returns what a slot of the file holds, or false if it is not valid.
func (l *layout) readSlot(content []byte, slot int) (saved, bool) {
	b := content[l.offset(slot):][:l.slotSize]
	length := binary.LittleEndian.Uint64(b[8:])
	if length > uint64(l.slotSize)-slotRest {
		return saved{}, false
	}
	end := slotFixed + int(length)
	h := sha256.New()
	h.Write(l.sum())
	h.Write(b[:end])
	if !bytes.Equal(h.Sum(nil), b[end:end+sha256.Size]) {
		return saved{}, false
	}
	return saved{sequence: binary.LittleEndian.Uint64(b), position: bytes.Clone(b[slotFixed:end])}, true
}

// parseFile returns the layout of the file of a source, what it holds, and in which slot.
// The error says what is wrong with the file.
func parseFile(content []byte, id string) (layout, saved, int, error) {
	fail := func(format string, args ...any) (layout, saved, int, error) {
		return layout{}, saved{}, 0, fmt.Errorf(format, args...)
	}
	if len(content) < pageSize || !bytes.HasPrefix(content, []byte(fileMagic)) {
		return fail("it is not a file of a position, or its beginning is damaged")
	}
	fields := content[len(fileMagic):]
	version := binary.LittleEndian.Uint32(fields)
	slotSize := int64(binary.LittleEndian.Uint32(fields[4:]))
	idLength := int64(binary.LittleEndian.Uint32(fields[8:]))
	if version != fileVersion {
		return fail("it has version %d of the layout, and only version %d is known", version, fileVersion)
	}
	if idLength > int64(len(content)-fixedHeader-sha256.Size) {
		return fail("its header is damaged")
	}
	headerEnd := fixedHeader + int(idLength)
	if sum := sha256.Sum256(content[:headerEnd]); !bytes.Equal(sum[:], content[headerEnd:headerEnd+sha256.Size]) {
		return fail("its header is damaged")
	}
	if other := string(content[fixedHeader:headerEnd]); other != id {
		return fail("it belongs to source %s", quote(other))
	}
	l := newLayout(id, slotSize)
	switch {
	case slotSize < pageSize || slotSize > maxSlot:
		return fail("its slots have %d bytes", slotSize)
	case int64(len(content)) != l.fileSize():
		return fail("it has %d bytes instead of %d", len(content), l.fileSize())
	}
	first, isFirst := l.readSlot(content, 0)
	second, isSecond := l.readSlot(content, 1)
	switch {
	case !isFirst && !isSecond:
		return fail("both of its slots are damaged")
	case isFirst && isSecond && first.sequence == second.sequence:
		return fail("both of its slots have the sequence number %d", first.sequence)
	case isFirst && (!isSecond || first.sequence > second.sequence):
		return l, first, 0, nil
	default:
		return l, second, 1, nil
	}
}

// checkSize returns an error if a position of this length cannot be saved.
func checkSize(length int) error {
	switch {
	case length == 0:
		return ErrEmpty
	case length > maxPosition:
		return fmt.Errorf("the position has %d bytes, and at most %d can be saved", length, maxPosition)
	default:
		return nil
	}
}

var errTooLongID = errors.New("the ID is longer than 64 MiB")

// quote quotes a text and, if it is long, cuts it short and adds its length.
func quote(text string) string {
	if len(text) <= shownBytes {
		return fmt.Sprintf("%q", text)
	}
	return fmt.Sprintf("%q... (%d bytes)", text[:shownBytes], len(text))
}

// shownBytes is how many bytes of a text an error shows.
const shownBytes = 64
