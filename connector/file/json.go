package file

import (
	"github.com/conduitio/conduit-commons/opencdc"
)

// JSONDecoder parses JSON as a [Source] does, for programs that get it in another way than
// from a file. It reuses its memory. One goroutine at a time uses it.
type JSONDecoder struct{ json jsonDecoder }

// NewJSONDecoder returns a decoder.
func NewJSONDecoder() *JSONDecoder { return &JSONDecoder{newJSONDecoder()} }

// Data parses a JSON object, as in the format [JSONLines]. No digit of a number is lost: an
// integer is an int64 or, if it does not fit, a uint64; another number is a float64 if that
// has the same value in decimal; and what neither can hold is a [json.Number]. A name that
// occurs twice, invalid UTF-8, more than 9,900 levels, and anything behind the object are
// errors. The data keeps nothing of the text.
//
// [json.Number]: https://pkg.go.dev/encoding/json#Number
func (d *JSONDecoder) Data(text []byte) (opencdc.StructuredData, error) {
	return d.json.object(text, maxDataDepth)
}

// Record parses a whole record, as in the format [Records], except for its position: that of
// r stays. A member that is missing is empty. More than 9,998 levels are an error. If it fails, r may be filled in part.
func (d *JSONDecoder) Record(text []byte, r *opencdc.Record) error {
	object, err := d.json.object(text, maxRecordDepth)
	if err != nil {
		return err
	}
	return fillRecord(r, object)
}

// JSONEncoder writes JSON as a [Destination] does, on one line without a line end, and with
// sorted names. It reuses its memory. One goroutine at a time uses it. The zero value is
// ready.
type JSONEncoder struct{ encoder encoder }

// AppendData appends data as a JSON object, as in the format [JSONLines]. If a value has no
// JSON, it returns an error that names the value, and dst as it was.
func (e *JSONEncoder) AppendData(dst []byte, data opencdc.StructuredData) ([]byte, error) {
	defer e.encoder.reset()
	text, err := e.encoder.structured(dst, data)
	if err != nil {
		return dst, err
	}
	return text, nil
}

// AppendRecord appends a whole record, as in the format [Records]. If a value has no JSON,
// it returns an error that names the value, and dst as it was.
func (e *JSONEncoder) AppendRecord(dst []byte, r *opencdc.Record) ([]byte, error) {
	defer e.encoder.reset()
	text, err := e.encoder.record(dst, r)
	if err != nil {
		return dst, err
	}
	return text, nil
}
