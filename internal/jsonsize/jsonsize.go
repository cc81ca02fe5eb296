// Package jsonsize tells how many bytes the data of a record has, without
// building them.
//
// Almost all data is small, and what it holds is held once. So it is measured
// straight away, by recursion, with a budget that such data does not exhaust.
// Data that does is started anew as a graph, in which each thing is measured
// once: its depth, its circles and the number of ways to one and the same map
// then cost nothing, and nothing recurses.
//
// The JSON encoder knows no such limits. So it is only asked about values whose
// form is their own matter, and these are looked through before.
package jsonsize

import (
	"reflect"

	"github.com/conduitio/conduit-commons/opencdc"
)

// Record returns the number of bytes of the record's data: key, payload before
// and payload after. Data that is nil counts as 0, raw data as its length, and
// structured data as the length of the JSON that its method Bytes returns. A
// pointer to data counts as what it points to.
//
// What cannot be marshalled counts as 0: a value inside structured data for
// which JSON has no form, all of a key or payload whose maps and slices hold
// themselves, and a value of another type that holds itself. So does what is
// deeper than 10,000 levels, nesting.MaxDepth. A size that does not fit counts as
// math.MaxInt.
//
// Maps, slices, arrays and pointers are measured part by part. Structs, and
// types with a method MarshalJSON or MarshalText, are marshalled to see their
// size, together with the maps, slices, arrays and pointers that are made of
// them. Such a value counts as 0 if anything in it is too deep, on any way to
// it. It also counts as 0 if marshalling takes too much because of what is held
// several times: all such values of a key or payload together may consist of
// 1<<20 values more than are there, or else the largest of them count as 0. What
// a method reaches apart from exported fields is its own matter.
//
// The time is linear in what the record holds, however deep it is nested and
// however often it is shared, except that the encoder itself takes longer for
// each level beyond the first thousand of a value. Slices and texts that overlap
// without being the same are measured one by one.
//
// Nothing is allocated for data of up to about five hundred values of the types
// that decoded JSON consists of, integers, bytes, raw data, times, and maps and
// slices of strings. Record never panics.
func Record(r *opencdc.Record) int {
	return add(add(data(r.Key), data(r.Payload.Before)), data(r.Payload.After))
}

func data(d opencdc.Data) int {
	switch d := d.(type) {
	case nil:
		return 0
	case opencdc.RawData:
		return len(d)
	case *opencdc.RawData:
		if d == nil {
			return 0
		}
		return len(*d)
	case *opencdc.StructuredData:
		if d == nil {
			return 0
		}
		return structured(*d)
	case opencdc.StructuredData:
		return structured(d)
	default:
		return other(d)
	}
}

func structured(d opencdc.StructuredData) int {
	w := walk{left: budget}
	if n := w.object(d); w.left >= 0 {
		return n
	}
	return measure(d)
}

// other returns the size of data of an unusual type, such as a struct with
// structured data embedded.
func other(d opencdc.Data) int {
	w := walk{left: budget}
	if w.probe(reflect.ValueOf(d)); w.left >= 0 {
		return printed(d)
	}
	return measure(d)
}

// printed returns the number of bytes of data of an unusual type. A nil pointer
// panics when asked for them, and so does data that cannot be marshalled.
func printed(d opencdc.Data) (n int) {
	defer func() { _ = recover() }()
	return len(d.Bytes())
}

// marshalled returns the size of a value's JSON by building it, 0 if there is
// none.
func marshalled(v any) (n int) {
	defer func() { _ = recover() }()
	return len(opencdc.StructuredData{"": v}.Bytes()) - len(`{"":}`)
}
