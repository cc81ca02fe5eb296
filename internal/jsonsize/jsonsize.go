// Package jsonsize tells how many bytes the data of a record has, without
// building them.
package jsonsize

import (
	"reflect"

	"github.com/conduitio/conduit-commons/opencdc"
)

// Record returns the number of bytes of the record's data: key, payload before
// and payload after. Data that is nil counts as 0, raw data as its length, and
// structured data as the length of the JSON that its method Bytes returns.
//
// What cannot be marshalled counts as 0: a value inside structured data for
// which JSON has no form, and all of a key or payload that holds itself.
// Record never panics.
//
// Nothing is allocated for the types that decoded JSON consists of, nor for
// integers, bytes, raw data, times, and maps and slices of strings. A value of
// another type is marshalled to see its size.
func Record(r *opencdc.Record) int {
	return data(r.Key) + data(r.Payload.Before) + data(r.Payload.After)
}

func data(d opencdc.Data) int {
	switch d := d.(type) {
	case nil:
		return 0
	case opencdc.RawData:
		return len(d)
	case opencdc.StructuredData:
		var w walk
		n, _ := w.object(d)
		return n
	default:
		return other(d)
	}
}

// other returns the size of data of an unusual type, such as a pointer to
// structured data. A nil pointer panics when asked for its bytes, and so does
// data that cannot be marshalled.
func other(d opencdc.Data) (n int) {
	defer func() { _ = recover() }()
	return len(d.Bytes())
}

// marshalled returns the size of a value's JSON by building it, 0 if there is
// none.
func marshalled(v any) (n int) {
	if holdsItself(reflect.TypeOf(v)) {
		return 0
	}
	defer func() { _ = recover() }()
	return len(opencdc.StructuredData{"": v}.Bytes()) - len(`{"":}`)
}

// holdsItself reports whether t is a type such as
//
//	type tree []tree
//
// on which the JSON encoder would recurse until the stack overflows. No other
// type is made of that many maps, slices, arrays and pointers. The types of a
// struct's fields are not looked at.
func holdsItself(t reflect.Type) bool {
	for range 100 {
		switch t.Kind() {
		case reflect.Array, reflect.Map, reflect.Pointer, reflect.Slice:
			t = t.Elem()
		default:
			return false
		}
	}
	return true
}
