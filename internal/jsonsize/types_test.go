package jsonsize_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
)

type (
	namedInt   int
	namedByte  byte
	namedBytes []byte
	namedMap   map[text]any
)

var (
	basicTypes = []reflect.Type{
		reflect.TypeFor[bool](), reflect.TypeFor[string](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[uint16](),
		reflect.TypeFor[uint64](), reflect.TypeFor[uintptr](), reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[byte](),
		reflect.TypeFor[text](), reflect.TypeFor[namedInt](), reflect.TypeFor[namedByte](), reflect.TypeFor[namedBytes](), reflect.TypeFor[namedMap](),
		reflect.TypeFor[any](), reflect.TypeFor[fmt.Stringer](), reflect.TypeFor[map[string]any](), reflect.TypeFor[[]any](),
		reflect.TypeFor[custom](), reflect.TypeFor[opencdc.RawData](), reflect.TypeFor[opencdc.StructuredData](),
	}
	keyTypes = []reflect.Type{
		reflect.TypeFor[string](), reflect.TypeFor[text](), reflect.TypeFor[int](), reflect.TypeFor[namedInt](), reflect.TypeFor[uint8](), reflect.TypeFor[uintptr](),
	}
)

// randomType returns a type that the encoder gets right: it misreads pointers to
// pointers, and arrays that are stored like a pointer.
func randomType(r *rand.Rand, levels int) reflect.Type {
	if levels == 0 {
		return basicTypes[r.IntN(len(basicTypes))]
	}
	elem := randomType(r, levels-1)
	switch r.IntN(5) {
	case 0:
		return reflect.MapOf(keyTypes[r.IntN(len(keyTypes))], elem)
	case 1:
		return reflect.SliceOf(elem)
	case 2:
		if n := r.IntN(4); n != 1 {
			return reflect.ArrayOf(n, elem)
		}
		return reflect.SliceOf(elem)
	case 3:
		if elem.Kind() != reflect.Pointer {
			return reflect.PointerTo(elem)
		}
	}
	return elem
}

// fill makes v hold something.
func fill(r *rand.Rand, v reflect.Value, levels int) {
	switch t := v.Type(); v.Kind() {
	case reflect.Interface:
		if t.NumMethod() > 0 || levels <= 0 || r.IntN(4) == 0 {
			return
		}
		elem := reflect.New(randomType(r, 2)).Elem()
		fill(r, elem, levels-1)
		v.Set(elem)
	case reflect.Map:
		if r.IntN(5) == 0 {
			return
		}
		v.Set(reflect.MakeMap(t))
		for range r.IntN(4) {
			key, elem := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
			fill(r, key, 0)
			fill(r, elem, levels-1)
			v.SetMapIndex(key, elem)
		}
	case reflect.Slice:
		if r.IntN(5) == 0 {
			return
		}
		n := r.IntN(4)
		v.Set(reflect.MakeSlice(t, n, n))
		for i := range n {
			fill(r, v.Index(i), levels-1)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(r, v.Index(i), levels-1)
		}
	case reflect.Pointer:
		if r.IntN(5) > 0 {
			v.Set(reflect.New(t.Elem()))
			fill(r, v.Elem(), levels-1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(r, v.Field(i), levels-1)
		}
	case reflect.String:
		v.SetString(randomText(r))
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(r.IntN(1000)) / 8)
	default:
		if v.CanInt() {
			v.SetInt(r.Int64() >> r.IntN(64))
		} else {
			v.SetUint(r.Uint64() >> r.IntN(64))
		}
	}
}

// TestRecord_RandomTypes measures values of any type that is made of others,
// once at once and once as a part of large data.
func TestRecord_RandomTypes(t *testing.T) {
	seeds := uint64(4000)
	if raceEnabled {
		seeds = 500
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 0))
		v := reflect.New(randomType(r, 1+r.IntN(3))).Elem()
		fill(r, v, 3)
		d := opencdc.StructuredData{"v": v.Interface()}
		want := len(d.Bytes())
		if got := sizeOf(d); got != want {
			t.Fatalf("seed %d: %s: got %d, want %d: %s", seed, v.Type(), got, want, d.Bytes())
		}
		large, more := padded(d)
		if got := sizeOf(large); got != want+more {
			t.Fatalf("seed %d: %s: got %d in a graph, want %d: %s", seed, v.Type(), got-more, want, d.Bytes())
		}
	}
}
