package parquet

import (
	"strconv"

	"github.com/conduitio/conduit-commons/opencdc"
)

// The metadata of the records of a [Source].
const (
	// MetadataPath is the path of the file.
	MetadataPath = "file.path"
	// MetadataRow is the number of the row in the file, from 1 on.
	MetadataRow = "file.row"
)

// batch collects what a Read returns. Positions and row numbers are parts of buffers that
// belong to the batch.
type batch struct {
	maxRecords int
	maxBytes   int

	records   []opencdc.Record
	bytes     int
	positions []byte
	numbers   []byte
	ends      []batchEnds // its memory is reused
}

// batchEnds says where the parts of a record end.
type batchEnds struct{ position, number int }

// reset empties the batch, and allocates as much as the last one needed.
func (b *batch) reset() {
	*b = batch{
		maxRecords: b.maxRecords,
		maxBytes:   b.maxBytes,
		records:    make([]opencdc.Record, 0, len(b.ends)),
		positions:  make([]byte, 0, len(b.positions)),
		numbers:    b.numbers[:0],
		ends:       b.ends[:0],
	}
}

func (b *batch) isFull() bool { return len(b.records) >= b.maxRecords || b.bytes >= b.maxBytes }

// add adds the record of a row. Its position was already appended to the positions.
func (b *batch) add(path string, row map[string]any, number int64, size int) {
	b.records = append(b.records, opencdc.Record{
		Operation: opencdc.OperationCreate,
		Metadata:  opencdc.Metadata{MetadataPath: path},
		Payload:   opencdc.Change{After: opencdc.StructuredData(row)},
	})
	from := 0
	if n := len(b.ends); n > 0 {
		from = b.ends[n-1].position
	}
	b.numbers = strconv.AppendInt(b.numbers, number, 10)
	b.ends = append(b.ends, batchEnds{len(b.positions), len(b.numbers)})
	b.bytes += size + len(b.positions) - from
}

// finish fills in positions and row numbers, and returns the records.
func (b *batch) finish() []opencdc.Record {
	numbers := string(b.numbers)
	var from batchEnds
	for i := range b.records {
		rec, end := &b.records[i], b.ends[i]
		rec.Position = b.positions[from.position:end.position:end.position]
		rec.Metadata[MetadataRow] = numbers[from.number:end.number]
		from = end
	}
	records := b.records
	b.records = nil // they belong to the caller
	return records
}
