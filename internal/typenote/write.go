package typenote

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/conduitio/conduit-commons/opencdc"
)

// The reasons why a record has no notes.
var (
	errManyValues = errors.New("the record has more than a million values")
	errManyNotes  = errors.New("the notes take more than a megabyte")
	errDeep       = errors.New("the record holds itself or is nested too deeply")
)

// Append appends the notes on a record to b, as further members of a JSON object: a comma,
// a name, a colon and a note for each of metadata, operation, key, before and after that
// needs one. It returns an error, and b as it was, if the record exceeds the limits.
//
// A pointer to raw or structured data counts as its target, or as no data if it is nil.
func Append(b []byte, r *opencdc.Record) ([]byte, error) {
	w := writer{buf: b, start: len(b), left: maxValues, levels: 1}
	if r.Operation == 0 {
		w.buf = append(w.buf, `,"operation":"`+unset+`"`...)
	}
	w.top(`,"metadata":`, func() bool { return w.metadata(r.Metadata) })
	w.top(`,"key":`, func() bool { return w.data(r.Key) })
	w.top(`,"before":`, func() bool { return w.data(r.Payload.Before) })
	w.top(`,"after":`, func() bool { return w.data(r.Payload.After) })
	if len(w.buf)-len(b) > maxBytes {
		w.fail(errManyNotes)
	}
	if w.err != nil {
		return b, w.err
	}
	return w.buf, nil
}

// writer appends notes to buf. Each method that notes a value returns whether the value
// needed a note. Once there is an error, nothing matters any more.
type writer struct {
	buf    []byte
	start  int // where the notes begin in buf
	left   int // values
	depth  int // of values
	levels int // of JSON around the current note
	err    error
}

func (w *writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// spend is called before a container of n values is noted, and takes them from the budget. It
// returns false after an error.
func (w *writer) spend(n int) bool {
	if w.left -= n + 1; w.left < 0 {
		w.fail(errManyValues)
	}
	return w.err == nil
}

// top writes a member of the outermost object.
func (w *writer) top(name string, note func() bool) {
	start := len(w.buf)
	w.buf = append(w.buf, name...)
	if !note() {
		w.buf = w.buf[:start]
	}
}

// data notes the key or a payload of a record.
func (w *writer) data(d opencdc.Data) bool {
	switch p := d.(type) {
	case *opencdc.RawData:
		if d = nil; p != nil {
			d = *p
		}
	case *opencdc.StructuredData:
		if d = nil; p != nil {
			d = *p
		}
	}
	switch d := d.(type) {
	case nil:
		return false
	case opencdc.RawData:
		return d == nil && w.note("opencdc.RawData", isNil)
	case opencdc.StructuredData:
		if d == nil {
			return w.note("opencdc.StructuredData", isNil)
		}
		return w.object(d)
	default:
		return w.refuse(reflect.TypeOf(d).String())
	}
}

// metadata notes keys and values that are not valid UTF-8.
func (w *writer) metadata(m opencdc.Metadata) bool {
	isValid := true
	for k, v := range m {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			isValid = false
			break
		}
	}
	if isValid {
		return false
	}
	values := make(map[string]any, len(m))
	for k, v := range m {
		values[k] = v
	}
	return w.object(values)
}

// begin is called before a note of a size is written. It returns false if there is no room
// for the note. Notes that are too deep could not be read.
func (w *writer) begin(size int) bool {
	switch {
	case w.levels > maxDepth:
		w.fail(errDeep)
	case len(w.buf)-w.start+size > 2*maxBytes: // some notes may be dropped again
		w.fail(errManyNotes)
	}
	return w.err == nil
}

// note writes a type and, unless it is empty, what else the value needs.
func (w *writer) note(name, more string) bool {
	if !w.begin(len(more)) {
		return true
	}
	w.buf = append(w.buf, '"')
	w.buf = append(w.buf, name...)
	if more != "" {
		w.buf = append(w.buf, ' ')
		w.buf = append(w.buf, more...)
	}
	w.buf = append(w.buf, '"')
	return true
}

// refuse notes a value that cannot be restored.
func (w *writer) refuse(what string) bool {
	return w.textNote(unsupported + strings.ToValidUTF8(what, string(utf8.RuneError)))
}

// textNote writes a note that may need escapes.
func (w *writer) textNote(text string) bool {
	if w.begin(len(text)) {
		w.quote(text)
	}
	return true
}

