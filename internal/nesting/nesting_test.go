package nesting_test

import (
	"encoding/json"
	"math/big"
	"reflect"
	"testing"
	"time"

	"github.com/conduitio/funnel/internal/nesting"
)

type named map[string]any

type single struct{ P *int }

func TestRefOf(t *testing.T) {
	m := map[string]any{}
	s := []any{1, 2, 3}
	p := &struct{ First [1]int }{}
	text := string([]byte("some text"))
	var array, other any = [2]any{1}, [2]any{1}
	var pair any = struct{ A, B any }{1, 2}
	var direct any = single{new(int)}
	values := []any{
		m, named(m), map[string]any{}, s, s[:2], s[1:], []any{1, 2, 3}, p, &p.First, &p.First[0],
		text, text[:4], text[5:], string([]byte("some text")), array, other, pair, direct, single{new(int)}, 1 << 40,
	}
	for i, a := range values {
		for j, b := range values {
			if got, want := nesting.RefOf(a) == nesting.RefOf(b), i == j; got != want {
				t.Errorf("%T(%v) and %T(%v): got %v, want %v", a, a, b, b, got, want)
			}
		}
	}
	holder := map[string]any{"a": array, "p": pair}
	if nesting.RefOf(holder["a"]) != nesting.RefOf(array) || nesting.RefOf(holder["p"]) != nesting.RefOf(pair) {
		t.Error("what an interface holds changed its ref by an assignment")
	}
}

func TestIsValue(t *testing.T) {
	for _, v := range []any{[]byte{}, json.RawMessage{}, time.Time{}, big.Int{}, big.Rat{}, big.Float{}} {
		if !nesting.IsValue(reflect.TypeOf(v)) {
			t.Errorf("%T is no value", v)
		}
	}
	for _, v := range []any{[]int8{}, [1]byte{}, &time.Time{}, new(big.Int), struct{}{}, map[string]any{}, []any{}} {
		if nesting.IsValue(reflect.TypeOf(v)) {
			t.Errorf("%T is a value", v)
		}
	}
}
