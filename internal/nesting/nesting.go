// Package nesting holds what copying and measuring a record have in common: how deep
// they go, and how they recognize what they have already met.
package nesting

import (
	"math/big"
	"reflect"
	"time"
	"unsafe"
)

// MaxDepth is the number of levels that data may have. The outermost map of a key or
// payload is level 1. Each map, slice and pointer inside adds a level, and so does each
// struct or array in an interface. Nil adds none, nor does a type for which [IsValue]
// returns true.
//
// Data that several paths lead to counts at its smallest depth.
const MaxDepth = 10_000

// IsValue reports whether t is a slice or struct that counts as one value, like a
// number or a string: bytes, a time, or a number of math/big.
func IsValue(t reflect.Type) bool {
	return IsBytes(t) || IsNumber(t)
}

// IsBytes reports whether t is a slice of bytes.
func IsBytes(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8
}

// IsNumber reports whether t is a time or a number of math/big.
func IsNumber(t reflect.Type) bool {
	switch t {
	case reflect.TypeFor[big.Int](), reflect.TypeFor[big.Rat](), reflect.TypeFor[big.Float](), reflect.TypeFor[time.Time]():
		return true
	default:
		return false
	}
}

// Ref identifies a map, a slice, a string, the target of a pointer, or a value of
// another kind in an interface. Slices that overlap without being equal have different
// refs.
type Ref struct {
	addr unsafe.Pointer
	len  int
	// typ distinguishes a struct from its first field, which has the same address.
	typ reflect.Type
}

// RefOf returns the ref of v. The ref keeps v alive, so that no other value gets
// its address. Two refs of a struct or an array are equal only if the interfaces
// were assigned from one another.
func RefOf(v any) Ref {
	rv := reflect.ValueOf(v)
	ref := Ref{typ: rv.Type()}
	switch rv.Kind() {
	case reflect.Map, reflect.Pointer:
		ref.addr = rv.UnsafePointer()
	case reflect.Slice:
		ref.addr, ref.len = rv.UnsafePointer(), rv.Len()
	case reflect.String:
		s := rv.String()
		ref.addr, ref.len = unsafe.Pointer(unsafe.StringData(s)), len(s)
	default:
		ref.addr = (*[2]unsafe.Pointer)(unsafe.Pointer(&v))[1] // an interface is a type and the address of a value
	}
	return ref
}
