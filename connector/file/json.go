package file

import (
	"github.com/conduitio/conduit-commons/opencdc"
)

// JSONDecoder parses JSON as a [Source] does, for programs that do not get it from a file. It
// reuses its memory. One goroutine at a time uses it. [NewJSONDecoder] makes one.
type JSONDecoder struct{ json jsonDecoder }

// NewJSONDecoder returns a decoder.
func NewJSONDecoder() *JSONDecoder { return &JSONDecoder{newJSONDecoder()} }

// Data parses a JSON object, as in the format [JSONLines]. No digit of a number is lost: an
// integer is an int64 or, if it does not fit, a uint64. Another number is a float64 if that
// has the same value in decimal. A number that neither can hold is a [json.Number]. A
// duplicate name, invalid UTF-8, more than 9,900 levels, and anything after the object are
// errors. The data shares no memory with the text.
//
// [json.Number]: https://pkg.go.dev/encoding/json#Number
func (d *JSONDecoder) Data(text []byte) (opencdc.StructuredData, error) {
	return d.json.object(text, maxDataDepth)
}

// Record parses a whole record into r, as in the format [Records], except for the position: r
// keeps its own. A member that is missing is empty in r. More than 9,998 levels are an error.
// If Record fails, r may be filled in part.
func (d *JSONDecoder) Record(text []byte, r *opencdc.Record) error {
	object, err := d.json.object(text, maxRecordDepth)
	if err != nil {
		return err
	}
	return fillRecord(r, object)
}

// JSONEncoder writes JSON as a [Destination] does: on one line, without a line end, and with
// sorted names. It reuses its memory. One goroutine at a time uses it. The zero value is
// ready to use.
type JSONEncoder struct{ encoder encoder }

// AppendData appends data to dst as a JSON object, as in the format [JSONLines]. If a value
// has no JSON form, AppendData returns dst unchanged and an error that names the value.
func (e *JSONEncoder) AppendData(dst []byte, data opencdc.StructuredData) ([]byte, error) {
	defer e.encoder.reset()
	text, err := e.encoder.structured(dst, data)
	if err != nil {
		return dst, err
	}
	return text, nil
}

// AppendRecord appends a whole record to dst, as in the format [Records]. If a value has no
// JSON form, AppendRecord returns dst unchanged and an error that names the value.
func (e *JSONEncoder) AppendRecord(dst []byte, r *opencdc.Record) ([]byte, error) {
	defer e.encoder.reset()
	text, err := e.encoder.record(dst, r)
	if err != nil {
		return dst, err
	}
	return text, nil
}
