package deepcopy_test

import (
	"errors"
	"math/big"
	"reflect"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/conduitio/funnel/internal/deepcopy"
	"github.com/conduitio/funnel/internal/nesting"
)

type (
	box     struct{ V any }
	twoOf   struct{ A, B any }
	hasMap  struct{ M map[string]any }
	hasNext struct{ Next *hasNext }
)

// wraps put a value into some levels, and most is how many of them are tried.
var wraps = map[string]struct {
	levels int
	most   int
	wrap   func(any) any
}{
	"maps":            {1, 1_000_000, func(v any) any { return map[string]any{"a": v} }},
	"slices":          {1, 1_000_000, func(v any) any { return []any{v} }},
	"structured data": {1, 20_000, func(v any) any { return opencdc.StructuredData{"a": v} }},
	"pointers":        {1, 1_000_000, func(v any) any { return &v }},
	"arrays":          {1, 20_000, func(v any) any { return [1]any{v} }},
	"structs":         {1, 1_000_000, func(v any) any { return box{v} }},
	"larger structs":  {1, 20_000, func(v any) any { return twoOf{nil, v} }},
	"structs in maps": {2, 20_000, func(v any) any { return map[string]any{"a": twoOf{v, nil}} }},
	"maps in structs": {2, 20_000, func(v any) any { return hasMap{map[string]any{"a": v}} }},
	"slices of maps":  {2, 20_000, func(v any) any { return []map[string]any{{"a": v}} }},
	"maps of any":     {1, 20_000, func(v any) any { return map[any]any{1: v} }},
	"maps of structs": {1, 20_000, func(v any) any { return map[int]twoOf{1: {v, nil}} }},
	"mixed":           {4, 20_000, func(v any) any { return opencdc.StructuredData{"a": []map[string]any{{"b": [1]any{v}}}} }},
}

// nest returns data of as many levels, or of some less if they come in groups.
func nest(levels int, groupOf int, wrap func(any) any) opencdc.StructuredData {
	var v any = []byte("bottom")
	for range (levels - 1) / groupOf {
		v = wrap(v)
	}
	return opencdc.StructuredData{"v": v}
}

func TestRecord_Deep(t *testing.T) {
	for name, w := range wraps {
		t.Run(name, func(t *testing.T) {
			for _, levels := range []int{1, 2, 64, 127, 128, 129, 130, 1000, deepcopy.MaxDepth} {
				d := nest(levels, w.levels, w.wrap)
				copied := copyOf(d["v"])
				if !reflect.DeepEqual(copied, d["v"]) {
					t.Errorf("%d levels: copy differs", levels)
				}
				mustShareNothing(t, copied, d["v"])
				mustBeTooDeep(t, d, nil)
			}
			// The first number of levels that is too high.
			levels := deepcopy.MaxDepth + 1
			levels += (w.levels - (levels-1)%w.levels) % w.levels
			for _, levels := range []int{levels, w.most} {
				mustBeTooDeep(t, nest(levels, w.levels, w.wrap), deepcopy.ErrTooDeep)
			}
		})
	}
}

// mustBeTooDeep expects an error, or none, of all that looks at the depth.
func mustBeTooDeep(t *testing.T, d opencdc.Data, want error) {
	t.Helper()
	r := opencdc.Record{Payload: opencdc.Change{After: d}}
	if err := deepcopy.CheckDepth(&r); !errors.Is(err, want) {
		t.Errorf("CheckDepth: %v, want %v", err, want)
	}
	if _, err := deepcopy.Record(r); !errors.Is(err, want) {
		t.Errorf("Record: %v, want %v", err, want)
	}
}

func TestRecord_DeepAnywhere(t *testing.T) {
	deep := nest(deepcopy.MaxDepth+1, 1, wraps["maps"].wrap)
	for name, r := range map[string]opencdc.Record{
		"key":     {Key: deep},
		"before":  {Payload: opencdc.Change{Before: deep}},
		"after":   {Payload: opencdc.Change{After: deep}},
		"pointer": {Key: &deep},
		"struct":  {Key: embedsData{deep}},
	} {
		if err := deepcopy.CheckDepth(&r); !errors.Is(err, deepcopy.ErrTooDeep) {
			t.Errorf("%s: CheckDepth: %v", name, err)
		}
		if copied, err := deepcopy.Record(r); !errors.Is(err, deepcopy.ErrTooDeep) || !reflect.DeepEqual(copied, opencdc.Record{}) {
			t.Errorf("%s: Record: %v", name, err)
		}
	}
	if copied, err := deepcopy.Data(deep); !errors.Is(err, deepcopy.ErrTooDeep) || copied != nil {
		t.Errorf("Data: %v", err)
	}
}

