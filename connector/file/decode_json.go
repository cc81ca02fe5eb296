package file

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxSharedText = 4 << 10 // bytes of a line that its strings may keep alive together
	maxNames      = 1024    // names that are kept
	maxNameSize   = 64

	// Readers of JSON accept 10,000 levels. A dead letter adds two to a record and four to its
	// data. Every record needs a dead letter that can be written and, if the record comes from
	// a JSON line, read again.
	maxDataDepth   = 9900
	maxRecordDepth = 9998
)

// jsonDecoder parses JSON objects. Strings of a short line are cut from one copy of it, and
// names of members that occur again are made once.
type jsonDecoder struct {
	tokens *jsontext.Decoder
	input  *bytes.Buffer
	names  map[string]string
	text   string // the line, if its strings are cut from it
	max    int    // levels that the object may have

	// sizes are the numbers of members of the last objects at the outer levels. The next
	// ones mostly have as many, so their maps need not grow.
	sizes [4]int
}

// maxExpected bounds the members for which a map has room from the start.
const maxExpected = 64

func newJSONDecoder() jsonDecoder {
	input := new(bytes.Buffer)
	return jsonDecoder{tokens: jsontext.NewDecoder(input), input: input, names: make(map[string]string)}
}

// object parses a text that consists of one JSON object with at most maxDepth levels.
func (d *jsonDecoder) object(text []byte, maxDepth int) (map[string]any, error) {
	d.max = maxDepth
	*d.input = *bytes.NewBuffer(text)
	d.tokens.Reset(d.input)
	d.text = ""
	if len(text) <= maxSharedText {
		d.text = string(text)
	}
	switch kind := d.tokens.PeekKind(); kind {
	case jsontext.KindBeginObject:
	case jsontext.KindInvalid:
		if _, err := d.tokens.ReadToken(); err != nil && err != io.EOF {
			return nil, jsonError(err)
		}
		return nil, errors.New("there is no JSON object")
	default:
		return nil, errors.New("the JSON value is not an object")
	}
	object, err := d.members()
	if err != nil {
		return nil, jsonError(err)
	}
	switch _, err := d.tokens.ReadToken(); err {
	case io.EOF:
		return object, nil
	case nil:
		return nil, errors.New("more than one JSON value stands there")
	default:
		return nil, jsonError(err)
	}
}

var errNesting = errors.New("it is nested too deeply")

// jsonError returns an error of the parser as a reason for damage.
func jsonError(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON object is incomplete")
	case errors.Is(err, errNesting):
		return err
	}
	return fmt.Errorf("it is not valid JSON: %w", err)
}

func (d *jsonDecoder) members() (map[string]any, error) {
	if _, err := d.tokens.ReadToken(); err != nil {
		return nil, err
	}
	level, expected := d.tokens.StackDepth()-1, 0
	if level < len(d.sizes) {
		expected = d.sizes[level]
	}
	object := make(map[string]any, expected)
	for d.tokens.PeekKind() != jsontext.KindEndObject {
		quoted, err := d.tokens.ReadValue()
		if err != nil {
			return nil, err
		}
		name, err := d.name(quoted)
		if err != nil {
			return nil, err
		}
		value, err := d.value()
		if err != nil {
			return nil, err
		}
		object[name] = value
	}
	if level < len(d.sizes) {
		d.sizes[level] = min(len(object), maxExpected)
	}
	_, err := d.tokens.ReadToken()
	return object, err
}

func (d *jsonDecoder) elements() ([]any, error) {
	if _, err := d.tokens.ReadToken(); err != nil {
		return nil, err
	}
	list := []any{}
	for d.tokens.PeekKind() != jsontext.KindEndArray {
		value, err := d.value()
		if err != nil {
			return nil, err
		}
		list = append(list, value)
	}
	_, err := d.tokens.ReadToken()
	return list, err
}

func (d *jsonDecoder) value() (any, error) {
	kind := d.tokens.PeekKind()
	isNested := kind == jsontext.KindBeginObject || kind == jsontext.KindBeginArray
	switch {
	case isNested && d.tokens.StackDepth() >= d.max:
		return nil, fmt.Errorf("%w: it may have %d levels", errNesting, d.max)
	case kind == jsontext.KindBeginObject:
		return d.members()
	case isNested:
		return d.elements()
	}
	v, err := d.tokens.ReadValue()
	if err != nil {
		return nil, err
	}
	switch v.Kind() {
	case jsontext.KindString:
		return d.string(v)
	case jsontext.KindNumber:
		return number(v), nil
	case jsontext.KindTrue:
		return true, nil
	case jsontext.KindFalse:
		return false, nil
	default:
		return nil, nil
	}
}

