package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"github.com/conduitio/conduit-commons/opencdc"
)

// A position is self-contained: it holds the state of all files, after its record. So it
// has two parts. The head holds all that stays the same from one record of a file to the
// next, and is made once for each file. The tail holds what is new with each record, and is
// appended to a copy of the head.
//
//	head  magic, version, finished files, other unfinished files, current file
//	tail  number of the record, number of the row in the current file
//	end   length of the tail (1 byte), checksum of all before (4 bytes)
//
// Numbers are varints, the hash of a footer has 8 bytes and that of a sample 4, all of them
// little-endian.

const (
	positionMagic   = "\xf1pq"
	positionVersion = 1
	endSize         = 1 + 4
	maxTailSize     = 2 * binary.MaxVarintLen64
)

// Progress is what a position says.
type Progress struct {
	// Records is the number of the record among all that were read, from 1 on.
	Records uint64
	// Finished is the number of files that were read to their end and are remembered, so
	// that they are not read again.
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

// identity says which file a file is, by its content.
type identity struct {
	size   int64
	footer uint64 // hash of the footer
	sample uint32 // hash of a sample of what is before it
}

// partlyRead is a file that was read in part.
type partlyRead struct {
	id   identity
	row  int64 // rows that were read
	rows int64 // of the file
	name string
}

// readState is all that a position says.
type readState struct {
	record     uint64
	finished   []identity
	unfinished []partlyRead // that of the record first
}

// appendHead appends the head of the positions of a file.
func appendHead(b []byte, finished []identity, others []partlyRead, current *partlyRead) []byte {
	b = append(b, positionMagic...)
	b = append(b, positionVersion)
	b = binary.AppendUvarint(b, uint64(len(finished)))
	for _, id := range finished {
		b = id.append(b)
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

// append appends all but the row.
func (k *partlyRead) append(b []byte) []byte {
	b = k.id.append(b)
	b = binary.AppendUvarint(b, uint64(k.rows))
	b = binary.AppendUvarint(b, uint64(len(k.name)))
	return append(b, k.name...)
}

// appendTail appends the tail of a position, and what ends it. headSum is the checksum of
// the head.
func appendTail(b []byte, headSum, record uint64, row int64) []byte {
	start := len(b)
	b = binary.AppendUvarint(b, record)
	b = binary.AppendUvarint(b, uint64(row))
	check := positionCheck(headSum, b[start:])
	b = append(b, byte(len(b)-start))
	return binary.LittleEndian.AppendUint32(b, check)
}

func positionCheck(headSum uint64, tail []byte) uint32 {
	var buf [8 + maxTailSize]byte
	binary.LittleEndian.PutUint64(buf[:], headSum)
	n := 8 + copy(buf[8:], tail)
	return uint32(xxhash.Sum64(buf[:n]))
}

// Errors of positions.
var (
	errForeignPosition = errors.New("the position is not one of a source of Parquet files")
	errDamagedPosition = errors.New("the position of a source of Parquet files is damaged")
)

// positionTail is what the tail of a position says.
type positionTail struct {
	record uint64
	row    int64
}

// parseTail checks a position and returns its head, and what its tail says.
func parseTail(p opencdc.Position) (head []byte, tail positionTail, err error) {
	if len(p) < len(positionMagic)+1 || string(p[:len(positionMagic)]) != positionMagic {
		return nil, tail, errForeignPosition
	}
	if v := p[len(positionMagic)]; v != positionVersion {
		return nil, tail, fmt.Errorf("the position of a source of Parquet files has version %d, only %d is known", v, positionVersion)
	}
	end := len(p) - endSize
	if end < 0 || int(p[end]) > end || p[end] > maxTailSize {
		return nil, tail, errDamagedPosition
	}
	head, rest := p[:end-int(p[end])], p[end-int(p[end]):end]
	if positionCheck(xxhash.Sum64(head), rest) != binary.LittleEndian.Uint32(p[end+1:]) {
		return nil, tail, errDamagedPosition
	}
	d := &positionReader{rest: rest}
	tail.record = d.uvarint()
	tail.row = d.number()
	if d.isBad || len(d.rest) > 0 {
		return nil, tail, errDamagedPosition
	}
	return head, tail, nil
}

// parsePosition returns what a position says.
func parsePosition(p opencdc.Position) (readState, error) {
	head, tail, err := parseTail(p)
	if err != nil {
		return readState{}, err
	}
	if len(head) < len(positionMagic)+1 {
		return readState{}, errDamagedPosition
	}
	d := &positionReader{rest: head[len(positionMagic)+1:]}
	state := readState{record: tail.record}
	for range d.count() {
		state.finished = append(state.finished, d.identity())
	}
	var others []partlyRead
	for range d.count() {
		k := d.partlyRead()
		k.row = d.number()
		others = append(others, k)
	}
	current := d.partlyRead()
	current.row = tail.row
	if current.row < current.rows {
		state.unfinished = append(state.unfinished, current)
	} else {
		state.finished = append(state.finished, current.id)
	}
	state.unfinished = append(state.unfinished, others...)
	if d.isBad || len(d.rest) > 0 || current.row > current.rows {
		return readState{}, errDamagedPosition
	}
	return state, nil
}

// positionReader reads the parts of a position. Once something is wrong, isBad is true and
// all that it reads is 0.
type positionReader struct {
	rest  []byte
	isBad bool
}

func (d *positionReader) take(n int) []byte {
	if n < 0 || n > len(d.rest) {
		d.isBad, d.rest = true, nil
		return make([]byte, 8)
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *positionReader) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.isBad, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// number reads a number that fits an int64.
func (d *positionReader) number() int64 {
	v := d.uvarint()
	if int64(v) < 0 {
		d.isBad = true
		return 0
	}
	return int64(v)
}

// count reads the number of parts that follow, each of which has at least a byte.
func (d *positionReader) count() int {
	v := d.uvarint()
	if v > uint64(len(d.rest)) {
		d.isBad, d.rest = true, nil
		return 0
	}
	return int(v)
}

func (d *positionReader) identity() identity {
	return identity{
		size:   d.number(),
		footer: binary.LittleEndian.Uint64(d.take(8)),
		sample: binary.LittleEndian.Uint32(d.take(4)),
	}
}

func (d *positionReader) partlyRead() partlyRead {
	k := partlyRead{id: d.identity(), rows: d.number()}
	k.name = string(d.take(d.count()))
	return k
}
