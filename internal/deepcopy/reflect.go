package deepcopy

import (
	"math/big"
	"reflect"
	"time"

	"github.com/conduitio/funnel/internal/nesting"
)

// reflected copies a value whose type only reflection can handle.
func (c *copier) reflected(v any) any {
	original := reflect.ValueOf(v)
	if isPlain(original.Type()) || !c.spend(cost(int(original.Type().Size()))) {
		return v
	}
	copied := reflect.New(original.Type()).Elem()
	copied.Set(original)
	c.isolate(copied)
	return copied.Interface()
}

// isPlain reports whether assigning a value of the type copies it fully.
func isPlain(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array, reflect.Interface, reflect.Map, reflect.Pointer, reflect.Slice, reflect.Struct:
		return t.Size() == 0
	default:
		return true
	}
}

// isolate turns v from a shallow copy into a deep one: it replaces each reference in v
// by a reference to a copy. v must be settable.
func (c *copier) isolate(v reflect.Value) {
	switch v.Kind() {
	case reflect.Interface:
		if v.IsNil() {
			return
		}
		if copied := c.value(v.Elem().Interface()); c.left >= 0 {
			v.Set(reflect.ValueOf(copied))
		}
	case reflect.Pointer, reflect.Map, reflect.Slice:
		switch {
		case v.IsNil():
		case c.memory != nil:
			v.Set(reflect.ValueOf(c.memory.value(v.Interface())))
		default:
			c.replace(v)
		}
	case reflect.Array:
		c.elements(v)
	case reflect.Struct:
		switch p := v.Addr().Interface().(type) {
		case *big.Int:
			if c.spend(cost(p.BitLen() / 8)) {
				*p = *new(big.Int).Set(p)
			}
		case *big.Rat:
			if c.spend(cost((p.Num().BitLen() + p.Denom().BitLen()) / 8)) {
				*p = *new(big.Rat).Set(p)
			}
		case *big.Float:
			if c.spend(cost(int(p.Prec() / 8))) {
				*p = *new(big.Float).Copy(p)
			}
		default:
			c.fields(v)
		}
	}
}

// replace replaces what v, which must not be nil, refers to by a copy.
func (c *copier) replace(v reflect.Value) {
	if isImmutable(v) {
		return
	}
	t := v.Type()
	bytes := int(t.Elem().Size())
	n := 0
	if v.Kind() != reflect.Pointer {
		n = v.Len()
		bytes *= n
	}
	if nesting.IsBytes(t) {
		n = 0
	}
	if !c.spend(n + cost(bytes)) {
		return
	}
	copied := emptyCopy(v)
	c.fill(copied, v)
	v.Set(copied)
}

// isImmutable reports whether v is a pointer that the copy shares.
func isImmutable(v reflect.Value) bool {
	return v.Type() == reflect.TypeFor[*time.Location]()
}

// emptyCopy returns an unfilled copy of v, which must be a map, slice or pointer and
// not nil.
func emptyCopy(v reflect.Value) reflect.Value {
	switch t := v.Type(); v.Kind() {
	case reflect.Map:
		return reflect.MakeMapWithSize(t, v.Len())
	case reflect.Slice:
		return reflect.MakeSlice(t, v.Len(), v.Len())
	default:
		return reflect.New(t.Elem()).Convert(t) // t may be a named type
	}
}

// fill fills copied, which emptyCopy has returned for v.
func (c *copier) fill(copied, v reflect.Value) {
	switch v.Kind() {
	case reflect.Map:
		elem := reflect.New(v.Type().Elem()).Elem()
		for iter := v.MapRange(); iter.Next(); {
			elem.SetIterValue(iter)
			c.isolate(elem)
			copied.SetMapIndex(iter.Key(), elem)
		}
	case reflect.Slice:
		reflect.Copy(copied, v)
		c.elements(copied)
	default:
		copied.Elem().Set(v.Elem())
		c.isolate(copied.Elem())
	}
}

// elements isolates the elements of an array or a slice.
func (c *copier) elements(v reflect.Value) {
	if isPlain(v.Type().Elem()) {
		return
	}
	for i := range v.Len() {
		c.isolate(v.Index(i))
	}
}

// fields isolates the exported fields of a struct, including those of an embedded
// struct, even if its type is not exported.
func (c *copier) fields(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		switch {
		case f.CanSet():
			c.isolate(f)
		case f.Kind() == reflect.Struct && v.Type().Field(i).Anonymous:
			c.fields(f)
		}
	}
}
