package file

import (
	"bytes"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// maxDepth is the maximum nesting of a JSON line. Readers of JSON refuse deeper ones, and
// cycles end here.
const maxDepth = 10_000

// jsonAppender appends values as JSON: on one line, with sorted names, and the same for
// equal values. Unlike encoding/json, it refuses what JSON cannot carry, invalid UTF-8
// included, and says where in the value it stands. It reuses its memory.
type jsonAppender struct {
	names []string // of the objects that are being written, those of the innermost last
}

// value appends v, which stands at the depth in its line.
func (a *jsonAppender) value(dst []byte, v any, depth int) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case string:
		return appendText(dst, v)
	case bool:
		return strconv.AppendBool(dst, v), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case float64:
		return appendFloat(dst, v, 64)
	case map[string]any:
		return appendObject(a, dst, v, depth)
	case opencdc.StructuredData:
		return appendObject(a, dst, v, depth)
	case map[string]string:
		return appendTexts(a, dst, v)
	case []any:
		if v == nil {
			return append(dst, "null"...), nil
		}
		return appendArray(a, dst, len(v), depth, func(i int) any { return v[i] })
	case []byte:
		return appendBytes(dst, v), nil
	case opencdc.RawData:
		return appendBytes(dst, v), nil
	case time.Time:
		return appendTime(dst, v)
	case json.Number:
		return appendNumber(dst, v)
	case json.Marshaler, encoding.TextMarshaler, jsonv2.MarshalerTo:
		return appendOther(dst, v)
	default:
		return a.reflected(dst, reflect.ValueOf(v), depth)
	}
}

// reflected appends a value of a type that value does not list.
func (a *jsonAppender) reflected(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	switch v.Kind() {
	case reflect.Bool:
		return strconv.AppendBool(dst, v.Bool()), nil
	case reflect.String:
		return appendText(dst, v.String())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(dst, v.Int(), 10), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return strconv.AppendUint(dst, v.Uint(), 10), nil
	case reflect.Float32:
		return appendFloat(dst, v.Float(), 32)
	case reflect.Float64:
		return appendFloat(dst, v.Float(), 64)
	case reflect.Map:
		if k := v.Type().Key(); k.Kind() == reflect.String && !k.Implements(textMarshaler) {
			return a.reflectedMap(dst, v, depth)
		}
	case reflect.Slice, reflect.Array:
		switch isSlice := v.Kind() == reflect.Slice; {
		case isSlice && v.Type().Elem() == reflect.TypeFor[byte]():
			return appendBytes(dst, v.Bytes()), nil
		case isSlice && v.IsNil():
			return append(dst, "null"...), nil
		}
		return appendArray(a, dst, v.Len(), depth, func(i int) any { return v.Index(i).Interface() })
	case reflect.Pointer:
		if v.IsNil() {
			return append(dst, "null"...), nil
		}
		// A pointer counts as a level, so that a cycle of pointers ends.
		if depth > maxDepth {
			return dst, errTooDeep
		}
		return a.value(dst, v.Elem().Interface(), depth+1)
	}
	return appendOther(dst, v.Interface())
}

var textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()

func (a *jsonAppender) reflectedMap(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	if v.IsNil() {
		return append(dst, "null"...), nil
	}
	m := make(map[string]any, v.Len())
	for entries := v.MapRange(); entries.Next(); {
		m[entries.Key().String()] = entries.Value().Interface()
	}
	return appendObject(a, dst, m, depth)
}

// appendObject appends a map. Its values stand one level deeper.
func appendObject[M ~map[string]any](a *jsonAppender, dst []byte, m M, depth int) ([]byte, error) {
	switch {
	case m == nil:
		return append(dst, "null"...), nil
	case depth > maxDepth:
		return dst, errTooDeep
	}
	begin, end := pushNames(a, m)
	dst = append(dst, '{')
	for i := begin; i < end; i++ {
		var err error
		name := a.names[i] // a.names may move below
		if dst, err = appendName(dst, name, i == begin); err != nil {
			return dst, err
		}
		if dst, err = a.value(dst, m[name], depth+1); err != nil {
			return dst, inField(name, err)
		}
	}
	a.names = a.names[:begin]
	return append(dst, '}'), nil
}

