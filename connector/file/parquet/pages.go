package parquet

import (
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// pageChecker stands between the file and the library while the pages of a column are
// read. It reads the header of each page first: the library allocates what a header says
// before it looks whether there is that much, so that a flipped bit would cost gigabytes.
// It also ends a long search for a row when the context has ended.
type pageChecker struct {
	r     io.ReaderAt
	ended func() error
	meta  *format.ColumnMetaData
	next  int64 // offset of the header of the next page
	end   int64 // offset behind the last page
	buf   []byte
}

const (
	usualHeader   = 512      // bytes of the header of a page
	maxHeader     = 16 << 20 // it may hold two values of the column
	smallPage     = 16 << 20 // bytes of a page that is always accepted
	noPages       = "its %d bytes of pages from offset %d on are not within the file"
	pageDoesntFit = "the header of the page at offset %d says %d values and %d bytes (%d after decompression), which do not fit into the column"
)

// newPageChecker returns a checker for the pages of a column.
func newPageChecker(r io.ReaderAt, size int64, meta *format.ColumnMetaData, ended func() error) (*pageChecker, error) {
	start := meta.DataPageOffset
	if meta.DictionaryPageOffset != 0 {
		start = meta.DictionaryPageOffset
	}
	if start < int64(len(magic)) || start > meta.DataPageOffset || meta.TotalCompressedSize < 0 || meta.TotalCompressedSize > size-start {
		return nil, fmt.Errorf(noPages, meta.TotalCompressedSize, start)
	}
	return &pageChecker{r: r, ended: ended, meta: meta, next: start, end: start + meta.TotalCompressedSize}, nil
}

// ReadAt reads up to the first page whose header is wrong.
func (c *pageChecker) ReadAt(p []byte, offset int64) (int, error) {
	if err := c.ended(); err != nil {
		return 0, err
	}
	n, err := c.r.ReadAt(p, offset)
	for c.next < min(offset+int64(n), c.end) {
		if _, err := c.pass(); err != nil {
			return int(max(c.next-offset, 0)), err
		}
	}
	return n, err
}

// pass checks the next header, and goes on to the one behind its page.
func (c *pageChecker) pass() (*format.PageHeader, error) {
	var h format.PageHeader
	size, err := c.read(&h)
	if err == nil {
		err = c.check(&h, c.end-c.next-size)
	}
	if err != nil {
		return nil, err
	}
	c.next += size + int64(h.CompressedPageSize)
	return &h, nil
}

// read reads the next header, and returns its size.
func (c *pageChecker) read(h *format.PageHeader) (int64, error) {
	if c.next >= c.end {
		return 0, errTooShort
	}
	for size := int64(usualHeader); ; size *= 8 {
		size = min(size, c.end-c.next)
		if int64(cap(c.buf)) < size {
			c.buf = make([]byte, size)
		}
		b := c.buf[:size]
		if err := readFull(c.r, b, c.next); err != nil {
			return 0, err
		}
		*h = format.PageHeader{}
		var protocol thrift.CompactProtocol
		r := protocol.NewReaderFromBytes(b)
		err := thrift.NewDecoder(r).Decode(h)
		if err == nil {
			return int64(r.BytesRead()), nil
		}
		isCut := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
		if !isCut || size == c.end-c.next || size > maxHeader {
			return 0, fmt.Errorf("the header of the page at offset %d: %v", c.next, err)
		}
	}
}

// check returns an error if a page does not fit into the column, of which so many bytes
// are left.
func (c *pageChecker) check(h *format.PageHeader, left int64) error {
	values, levels := int64(0), int64(0)
	isBad := false
	switch {
	case h.DataPageHeader.Valid:
		values = int64(h.DataPageHeader.V.NumValues)
	case h.DataPageHeaderV2.Valid:
		v2 := &h.DataPageHeaderV2.V
		values = int64(v2.NumValues)
		levels = int64(v2.RepetitionLevelsByteLength) + int64(v2.DefinitionLevelsByteLength)
		isBad = v2.RepetitionLevelsByteLength < 0 || v2.DefinitionLevelsByteLength < 0 || v2.NumNulls > v2.NumValues
	case h.DictionaryPageHeader.Valid:
		n := int64(h.DictionaryPageHeader.V.NumValues)
		isBad = n < 0 || n > int64(h.UncompressedPageSize)
	}
	compressed, size := int64(h.CompressedPageSize), int64(h.UncompressedPageSize)
	most := max(c.meta.TotalUncompressedSize, c.meta.TotalCompressedSize, smallPage)
	if isBad || compressed < 0 || compressed > left || size < 0 || size > most || levels > compressed || values < 0 || values > c.meta.NumValues {
		return fmt.Errorf(pageDoesntFit, c.next, values, compressed, size)
	}
	return nil
}
