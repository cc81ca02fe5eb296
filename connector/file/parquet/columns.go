package parquet

import (
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
)

// Errors of damaged columns.
var (
	errInconsistent = errors.New("its levels contradict the schema or another column")
	errTooShort     = errors.New("it ends before the last row of its row group")
	errTooLong      = errors.New("it has values after the last row of its row group")
)

const (
	valuesAtOnce = 256
	unknownLeft  = -1
)

// columnReader reads the values of a column within a row group.
type columnReader struct {
	*node
	pages *parquet.FilePages
	left  int64 // unread values in the pages after the current one, or unknownLeft

	page     parquet.Page // the current one, or nil
	values   parquet.ValueReader
	pageLeft int64 // unread values in the current page

	buf []parquet.Value
	pos int
}

// peek returns the next value, or nil if there is none. The value is valid until the one after
// it is read.
func (c *columnReader) peek() (*parquet.Value, error) {
	if c.pos == len(c.buf) {
		if err := c.fill(); err != nil {
			if err == io.EOF {
				return nil, nil
			}
			return nil, c.fault(err)
		}
	}
	return &c.buf[c.pos], nil
}

// next returns the next value and moves past it.
func (c *columnReader) next() (*parquet.Value, error) {
	v, err := c.peek()
	switch {
	case err != nil:
		return nil, err
	case v == nil:
		return nil, c.fault(errTooShort)
	}
	c.pos++
	return v, nil
}

// isAtEnd returns true if there is no further value.
func (c *columnReader) isAtEnd() (bool, error) {
	v, err := c.peek()
	return v == nil, err
}

func (c *columnReader) fault(err error) error { return fmt.Errorf("column %q: %w", c.column(), err) }

// fill reads values into the buffer. It returns io.EOF if there are none.
func (c *columnReader) fill() error {
	for c.pageLeft == 0 {
		if err := c.nextPage(); err != nil {
			return err
		}
	}
	if cap(c.buf) == 0 {
		c.buf = make([]parquet.Value, 0, valuesAtOnce)
	}
	c.pos = 0
	n, err := c.values.ReadValues(c.buf[:min(c.pageLeft, valuesAtOnce)])
	c.buf = c.buf[:n]
	c.pageLeft -= int64(n)
	switch {
	case n > 0:
		return nil
	case err == nil || err == io.EOF:
		return errPage
	default:
		return err
	}
}

var errPage = errors.New("a page does not hold what its header says")

// nextPage reads the next page. It returns io.EOF if there is none.
func (c *columnReader) nextPage() error {
	c.release()
	if c.left == 0 {
		return io.EOF
	}
	page, err := c.pages.ReadPage()
	switch {
	case err == io.EOF && c.left > 0:
		return errTooShort
	case err != nil:
		return err
	}
	c.page = page
	n := page.NumValues()
	if n < 0 || c.left != unknownLeft && n > c.left {
		return errPage
	}
	if c.left != unknownLeft {
		c.left -= n
	}
	c.pageLeft = n
	c.values = page.Values()
	return nil
}

func (c *columnReader) release() {
	c.values, c.pageLeft = nil, 0
	if c.page != nil {
		page := c.page
		c.page = nil
		parquet.Release(page)
	}
}

// close releases the memory.
func (c *columnReader) close() {
	c.release()
	if c.pages != nil {
		_ = c.pages.Close() // nothing was written
		c.pages = nil
	}
}
