package typenote

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/conduitio/conduit-commons/opencdc"
)

// Why a record has no notes.
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
	w := writer{buf: b, left: maxValues}
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
	buf   []byte
	left  int // values
	depth int
	err   error
}

func (w *writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// spend is called before n values are looked at. It returns false after an error.
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

// metadata notes texts that are not valid UTF-8.
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

// note writes a type and, unless it is empty, what else the value needs.
func (w *writer) note(name, more string) bool {
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
	w.quote(unsupported + strings.ToValidUTF8(what, string(utf8.RuneError)))
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
	switch v := v.(type) {
	case nil, bool:
		return false
	case string:
		return !utf8.ValidString(v) && w.note("string", base64.StdEncoding.EncodeToString([]byte(v)))
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

// oddFloat returns what stands for a float in its note, or "" for an ordinary one.
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
	w.quote("json.Number " + string(n))
	return true
}

// time notes a time. A location that does not change its offset within half a year, and
// has the same name as the zone, counts as fixed.
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
	w.quote("time.Time " + strconv.Itoa(offset) + kind + name)
	return true
}

// typed notes a container whose type JSON does not carry.
func (w *writer) typed(name string, null bool, inside func() bool) bool {
	if null {
		return w.note(name, isNil)
	}
	start := len(w.buf)
	w.buf = append(w.buf, '[')
	w.note(name, "")
	w.buf = append(w.buf, ',')
	if !inside() {
		w.buf = w.buf[:start]
		return w.note(name, "")
	}
	w.buf = append(w.buf, ']')
	return true
}

// enter is called before the elements of a container are noted, and leave after that.
func (w *writer) enter(n int) bool {
	if w.depth++; w.depth > maxDepth+maxLevels {
		w.fail(errDeep)
	}
	if len(w.buf) > 2*maxBytes {
		w.fail(errManyNotes)
	}
	return w.spend(n)
}

func (w *writer) leave() { w.depth-- }

type member struct {
	key   string
	value any
}

// object notes the members of a map, in order of their keys.
func (w *writer) object(m map[string]any) bool {
	defer w.leave()
	if !w.enter(len(m)) {
		return false
	}
	var few [8]member
	members := few[:0]
	for k, v := range m {
		if !utf8.ValidString(k) {
			return w.refuse(mapWithOddKey)
		}
		if !isCarried(v) {
			members = append(members, member{key: k, value: v})
		}
	}
	slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.key, b.key) })
	start := len(w.buf)
	for i := range members {
		at := w.key(members[i].key)
		if !w.value(members[i].value) {
			w.buf = w.buf[:at]
		}
	}
	return w.closeObject(start)
}

const mapWithOddKey = "map with a key that is not valid UTF-8"

// key begins the next member of an object. It returns where the member begins.
func (w *writer) key(key string) (at int) {
	at = len(w.buf)
	w.buf = append(w.buf, ',')
	w.quote(key)
	w.buf = append(w.buf, ':')
	return at
}

// closeObject makes an object of the members from start on, each of which begins with a
// comma. It returns false if there are none.
func (w *writer) closeObject(start int) bool {
	if len(w.buf) == start {
		return false
	}
	w.buf[start] = '{'
	w.buf = append(w.buf, '}')
	return true
}

// array notes n elements of a slice, which cost as much as so many values. Adjacent
// elements with the same note share it.
func (w *writer) array(n, cost int, element func(i int) bool) bool {
	defer w.leave()
	if !w.enter(cost) {
		return false
	}
	start := len(w.buf)
	first, note := -1, 0 // the first element of the run before element i, and where its note begins
	end := func(i int) {
		if first < 0 {
			return
		}
		key := make([]byte, 0, 32)
		key = append(key, ',', '"')
		key = strconv.AppendInt(key, int64(first), 10)
		if i > first+1 {
			key = strconv.AppendInt(append(key, '-'), int64(i-1), 10)
		}
		key = append(key, '"', ':')
		w.buf = slices.Insert(w.buf, note, key...)
		first = -1
	}
	for i := range n {
		at := len(w.buf)
		if !element(i) {
			w.buf = w.buf[:at]
			end(i)
			continue
		}
		if first >= 0 && bytes.Equal(w.buf[note:at], w.buf[at:]) {
			w.buf = w.buf[:at]
			continue
		}
		size := len(w.buf) - at
		end(i)
		first, note = i, len(w.buf)-size
	}
	end(n)
	return w.closeObject(start)
}

// reflected notes a slice or map of another type than the usual ones, or refuses a value.
func (w *writer) reflected(v reflect.Value) bool {
	t := v.Type()
	name, ok := nameOf(t)
	if !ok {
		return w.refuse(t.String())
	}
	return w.typed(name, v.IsNil(), func() bool {
		if t.Kind() == reflect.Slice {
			cost := v.Len()
			if t.Elem().Kind() <= reflect.Complex128 || t.Elem().Kind() == reflect.String {
				cost /= 16 // most of them are only looked at
			}
			return w.array(v.Len(), cost, func(i int) bool { return w.element(v.Index(i)) })
		}
		return w.typedMap(v)
	})
}

// typedMap notes the members of a map of another type than map[string]any.
func (w *writer) typedMap(v reflect.Value) bool {
	defer w.leave()
	if !w.enter(v.Len()) {
		return false
	}
	keys := make([]string, 0, v.Len())
	for iter := v.MapRange(); iter.Next(); {
		k := iter.Key().String()
		if !utf8.ValidString(k) {
			return w.refuse(mapWithOddKey)
		}
		keys = append(keys, k)
	}
	slices.Sort(keys)
	start := len(w.buf)
	for _, k := range keys {
		at := w.key(k)
		if !w.element(v.MapIndex(reflect.ValueOf(k))) {
			w.buf = w.buf[:at]
		}
	}
	return w.closeObject(start)
}

// element notes an element of a slice or map of another type than the usual ones. The type
// of the element is known unless it is an interface.
func (w *writer) element(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Interface:
		return w.value(v.Interface())
	case reflect.Bool, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return false
	case reflect.Int, reflect.Int64:
		if n := v.Int(); -exact < n && n < exact {
			return false
		}
	case reflect.Uint, reflect.Uint64:
		if v.Uint() < exact {
			return false
		}
	case reflect.Float32, reflect.Float64:
		if oddFloat(v.Float()) == "" {
			return false
		}
	}
	start := len(w.buf)
	if !w.value(v.Interface()) {
		return false
	}
	name, _ := nameOf(v.Type())
	if string(w.buf[start:]) == `"`+name+`"` {
		w.buf = w.buf[:start]
		return false
	}
	return true
}
