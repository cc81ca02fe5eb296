package jsonsize

import (
	"encoding/json"
	"math"
	"reflect"
)

// foreign returns the size of a value whose type only reflection or the encoder can
// handle.
func (w *walk) foreign(v any) int {
	switch formOf(reflect.TypeOf(v)).kind {
	case plain:
		return w.part(reflect.ValueOf(v))
	case formless:
		return w.formless(v)
	default:
		return w.container(v)
	}
}

// formless returns 0. What is marshalled together with v must count as 0, too, which
// only a graph can ensure.
func (w *walk) formless(v any) int {
	if w.graph == nil {
		w.left = -1
		return 0
	}
	return w.graph.meet(v)
}

// foreignParts is parts for a foreign type. If the walk belongs to a graph, an opaque
// value counts as 0.
func (w *walk) foreignParts(v any) int {
	rv := reflect.ValueOf(v)
	if formOf(rv.Type()).kind == open {
		return w.partsOf(rv)
	}
	w.probeParts(rv)
	if w.graph != nil || w.left < 0 {
		return 0
	}
	return marshalled(v)
}

// part returns the size of a value of a type that is plain or open.
func (w *walk) part(v reflect.Value) int {
	switch v.Kind() {
	case reflect.Bool:
		if v.Bool() {
			return len("true")
		}
		return len("false")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return integer(v.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return unsigned(v.Uint())
	case reflect.Float32:
		return float(v.Float(), 32)
	case reflect.Float64:
		return number(v.Float())
	case reflect.String:
		return w.text(v.String())
	case reflect.Interface:
		if v.IsNil() {
			return len("null")
		}
		return w.value(v.Elem().Interface())
	case reflect.Array:
		return w.list(v)
	default:
		if w.graph != nil {
			return w.graph.container(v.Interface())
		}
		return w.partsOf(v)
	}
}

// partsOf returns the size of a map, slice, array or pointer of an open type.
func (w *walk) partsOf(v reflect.Value) int {
	switch v.Kind() {
	case reflect.Array:
		return w.list(v)
	case reflect.Map, reflect.Pointer, reflect.Slice:
		if v.IsNil() {
			return len("null")
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !w.spend(0) {
			return 0
		}
		return w.part(v.Elem())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return w.bytes(v.Bytes())
		}
		return w.list(v)
	default:
		return w.mapping(v)
	}
}

// list returns the size of a slice or an array.
func (w *walk) list(v reflect.Value) int {
	n := v.Len()
	if w.graph != nil && v.Type().Elem().Size() == 0 && n > 1 {
		return add(enclosed(n), times(n, w.part(v.Index(0)))) // all elements are the same
	}
	if !w.spend(n) {
		return 0
	}
	size := enclosed(n)
	for i := range n {
		size = add(size, w.part(v.Index(i)))
	}
	return size
}

func (w *walk) mapping(v reflect.Value) int {
	if !w.spend(v.Len()) {
		return 0
	}
	size := enclosed(v.Len())
	key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
	for iter := v.MapRange(); iter.Next(); {
		key.SetIterKey(iter)
		elem.SetIterValue(iter)
		if key.Kind() != reflect.String {
			size += len(`""`)
		}
		size = add(size+w.part(key)+len(":"), w.part(elem))
	}
	return size
}

// probe walks a value that is to be marshalled, as far as the encoder would, only to
// see how deep and large it is.
func (w *walk) probe(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		w.left--
		w.text(v.String())
	case reflect.Interface:
		if !v.IsNil() {
			w.held(v.Elem())
		}
	case reflect.Map, reflect.Pointer, reflect.Slice:
		if !v.IsNil() {
			w.held(v)
		}
	case reflect.Array:
		w.probeList(v)
	case reflect.Struct:
		for _, i := range formOf(v.Type()).fields {
			w.probe(v.Field(i))
		}
	default:
		w.left--
	}
}

// held is called for each thing that a value to be marshalled refers to.
func (w *walk) held(v reflect.Value) {
	switch k := v.Kind(); {
	case w.graph == nil && formOf(v.Type()).kind == formless:
		w.left = -1
	case w.graph == nil:
		w.probeParts(v)
	case k == reflect.Pointer:
		w.graph.meet(reflect.NewAt(v.Type().Elem(), v.UnsafePointer()).Interface()) // since it may come from an unexported field
	case k == reflect.Map || k == reflect.Slice || k == reflect.Struct || k == reflect.Array:
		w.graph.meet(v.Interface())
	default:
		w.probe(v)
	}
}

// probeParts probes the parts of a map, slice, array, struct or pointer.
func (w *walk) probeParts(v reflect.Value) {
	if !w.spend(0) {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			w.probe(v.Elem())
		}
	case reflect.Map:
		if !w.spend(2 * v.Len()) {
			return
		}
		key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		for iter := v.MapRange(); iter.Next(); {
			if key.Kind() == reflect.String {
				key.SetIterKey(iter)
				w.probe(key)
			}
			elem.SetIterValue(iter)
			w.probe(elem)
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			w.nest(levels(v.Bytes()))
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			w.bytes(v.Bytes())
			return
		}
		w.probeList(v)
	default:
		w.probe(v)
	}
}

func (w *walk) probeList(v reflect.Value) {
	elem := v.Type().Elem()
	if elem.Size() == 0 { // they may be many, but take no space
		n := min(v.Len(), 1<<40)
		if w.left -= n; w.graph != nil {
			w.graph.again += n
		}
		return
	}
	if !w.spend(v.Len()) || formOf(elem).fixed {
		return
	}
	for i := range v.Len() {
		w.probe(v.Index(i))
	}
}

// nest reports levels that the walk itself does not see.
func (w *walk) nest(levels int) {
	if w.graph != nil {
		w.graph.nest(levels)
	} else {
		w.left -= levels
	}
}

// levels returns how deep JSON text is nested.
func levels(text []byte) int {
	depth, deepest := 0, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '[', '{':
			depth++
			deepest = max(deepest, depth)
		case ']', '}':
			depth--
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		}
	}
	return deepest
}

// add returns the sum of two sizes, times the product, or the largest int if that does
// not fit.
func add(a, b int) int {
	if a > math.MaxInt-b {
		return math.MaxInt
	}
	return a + b
}

func times(n, size int) int {
	if size > math.MaxInt/n {
		return math.MaxInt
	}
	return n * size
}
