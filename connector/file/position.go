package file

import (
	"encoding/binary"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/framing"
)

// A position is self-contained: it holds the state of all files, after its record. Its head
// is made once for each change of a file.
//
//	head  format, finished files, other unfinished files, current file
//	tail  number of the record, bytes in all, offset, checksum up to the offset
//
// Numbers are varints, checksums have 8 bytes, and hints and hashes of beginnings have 4.

var positionFrame = framing.Frame{Magic: "\xf1fp", Version: 1, Files: "files", Sum: xxhash.Sum64}

const (
	// movedMark stands before the name of a file that is no longer there.
	movedMark = "\x00"

	// fingerprintSize is the number of bytes at the beginning of a file that its
	// fingerprint covers.
	fingerprintSize = 1024
)

// Progress is the content of a position, as [ParsePosition] returns it.
type Progress struct {
	// Format is the format of the files.
	Format Format
	// Records is the number of the record among all records that were read, from 1 on.
	Records uint64
	// Bytes is the number of bytes that were read from all files, after decompression.
	Bytes int64
	// Finished is the number of files that were read to their end and are remembered, so that
	// they are not read again.
	Finished int
	// Files are the files that were read in part. The first one is the file of the record.
	Files []FileProgress
}

// FileProgress says how far a file was read.
type FileProgress struct {
	// Name is the path of the file when it was last seen.
	Name string
	// Offset is where reading continues, in bytes after decompression.
	Offset int64
	// Checksum is the xxHash64 of the bytes before the offset.
	Checksum uint64
}

// ParsePosition returns the content of a position of a [Source]. It returns an error if the
// position is damaged, or not from such a source.
func ParsePosition(p opencdc.Position) (Progress, error) {
	state, err := parsePosition(p)
	if err != nil {
		return Progress{}, err
	}
	progress := Progress{Format: state.format, Records: state.record, Bytes: state.bytes}
	for _, k := range state.known {
		if k.isFinished {
			progress.Finished++
		} else {
			progress.Files = append(progress.Files, FileProgress{Name: k.name, Offset: k.offset, Checksum: k.sum})
		}
	}
	return progress, nil
}

// knownFile is what is remembered of a file that was read, in part or to its end.
type knownFile struct {
	beginning     uint32 // hash of the first bytes
	beginningSize int    // how many they are: up to fingerprintSize
	offset        int64  // bytes that were read
	sum           uint64 // their checksum
	isFinished    bool

	name    string // of an unfinished file
	isMoved bool   // the file is no longer under that name
	hints   hints

	isPresent bool // finished: the file, or a copy, was seen
}

// hints are hashes of what often tells files apart. A hint of 0 says nothing.
type hints struct {
	name  uint32 // of the path
	inode uint32 // of device and inode
	stat  uint32 // of device, inode, size and modification time, if that is some time ago
}

// readState is all that a position says.
type readState struct {
	format Format
	record uint64
	bytes  int64
	known  []*knownFile // the finished ones first, then that of the record, then the others
}

// appendHead appends the head of the positions of a file.
func appendHead(b []byte, format Format, known []*knownFile, current *knownFile) []byte {
	b = append(positionFrame.AppendStart(b), byte(format))
	finished, others := 0, 0
	for _, k := range known {
		switch {
		case k.isFinished:
			finished++
		case k != current && k.offset > 0:
			others++
		}
	}
	b = binary.AppendUvarint(b, uint64(finished))
	for _, k := range known {
		if k.isFinished {
			b = binary.LittleEndian.AppendUint32(b, k.hints.name)
			b = binary.LittleEndian.AppendUint32(b, k.hints.stat)
			b = k.appendStatic(b)
			b = k.appendOffset(b)
		}
	}
	b = binary.AppendUvarint(b, uint64(others))
	for _, k := range known {
		if !k.isFinished && k != current && k.offset > 0 {
			b = k.appendUnfinished(b)
			b = k.appendOffset(b)
		}
	}
	return current.appendUnfinished(b)
}

