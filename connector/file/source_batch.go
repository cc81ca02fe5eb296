package file

import (
	"strconv"
	"strings"

	"github.com/conduitio/conduit-commons/opencdc"
)

// The keys in the metadata of the records of a [Source]. A record of the format [Records]
// that already has a path keeps its own values.
const (
	// MetadataPath is the path of the file. Invalid UTF-8 in it is replaced by U+FFFD.
	MetadataPath = "file.path"
	// MetadataLine is the number of the record's first line in the file, from 1 on.
	MetadataLine = "file.line"
	// MetadataError says why the record could not be parsed, in some 500 bytes at most. The
	// record then holds raw data: a line of the file without its line end, or as much of it
	// as a record may hold.
	MetadataError = "file.error"
)

const textChunk = 64 << 10

// batch is what a Read returns, in the making. Texts, positions and line numbers are cut
// from a few buffers that are made for the batch.
type batch struct {
	maxRecords int
	maxBytes   int

	records   []opencdc.Record
	bytes     int
	text      []byte // the current chunk
	positions []byte

	// Memory that is used again:
	lines  []byte
	ends   []ends // in positions and lines
	paths  []path
	damage []damage
}

// reset empties the batch. It makes room for what the last one held.
func (b *batch) reset() {
	*b = batch{
		maxRecords: b.maxRecords,
		maxBytes:   b.maxBytes,
		records:    make([]opencdc.Record, 0, len(b.ends)),
		positions:  make([]byte, 0, len(b.positions)+len(b.positions)/16),
		lines:      b.lines[:0],
		ends:       b.ends[:0],
		paths:      b.paths[:0],
		damage:     b.damage[:0],
	}
}

// ends says where the parts of a record end.
type ends struct{ position, line int }

// path is the path of the records from an index on.
type path struct {
	from int
	name string
	text string // the name as valid UTF-8
}

// damage says why a record was not parsed.
type damage struct {
	record int
	reason error
}

func (b *batch) isFull() bool { return len(b.records) >= b.maxRecords || b.bytes >= b.maxBytes }

// copy returns a copy of a text, without room behind it.
func (b *batch) copy(text []byte) opencdc.RawData {
	if len(text) > textChunk/4 {
		return append(make([]byte, 0, len(text)), text...)
	}
	if cap(b.text)-len(b.text) < len(text) {
		b.text = make([]byte, 0, textChunk)
	}
	start := len(b.text)
	b.text = append(b.text, text...)
	return b.text[start:len(b.text):len(b.text)]
}

// next returns the next record, which is empty.
func (b *batch) next() *opencdc.Record {
	if len(b.records) == cap(b.records) {
		grown := make([]opencdc.Record, len(b.records), min(max(2*len(b.records), 16), max(b.maxRecords, len(b.records)+1)))
		copy(grown, b.records)
		b.records = grown
	}
	b.records = b.records[:len(b.records)+1]
	return &b.records[len(b.records)-1]
}

// added adds the record that next has returned, whose position was appended to the
// positions.
func (b *batch) added(name string, line int64, size int, reason error) {
	last := len(b.records) - 1
	if len(b.paths) == 0 || b.paths[len(b.paths)-1].name != name {
		b.paths = append(b.paths, path{from: last, name: name, text: strings.ToValidUTF8(name, "\uFFFD")})
	}
	if reason != nil {
		b.damage = append(b.damage, damage{record: last, reason: reason})
	}
	from := 0
	if last > 0 {
		from = b.ends[last-1].position
	}
	b.lines = strconv.AppendInt(b.lines, line, 10)
	b.ends = append(b.ends, ends{position: len(b.positions), line: len(b.lines)})
	b.bytes += size + len(b.positions) - from
}

// maxReason is the number of bytes of a reason that is passed on: it may quote the record.
const maxReason = 512

// reasonText returns a reason as valid UTF-8.
func reasonText(reason error) string {
	text := reason.Error()
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "..."
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// finish fills in positions and metadata, and returns the records.
func (b *batch) finish() []opencdc.Record {
	lines := string(b.lines)
	paths, damage := b.paths, b.damage
	var from ends
	for i := range b.records {
		rec, end := &b.records[i], b.ends[i]
		rec.Position = b.positions[from.position:end.position:end.position]
		if len(paths) > 1 && paths[1].from == i {
			paths = paths[1:]
		}
		if rec.Metadata == nil {
			rec.Metadata = make(opencdc.Metadata, 2)
		}
		if _, ok := rec.Metadata[MetadataPath]; !ok {
			rec.Metadata[MetadataPath] = paths[0].text
			rec.Metadata[MetadataLine] = lines[from.line:end.line]
		}
		if len(damage) > 0 && damage[0].record == i {
			rec.Metadata[MetadataError] = reasonText(damage[0].reason)
			damage = damage[1:]
		}
		from = end
	}
	records := b.records
	b.records = nil // they belong to the caller
	return records
}
