package file

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"
)

// encoder appends records in a format. It reuses its memory.
type encoder struct {
	format Format
	header []byte // what a new file begins with
	csv    csvLayout
	json   jsonAppender
	text   []byte // of a field of CSV
}

func newEncoder(format Format, c *destinationConfig) *encoder {
	e := &encoder{format: format}
	if format == CSV {
		e.csv = csvLayout{columns: c.columns, separator: c.comma, dropOtherFields: c.dropOtherFields}
		e.header = e.csv.header()
	}
	return e
}

// append appends the record and a line end. If the record cannot be written, append
// returns an error and dst as it was.
func (e *encoder) append(dst []byte, r *opencdc.Record) ([]byte, error) {
	var text []byte
	var err error
	switch e.format {
	case Lines:
		text, err = e.line(dst, r.Payload.After)
	case JSONLines:
		text, err = e.jsonLine(dst, r.Payload.After)
	case CSV:
		text, err = e.row(dst, r.Payload.After)
	default:
		text, err = e.record(dst, r)
	}
	if err != nil {
		e.json.reset()
		return dst, fmt.Errorf("the record cannot be written as %s: %w", e.format, err)
	}
	return append(text, '\n'), nil
}

// reset drops references to what was written.
func (e *encoder) reset() { e.json.reset() }

var (
	errNoPayload = errors.New("it has no payload after the change")
	errLineEnd   = errors.New("it contains a line end, so it would not be one line")
	errNUL       = errors.New("it contains a NUL, which stands for what a crash has torn")
	errEndsInCR  = errors.New("it ends in a carriage return, which readers take for a part of the line end")
)

func (e *encoder) line(dst []byte, payload opencdc.Data) ([]byte, error) {
	switch payload := payload.(type) {
	case opencdc.RawData:
		switch {
		case bytes.IndexByte(payload, '\n') >= 0:
			return dst, errLineEnd
		case bytes.IndexByte(payload, 0) >= 0:
			return dst, errNUL
		case len(payload) > 0 && payload[len(payload)-1] == '\r':
			return dst, errEndsInCR
		}
		return append(dst, payload...), nil
	case opencdc.StructuredData:
		return e.structured(dst, payload)
	default:
		return dst, payloadError(payload)
	}
}

func (e *encoder) jsonLine(dst []byte, payload opencdc.Data) ([]byte, error) {
	switch payload := payload.(type) {
	case opencdc.RawData:
		text, err := appendRawJSON(dst, payload)
		if err != nil {
			return dst, fmt.Errorf("its raw data is no valid JSON: %w", err)
		}
		return text, nil
	case opencdc.StructuredData:
		return e.structured(dst, payload)
	default:
		return dst, payloadError(payload)
	}
}

func (e *encoder) structured(dst []byte, payload opencdc.StructuredData) ([]byte, error) {
	if payload == nil {
		return dst, errNoPayload
	}
	return e.json.value(dst, payload, 1)
}

// payloadError returns the error for a payload that is neither raw nor structured data.
func payloadError(payload opencdc.Data) error {
	if payload == nil {
		return errNoPayload
	}
	return fmt.Errorf("its payload is a %T", payload)
}

// record appends the record as opencdc.Record does, but the same for equal records. The
// reader of opencdc.Record wants all fields.
func (e *encoder) record(dst []byte, r *opencdc.Record) ([]byte, error) {
	dst = append(dst, `{"position":`...)
	dst = appendBytes(dst, r.Position)
	dst = append(dst, `,"operation":"`...)
	dst = append(dst, r.Operation.String()...)
	dst = append(dst, `","metadata":`...)
	dst, err := appendTexts(&e.json, dst, r.Metadata)
	if err != nil {
		return dst, inField("metadata", err)
	}
	dst = append(dst, `,"key":`...)
	if dst, err = e.data(dst, r.Key, 2); err != nil {
		return dst, inField("key", err)
	}
	dst = append(dst, `,"payload":{"before":`...)
	if dst, err = e.data(dst, r.Payload.Before, 3); err != nil {
		return dst, inField("payload", inField("before", err))
	}
	dst = append(dst, `,"after":`...)
	if dst, err = e.data(dst, r.Payload.After, 3); err != nil {
		return dst, inField("payload", inField("after", err))
	}
	return append(dst, "}}"...), nil
}

// data appends data of a whole record: an object, or a string in base64.
func (e *encoder) data(dst []byte, d opencdc.Data, depth int) ([]byte, error) {
	switch d.(type) {
	case nil, opencdc.RawData, opencdc.StructuredData:
		return e.json.value(dst, d, depth)
	default:
		return dst, fmt.Errorf("it is a %T, neither raw nor structured data", d)
	}
}