func (k *knownFile) appendUnfinished(b []byte) []byte {
	name := k.name
	if k.isMoved {
		name = movedMark + name
	}
	b = binary.AppendUvarint(b, uint64(len(name)))
	b = append(b, name...)
	return k.appendStatic(b)
}

func (k *knownFile) appendStatic(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(k.beginningSize))
	b = binary.LittleEndian.AppendUint32(b, k.beginning)
	return binary.LittleEndian.AppendUint32(b, k.hints.inode)
}

func (k *knownFile) appendOffset(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(k.offset))
	return binary.LittleEndian.AppendUint64(b, k.sum)
}

// appendTail appends the tail of a position, and what ends it. headSum is the checksum of
// the head.
func appendTail(b []byte, headSum, record uint64, bytes, offset int64, sum uint64) []byte {
	start := len(b)
	b = binary.AppendUvarint(b, record)
	b = binary.AppendUvarint(b, uint64(bytes))
	b = binary.AppendUvarint(b, uint64(offset))
	b = binary.LittleEndian.AppendUint64(b, sum)
	return positionFrame.AppendEnd(b, start, headSum)
}

// positionTail is what the tail of a position says.
type positionTail struct {
	record uint64
	bytes  int64
	offset int64
	sum    uint64
}

// parseTail checks a position. It returns what its tail says, and a reader of its head.
func parseTail(p opencdc.Position) (head positionReader, tail positionTail, err error) {
	var d framing.Reader
	head.Reader, d, err = positionFrame.Split(p)
	if err != nil {
		return head, tail, err
	}
	tail.record = d.Uvarint()
	tail.bytes = d.Number()
	tail.offset = d.Number()
	tail.sum = d.Uint64()
	if !d.IsDone() {
		return head, tail, positionFrame.Damaged()
	}
	return head, tail, nil
}

// parsePosition returns what a position says.
func parsePosition(p opencdc.Position) (readState, error) {
	d, tail, err := parseTail(p)
	if err != nil {
		return readState{}, err
	}
	state := readState{format: Format(d.Byte()), record: tail.record, bytes: tail.bytes}
	for range d.Count() {
		k := &knownFile{isFinished: true}
		k.hints.name = d.Uint32()
		k.hints.stat = d.Uint32()
		d.static(k)
		d.progress(k)
		state.known = append(state.known, k)
	}
	current := &knownFile{offset: tail.offset, sum: tail.sum}
	var others []*knownFile
	for range d.Count() {
		k := &knownFile{}
		d.unfinished(k)
		d.progress(k)
		others = append(others, k)
	}
	d.unfinished(current)
	if !d.IsDone() || !state.format.isKnown() {
		return readState{}, positionFrame.Damaged()
	}
	state.known = append(append(state.known, current), others...)
	return state, nil
}

// positionReader reads the parts of a head.
type positionReader struct{ framing.Reader }

func (d *positionReader) static(k *knownFile) {
	size := d.Uvarint()
	if size > fingerprintSize {
		d.Fail()
		return
	}
	k.beginningSize = int(size)
	k.beginning = d.Uint32()
	k.hints.inode = d.Uint32()
}

func (d *positionReader) progress(k *knownFile) {
	k.offset = d.Number()
	k.sum = d.Uint64()
}

func (d *positionReader) unfinished(k *knownFile) {
	k.name = d.Text()
	k.name, k.isMoved = strings.CutPrefix(k.name, movedMark)
	if !k.isMoved {
		k.hints.name = hashName(k.name)
	}
	d.static(k)
}

// hashBeginning returns the hash of the first bytes of a file.
func hashBeginning(b []byte) uint32 { return uint32(xxhash.Sum64(b)) }

// hashName returns the hint of a path, or 0 for none.
func hashName(name string) uint32 {
	if name == "" {
		return 0
	}
	return max(uint32(xxhash.Sum64String(name)), 1)
}
