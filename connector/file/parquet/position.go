package parquet

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/framing"
)

// A position is self-contained: it holds the state of all files, after its record. Its head
// is made once for each file.
//
//	head  finished files, other unfinished files, current file
//	tail  number of the record, number of the row in the current file,
//	      checksum and seal of the current file if the row is its last one
//
// Numbers are varints. The checksum of a file and the hash of a footer have 8 bytes. The hash
// of a sample, a stamp and a seal have 4.

var positionFrame = framing.Frame{Magic: "\xf1pq", Version: 1, Files: "Parquet files", Sum: xxhash.Sum64}

// Progress is what a position says.
type Progress struct {
	// Records is the number of the record among all that were read, from 1 on.
	Records uint64
	// Finished is the number of files that were read to their end and are remembered, so
	// that they are not read again. Copies of them that were found count, too.
	Finished int
	// Files are the files that were read in part. The first one is that of the record, unless
	// the record is the last one of its file.
	Files []FileProgress
}

// FileProgress says how far a file was read.
type FileProgress struct {
	// Name is the path of the file. It is empty if the file has vanished.
	Name string
	// Row is the number of rows that were read.
	Row int64
	// Rows is the number of rows in the file.
	Rows int64
}

// ParsePosition returns what a position of a [Source] says. It returns an error if the
// position is from another source, or damaged.
func ParsePosition(p opencdc.Position) (Progress, error) {
	state, err := parsePosition(p)
	if err != nil {
		return Progress{}, err
	}
	progress := Progress{Records: state.record, Finished: len(state.finished)}
	for _, k := range state.unfinished {
		progress.Files = append(progress.Files, FileProgress{Name: k.name, Row: k.row, Rows: k.rows})
	}
	return progress, nil
}

// identity says which file a file seems to be. Files that differ may have the same identity.
type identity struct {
	size   int64
	footer uint64 // hash of the footer
	sample uint32 // hash of a sample of what is before it
}

// finishedFile is a file that was read to its end, or a copy of one.
type finishedFile struct {
	content
	seal      uint32 // of the file, or 0
	isPresent bool
}

// content says what is in a file.
type content struct {
	id  identity
	sum uint64 // checksum of all bytes
}

// partlyRead is a file that was read in part.
type partlyRead struct {
	id    identity
	stamp uint32 // the hash of it
	row   int64  // rows that were read
	rows  int64  // of the file
	name  string
}

// readState is all that a position says.
type readState struct {
	record     uint64
	finished   []*finishedFile
	unfinished []partlyRead // that of the record first
}

// appendHead appends the head of the positions of a file.
func appendHead(b []byte, finished []*finishedFile, others []partlyRead, current *partlyRead) []byte {
	b = positionFrame.AppendStart(b)
	b = binary.AppendUvarint(b, uint64(len(finished)))
	for _, k := range finished {
		b = k.id.append(b)
		b = appendEnd(b, k.sum, k.seal)
	}
	b = binary.AppendUvarint(b, uint64(len(others)))
	for i := range others {
		b = others[i].append(b)
		b = binary.AppendUvarint(b, uint64(others[i].row))
	}
	return current.append(b)
}

func (id identity) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(id.size))
	b = binary.LittleEndian.AppendUint64(b, id.footer)
	return binary.LittleEndian.AppendUint32(b, id.sample)
}

// appendEnd appends what is known only at the end of a file.
func appendEnd(b []byte, sum uint64, seal uint32) []byte {
	b = binary.LittleEndian.AppendUint64(b, sum)
	return binary.LittleEndian.AppendUint32(b, seal)
}

// append appends all but the row.
func (k *partlyRead) append(b []byte) []byte {
	b = k.id.append(b)
	b = binary.LittleEndian.AppendUint32(b, k.stamp)
	b = binary.AppendUvarint(b, uint64(k.rows))
	b = binary.AppendUvarint(b, uint64(len(k.name)))
	return append(b, k.name...)
}

// appendTail appends the tail of a position, and what ends it. headSum is the checksum of
// the head.
func appendTail(b []byte, headSum uint64, tail positionTail) []byte {
	start := len(b)
	b = binary.AppendUvarint(b, tail.record)
	b = binary.AppendUvarint(b, uint64(tail.row))
	if tail.isLast {
		b = appendEnd(b, tail.sum, tail.seal)
	}
	return positionFrame.AppendEnd(b, start, headSum)
}

// positionTail is what the tail of a position says.
type positionTail struct {
	record uint64
	row    int64
	isLast bool // it is the last row of the file
	sum    uint64
	seal   uint32
}

// parseTail checks a position. It returns what its tail says, and a reader of its head.
func parseTail(p opencdc.Position) (head positionReader, tail positionTail, err error) {
	var d framing.Reader
	head.Reader, d, err = positionFrame.Split(p)
	if err != nil {
		return head, tail, err
	}
	tail.record = d.Uvarint()
	tail.row = d.Number()
	if tail.isLast = !d.IsDone(); tail.isLast {
		tail.sum, tail.seal = d.Uint64(), d.Uint32()
	}
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
	state := readState{record: tail.record}
	for range d.Count() {
		c := content{d.identity(), d.Uint64()}
		state.finished = append(state.finished, &finishedFile{content: c, seal: d.Uint32()})
	}
	var others []partlyRead
	for range d.Count() {
		k := d.partlyRead()
		k.row = d.Number()
		if k.row < 1 || k.row >= k.rows {
			d.Fail()
		}
		others = append(others, k)
	}
	current := d.partlyRead()
	current.row = tail.row
	if tail.isLast {
		state.finished = append(state.finished, &finishedFile{content: content{current.id, tail.sum}, seal: tail.seal})
	} else {
		state.unfinished = append(state.unfinished, current)
	}
	state.unfinished = append(state.unfinished, others...)
	if !d.IsDone() || state.record < uint64(current.row) || current.row < 1 || current.row > current.rows ||
		tail.isLast != (current.row == current.rows) {
		return readState{}, positionFrame.Damaged()
	}
	return state, nil
}

// positionReader reads the parts of a head.
type positionReader struct{ framing.Reader }

func (d *positionReader) identity() identity {
	return identity{
		size:   d.Number(),
		footer: d.Uint64(),
		sample: d.Uint32(),
	}
}

func (d *positionReader) partlyRead() partlyRead {
	return partlyRead{id: d.identity(), stamp: d.Uint32(), rows: d.Number(), name: d.Text()}
}
