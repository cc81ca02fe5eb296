// Package typenote notes the types of a record's values that JSON does not carry, and
// restores the record from its map and the notes, even after the map has been JSON.
//
// Notes form a tree beside the tree of values, and hold only what JSON loses. JSON
// carries null, booleans, strings, floats with a fraction, objects and arrays, so these
// have no note. A note is JSON itself, in one of these forms:
//
//	"int64"                         the type of the value
//	"int64 9007199254740993"        the type, and what else the value needs
//	{"id": "int64", "tags": ...}    notes on members of a map, by key
//	{"0": ..., "2-9": ...}          notes on elements of a slice, by index or range
//	["opencdc.StructuredData", {}]  the type of a container, and notes on what it holds
//	"!main.Point"                   a type that cannot be restored
//
// The types are those in the table below, and any slice []T or map[string]T of these types,
// nested up to four levels deep. An element of a slice or map whose type determines the type
// of the element has a note only if it needs more than that.
//
// If a value needs more than its type, that follows the type and a space:
//
//	nil                        for a slice, a map or bytes
//	9007199254740993           an integer of 2⁵³ or more, which a decoder may round
//	NaN, +Inf, -Inf, -0        such a float
//	any text                   the digits of a json.Number
//	4pyTIA==                   a string that is not valid UTF-8, as Base64
//	12                         the length of opencdc.RawData inside a map or slice
//	7200 zone Europe/Berlin    the offset of a time in seconds, and its location:
//	3600 fixed CET             loaded by name, fixed, or local
//	3600 local
//
// A time in UTC needs nothing more. JSON shows whether the key and the payloads of a record
// are raw or structured, as a string or an object, so only nil ones have a note.
//
// Data may contain itself, or lead to the same map on many paths, so notes are limited: to
// about a million values, 10,000 levels and 1 MiB of text.
package typenote

import (
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
)

const (
	maxValues = 1 << 20
	maxBytes  = 1 << 20
	maxDepth  = 10_000
	// maxLevels is how deeply slice and map types may be nested. Types that are made by
	// reflection stay in memory, so notes must not be able to make many.
	maxLevels = 4
	// exact is the first integer that a float64 may confuse with the next one.
	exact = 1 << 53
)

const (
	isNil       = "nil"
	unsupported = "!"
	unset       = "unset" // the operation of a record that has none
)

var anyType = reflect.TypeFor[any]()

// named maps names to types. Slices and maps are made of these.
var named = map[string]reflect.Type{
	"any":                    anyType,
	"bool":                   reflect.TypeFor[bool](),
	"string":                 reflect.TypeFor[string](),
	"int":                    reflect.TypeFor[int](),
	"int8":                   reflect.TypeFor[int8](),
	"int16":                  reflect.TypeFor[int16](),
	"int32":                  reflect.TypeFor[int32](),
	"int64":                  reflect.TypeFor[int64](),
	"uint":                   reflect.TypeFor[uint](),
	"uint8":                  reflect.TypeFor[uint8](),
	"uint16":                 reflect.TypeFor[uint16](),
	"uint32":                 reflect.TypeFor[uint32](),
	"uint64":                 reflect.TypeFor[uint64](),
	"float32":                reflect.TypeFor[float32](),
	"float64":                reflect.TypeFor[float64](),
	"json.Number":            reflect.TypeFor[json.Number](),
	"[]byte":                 reflect.TypeFor[[]byte](),
	"time.Time":              reflect.TypeFor[time.Time](),
	"time.Duration":          reflect.TypeFor[time.Duration](),
	"opencdc.RawData":        reflect.TypeFor[opencdc.RawData](),
	"opencdc.StructuredData": reflect.TypeFor[opencdc.StructuredData](),
	"opencdc.Position":       reflect.TypeFor[opencdc.Position](),
	"opencdc.Metadata":       reflect.TypeFor[opencdc.Metadata](),
}

// names maps types to names: the inverse of named.
var names = func() map[reflect.Type]string {
	m := make(map[reflect.Type]string)
	for name, t := range named {
		m[t] = name
	}
	return m
}()

// nameOf returns the name of a type, or false if it has none.
func nameOf(t reflect.Type) (string, bool) { return nameWithin(t, maxLevels) }

func nameWithin(t reflect.Type, levels int) (string, bool) {
	if name, ok := names[t]; ok {
		return name, true
	}
	prefix := ""
	switch {
	case levels == 0 || t.Name() != "":
		return "", false
	case t.Kind() == reflect.Slice:
		prefix = "[]"
	case t.Kind() == reflect.Map && t.Key() == named["string"]:
		prefix = "map[string]"
	default:
		return "", false
	}
	name, ok := nameWithin(t.Elem(), levels-1)
	return prefix + name, ok
}

// typeOf returns the type with this name, or false if there is none.
func typeOf(name string) (reflect.Type, bool) { return typeWithin(name, maxLevels) }

func typeWithin(name string, levels int) (reflect.Type, bool) {
	if t, ok := named[name]; ok {
		return t, true
	}
	if levels == 0 {
		return nil, false
	}
	if elem, ok := strings.CutPrefix(name, "[]"); ok {
		if t, ok := typeWithin(elem, levels-1); ok {
			return reflect.SliceOf(t), true
		}
	} else if elem, ok := strings.CutPrefix(name, "map[string]"); ok {
		if t, ok := typeWithin(elem, levels-1); ok {
			return reflect.MapOf(named["string"], t), true
		}
	}
	return nil, false
}
