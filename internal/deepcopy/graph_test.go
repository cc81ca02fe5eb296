package deepcopy_test

import (
	"math/big"
	"reflect"
	"testing"
	"time"
)

// mustShareNothing fails if something that can be changed in place is reachable
// from both values.
func mustShareNothing(t *testing.T, a, b any) {
	t.Helper()
	inA, inB := make(graph), make(graph)
	inA.add(reflect.ValueOf(a))
	inB.add(reflect.ValueOf(b))
	for ref := range inA {
		if inB[ref] {
			t.Errorf("a %s is shared", ref.typ)
		}
	}
}

// node is the address of a map, of what a pointer points to, or of an element
// of a slice.
type node struct {
	addr uintptr
	typ  reflect.Type
}

// graph holds what is reachable through exported fields.
type graph map[node]bool

func (g graph) add(v reflect.Value) {
	switch v.Kind() {
	case reflect.Interface:
		g.add(v.Elem())
	case reflect.Pointer:
		if v.IsNil() || v.Type().Elem().Size() == 0 || !g.visit(v.Pointer(), v.Type()) {
			return
		}
		if _, ok := v.Interface().(*time.Location); !ok {
			g.add(v.Elem())
		}
	case reflect.Map:
		if v.IsNil() || !g.visit(v.Pointer(), v.Type()) {
			return
		}
		for _, k := range v.MapKeys() {
			g.add(v.MapIndex(k))
		}
	case reflect.Slice:
		if v.Type().Elem().Size() == 0 {
			return
		}
		for i := range v.Len() {
			if g.visit(v.Index(i).Addr().Pointer(), v.Type()) {
				g.add(v.Index(i))
			}
		}
		if v.Len() == 0 && v.Cap() > 0 {
			g.visit(v.Pointer(), v.Type())
		}
	case reflect.Array:
		for i := range v.Len() {
			g.add(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() || f.Anonymous && f.Type.Kind() == reflect.Struct {
				g.add(v.Field(i))
			}
		}
	}
}

func (g graph) visit(addr uintptr, typ reflect.Type) bool {
	n := node{addr: addr, typ: typ}
	if g[n] {
		return false
	}
	g[n] = true
	return true
}

// isReference reports whether a value refers to something that can be changed.
func isReference(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice:
		return !v.IsNil()
	}
	return false
}

// scribble changes everything in place that can be reached from v without an
// assignment to v itself.
func scribble(v any) {
	scribbleOver(reflect.ValueOf(v))
}

func scribbleOver(v reflect.Value) {
	switch v.Kind() {
	case reflect.Interface:
		scribbleOver(v.Elem())
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		switch p := v.Interface().(type) {
		case *big.Int:
			scribbleBits(p)
		case *big.Rat:
			scribbleBits(p.Num())
			scribbleBits(p.Denom())
		case *big.Float:
			p.SetUint64(77)
		case *time.Location:
		default:
			scribbleOver(v.Elem())
			clobber(v.Elem())
		}
	case reflect.Map:
		if v.IsNil() {
			return
		}
		for _, k := range v.MapKeys() {
			elem := v.MapIndex(k)
			scribbleOver(elem)
			changed := reflect.New(v.Type().Elem()).Elem()
			changed.Set(elem)
			clobber(changed)
			v.SetMapIndex(k, changed)
		}
		v.SetMapIndex(reflect.ValueOf(otherKey(v.Type().Key())), reflect.Zero(v.Type().Elem()))
	case reflect.Slice:
		for i := range v.Len() {
			scribbleOver(v.Index(i))
			clobber(v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			scribbleOver(v.Index(i))
		}
	case reflect.Struct:
		scribbleStruct(v)
	}
}

func scribbleStruct(v reflect.Value) {
	if v.CanInterface() {
		switch n := v.Interface().(type) {
		case big.Int:
			scribbleBits(&n)
			return
		case big.Rat:
			scribbleBits(n.Num())
			return
		case big.Float:
			n.SetUint64(77)
			return
		}
	}
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() || f.Anonymous && f.Type.Kind() == reflect.Struct {
			scribbleOver(v.Field(i))
		}
	}
}

// scribbleBits changes the words of a number where they are.
func scribbleBits(n *big.Int) {
	for i := range n.Bits() {
		n.Bits()[i] ^= 0b101010
	}
}

// clobber overwrites a settable value.
func clobber(v reflect.Value) {
	switch {
	case !v.CanSet():
	case v.Kind() == reflect.Interface && v.Type().NumMethod() == 0:
		v.Set(reflect.ValueOf("clobbered"))
	case v.CanInt():
		v.SetInt(v.Int() + 1)
	case v.CanUint():
		v.SetUint(v.Uint() + 1)
	case v.Kind() == reflect.String:
		v.SetString(v.String() + "!")
	default:
		v.SetZero()
	}
}

// otherKey returns a key that the maps of the tests do not have.
func otherKey(t reflect.Type) any {
	v := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.String:
		v.SetString("other key")
	case reflect.Int:
		v.SetInt(-99)
	case reflect.Interface:
		v.Set(reflect.ValueOf("other key"))
	case reflect.Array:
		v.Index(0).SetInt(-99)
	}
	return v.Interface()
}
