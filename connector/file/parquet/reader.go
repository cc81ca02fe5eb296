package parquet

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/conduitio/funnel/internal/place"
)

// reader reads the rows of a file.
type reader struct {
	file    *os.File
	id      identity
	stamp   stamp
	parquet *parquet.File
	rows    *rowReader
	schema  []*node // the columns
	ended   func() error

	groups    []parquet.RowGroup // that are still to be read; the first one is the current one if it is open
	isOpen    bool
	groupRow  int64 // rows that were read of the current one
	isResumed bool  // the first rows were not read
}

// openReader opens a file. It returns a [*schemaError] if it is a sound file with a schema
// that this package does not know. ended says when to stop.
func openReader(name string, scratch []byte, ended func() error) (r *reader, err error) {
	f, err := openFile(name)
	if err != nil {
		return nil, err
	}
	r = &reader{file: f, ended: ended}
	err = r.open(name, scratch)
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return r, nil
}

// openFile opens a regular file.
func openFile(name string) (*os.File, error) {
	f, err := place.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: name, Err: errors.New("it is not a regular file")}
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return f, nil
}

func (r *reader) open(name string, scratch []byte) error {
	info, err := r.file.Stat()
	if err != nil {
		return err
	}
	r.stamp = stampOf(name, info)
	var body int64 // bytes before the footer
	if r.id, body, err = identify(r.file, info.Size(), scratch, r.ended); err != nil {
		return err
	}
	root, err := r.readSchema(body)
	if err != nil {
		return err
	}
	err = guard(func() error {
		// The indexes and filters that the library would read now have no bounds.
		r.parquet, err = parquet.OpenFile(r.file, r.id.size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
		return err
	})
	if err != nil {
		return err
	}
	r.rows = &rowReader{root: root, columns: make([]*columnReader, len(r.schema))}
	r.groups = r.parquet.RowGroups()
	return r.checkMetadata(r.parquet.Metadata())
}

// readSchema reads the schema in the footer. It is checked before the library sees it, which
// panics about some types, and uses up memory for a group in a group without end.
func (r *reader) readSchema(body int64) (root *node, err error) {
	footer := make([]byte, r.id.size-trailer-body)
	if err := readFull(r.file, footer, body); err != nil {
		return nil, err
	}
	var meta format.FileMetaData
	err = guard(func() error {
		_, err := decode(footer, &meta)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("its metadata: %w", err)
	}
	root, r.schema, err = newSchema(meta.Schema)
	return root, err
}

// checkMetadata returns an error if the columns are not stored in a way that the library
// can read, or if the rows do not add up.
func (r *reader) checkMetadata(meta *format.FileMetaData) error {
	rows := int64(0)
	for i := range meta.RowGroups {
		g := &meta.RowGroups[i]
		if g.NumRows < 0 || len(g.Columns) != len(r.schema) {
			return fmt.Errorf("row group %d has %d rows and %d columns", i, g.NumRows, len(g.Columns))
		}
		rows += g.NumRows
		for j := range g.Columns {
			chunk, n := &g.Columns[j], r.schema[j]
			switch {
			case chunk.FilePath != "":
				return n.unknown("it is in another file, %.100q", chunk.FilePath)
			case chunk.CryptoMetadata.Value != nil:
				return n.unknown("it is encrypted, which is not supported")
			case !isReadable(chunk.MetaData.Codec):
				return n.unknown("the compression %v is not supported", chunk.MetaData.Codec)
			case chunk.MetaData.Codec != meta.RowGroups[0].Columns[j].MetaData.Codec:
				return n.unknown("row groups are compressed in different ways, %v and %v, which is not supported",
					meta.RowGroups[0].Columns[j].MetaData.Codec, chunk.MetaData.Codec)
			case len(chunk.MetaData.PathInSchema) > 0 && !slices.Equal(chunk.MetaData.PathInSchema, n.path):
				return fmt.Errorf("column %q: row group %d says that it is %q", n.column(), i, strings.Join(chunk.MetaData.PathInSchema, "."))
			case chunk.MetaData.Type != n.physical:
				return fmt.Errorf("column %q: row group %d says that it is %v, the schema that it is %v", n.column(), i, chunk.MetaData.Type, n.physical)
			}
		}
	}
	if rows != meta.NumRows {
		return fmt.Errorf("the row groups have %d rows, the file %d", rows, meta.NumRows)
	}
	return nil
}

// isReadable returns true if the library can read what is compressed in a way. It gives
// wrong data for some pages in LZ4_RAW, and allocates without end if one is damaged.
func isReadable(codec format.CompressionCodec) bool {
	switch codec {
	case format.Uncompressed, format.Snappy, format.Gzip, format.Brotli, format.Zstd:
		return true
	}
	return false
}

// numRows returns the number of rows in the file.
func (r *reader) numRows() int64 { return r.parquet.NumRows() }

// seek moves to a row. It is called before the first row is read.
func (r *reader) seek(row int64) {
	r.isResumed = row > 0
	for len(r.groups) > 0 && row >= r.groups[0].NumRows() {
		row -= r.groups[0].NumRows()
		r.groups = r.groups[1:]
	}
	r.groupRow = row
}

// passed returns the offset of the current row group if the bytes before it were just read,
// or else 0. The offset is what the footer says, within the file.
func (r *reader) passed() int64 {
	all := r.parquet.Metadata().RowGroups
	if r.isResumed || len(r.groups) == 0 {
		return 0
	}
	return min(all[len(all)-len(r.groups)].FileOffset, r.id.size)
}

// read passes rows to f, with the number of bytes in each, until f returns false. It
// returns io.EOF after the last one.
func (r *reader) read(f func(row map[string]any, size int) bool) error {
	return guard(func() error {
		for {
			if err := r.toRow(); err != nil {
				return err
			}
			row, err := r.rows.next()
			if err != nil {
				return err
			}
			r.groupRow++
			if !f(row, r.rows.size) {
				return nil
			}
		}
	})
}

// toRow moves to the next row group if the current one has no more rows.
func (r *reader) toRow() error {
	for {
		if len(r.groups) == 0 {
			return io.EOF
		}
		if !r.isOpen {
			if err := r.openGroup(r.groups[0]); err != nil {
				return err
			}
		}
		if r.groupRow < r.groups[0].NumRows() {
			return nil
		}
		for _, c := range r.rows.columns {
			isAtEnd, err := c.isAtEnd()
			if err == nil && !isAtEnd {
				err = c.fault(errTooLong)
			}
			if err != nil {
				return err
			}
		}
		r.closeGroup()
		r.groups = r.groups[1:]
		r.groupRow = 0
	}
}

// openGroup prepares the columns of a row group, and moves to the row where reading goes on.
func (r *reader) openGroup(g parquet.RowGroup) error {
	number := len(r.parquet.RowGroups()) - len(r.groups)
	meta := &r.parquet.Metadata().RowGroups[number]
	for i, chunk := range g.ColumnChunks() {
		c := &columnReader{node: r.schema[i]}
		r.rows.columns[i] = c
		if err := r.openColumn(c, chunk.(*parquet.FileColumnChunk), &meta.Columns[i], meta.NumRows); err != nil {
			return c.fault(err)
		}
	}
	r.isOpen = true
	return nil
}

// openColumn prepares a column of a row group with so many rows.
func (r *reader) openColumn(c *columnReader, chunk *parquet.FileColumnChunk, meta *format.ColumnChunk, rows int64) error {
	checker, err := newPageChecker(r.file, r.id.size, c.node, &meta.MetaData, r.ended)
	if err != nil {
		return err
	}
	if err := checker.checkCounts(rows); err != nil {
		return err
	}
	start := checker.next
	c.left = meta.MetaData.NumValues
	c.pages = chunk.PagesFrom(checker)
	if r.groupRow == 0 {
		return nil
	}
	switch left := c.left - r.groupRow; {
	case c.rep > 0:
		c.left = unknownLeft
	case left < 0:
		return errTooShort
	case left == 0:
		c.left = 0
		return nil
	default:
		c.left = left
	}
	if !r.findPage(c.node, meta, checker) {
		checker.next = start // the library searches the row
	} else if _, err := chunk.OffsetIndex(); err != nil { // this lets the library use it
		return err
	}
	return c.pages.SeekToRow(r.groupRow)
}

// findPage looks up the page of the row where reading goes on in the index of a column, and
// moves the checker there. It returns false if there is no index, or if the headers of the
// pages up to there contradict it: a wrong index would shift values to other rows. So it
// also returns false if the headers cannot confirm it. Those of version 1 count values, not
// rows, and some writers count values in the index as well.
func (r *reader) findPage(n *node, meta *format.ColumnChunk, checker *pageChecker) bool {
	pages, err := readIndex(r.file, r.id.size, meta)
	if err != nil || len(pages) == 0 || pages[0].FirstRowIndex != 0 {
		return false
	}
	for len(pages) > 1 && pages[1].FirstRowIndex <= r.groupRow {
		offset := checker.next
		h, err := checker.pass()
		if err != nil {
			return false
		}
		rows := pages[1].FirstRowIndex - pages[0].FirstRowIndex
		isRight := false
		switch {
		case h.Type == format.DataPageV2:
			isRight = int64(h.DataPageHeaderV2.V.NumRows) == rows
		case h.Type == format.DataPage:
			isRight = int64(h.DataPageHeader.V.NumValues) == rows && n.rep == 0
		default:
			continue
		}
		if !isRight || offset != pages[0].Offset || checker.next != pages[1].Offset {
			return false
		}
		pages = pages[1:]
	}
	return true
}

// readIndex returns what the index of a column says about its pages, or nothing if there is
// none.
func readIndex(file *os.File, size int64, meta *format.ColumnChunk) ([]format.PageLocation, error) {
	offset, length := meta.OffsetIndexOffset, int64(meta.OffsetIndexLength)
	if offset <= 0 || length < 0 || length > size-offset {
		return nil, nil
	}
	b := make([]byte, length)
	if err := readFull(file, b, offset); err != nil {
		return nil, err
	}
	var index format.OffsetIndex
	_, err := decode(b, &index)
	return index.PageLocations, err
}

// closeGroup gives the memory of the current row group back.
func (r *reader) closeGroup() {
	for i, c := range r.rows.columns {
		if c != nil {
			c.close()
			r.rows.columns[i] = nil
		}
	}
	r.isOpen = false
}

// close closes the file.
func (r *reader) close() error {
	_ = guard(func() error { // after damage nothing is certain
		r.closeGroup()
		return nil
	})
	return r.file.Close()
}

// guard calls f. Panics of the library about damaged files become errors, and so do faults
// of memory, to which its assembler code may come.
func guard(f func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(before)
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("it is damaged, and the library panicked: %v", v)
		}
	}()
	return f()
}
