package parquet

import (
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go/format"
)

// pageChecker passes the bytes of a file on to the library while that reads the pages of a
// column. It reads the header of each page first: the library allocates the size in a header
// before it checks it, so a flipped bit would cost gigabytes. It also ends a long search for a
// row when the context has ended.
type pageChecker struct {
	r     io.ReaderAt
	ended func() error
	node  *node
	meta  *format.ColumnMetaData
	next  int64 // offset of the header of the next page
	end   int64 // offset after the last page
	buf   []byte
}

const (
	usualHeader   = 512      // bytes of the header of a page
	maxHeader     = 16 << 20 // it may hold two values of the column
	smallPage     = 16 << 20 // a page of this size is always accepted
	noPages       = "its %d bytes of pages from offset %d on are not within the file"
	pageDoesntFit = "the header of the page at offset %d says %d values and %d bytes (%d after decompression), which do not fit into the column"
)

// newPageChecker returns a checker for the pages of a column.
func newPageChecker(r io.ReaderAt, size int64, n *node, meta *format.ColumnMetaData, ended func() error) (*pageChecker, error) {
	start := meta.DataPageOffset
	if meta.DictionaryPageOffset != 0 {
		start = meta.DictionaryPageOffset
	}
	if start < int64(len(magic)) || start > meta.DataPageOffset || meta.TotalCompressedSize < 0 || meta.TotalCompressedSize > size-start {
		return nil, fmt.Errorf(noPages, meta.TotalCompressedSize, start)
	}
	return &pageChecker{r: r, ended: ended, node: n, meta: meta, next: start, end: start + meta.TotalCompressedSize}, nil
}

// ReadAt reads up to the first page with a wrong header, and returns an error there.
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

// pass checks the next header, and moves to the header after its page.
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
		n, err := decode(b, h)
		if err == nil {
			return int64(n), nil
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) || size == c.end-c.next || size > maxHeader {
			return 0, fmt.Errorf("the header of the page at offset %d: %v", c.next, err)
		}
	}
}

// check returns an error if a page does not fit into the rest of the column, which has left
// bytes, or if the page is too small for its values: the library would fill them up with
// whatever is in memory.
func (c *pageChecker) check(h *format.PageHeader, left int64) error {
	values, levels, required := int64(0), int64(0), int64(0)
	isBad := false
	switch {
	case h.DataPageHeader.Valid:
		v1 := &h.DataPageHeader.V
		values = int64(v1.NumValues)
		if c.node.def == 0 && isFixed(v1.Encoding) {
			required = values
		}
	case h.DataPageHeaderV2.Valid:
		v2 := &h.DataPageHeaderV2.V
		values = int64(v2.NumValues)
		levels = int64(v2.RepetitionLevelsByteLength) + int64(v2.DefinitionLevelsByteLength)
		isBad = v2.RepetitionLevelsByteLength < 0 || v2.DefinitionLevelsByteLength < 0 || v2.NumNulls < 0 || v2.NumNulls > v2.NumValues
		if isFixed(v2.Encoding) {
			required = values - int64(v2.NumNulls)
		}
	case h.DictionaryPageHeader.Valid:
		required = int64(h.DictionaryPageHeader.V.NumValues)
	}
	compressed, size := int64(h.CompressedPageSize), int64(h.UncompressedPageSize)
	most := max(c.meta.TotalUncompressedSize, c.meta.TotalCompressedSize, smallPage)
	if isBad || compressed < 0 || compressed > left || size < 0 || size > most || levels > compressed ||
		values < 0 || values > c.meta.NumValues || required < 0 || required*c.node.bits > 8*(size-levels) {
		return fmt.Errorf(pageDoesntFit, c.next, values, compressed, size)
	}
	return nil
}

// isFixed returns true if values take at least as many bits in an encoding as in PLAIN.
func isFixed(encoding format.Encoding) bool {
	return encoding == format.Plain || encoding == format.ByteStreamSplit
}

// checkCounts returns an error if the numbers of values in all page headers do not add up to
// the number in the footer or, unless the column is repeated, to the number of rows. If a
// header is damaged, it returns nil: the rows before that page can be read.
func (c pageChecker) checkCounts(rows int64) error {
	values := int64(0)
	for c.next < c.end {
		if err := c.ended(); err != nil {
			return err
		}
		h, err := c.pass()
		switch {
		case err != nil:
			return nil
		case h.Type == format.DataPage:
			values += int64(h.DataPageHeader.V.NumValues)
		case h.Type == format.DataPageV2:
			values += int64(h.DataPageHeaderV2.V.NumValues)
		}
	}
	if values != c.meta.NumValues || c.node.rep == 0 && values != rows {
		return fmt.Errorf("its pages have %d values, but the footer says %d, and %d rows", values, c.meta.NumValues, rows)
	}
	return nil
}