func TestRecord_DeepPointers(t *testing.T) {
	var n *hasNext
	for range deepcopy.MaxDepth - 1 {
		n = &hasNext{n}
	}
	mustBeTooDeep(t, opencdc.StructuredData{"v": n}, nil)
	mustBeTooDeep(t, opencdc.StructuredData{"v": &hasNext{n}}, deepcopy.ErrTooDeep)
	for range 1_000_000 {
		n = &hasNext{n}
	}
	mustBeTooDeep(t, opencdc.StructuredData{"v": n}, deepcopy.ErrTooDeep)
}

// TestRecord_LastLevel looks for what is a level of its own, and what is a mere
// value.
func TestRecord_LastLevel(t *testing.T) {
	for name, make := range values {
		v := make()
		want := deepcopy.ErrTooDeep
		switch v.(type) {
		case nil, []byte, opencdc.RawData, opencdc.Position, big.Int, big.Rat, big.Float, struct{}:
			want = nil
		default:
			switch rv := reflect.ValueOf(v); rv.Kind() {
			case reflect.Map, reflect.Slice, reflect.Pointer:
				if rv.IsNil() {
					want = nil
				}
			case reflect.Array:
			case reflect.Struct:
				if name == "time" {
					want = nil
				}
			default:
				want = nil
			}
		}
		t.Run(name, func(t *testing.T) {
			mustBeTooDeep(t, nest(deepcopy.MaxDepth, 1, func(inner any) any {
				if b, ok := inner.([]byte); ok && b != nil {
					return map[string]any{"v": v}
				}
				return map[string]any{"v": inner}
			}), want)
		})
	}
}

// TestRecord_Shortcut copies a long list whose parts are all held by one slice,
// so that none of them is deep.
func TestRecord_Shortcut(t *testing.T) {
	for name, w := range wraps {
		t.Run(name, func(t *testing.T) {
			var parts []any
			var v any = 1
			for range 12_000 {
				v = w.wrap(v)
				parts = append(parts, v)
			}
			d := opencdc.StructuredData{"deep": v, "parts": parts}
			mustBeTooDeep(t, d, nil)
			mustBeTooDeep(t, opencdc.StructuredData{"deep": v}, deepcopy.ErrTooDeep)
		})
	}
}

// TestRecord_Circles copies circles of many maps.
func TestRecord_Circles(t *testing.T) {
	circle := func(n int) opencdc.StructuredData {
		first := opencdc.StructuredData{}
		last := first
		for range n - 1 {
			next := opencdc.StructuredData{}
			last["next"], last["first"] = next, first
			last = next
		}
		last["next"] = first
		return first
	}
	mustBeTooDeep(t, circle(deepcopy.MaxDepth), nil)
	mustBeTooDeep(t, circle(deepcopy.MaxDepth+1), deepcopy.ErrTooDeep)
	mustBeTooDeep(t, circle(100*deepcopy.MaxDepth), deepcopy.ErrTooDeep)
}

func TestCheckDepth_AllocatesNothing(t *testing.T) {
	nested := opencdc.StructuredData{
		"id": 1, "price": 1.5, "blob": make([]byte, 1<<20), "tags": []string{"a"}, "labels": map[string]string{"a": "b"},
		"user":  map[string]any{"name": "n", "address": opencdc.StructuredData{"city": "c"}},
		"items": []any{map[string]any{"sku": "a"}, []map[string]any{{"n": 1}, nil}},
	}
	raw := opencdc.RawData("raw")
	for name, d := range map[string]opencdc.Data{
		"nil": nil, "raw": raw, "*raw": &raw, "nil *raw": (*opencdc.RawData)(nil),
		"structured": nested, "*structured": &nested, "nil structured": opencdc.StructuredData(nil),
	} {
		r := opencdc.Record{Position: opencdc.Position("p"), Key: d, Payload: opencdc.Change{Before: d, After: d}}
		if allocs := testing.AllocsPerRun(100, func() {
			if err := deepcopy.CheckDepth(&r); err != nil {
				t.Error(err)
			}
		}); name != "*structured" && allocs != 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}

func TestRecord_PositionIsClipped(t *testing.T) {
	bytes := []byte("abcdef")
	r := mustCopy(opencdc.Record{Position: opencdc.Position(bytes[:3])})
	_ = append(r.Position, 'X')
	if string(bytes) != "abcdef" {
		t.Errorf("appending to the position of the copy wrote into %s", bytes)
	}
	if string(r.Position) != "abc" {
		t.Errorf("position %s", r.Position)
	}
	if r := mustCopy(opencdc.Record{}); r.Position != nil {
		t.Error("a nil position became empty")
	}
	if r := mustCopy(opencdc.Record{Position: opencdc.Position{}}); r.Position == nil {
		t.Error("an empty position became nil")
	}
}

func TestMaxDepth(t *testing.T) {
	if deepcopy.MaxDepth != 10_000 || nesting.MaxDepth != 10_000 {
		t.Error("the error names another limit")
	}
}
