package file

import (
	"strconv"

	"github.com/conduitio/conduit-commons/opencdc"
)

// The metadata of the records of a [Source]. A record of the format [Records] that has a
// path already keeps what it has.
const (
	// MetadataPath is the path of the file.
	MetadataPath = "file.path"
	// MetadataLine is the number of the record's first line in the file, from 1 on.
	MetadataLine = "file.line"
	// MetadataError says why the record could not be parsed. The record then holds raw
	// data: a line of the file without its line end, or as much of it as the bound on
	// records allows.
	MetadataError = "file.error"
)

const textChunk = 64 << 10

// batch is what a Read returns, in the making. Texts, positions and line numbers are cut
// from a few buffers that are made for the batch.
type batch struct {
	maxRecords int
	maxBytes   int

	records []opencdc.Record
	bytes   int

	text      []byte // the current chunk
	positions []byte
	lines     []byte
	ends      []ends // in positions and lines
	paths     []path
	damage    []damage
}

// ends says where the parts of a record end.
type ends struct{ position, line int }

// path is the path of the records from an index on.
type path struct {
	from int
	name string
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

// add adds a record, whose position was appended to the positions.
func (b *batch) add(rec opencdc.Record, name string, line int64, size int, reason error) {
	if len(b.paths) == 0 || b.paths[len(b.paths)-1].name != name {
		b.paths = append(b.paths, path{from: len(b.records), name: name})
	}
	if reason != nil {
		b.damage = append(b.damage, damage{record: len(b.records), reason: reason})
	}
	from := 0
	if n := len(b.ends); n > 0 {
		from = b.ends[n-1].position
	}
	b.records = append(b.records, rec)
	b.lines = strconv.AppendInt(b.lines, line, 10)
	b.ends = append(b.ends, ends{position: len(b.positions), line: len(b.lines)})
	b.bytes += size + len(b.positions) - from
}

// finish fills in positions and metadata, and returns the records.
func (b *batch) finish() []opencdc.Record {
	lines := string(b.lines)
	var from ends
	for i := range b.records {
		rec, end := &b.records[i], b.ends[i]
		rec.Position = b.positions[from.position:end.position:end.position]
		if len(b.paths) > 1 && b.paths[1].from == i {
			b.paths = b.paths[1:]
		}
		if rec.Metadata == nil {
			rec.Metadata = make(opencdc.Metadata, 2)
		}
		if _, ok := rec.Metadata[MetadataPath]; !ok {
			rec.Metadata[MetadataPath] = b.paths[0].name
			rec.Metadata[MetadataLine] = lines[from.line:end.line]
		}
		if len(b.damage) > 0 && b.damage[0].record == i {
			rec.Metadata[MetadataError] = b.damage[0].reason.Error()
			b.damage = b.damage[1:]
		}
		from = end
	}
	return b.records
}
