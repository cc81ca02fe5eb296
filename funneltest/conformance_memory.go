package funneltest

import (
	"fmt"
	"reflect"

	"github.com/conduitio/conduit-commons/opencdc"
)

// To find out who still uses memory that is not theirs, a check overwrites it with a mark
// and looks for the mark later. To find out what records share, it compares addresses.

// conformMark is the text of the mark. Its bytes occur in no UTF-8 text.
const conformMark = "\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff"

// conformMarked returns a record to overwrite the element of a slice with.
func conformMarked() opencdc.Record {
	return opencdc.Record{
		Position: opencdc.Position(conformMark),
		Metadata: opencdc.Metadata{conformMark: "the engine owns the memory of this record"},
	}
}

// conformMarkSlice overwrites the elements of a slice, including its spare capacity, but
// not what they hold.
func conformMarkSlice(recs []opencdc.Record) {
	recs = recs[:cap(recs)]
	for i := range recs {
		recs[i] = conformMarked()
	}
}

// conformIsUnmarked returns true if an element of a slice no longer is what
// conformMarkSlice has written.
func conformIsUnmarked(rec opencdc.Record) bool { return conformDiff(rec, conformMarked()) != "" }

// conformMarkContents overwrites in place what records hold, except the bytes of
// positions.
func conformMarkContents(recs []opencdc.Record) {
	for _, rec := range recs {
		conformWalk(rec, func(_ string, v reflect.Value) {
			switch {
			case v.Kind() == reflect.Map && v.Type().Key().Kind() == reflect.String:
				v.SetMapIndex(conformMarkKey(v), reflect.Zero(v.Type().Elem()))
			case conformIsBytes(v):
				for i, b := 0, v.Bytes(); i < len(b); i++ {
					b[i] = conformMark[i%len(conformMark)]
				}
			}
		})
	}
}

// conformIsMarked returns true if conformFindMark finds something.
func conformIsMarked(rec opencdc.Record) bool { return conformFindMark(rec) != "" }

// conformFindMark returns where a record has the mark, or "" if it has none. A record from
// a marked slice has it in its position. A single byte says too little.
func conformFindMark(rec opencdc.Record) (where string) {
	if string(rec.Position) == conformMark {
		return "Position"
	}
	conformWalk(rec, func(path string, v reflect.Value) {
		isMarked := false
		switch {
		case v.Kind() == reflect.Map && v.Type().Key().Kind() == reflect.String:
			isMarked = v.MapIndex(conformMarkKey(v)).IsValid()
		case conformIsBytes(v):
			n := min(v.Len(), len(conformMark))
			isMarked = n > 1 && string(v.Bytes()[:n]) == conformMark[:n]
		}
		if isMarked && where == "" {
			where = path
		}
	})
	return where
}

// conformMarkKey returns the mark as a key of the map.
func conformMarkKey(m reflect.Value) reflect.Value {
	return reflect.ValueOf(conformMark).Convert(m.Type().Key())
}

// conformIsBytes returns true if v is a slice of bytes.
func conformIsBytes(v reflect.Value) bool {
	return v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8
}

// conformArea is memory that can be changed in place.
type conformArea struct {
	path       string // what refers to it
	isMap      bool
	begin, end uintptr
}

// conformAreas returns the memory that a record refers to, except that of its position.
// The record must stay reachable while the areas are in use.
func conformAreas(rec opencdc.Record) []conformArea {
	var areas []conformArea
	conformWalk(rec, func(path string, v reflect.Value) {
		a := conformArea{path: path, isMap: v.Kind() == reflect.Map, begin: v.Pointer()}
		switch v.Kind() {
		case reflect.Map:
			a.end = a.begin + 1
		case reflect.Slice:
			a.end = a.begin + uintptr(v.Len())*v.Type().Elem().Size()
		case reflect.Pointer:
			a.end = a.begin + v.Type().Elem().Size()
		}
		areas = append(areas, a)
	})
	return areas
}

// conformShared returns what two records share, or "" if they share nothing.
func conformShared(a, b []conformArea) string {
	for _, one := range a {
		for _, other := range b {
			if max(one.begin, other.begin) < min(one.end, other.end) {
				return fmt.Sprintf("%s of the one is the same memory as %s of the other", one.path, other.path)
			}
		}
	}
	return ""
}

// conformWalk calls visit once for each map, slice and pointer in a record, except the
// position. path says where in the record it is.
func conformWalk(rec opencdc.Record, visit func(path string, v reflect.Value)) {
	type place struct {
		typ reflect.Type
		ptr uintptr
		len int
	}
	seen := make(map[place]bool)
	var walk func(path string, v reflect.Value)
	enter := func(path string, v reflect.Value, length int) bool {
		p := place{v.Type(), v.Pointer(), length}
		if v.IsNil() || seen[p] || !v.CanInterface() {
			return false
		}
		seen[p] = true
		visit(path, v)
		return true
	}
	walk = func(path string, v reflect.Value) {
		switch v.Kind() {
		case reflect.Interface:
			if !v.IsNil() {
				walk(path, v.Elem())
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if v.Type().Field(i).IsExported() {
					walk(path+"."+v.Type().Field(i).Name, v.Field(i))
				}
			}
		case reflect.Array:
			for i := range v.Len() {
				walk(fmt.Sprintf("%s[%d]", path, i), v.Index(i))
			}
		case reflect.Pointer:
			if enter(path, v, 0) {
				walk(path, v.Elem())
			}
		case reflect.Slice:
			if enter(path, v, v.Len()) && !conformIsBytes(v) {
				for i := range v.Len() {
					walk(fmt.Sprintf("%s[%d]", path, i), v.Index(i))
				}
			}
		case reflect.Map:
			if enter(path, v, 0) {
				for i := v.MapRange(); i.Next(); {
					walk(fmt.Sprintf("%s[%q]", path, fmt.Sprint(i.Key())), i.Value())
				}
			}
		}
	}
	walk("Metadata", reflect.ValueOf(rec.Metadata))
	walk("Key", reflect.ValueOf(&rec.Key).Elem())
	walk("Payload.Before", reflect.ValueOf(&rec.Payload.Before).Elem())
	walk("Payload.After", reflect.ValueOf(&rec.Payload.After).Elem())
}
