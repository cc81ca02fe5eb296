// Package deepcopy copies records so that the copy and the original can be
// changed independently.
package deepcopy

import (
	"bytes"
	"maps"

	"github.com/conduitio/conduit-commons/opencdc"
)

// Record returns a copy of r that shares nothing with it that can be changed
// in place, however deep it lies in the metadata, the key or the payload. Every
// value keeps its dynamic type, a nil map, slice or pointer stays nil, and an
// empty one stays empty. The copy also keeps the serializer of r.
//
// Copied are maps, slices, arrays, pointers with what they point to, the
// exported fields of structs (those promoted from an embedded struct
// included), and the numbers of math/big. Data that holds itself is copied as
// well; where r has one value in two places, the copy may have two.
//
// Shared, or copied without what they refer to, are
//   - the bytes of r.Position, which nobody writes into;
//   - the serializer;
//   - channels, functions and unsafe pointers;
//   - the keys of maps: a pointer used as a key stays the same pointer;
//   - the unexported fields of structs: what they point to is shared. For
//     values such as time.Time, which never change what they point to, that is
//     a full copy;
//   - every *time.Location, which is immutable and known by its address.
//
// Record only reads r: it may be called by several goroutines at a time, as
// long as none of them changes r.
func Record(r opencdc.Record) opencdc.Record {
	r.Metadata = maps.Clone(r.Metadata)
	r.Key = Data(r.Key)
	r.Payload.Before = Data(r.Payload.Before)
	r.Payload.After = Data(r.Payload.After)
	return r
}

// Data returns a copy of d, which may be nil, with the same guarantees as
// [Record].
func Data(d opencdc.Data) opencdc.Data {
	switch d := d.(type) {
	case nil:
		return nil
	case opencdc.RawData:
		return opencdc.RawData(bytes.Clone(d))
	default:
		var c copier
		return c.value(d).(opencdc.Data) // the copy has the type of d
	}
}
