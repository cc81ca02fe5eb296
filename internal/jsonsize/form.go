package jsonsize

import (
	"encoding"
	"encoding/json"
	"reflect"
	"sync"
)

// form says how to measure the values of a type.
type form struct {
	kind formKind
	// fields are the struct fields that the encoder visits.
	fields []int
	// fixed is set if values hold nothing of variable size.
	fixed bool
}

type formKind uint8

const (
	// plain is a bool, a number or a string.
	plain formKind = iota
	// open is a map, slice, array, pointer or interface whose JSON consists of the JSON
	// of its parts.
	open
	// opaque is a value that only the encoder can measure.
	opaque
	// formless is a value without JSON.
	formless
)

// forms maps each type that was met to its *form.
var forms sync.Map

func formOf(t reflect.Type) *form {
	if f, ok := forms.Load(t); ok {
		return f.(*form)
	}
	f := &form{kind: kindOf(t), fixed: isFixed(t)}
	if t.Kind() == reflect.Struct {
		f.fields = followed(t)
	}
	forms.Store(t, f)
	return f
}

func kindOf(t reflect.Type) formKind {
	if holdsItself(t, make(map[reflect.Type]bool)) {
		return formless
	}
	if marshals(t) || marshals(reflect.PointerTo(t)) || t == reflect.TypeFor[json.Number]() {
		return opaque
	}
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return plain
	case reflect.Interface:
		return open
	case reflect.Map:
		if key := t.Key(); !isKey(key.Kind()) || marshals(key) || marshals(reflect.PointerTo(key)) {
			return opaque
		}
		return max(open, kindOf(t.Elem()))
	case reflect.Array, reflect.Pointer, reflect.Slice:
		return max(open, kindOf(t.Elem()))
	case reflect.Struct:
		return opaque
	default:
		return formless
	}
}

// isKey reports whether a value of the kind, if it has no methods, can be the key of a
// JSON object.
func isKey(k reflect.Kind) bool {
	return k == reflect.String || reflect.Int <= k && k <= reflect.Uintptr
}

// marshals reports whether the encoder calls a method of t. MarshalJSON has two
// signatures, one of them with a context.
func marshals(t reflect.Type) bool {
	_, ok := t.MethodByName("MarshalJSON")
	return ok || t.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}

// holdsItself reports whether t is, or has a field of, a type such as
//
//	type tree []tree
//
// on which the JSON encoder would recurse until the stack overflows. No other type
// nests that many maps, slices, arrays and pointers. A struct met before is harmless. A
// map whose key is a pointer counts, too: the encoder cannot handle it.
func holdsItself(t reflect.Type, structs map[reflect.Type]bool) bool {
	for range 100 {
		if marshals(t) {
			return false
		}
		switch t.Kind() {
		case reflect.Map:
			if key := t.Key(); key.Kind() == reflect.Pointer && !marshals(key) {
				return true
			}
			t = t.Elem()
		case reflect.Array, reflect.Pointer, reflect.Slice:
			t = t.Elem()
		case reflect.Struct:
			if structs[t] {
				return false
			}
			structs[t] = true
			for _, i := range followed(t) {
				if holdsItself(t.Field(i).Type, structs) {
					return true
				}
			}
			return false
		default:
			return false
		}
	}
	return true
}

// followed returns the fields of a struct that the encoder visits, and maybe more.
func followed(t reflect.Type) []int {
	var fields []int
	for i := range t.NumField() {
		f := t.Field(i)
		if (f.IsExported() || f.Anonymous && isStruct(f.Type)) && f.Tag.Get("json") != "-" {
			fields = append(fields, i)
		}
	}
	return fields
}

// isStruct reports whether t is a struct or a pointer to one.
func isStruct(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct
}

// isFixed reports whether a value of the type holds no text and refers to nothing.
func isFixed(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Interface, reflect.Map, reflect.Pointer, reflect.Slice:
		return false
	case reflect.Array:
		return isFixed(t.Elem())
	case reflect.Struct:
		for _, i := range followed(t) {
			if !isFixed(t.Field(i).Type) {
				return false
			}
		}
	}
	return true
}
