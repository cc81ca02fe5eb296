// Package fingerprint detects whether a record was changed.
package fingerprint

import (
	"cmp"
	"hash/maphash"
	"math"
	"reflect"
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"
)

// maxDepth is the depth below which nothing is looked at.
const maxDepth = 10_000

// Maker makes fingerprints that can be compared with each other. The zero value is not
// usable; New makes one. A Maker is safe for concurrent use.
type Maker struct {
	seed maphash.Seed
}

// New returns a Maker.
func New() *Maker { return &Maker{seed: maphash.MakeSeed()} }

// Record returns the fingerprint of everything that a record holds, down to 10,000
// levels. Its time is linear in the size of the contents; shared values count once. Two
// different records have the same fingerprint with a probability of 2^-64.
func (m *Maker) Record(r *opencdc.Record) uint64 {
	w := walk{maker: m, seen: make(map[place]uint64)}
	h := m.Bytes(r.Position)
	for _, v := range []any{r.Operation, r.Metadata, r.Key, r.Payload.Before, r.Payload.After} {
		h = mix(h, w.value(reflect.ValueOf(&v).Elem(), 0))
	}
	return h
}

// Bytes returns the fingerprint of bytes.
func (m *Maker) Bytes(b []byte) uint64 { return maphash.Bytes(m.seed, b) }

// walk walks one record.
type walk struct {
	maker *Maker
	seen  map[place]uint64 // fingerprints of what is referred to, so that it is walked once
}

// place is something that can be referred to from several places.
type place struct {
	typ reflect.Type
	ptr uintptr
	len int
}

// value returns the fingerprint of a value at this depth.
func (w *walk) value(v reflect.Value, depth int) uint64 {
	if depth > maxDepth || !v.IsValid() {
		return 0
	}
	h := uint64(v.Kind())
	switch v.Kind() {
	case reflect.Bool:
		if v.Bool() {
			h = mix(h, 1)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		h = mix(h, uint64(v.Int()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		h = mix(h, v.Uint())
	case reflect.Float32, reflect.Float64:
		h = mix(h, math.Float64bits(v.Float()))
	case reflect.Complex64, reflect.Complex128:
		h = mix(mix(h, math.Float64bits(real(v.Complex()))), math.Float64bits(imag(v.Complex())))
	case reflect.String:
		h = mix(h, maphash.String(w.maker.seed, v.String()))
	case reflect.Interface:
		if !v.IsNil() {
			h = mix(mix(h, w.typ(v.Elem().Type())), w.value(v.Elem(), depth+1))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			h = mix(h, w.value(v.Field(i), depth+1))
		}
	case reflect.Array:
		h = w.elements(h, v, depth)
	case reflect.Slice:
		if !v.IsNil() {
			h = w.once(h, place{v.Type(), v.Pointer(), v.Len()}, func() uint64 { return w.elements(uint64(v.Len()), v, depth) })
		}
	case reflect.Map:
		if !v.IsNil() {
			h = w.once(h, place{v.Type(), v.Pointer(), v.Len()}, func() uint64 { return w.entries(v, depth) })
		}
	case reflect.Pointer:
		if !v.IsNil() {
			h = w.once(h, place{v.Type(), v.Pointer(), 0}, func() uint64 { return w.value(v.Elem(), depth+1) })
		}
	default: // channels and functions
		h = mix(h, uint64(v.Pointer()))
	}
	return h
}

// once adds the fingerprint of a place, which f returns, to h. It calls f once for each
// place, and not for a place inside itself.
func (w *walk) once(h uint64, p place, f func() uint64) uint64 {
	known, ok := w.seen[p]
	if !ok {
		w.seen[p] = 0
		known = f()
		w.seen[p] = known
	}
	return mix(h, known)
}

// elements adds the elements of a slice or an array to h.
func (w *walk) elements(h uint64, v reflect.Value, depth int) uint64 {
	if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
		return mix(h, w.maker.Bytes(v.Bytes()))
	}
	for i := range v.Len() {
		h = mix(h, w.value(v.Index(i), depth+1))
	}
	return h
}

// entries returns the fingerprint of the entries of a map. It walks them in the order of
// the keys' fingerprints: what a place inside a cycle adds depends on where the walk has
// entered the cycle.
func (w *walk) entries(v reflect.Value, depth int) uint64 {
	type entry struct {
		key   uint64
		value reflect.Value
	}
	entries := make([]entry, 0, v.Len())
	for i := v.MapRange(); i.Next(); {
		entries = append(entries, entry{w.value(i.Key(), depth+1), i.Value()})
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.key, b.key) })
	h := uint64(v.Len())
	for _, e := range entries {
		h += mix(e.key, w.value(e.value, depth+1))
	}
	return h
}

// typ returns the fingerprint of a type.
func (w *walk) typ(t reflect.Type) uint64 {
	return maphash.String(w.maker.seed, t.String())
}

// mix returns a number that depends on both, and on their order.
func mix(a, b uint64) uint64 {
	h := (a ^ b*0x9e3779b97f4a7c15) * 0xff51afd7ed558ccd
	return (h ^ h>>32) * 0xc4ceb9fe1a85ec53
}
