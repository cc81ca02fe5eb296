// Package deepcopy copies records so that copy and original can be changed
// independently, and detects records that are nested too deep for that.
//
// Almost all data is small and holds each thing once. So it is first walked by plain
// recursion, with a budget slightly above what such data needs. Data that exceeds the
// budget is walked again from the start, with a memory of what was met. Depth, cycles
// and the number of paths to the same map then cost nothing, and nothing recurses.
package deepcopy

import (
	"bytes"
	"errors"
	"maps"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/conduitio/funnel/internal/nesting"
)

// MaxDepth is the number of levels that a key or payload may have: the outermost
// map is level 1, each map, slice and pointer inside adds one, and so does each
// struct or array that an interface holds. [nesting.MaxDepth] has the details.
const MaxDepth = nesting.MaxDepth

// ErrTooDeep is returned for a record with a key or payload of more than
// [MaxDepth] levels.
var ErrTooDeep = errors.New("nested deeper than 10,000 levels")

// Record returns a copy of r that shares with it nothing that can be changed in place,
// however deep in the metadata, the key or the payload. Every value keeps its dynamic
// type. Nil maps, slices and pointers stay nil, and empty ones stay empty. The copy
// keeps the serializer of r.
//
// Record copies maps, slices, arrays, pointers and what they point to, the exported
// fields of structs (including those promoted from an embedded struct), and the numbers
// of math/big. It also copies data that holds itself. What a key or payload holds in
// several places, the copy holds once, too, unless it is small. Slices that merely
// overlap are copied separately.
//
// The following are shared, or copied without what they refer to:
//   - the bytes of r.Position, to which nobody may write; appending to the position of
//     the copy does not write behind them;
//   - the serializer;
//   - channels, functions and unsafe pointers;
//   - the keys of maps: a pointer used as a key stays the same pointer;
//   - the unexported fields of structs: what they point to is shared. For values such
//     as time.Time, which never change what they point to, this is still a full copy;
//   - every *time.Location, which is immutable and compared by its address.
//
// The time is linear in the size of r, however deeply it is nested and however often
// its data is shared. The only error is [ErrTooDeep].
//
// Record only reads r. Several goroutines may call it at a time, as long as none
// changes r.
func Record(r opencdc.Record) (opencdc.Record, error) {
	var err error
	if r.Key, err = Data(r.Key); err != nil {
		return opencdc.Record{}, err
	}
	if r.Payload.Before, err = Data(r.Payload.Before); err != nil {
		return opencdc.Record{}, err
	}
	if r.Payload.After, err = Data(r.Payload.After); err != nil {
		return opencdc.Record{}, err
	}
	r.Metadata = maps.Clone(r.Metadata)
	r.Position = r.Position[:len(r.Position):len(r.Position)]
	return r, nil
}

// Data returns a copy of d, which may be nil, with the same guarantees as
// [Record].
func Data(d opencdc.Data) (opencdc.Data, error) {
	switch d := d.(type) {
	case nil:
		return nil, nil
	case opencdc.RawData:
		return opencdc.RawData(bytes.Clone(d)), nil
	}
	c := copier{left: budget}
	if copied := c.value(d); c.left >= 0 {
		return copied.(opencdc.Data), nil // the copy has the type of d
	}
	return copyOnce(d, limit(d))
}

// CheckDepth returns [ErrTooDeep] if [Record] would, without copying anything. It looks
// at the key and the payload. It allocates nothing for small data of ordinary types,
// and takes no time for raw data.
func CheckDepth(r *opencdc.Record) error {
	for _, d := range [...]opencdc.Data{r.Key, r.Payload.Before, r.Payload.After} {
		switch d.(type) {
		case nil, opencdc.RawData, *opencdc.RawData:
			continue
		}
		w := walker{left: budget}
		if w.value(d); w.left < 0 && tooDeep(d, limit(d)) {
			return ErrTooDeep
		}
	}
	return nil
}

// limit returns how many levels d may have, counted from d. If d is a pointer, its map
// is level 1.
func limit(d opencdc.Data) int {
	if _, ok := d.(*opencdc.StructuredData); ok {
		return MaxDepth + 1
	}
	return MaxDepth
}
