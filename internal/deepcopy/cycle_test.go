package deepcopy_test

import (
	"reflect"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
)

type link struct {
	Next  *link
	Other *link
	First int
}

func TestRecord_HoldsItself(t *testing.T) {
	for name, make := range map[string]func() any{
		"map": func() any {
			m := map[string]any{"x": 1}
			m["self"] = m
			return m
		},
		"map twice": func() any {
			m := map[string]any{}
			m["a"], m["b"], m["c"] = m, m, []any{m, m}
			return m
		},
		"structured data": func() any {
			d := opencdc.StructuredData{}
			d["a"], d["b"] = d, opencdc.StructuredData{"c": d}
			return d
		},
		"slice": func() any {
			s := []any{1, nil, nil}
			s[1], s[2] = s, s
			return s
		},
		"parts of a slice": func() any {
			s := []any{1, nil, nil}
			s[1], s[2] = s[:2], s[1:]
			return s
		},
		"slice of maps": func() any {
			m := map[string]any{}
			m["a"], m["b"] = []map[string]any{m, m}, []map[string]any{m}
			return m
		},
		"pointer": func() any {
			l := &link{First: 1}
			l.Next, l.Other = l, &link{Next: l}
			return l
		},
		"pointer to interface": func() any {
			var v any
			v = &v
			return v
		},
		"map of any keys": func() any {
			m := map[any]any{}
			m[1], m["b"] = m, [2]any{m, m}
			return m
		},
		"two maps": func() any {
			a, b := map[string]any{}, map[string]any{}
			a["b"], a["bb"], b["a"], b["aa"] = b, b, a, a
			return a
		},
		"data": func() any {
			d := &embedsData{}
			d.Data = d
			return d
		},
	} {
		t.Run(name, func(t *testing.T) {
			original := make()
			copied := copyOf(original)
			if !reflect.DeepEqual(copied, original) {
				t.Error("copy differs")
			}
			mustShareNothing(t, copied, original)
			size := graph{}
			size.add(reflect.ValueOf(copied))
			if len(size) > 1000 {
				t.Errorf("the copy consists of %d parts", len(size))
			}
		})
	}
}

// TestRecord_SameAddress copies different things that have the same address, a
// struct and its first field, a slice and its beginning, below the depth at
// which copies are remembered.
func TestRecord_SameAddress(t *testing.T) {
	l := &link{}
	type holder struct{ First link }
	h := &holder{}
	s := []any{1, 2}
	var v any = map[string]any{"holder": h, "first": &h.First, "l": l, "next": &l.Next, "s": s, "part": s[:1]}
	for range 100 {
		v = []any{v}
	}
	copied := copyOf(v)
	if !reflect.DeepEqual(copied, v) {
		t.Error("copy differs")
	}
	mustShareNothing(t, copied, v)
}
