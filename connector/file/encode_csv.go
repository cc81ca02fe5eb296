package file

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/go-json-experiment/json/jsontext"
)

// csvLayout is how the rows of a CSV file look.
type csvLayout struct {
	columns         []string
	separator       rune
	dropOtherFields bool
}

// header returns the first row, with its line end.
func (c *csvLayout) header() []byte {
	var row []byte
	for i, name := range c.columns {
		row = append(c.comma(row, i), name...)
		row = c.quoted(row, len(row)-len(name))
	}
	return append(row, '\n')
}

// comma appends what stands before the field of a column.
func (c *csvLayout) comma(row []byte, column int) []byte {
	if column == 0 {
		return row
	}
	return utf8.AppendRune(row, c.separator)
}

// quoted puts the last field of the row, which begins at begin, in quotes if it needs them.
func (c *csvLayout) quoted(row []byte, begin int) []byte {
	if !c.needsQuotes(row[begin:]) {
		return row
	}
	quotes := bytes.Count(row[begin:], quote)
	end := len(row)
	row = append(row, make([]byte, quotes+2)...)
	to := len(row) - 1
	row[to] = '"'
	for from := end - 1; from >= begin; from-- {
		to--
		row[to] = row[from]
		if row[from] == '"' {
			to--
			row[to] = '"'
		}
	}
	row[begin] = '"'
	return row
}

var quote = []byte{'"'}

// needsQuotes reports whether readers would change the field without quotes. The only
// field of a row is quoted if it is empty, since readers skip empty lines.
func (c *csvLayout) needsQuotes(field []byte) bool {
	if len(field) == 0 {
		return len(c.columns) == 1
	}
	first, _ := utf8.DecodeRune(field)
	return unicode.IsSpace(first) || string(field) == `\.` ||
		bytes.ContainsAny(field, "\"\r\n") || bytes.ContainsRune(field, c.separator)
}

// row appends the fields of a record, without the line end.
func (e *encoder) row(dst []byte, payload opencdc.Data) ([]byte, error) {
	fields, ok := payload.(opencdc.StructuredData)
	switch {
	case payload == nil || ok && fields == nil:
		return dst, errNoPayload
	case !ok:
		return dst, errors.New("its payload is raw data, which has no columns")
	}
	found := 0
	for i, name := range e.csv.columns {
		v, ok := fields[name]
		if ok {
			found++
		}
		var err error
		dst = e.csv.comma(dst, i)
		begin := len(dst)
		if dst, err = e.field(dst, v); err == nil {
			err = checkField(dst[begin:])
		}
		if err != nil {
			return dst, inField(name, err)
		}
	}
	if found < len(fields) && !e.csv.dropOtherFields {
		return dst, e.csv.otherField(fields)
	}
	return dst, nil
}

func checkField(field []byte) error {
	switch {
	case bytes.IndexByte(field, 0) >= 0:
		return errNUL
	case !utf8.Valid(field):
		return errNotUTF8
	default:
		return nil
	}
}

// field appends the field for a value: its JSON, but texts without their quotes, and
// nothing for null.
func (e *encoder) field(dst []byte, v any) ([]byte, error) {
	begin := len(dst)
	if text, ok := v.(string); ok {
		return e.csv.quoted(append(dst, text...), begin), nil
	}
	dst, err := e.json.value(dst, v, 1)
	if err != nil {
		return dst, err
	}
	switch dst[begin] {
	case '"':
		if e.text, err = jsontext.AppendUnquote(e.text[:0], dst[begin:]); err != nil {
			return dst, err
		}
		dst = append(dst[:begin], e.text...)
	case 'n':
		dst = dst[:begin]
	}
	return e.csv.quoted(dst, begin), nil
}

// otherField returns the error for fields that have no column.
func (c *csvLayout) otherField(fields opencdc.StructuredData) error {
	var others []string
	for name := range fields {
		if !slices.Contains(c.columns, name) {
			others = append(others, name)
		}
	}
	first := shorten(slices.Min(others))
	if len(others) == 1 {
		return fmt.Errorf("its field %q has no column", first)
	}
	return fmt.Errorf("%d of its fields have no column, such as %q", len(others), first)
}

// checkHeader returns an error if the file does not begin with the columns. It reads the
// first row.
func (c *csvLayout) checkHeader(file io.Reader) error {
	r := csv.NewReader(io.LimitReader(skipBOM(file), maxHeader))
	r.Comma = c.separator
	r.FieldsPerRecord = -1
	got, err := r.Read()
	if err != nil {
		return fmt.Errorf("its header cannot be read: %w; the columns are %s", err, quoteAll(c.columns))
	}
	if !slices.Equal(got, c.columns) {
		return fmt.Errorf("its header is %s, but the columns are %s", quoteAll(got), quoteAll(c.columns))
	}
	return nil
}

// maxHeader is the maximum size of a header, in bytes.
const maxHeader = 1 << 20

// skipBOM returns a reader without the byte order mark at the beginning of a file.
func skipBOM(file io.Reader) io.Reader {
	var begin [len(bom)]byte
	n, _ := io.ReadFull(file, begin[:])
	if string(begin[:n]) == bom {
		return file
	}
	return io.MultiReader(bytes.NewReader(begin[:n]), file)
}

// quoteAll returns names for an error.
func quoteAll(names []string) string {
	const maxNames = 20
	var list []string
	for i, name := range names {
		if i == maxNames {
			list = append(list, fmt.Sprintf("and %d more", len(names)-i))
			break
		}
		list = append(list, fmt.Sprintf("%q", shorten(name)))
	}
	return "[" + strings.Join(list, " ") + "]"
}
