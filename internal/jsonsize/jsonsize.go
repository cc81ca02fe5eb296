// Package jsonsize computes how many bytes the data of a record has, without building
// them.
//
// Almost all data is small and holds each thing once. So it is first measured by plain
// recursion, with a budget that such data does not exhaust. Data that does is measured
// again from the start as a graph, in which each thing is measured once. Depth, cycles
// and the number of paths to the same map then cost nothing, and nothing recurses.
//
// The JSON encoder has no such limits. So it is only asked about values that determine
// their own JSON, and these are checked first.
package jsonsize

import (
	"reflect"

	"github.com/conduitio/conduit-commons/opencdc"
)

// Record returns the number of bytes of the record's data: key, payload before and
// payload after. Nil data counts as 0, raw data as its length, and structured data as
// the length of the JSON that its method Bytes returns. A pointer to data counts as
// what it points to.
//
// What cannot be marshalled counts as 0: a value in structured data for which there is
// no JSON, a whole key or payload whose maps and slices hold themselves, and a value of
// another type that holds itself. So does data deeper than 10,000 levels,
// nesting.MaxDepth. A size that does not fit counts as math.MaxInt.
//
// Maps, slices, arrays and pointers are measured part by part. Structs, and types with
// a method MarshalJSON or MarshalText, are marshalled to find their size, together with
// the maps, slices, arrays and pointers made of them. Such a value counts as 0 if
// anything in it is too deep on any path. The marshalled values of a key or payload may
// together consist of at most 1<<20 more values than exist, since what is held several
// times is marshalled several times; otherwise the largest of them count as 0. What a
// method reaches apart from exported fields is not checked.
//
// The time is linear in the size of the record, however deeply it is nested and however
// often its data is shared, except that the encoder itself takes longer for each level
// of a value beyond the first thousand. Slices and texts that overlap without being
// equal are measured separately.
//
// Record allocates nothing for data of up to about five hundred values of the types
// that decoded JSON consists of, integers, bytes, raw data, times, and maps and slices
// of strings. It never panics.
func Record(r *opencdc.Record) int {
	return add(add(data(r.Key), data(r.Payload.Before)), data(r.Payload.After))
}

// data is small enough to be inlined: most data is nil or raw.
func data(d opencdc.Data) int {
	raw, isRaw := d.(opencdc.RawData)
	if !isRaw && d != nil {
		return notRaw(d)
	}
	return len(raw)
}

func notRaw(d opencdc.Data) int {
	switch d := d.(type) {
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

// other returns the size of data of an unusual type, such as a struct that embeds
// structured data.
func other(d opencdc.Data) int {
	w := walk{left: budget}
	if w.probe(reflect.ValueOf(d)); w.left >= 0 {
		return printed(d)
	}
	return measure(d)
}

// printed returns the number of bytes of data of an unusual type, or 0 if its method
// Bytes panics, as that of a nil pointer or of data that cannot be marshalled does.
func printed(d opencdc.Data) (n int) {
	defer func() { _ = recover() }()
	return len(d.Bytes())
}

// marshalled returns the size of a value's JSON by building it, or 0 if there is none.
func marshalled(v any) (n int) {
	defer func() { _ = recover() }()
	return len(opencdc.StructuredData{"": v}.Bytes()) - len(`{"":}`)
}
