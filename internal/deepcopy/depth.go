package deepcopy

import (
	"encoding/json"
	"reflect"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/conduitio/funnel/internal/nesting"
)

// walker walks what a copier would copy, by recursion or, if it has a memory, level by
// level.
type walker struct {
	// left is the rest of the budget. Once it is negative no further container is
	// walked.
	left int
	// met holds what was met, and next the part of it that is still to be walked. If
	// met is nil, everything is walked at once.
	met  map[nesting.Ref]struct{}
	next []any
}

// tooDeep reports whether d has more than max levels.
func tooDeep(d opencdc.Data, max int) bool {
	w := walker{met: make(map[nesting.Ref]struct{})}
	var now []any
	w.value(d)
	for level := 1; len(w.next) > 0; level++ {
		if level > max {
			return true
		}
		now, w.next = w.next, now[:0]
		for _, v := range now {
			w.walk(v)
		}
	}
	return false
}

// value is called for each value in a container.
func (w *walker) value(v any) {
	switch v.(type) {
	case nil, bool, string,
		int, int8, int16, int32, int64,
		uint, uint8, uint16, uint32, uint64,
		float32, float64, json.Number, time.Time,
		[]byte, opencdc.RawData:
		return
	}
	if w.met == nil {
		w.walk(v)
		return
	}
	if rv := reflect.ValueOf(v); !isContainer(rv) || nesting.IsBytes(rv.Type()) {
		return
	}
	ref := nesting.RefOf(v)
	if _, ok := w.met[ref]; !ok {
		w.met[ref] = struct{}{}
		w.next = append(w.next, v)
	}
}

// spend is called before the elements of a container are walked. It reports
// whether the budget suffices for them.
func (w *walker) spend(n int) bool {
	if w.met != nil {
		return true
	}
	w.left -= n + 1
	return w.left >= 0
}

// walk walks the elements of a container.
func (w *walker) walk(v any) {
	switch v := v.(type) {
	case map[string]any:
		w.object(v)
	case opencdc.StructuredData:
		w.object(v)
	case []any:
		if w.spend(len(v)) {
			for _, elem := range v {
				w.value(elem)
			}
		}
	case []map[string]any:
		if w.spend(len(v)) {
			for _, elem := range v {
				w.value(elem)
			}
		}
	case []string, map[string]string:
	default:
		w.reflected(reflect.ValueOf(v))
	}
}

func (w *walker) object(m map[string]any) {
	if w.spend(len(m)) {
		for _, elem := range m {
			w.value(elem)
		}
	}
}

func (w *walker) reflected(v reflect.Value) {
	if !isContainer(v) {
		return
	}
	switch t := v.Type(); v.Kind() {
	case reflect.Map:
		if isPlain(t.Elem()) || !w.spend(v.Len()+cost(v.Len()*int(t.Elem().Size()))) {
			return
		}
		elem := reflect.New(t.Elem()).Elem()
		for iter := v.MapRange(); iter.Next(); {
			elem.SetIterValue(iter)
			held(elem, w.value)
		}
	case reflect.Slice:
		if isPlain(t.Elem()) || !w.spend(v.Len()+cost(v.Len()*int(t.Elem().Size()))) {
			return
		}
		for i := range v.Len() {
			held(v.Index(i), w.value)
		}
	case reflect.Pointer:
		if !isPlain(t.Elem()) && w.spend(cost(int(t.Elem().Size()))) {
			held(v.Elem(), w.value)
		}
	default:
		if w.spend(cost(int(t.Size()))) {
			held(v, w.value)
		}
	}
}

// isContainer reports whether v, which must not be an interface, holds something that
// must be copied.
func isContainer(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Map, reflect.Slice:
		return !v.IsNil()
	case reflect.Pointer:
		return !v.IsNil() && !isImmutable(v)
	default:
		return isBox(v)
	}
}

// isBox reports whether v is a struct or an array, other than a number, that holds
// something to be copied.
func isBox(v reflect.Value) bool {
	k := v.Kind()
	return (k == reflect.Struct || k == reflect.Array) && !isPlain(v.Type()) && !nesting.IsNumber(v.Type())
}

// held calls f with each map, slice and pointer in v itself, and with the contents of
// the interfaces in it.
func held(v reflect.Value, f func(any)) {
	switch v.Kind() {
	case reflect.Interface:
		if !v.IsNil() {
			f(v.Elem().Interface())
		}
	case reflect.Map, reflect.Pointer, reflect.Slice:
		if !v.IsNil() {
			f(v.Interface())
		}
	case reflect.Array:
		if isPlain(v.Type().Elem()) {
			return
		}
		for i := range v.Len() {
			held(v.Index(i), f)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Field(i)
			if field.CanInterface() || field.Kind() == reflect.Struct && v.Type().Field(i).Anonymous {
				held(field, f)
			}
		}
	}
}
