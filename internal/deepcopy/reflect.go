package deepcopy

import (
	"math/big"
	"reflect"
	"time"
)

// reflected copies a value of a type that only reflection can handle.
func (c *copier) reflected(v any) any {
	original := reflect.ValueOf(v)
	if isPlain(original.Kind()) {
		return v
	}
	copied := reflect.New(original.Type()).Elem()
	copied.Set(original)
	c.isolate(copied)
	return copied.Interface()
}

// isPlain reports whether assigning a value of the kind copies all there is to
// copy.
func isPlain(k reflect.Kind) bool {
	switch k {
	case reflect.Array, reflect.Interface, reflect.Map, reflect.Pointer, reflect.Slice, reflect.Struct:
		return false
	default:
		return true
	}
}

// isolate turns v from a shallow copy into a deep one: each reference in it is
// replaced by a reference to a copy. v must be settable.
func (c *copier) isolate(v reflect.Value) {
	switch v.Kind() {
	case reflect.Interface:
		if !v.IsNil() {
			v.Set(reflect.ValueOf(c.value(v.Elem().Interface())))
		}
	case reflect.Pointer, reflect.Map, reflect.Slice:
		if !v.IsNil() {
			c.replace(v)
		}
	case reflect.Array:
		c.elements(v)
	case reflect.Struct:
		switch p := v.Addr().Interface().(type) {
		case *big.Int:
			*p = *new(big.Int).Set(p)
		case *big.Rat:
			*p = *new(big.Rat).Set(p)
		case *big.Float:
			*p = *new(big.Float).Copy(p)
		default:
			c.fields(v)
		}
	}
}

// replace puts a copy in the place of what v, which is not nil, refers to. A
// copy is remembered before its elements are copied, as they may refer to it.
func (c *copier) replace(v reflect.Value) {
	t := v.Type()
	ref := reference{addr: v.Pointer(), typ: t}
	if v.Kind() == reflect.Slice {
		ref.len = v.Len()
	}
	if copied, ok := c.seen[ref]; ok {
		v.Set(copied)
		return
	}
	c.enter()
	defer c.leave()

	var copied reflect.Value
	switch v.Kind() {
	case reflect.Pointer:
		if _, ok := v.Interface().(*time.Location); ok {
			return
		}
		copied = reflect.New(t.Elem())
		copied.Elem().Set(v.Elem())
		c.remember(ref, copied)
		c.isolate(copied.Elem())
	case reflect.Slice:
		copied = reflect.MakeSlice(t, v.Len(), v.Len())
		reflect.Copy(copied, v)
		c.remember(ref, copied)
		c.elements(copied)
	default:
		copied = reflect.MakeMapWithSize(t, v.Len())
		c.remember(ref, copied)
		elem := reflect.New(t.Elem()).Elem()
		for iter := v.MapRange(); iter.Next(); {
			elem.SetIterValue(iter)
			c.isolate(elem)
			copied.SetMapIndex(iter.Key(), elem)
		}
	}
	v.Set(copied)
}

func (c *copier) remember(ref reference, copied reflect.Value) {
	if c.seen != nil {
		c.seen[ref] = copied
	}
}

// elements isolates the elements of an array or a slice.
func (c *copier) elements(v reflect.Value) {
	if isPlain(v.Type().Elem().Kind()) {
		return
	}
	for i := range v.Len() {
		c.isolate(v.Index(i))
	}
}

// fields isolates the exported fields of a struct. Those of an embedded struct
// count among them, even if its type is not exported.
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