// quote writes a text, which is valid UTF-8, as a JSON string.
func (w *writer) quote(text string) {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(text)
			if err != nil {
				w.fail(err)
			}
			w.buf = append(w.buf, quoted...)
			return
		}
	}
	w.buf = append(w.buf, '"')
	w.buf = append(w.buf, text...)
	w.buf = append(w.buf, '"')
}

// isCarried returns true if JSON carries a value that holds no others.
func isCarried(v any) bool {
	switch v := v.(type) {
	case nil, bool:
		return true
	case string:
		return utf8.ValidString(v)
	case float64:
		return hasFraction(v)
	default:
		return false
	}
}

// hasFraction returns true for a finite number that is not an integer.
func hasFraction(f float64) bool { return f == f && f != math.Trunc(f) }

// value notes a value that an interface holds.
func (w *writer) value(v any) bool {
	if w.err != nil {
		return false
	}
	switch v := v.(type) {
	case nil, bool:
		return false
	case string:
		return !utf8.ValidString(v) && w.oddString(v)
	case int:
		return w.integer("int", int64(v))
	case int8:
		return w.note("int8", "")
	case int16:
		return w.note("int16", "")
	case int32:
		return w.note("int32", "")
	case int64:
		return w.integer("int64", v)
	case uint:
		return w.unsigned("uint", uint64(v))
	case uint8:
		return w.note("uint8", "")
	case uint16:
		return w.note("uint16", "")
	case uint32:
		return w.note("uint32", "")
	case uint64:
		return w.unsigned("uint64", v)
	case float32:
		return w.note("float32", oddFloat(float64(v)))
	case float64:
		return !hasFraction(v) && w.note("float64", oddFloat(v))
	case time.Duration:
		return w.integer("time.Duration", int64(v))
	case time.Time:
		return w.time(v)
	case json.Number:
		return w.number(v)
	case []byte:
		return w.note("[]byte", nilOr(v == nil, ""))
	case opencdc.Position:
		return w.note("opencdc.Position", nilOr(v == nil, ""))
	case opencdc.RawData:
		return w.note("opencdc.RawData", nilOr(v == nil, strconv.Itoa(len(v))))
	case map[string]any:
		if v == nil {
			return w.note("map[string]any", isNil)
		}
		return w.object(v)
	case opencdc.StructuredData:
		return w.typed("opencdc.StructuredData", v == nil, func() bool { return w.object(v) })
	case []any:
		if v == nil {
			return w.note("[]any", isNil)
		}
		return w.array(len(v), len(v), func(i int) bool { return w.value(v[i]) })
	default:
		return w.reflected(reflect.ValueOf(v))
	}
}

func nilOr(null bool, more string) string {
	if null {
		return isNil
	}
	return more
}

func (w *writer) integer(name string, n int64) bool {
	if -exact < n && n < exact {
		return w.note(name, "")
	}
	return w.note(name, strconv.FormatInt(n, 10))
}

func (w *writer) unsigned(name string, n uint64) bool {
	if n < exact {
		return w.note(name, "")
	}
	return w.note(name, strconv.FormatUint(n, 10))
}

// oddFloat returns what the note on a float needs besides the type: nothing for an ordinary
// float.
func oddFloat(f float64) string {
	switch {
	case f != f:
		return "NaN"
	case math.IsInf(f, 0):
		return fmt.Sprintf("%+v", f)
	case f == 0 && math.Signbit(f):
		return "-0"
	default:
		return ""
	}
}

func (w *writer) number(n json.Number) bool {
	if !utf8.ValidString(string(n)) {
		return w.refuse("json.Number that is not valid UTF-8")
	}
	return w.textNote("json.Number " + string(n))
}

// oddString notes a string that is not valid UTF-8.
func (w *writer) oddString(s string) bool {
	if !w.begin(len(s)) {
		return true
	}
	return w.note("string", base64.StdEncoding.EncodeToString([]byte(s)))
}

// time notes a time. A location counts as fixed if it has the name of the zone, at this time
// and half a year later.
func (w *writer) time(t time.Time) bool {
	location := t.Location()
	if location == time.UTC {
		return w.note("time.Time", "")
	}
	zone, offset := t.Zone()
	kind, name := " zone ", location.String()
	if location == time.Local {
		kind, name = " local", ""
	} else if later, _ := t.AddDate(0, 6, 0).Zone(); zone == name && later == name {
		kind = " fixed "
	}
	if !utf8.ValidString(name) {
		return w.refuse("time.Time in a location whose name is not valid UTF-8")
	}
	return w.textNote("time.Time " + strconv.Itoa(offset) + kind + name)
}