// appendTexts appends a map of texts. To pass them to value would cost an allocation each.
func appendTexts[M ~map[string]string](a *jsonAppender, dst []byte, m M) ([]byte, error) {
	if m == nil {
		return append(dst, "null"...), nil
	}
	begin, end := pushNames(a, m)
	dst = append(dst, '{')
	for i := begin; i < end; i++ {
		var err error
		name := a.names[i]
		if dst, err = appendName(dst, name, i == begin); err != nil {
			return dst, err
		}
		if dst, err = appendText(dst, m[name]); err != nil {
			return dst, inField(name, err)
		}
	}
	a.names = a.names[:begin]
	return append(dst, '}'), nil
}

// pushNames adds the names of a map to a.names, sorted, and returns where they stand.
func pushNames[V any, M ~map[string]V](a *jsonAppender, m M) (begin, end int) {
	begin = len(a.names)
	for name := range m {
		a.names = append(a.names, name)
	}
	slices.Sort(a.names[begin:])
	return begin, len(a.names)
}

// appendName appends a name of an object, and what stands around it.
func appendName(dst []byte, name string, isFirst bool) ([]byte, error) {
	if !isFirst {
		dst = append(dst, ',')
	}
	dst, err := appendText(dst, name)
	if err != nil {
		return dst, inField(name, errInvalidName)
	}
	return append(dst, ':'), nil
}

func appendArray(a *jsonAppender, dst []byte, n, depth int, element func(int) any) ([]byte, error) {
	if depth > maxDepth {
		return dst, errTooDeep
	}
	dst = append(dst, '[')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = a.value(dst, element(i), depth+1); err != nil {
			return dst, inElement(i, err)
		}
	}
	return append(dst, ']'), nil
}

// maxKeptNames is the number of names for which memory is kept.
const maxKeptNames = 4096

// reset drops references to what was written, or what is left of a value that was refused.
func (a *jsonAppender) reset() {
	if cap(a.names) > maxKeptNames {
		a.names = nil
		return
	}
	clear(a.names[:cap(a.names)])
	a.names = a.names[:0]
}

func appendText(dst []byte, s string) ([]byte, error) {
	quoted, err := jsontext.AppendQuote(dst, s)
	if err != nil {
		return dst, errNotUTF8
	}
	return quoted, nil
}

// appendBytes appends bytes in base64, and nil as null.
func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}

// appendFloat appends the shortest number that reads as f, in the notation of ECMAScript,
// which encoding/json has, too.
func appendFloat(dst []byte, f float64, bits int) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return dst, fmt.Errorf("JSON has no number for %v", f)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 {
		if bits == 32 {
			if abs := float32(abs); abs < 1e-6 || abs >= 1e21 {
				format = 'e'
			}
		} else if abs < 1e-6 || abs >= 1e21 {
			format = 'e'
		}
	}
	dst = strconv.AppendFloat(dst, f, format, -1, bits)
	if n := len(dst); format == 'e' && dst[n-2] == '0' && dst[n-3] == '-' { // e-09 is e-9
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst, nil
}

func appendTime(dst []byte, t time.Time) ([]byte, error) {
	text, err := t.AppendText(append(dst, '"'))
	if err != nil {
		return dst, fmt.Errorf("the time %v cannot be written as in RFC 3339: %w", t, err)
	}
	return append(text, '"'), nil
}

func appendNumber(dst []byte, n json.Number) ([]byte, error) {
	v := jsontext.Value(n)
	if isNumber := v.Kind() == '0' && v.IsValid() && !bytes.ContainsAny(v, " \t\r\n"); !isNumber {
		return dst, fmt.Errorf("the json.Number %q is no number", shorten(string(n)))
	}
	return append(dst, n...), nil
}

// appendOther appends a struct, or a value with methods of its own for JSON or text, as
// encoding/json does, but refuses invalid UTF-8 and names that occur twice.
func appendOther(dst []byte, v any) ([]byte, error) {
	text, err := jsonv2.Marshal(v, jsonv1.DefaultOptionsV1(), jsonv2.Deterministic(true),
		jsontext.EscapeForHTML(false), jsontext.EscapeForJS(false),
		jsontext.AllowInvalidUTF8(false), jsontext.AllowDuplicateNames(false))
	if err != nil {
		return dst, fmt.Errorf("the %T has no JSON: %w", v, err)
	}
	return append(dst, text...), nil
}

// appendRawJSON appends a JSON text on one line. Its numbers and strings stay as they are.
func appendRawJSON(dst, text []byte) ([]byte, error) {
	return jsontext.AppendFormat(dst, text, jsontext.PreserveRawStrings(true))
}
