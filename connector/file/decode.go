package file

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/conduitio/conduit-commons/opencdc"
)

// decoder makes records of what stands in a file.
type decoder struct {
	format Format
	comma  rune
	json   jsonDecoder
	csv    *csvDecoder
}

func newDecoder(format Format, comma rune) *decoder {
	d := &decoder{format: format, comma: comma}
	switch format {
	case JSONLines, Records:
		d.json = newJSONDecoder()
	case CSV:
		d.csv = newCSVDecoder(comma)
	}
	return d
}

// isBlank returns true if the text holds no record and none is missing.
func (d *decoder) isBlank(text []byte) bool {
	switch d.format {
	case Lines:
		return false
	case CSV:
		return len(text) == 0
	default:
		return len(bytes.Trim(text, " \t\r")) == 0
	}
}

// decode fills a record with what the text holds, which is without its line end. header
// names the columns. The record keeps nothing of the text. An error says why the text is
// damaged.
func (d *decoder) decode(rec *opencdc.Record, text []byte, header []string) error {
	switch d.format {
	case JSONLines:
		object, err := d.json.object(text, maxDataDepth)
		if err != nil {
			return err
		}
		rec.Payload.After = opencdc.StructuredData(object)
		return nil
	case Records:
		object, err := d.json.object(text, maxRecordDepth)
		if err != nil {
			return err
		}
		return fillRecord(rec, object)
	default:
		row, err := d.csv.row(text)
		if err != nil {
			return err
		}
		if len(row) != len(header) {
			return fmt.Errorf("the row has %d fields, the header has %d", len(row), len(header))
		}
		columns := make(opencdc.StructuredData, len(row))
		for i, field := range row {
			columns[header[i]] = field
		}
		rec.Payload.After = columns
		return nil
	}
}

// header returns the names of the columns.
func (d *decoder) header(text []byte) ([]string, error) {
	row, err := d.csv.row(text)
	if err != nil {
		return nil, err
	}
	if hasBareReturn(text) {
		return nil, errBareReturn
	}
	names := make([]string, len(row))
	columns := make(map[string]int, len(row))
	for i, name := range row {
		if name == "" {
			return nil, fmt.Errorf("column %d has no name", i+1)
		}
		if first, ok := columns[name]; ok {
			return nil, fmt.Errorf("the columns %d and %d have the same name %q", first+1, i+1, name)
		}
		columns[name] = i
		names[i] = name
	}
	return names, nil
}

// errBareReturn means that the header seems to hold the rest of the file, too.
var errBareReturn = errors.New("a carriage return without a line feed stands outside of quotes, so it may end the line")

// hasBareReturn returns true if a row, which is without its line end, holds a carriage return
// outside of quotes.
func hasBareReturn(text []byte) bool {
	isQuoted := false
	for _, c := range text {
		switch {
		case c == '"':
			isQuoted = !isQuoted
		case c == '\r' && !isQuoted:
			return true
		}
	}
	return false
}

var errInvalidUTF8 = errors.New("the text is not valid UTF-8")

// csvDecoder parses one row after another with the same reader.
type csvDecoder struct {
	comma rune
	text  bytes.Reader
	end   string // what is left of the line end
	csv   *csv.Reader
	read  int64 // bytes that csv was given
}

func newCSVDecoder(comma rune) *csvDecoder { return &csvDecoder{comma: comma} }

// Read gives the reader the text of the row, a line end, and then io.EOF.
func (c *csvDecoder) Read(b []byte) (int, error) {
	n, _ := c.text.Read(b)
	if n == 0 {
		n = copy(b, c.end)
		c.end = c.end[n:]
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// rowEnd returns a line end that no byte of the row becomes part of.
func rowEnd(text []byte) string {
	if bytes.HasSuffix(text, []byte{'\r'}) {
		return "\r\n"
	}
	return "\n"
}

// row returns the fields of a row. The slice is valid until the next call.
func (c *csvDecoder) row(text []byte) ([]string, error) {
	if !utf8.Valid(text) {
		return nil, errInvalidUTF8
	}
	if c.csv == nil {
		c.csv = csv.NewReader(c)
		c.csv.Comma = c.comma
		c.csv.ReuseRecord = true
		c.csv.FieldsPerRecord = -1
		c.read = 0
	}
	c.text.Reset(text)
	c.end = rowEnd(text)
	row, err := c.csv.Read()
	c.read += int64(len(text) + len(rowEnd(text)))
	switch {
	case err == io.EOF:
		err = errors.New("there is no row")
	case err == nil && c.csv.InputOffset() != c.read:
		err = errors.New("a row ends in the middle of the text")
	}
	if err != nil {
		c.csv = nil // it may hold the rest of the text
		var parse *csv.ParseError
		if errors.As(err, &parse) {
			err = parse.Err
		}
		return nil, err
	}
	return row, nil
}