// string returns the text of a JSON string.
func (d *jsonDecoder) string(quoted jsontext.Value) (string, error) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		if d.text == "" {
			return string(quoted[1 : len(quoted)-1]), nil
		}
		end := int(d.tokens.InputOffset())
		return d.text[end-len(quoted)+1 : end-1], nil
	}
	b, err := jsontext.AppendUnquote(nil, quoted)
	return string(b), err
}

// name returns the name of a member.
func (d *jsonDecoder) name(quoted jsontext.Value) (string, error) {
	if len(quoted) > maxNameSize || bytes.IndexByte(quoted, '\\') >= 0 {
		return d.string(quoted)
	}
	plain := quoted[1 : len(quoted)-1]
	if name, ok := d.names[string(plain)]; ok {
		return name, nil
	}
	name := string(plain)
	if len(d.names) < maxNames {
		d.names[name] = name
	}
	return name, nil
}

// number returns the value of a JSON number: an integer as int64 or, if it does not fit, as
// uint64; any other number as float64 if that has the same value in decimal. What neither
// can hold stays text.
func number(text []byte) any {
	if !bytes.ContainsAny(text, ".eE") && string(text) != "-0" {
		if v, err := strconv.ParseInt(string(text), 10, 64); err == nil {
			return v
		}
		if v, err := strconv.ParseUint(string(text), 10, 64); err == nil {
			return v
		}
		return json.Number(text)
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !isExact(text, f) {
		return json.Number(text)
	}
	return f
}

// isExact returns true if the shortest decimal form of f has the value of the text.
func isExact(text []byte, f float64) bool {
	if len(text) <= 16 && !bytes.ContainsAny(text, "eE") {
		return true // up to 15 digits survive
	}
	digits, exponent := decimal(string(text))
	wantDigits, wantExponent := decimal(strconv.FormatFloat(f, 'e', -1, 64))
	return digits == wantDigits && exponent == wantExponent
}

// decimal returns the digits of a number without zeros at either end, and the exponent of
// the first one. Zero has no digits.
func decimal(text string) (digits string, exponent int) {
	text = strings.TrimPrefix(text, "-")
	if k := strings.IndexAny(text, "eE"); k >= 0 {
		e, err := strconv.Atoi(strings.TrimPrefix(text[k+1:], "+"))
		if err != nil {
			e = math.MaxInt32 // no float has it
		}
		text, exponent = text[:k], e
	}
	whole, fraction, _ := strings.Cut(text, ".")
	exponent += len(whole) - 1
	digits = whole + fraction
	significant := strings.TrimLeft(digits, "0")
	exponent -= len(digits) - len(significant)
	significant = strings.TrimRight(significant, "0")
	if significant == "" {
		exponent = 0
	}
	return significant, exponent
}

// fillRecord fills a record with what its JSON form says, but for the position.
func fillRecord(rec *opencdc.Record, object map[string]any) error {
	rec.Operation = opencdc.OperationCreate
	for name, value := range object {
		var err error
		switch name {
		case "position": // that of the file takes its place
		case "operation":
			err = fillOperation(rec, value)
		case "metadata":
			err = fillMetadata(rec, value)
		case "key":
			rec.Key, err = data(value)
		case "payload":
			err = fillPayload(rec, value)
		default:
			err = errors.New("a record has no such member")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", strconv.Quote(name), err)
		}
	}
	return nil
}

func fillOperation(rec *opencdc.Record, value any) error {
	text, ok := value.(string)
	if !ok {
		return errors.New("it is not a string")
	}
	return rec.Operation.UnmarshalText([]byte(text))
}

func fillMetadata(rec *opencdc.Record, value any) error {
	if value == nil {
		return nil
	}
	object, ok := value.(map[string]any)
	if !ok {
		return errors.New("it is not an object")
	}
	rec.Metadata = make(opencdc.Metadata, len(object)+2)
	for name, value := range object {
		text, ok := value.(string)
		if !ok {
			return fmt.Errorf("%s is not a string", strconv.Quote(name))
		}
		rec.Metadata[name] = text
	}
	return nil
}

func fillPayload(rec *opencdc.Record, value any) error {
	if value == nil {
		return nil
	}
	object, ok := value.(map[string]any)
	if !ok {
		return errors.New("it is not an object")
	}
	for name, value := range object {
		var err error
		switch name {
		case "before":
			rec.Payload.Before, err = data(value)
		case "after":
			rec.Payload.After, err = data(value)
		default:
			err = errors.New("a payload has no such member")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", strconv.Quote(name), err)
		}
	}
	return nil
}

// data returns raw data for a string, which is in base64, and structured data for an
// object.
func data(value any) (opencdc.Data, error) {
	switch value := value.(type) {
	case nil:
		return nil, nil
	case string:
		raw, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return nil, errors.New("the string is not valid base64")
		}
		return opencdc.RawData(raw), nil
	case map[string]any:
		return opencdc.StructuredData(value), nil
	default:
		return nil, errors.New("it is neither an object nor a string")
	}
}
