package typenote

import (
	"bytes"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Notes on containers.

// typed notes a container whose type JSON does not carry.
func (w *writer) typed(name string, null bool, inside func() bool) bool {
	if null {
		return w.note(name, isNil)
	}
	start := len(w.buf)
	w.buf = append(w.buf, `["`...)
	w.buf = append(w.buf, name...)
	w.buf = append(w.buf, `",`...)
	w.levels++
	isNoted := inside()
	w.levels--
	if !isNoted {
		w.buf = w.buf[:start]
		return w.note(name, "")
	}
	w.buf = append(w.buf, ']')
	return true
}

// enter is called before the elements of a container are noted, and leave afterwards.
func (w *writer) enter(n int) bool {
	if w.depth++; w.depth > maxDepth+maxLevels {
		w.fail(errDeep)
	}
	w.levels++
	return w.spend(n)
}

func (w *writer) leave() {
	w.depth--
	w.levels--
}

type member struct {
	key   string
	value any
}

// object notes the members of a map, in the order of their keys.
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

// array notes n elements of a slice, and takes cost values from the budget. Adjacent elements
// with the same note share it.
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

// reflected notes a slice or map of a type that value does not know, or refuses a value.
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
				cost /= 16 // most of them need no note
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

// element notes an element of such a slice or map. The type of the element is known unless it
// is an interface.
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
