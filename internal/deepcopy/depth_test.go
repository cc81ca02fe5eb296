package deepcopy_test

import (
	"errors"
	"maps"
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
	t.Parallel()
	for name, w := range wraps {
		t.Run(name, func(t *testing.T) {
			for _, levels := range []int{1, 2, 64, 127, 128, 129, 130, 1000, deepcopy.MaxDepth} {
				d := nest(levels, w.levels, w.wrap)
				copied := mustBeTooDeep(t, d, nil)
				if !reflect.DeepEqual(copied, d) {
					t.Errorf("%d levels: copy differs", levels)
				}
				mustShareNothing(t, copied, d)
			}
			// The first number of levels that is too high.
			levels := deepcopy.MaxDepth + 1
			levels += (w.levels - (levels-1)%w.levels) % w.levels
			if raceEnabled {
				w.most = min(w.most, 20_000)
			}
			for _, levels := range []int{levels, w.most} {
				mustBeTooDeep(t, nest(levels, w.levels, w.wrap), deepcopy.ErrTooDeep)
			}
		})
	}
}

// mustBeTooDeep expects an error, or none, of all that looks at the depth. It
// returns the copy.
func mustBeTooDeep(t *testing.T, d opencdc.Data, want error) any {
	t.Helper()
	r := opencdc.Record{Payload: opencdc.Change{After: d}}
	if err := deepcopy.CheckDepth(&r); !errors.Is(err, want) {
		t.Errorf("CheckDepth: %v, want %v", err, want)
	}
	copied, err := deepcopy.Record(r)
	if !errors.Is(err, want) {
		t.Errorf("Record: %v, want %v", err, want)
	}
	return copied.Payload.After
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
	most := nest(deepcopy.MaxDepth, 1, wraps["maps"].wrap)
	mustBeTooDeep(t, most, nil)
	mustBeTooDeep(t, &most, nil)
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
	t.Parallel()
	last := map[string]any{}
	var holder any = last
	for range deepcopy.MaxDepth - 2 {
		holder = []any{holder}
	}
	d := opencdc.StructuredData{"v": holder}
	mere := map[string]any{}
	for name, make := range values {
		v := make()
		if isMere(name, v) {
			mere[name] = v
			continue
		}
		t.Run(name, func(t *testing.T) {
			last["v"] = v
			mustBeTooDeep(t, d, deepcopy.ErrTooDeep)
		})
	}
	t.Run("mere values", func(t *testing.T) {
		clear(last)
		maps.Copy(last, mere)
		mustBeTooDeep(t, d, nil)
		if !t.Failed() {
			return
		}
		for name, v := range mere {
			clear(last)
			last["v"] = v
			t.Log(name)
			mustBeTooDeep(t, d, nil)
		}
	})
}

// isMere reports whether the value of that name adds no level.
func isMere(name string, v any) bool {
	switch v.(type) {
	case nil, []byte, opencdc.RawData, opencdc.Position, big.Int, big.Rat, big.Float, struct{}:
		return true
	}
	switch rv := reflect.ValueOf(v); rv.Kind() {
	case reflect.Map, reflect.Slice, reflect.Pointer:
		return rv.IsNil()
	case reflect.Array:
		return false
	case reflect.Struct:
		return name == "time"
	default:
		return true
	}
}

// TestRecord_Shortcut copies a long list whose parts are all held by one slice,
// so that none of them is deep.
func TestRecord_Shortcut(t *testing.T) {
	t.Parallel()
	for name, w := range wraps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var parts []any
			var v any = 1
			for range deepcopy.MaxDepth/w.levels + 100 {
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
	mustBeTooDeep(t, circle(10*deepcopy.MaxDepth), deepcopy.ErrTooDeep)
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
