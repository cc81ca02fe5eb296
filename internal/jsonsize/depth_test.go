package jsonsize_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/conduitio/funnel/internal/jsonsize"
	"github.com/conduitio/funnel/internal/nesting"
)

type (
	pair  struct{ A, B any }
	outer struct {
		*inner
		Value any
	}
	inner struct {
		Deep   any
		hidden any
	}
	parent struct {
		Name   string
		Parent *parent `json:"-"`
		Child  *parent
	}
	hasTree   struct{ T map[string]tree }
	hasSet    struct{ S set }
	set       map[*set]int
	marshaler struct{ V any }
)

func (m marshaler) MarshalJSON() ([]byte, error) { return json.Marshal(m.V) }

// opens put a value into some levels, with so many bytes around it.
var opens = map[string]struct {
	levels, bytes int
	wrap          func(any) any
}{
	"maps":            {1, len(`{"a":}`), func(v any) any { return map[string]any{"a": v} }},
	"structured data": {1, len(`{"a":}`), func(v any) any { return opencdc.StructuredData{"a": v} }},
	"slices":          {1, len(`[]`), func(v any) any { return []any{v} }},
	"slices of maps":  {2, len(`[{"a":}]`), func(v any) any { return []map[string]any{{"a": v}} }},
	"pointers":        {1, 0, func(v any) any { return &v }},
	"arrays":          {1, len(`[null,]`), func(v any) any { return [2]any{nil, v} }},
	"numbers as keys": {1, len(`{"-12":}`), func(v any) any { return map[int]any{-12: v} }},
	"typed":           {3, len(`{"a":[[]]}`), func(v any) any { return map[text][]*[1]any{"a": {{v}}} }},
}

// opaques put a value into something that is marshalled.
var opaques = map[string]struct {
	levels int
	wrap   func(any) any
}{
	"structs":          {1, func(v any) any { return custom{A: v} }},
	"pointers":         {1, func(v any) any { return &pair{B: v} }},
	"slices":           {1, func(v any) any { return []pair{{A: v}} }},
	"maps":             {1, func(v any) any { return map[string]pair{"a": {A: v}} }},
	"embedded":         {2, func(v any) any { return outer{inner: &inner{Deep: v}} }},
	"marshalers":       {1, func(v any) any { return marshaler{v} }},
	"structs of maps":  {2, func(v any) any { return map[string]any{"a": custom{A: v}} }},
	"structs of slice": {2, func(v any) any { return custom{A: []any{v}} }},
}

// farTooDeep is a number of levels far beyond the limit.
func farTooDeep() int {
	if raceEnabled {
		return 20_000
	}
	return 1_000_000
}

// nest returns the innermost value in so many levels, or in some less if they
// come in groups.
func nest(v any, levels, groupOf int, wrap func(any) any) any {
	for range levels / groupOf {
		v = wrap(v)
	}
	return v
}

func TestRecord_Deep(t *testing.T) {
	t.Parallel()
	for name, o := range opens {
		t.Run(name, func(t *testing.T) {
			for _, levels := range []int{1, 254, 255, 256, 511, 512, 513, 9999, 10_000, 10_001, farTooDeep()} {
				if levels > 10_001 && name != "maps" && name != "pointers" {
					continue
				}
				levels -= levels % o.levels
				counted := min(levels, nesting.MaxDepth-1)
				want := len(`{"v":}`)
				if counted < levels {
					if counted%o.levels != 0 {
						continue // it is cut within a group
					}
					want += counted / o.levels * o.bytes
				} else {
					want += levels/o.levels*o.bytes + len("true")
				}
				if got := sizeOf(opencdc.StructuredData{"v": nest(true, levels, o.levels, o.wrap)}); got != want {
					t.Errorf("%d levels: got %d, want %d", levels, got, want)
				}
			}
		})
	}
}

func TestRecord_DeepMarshalled(t *testing.T) {
	t.Parallel()
	for name, o := range opaques {
		t.Run(name, func(t *testing.T) {
			last := (nesting.MaxDepth - 1) / o.levels * o.levels
			for _, levels := range []int{2, 64, 200, 2000, last} {
				if levels == last && (name != "structs" || raceEnabled) {
					continue // the encoder takes long for that
				}
				d := opencdc.StructuredData{"v": nest(true, levels, o.levels, o.wrap)}
				if got, want := sizeOf(d), len(d.Bytes()); got != want {
					t.Errorf("%d levels: got %d, want %d", levels, got, want)
				}
			}
			most := 20_000
			if name == "structs" {
				most = farTooDeep()
			}
			for _, levels := range []int{last + o.levels, most} {
				d := opencdc.StructuredData{"v": nest(true, levels, o.levels, o.wrap), "w": 1}
				got, want := sizeOf(d), len(`{"v":,"w":1}`)
				if name == "structs of maps" {
					want += len(`{"a":}`)
				}
				if got != want {
					t.Errorf("%d levels: got %d, want %d", levels, got, want)
				}
			}
		})
	}
}

func TestRecord_DeepPointers(t *testing.T) {
	var n *node
	for range nesting.MaxDepth - 1 {
		n = &node{n}
	}
	d := opencdc.StructuredData{"v": n}
	if got, want := sizeOf(d), len(d.Bytes()); got != want {
		t.Errorf("got %d, want %d", got, want)
	}
	for _, more := range []int{1, farTooDeep()} {
		for range more {
			n = &node{n}
		}
		if got, want := sizeOf(opencdc.StructuredData{"v": n}), len(`{"v":}`); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
}

// TestRecord_DeepText measures JSON that was encoded before.
func TestRecord_DeepText(t *testing.T) {
	t.Parallel()
	for _, levels := range []int{1, 2000, nesting.MaxDepth - 1, nesting.MaxDepth, 10 * farTooDeep()} {
		raw := json.RawMessage(strings.Repeat("[", levels) + strings.Repeat("]", levels))
		for name, tc := range map[string]struct {
			v      any
			levels int
			around string
		}{
			"alone":       {raw, 0, ``},
			"in a slice":  {[]any{raw}, 1, `[]`},
			"in a struct": {custom{A: raw}, 1, ``},
		} {
			want := len(`{"v":}`)
			if 1+tc.levels+levels <= nesting.MaxDepth {
				want = len(opencdc.StructuredData{"v": tc.v}.Bytes())
			} else {
				want += len(tc.around)
			}
			if got := sizeOf(opencdc.StructuredData{"v": tc.v}); got != want {
				t.Errorf("%d levels %s: got %d, want %d", levels, name, got, want)
			}
		}
	}
}

// TestRecord_LastLevel puts values where another map would be too deep.
func TestRecord_LastLevel(t *testing.T) {
	for name, tc := range map[string]struct {
		v    any
		want int
	}{
		"nil":         {nil, 4},
		"text":        {"text", 6},
		"nil map":     {map[string]any(nil), 4},
		"nil slice":   {[]int(nil), 4},
		"nil pointer": {(*node)(nil), 4},
		"bytes":       {[]byte("a"), 6},
		"named bytes": {opencdc.Position("a"), 6},
		"time":        {time.Unix(0, 0).UTC(), 22},
		"number":      {json.Number("12"), 2},
		"long number": {json.Number(strings.Repeat("1", 100)), 100},
		"empty map":   {map[string]any{}, 0},
		"slice":       {[]int{1}, 0},
		"pointer":     {ptr(1), 0},
		"struct":      {custom{}, 0},
		"array":       {[2]int{}, 0},
	} {
		d := opencdc.StructuredData{"v": nest(tc.v, nesting.MaxDepth-1, 1, opens["slices"].wrap)}
		if got, want := sizeOf(d), len(`{"v":}`)+len(`[]`)*(nesting.MaxDepth-1)+tc.want; got != want {
			t.Errorf("%s: got %d, want %d", name, got, want)
		}
	}
}

// TestRecord_SharedTwice measures levels that hold the level below twice, which
// has 2^levels ways to the bottom.
func TestRecord_SharedTwice(t *testing.T) {
	for name, o := range map[string]struct {
		bytes int
		wrap  func(any) any
	}{
		"maps":           {len(`{"a":,"b":}`), func(v any) any { return map[string]any{"a": v, "b": v} }},
		"data":           {len(`{"a":,"b":}`), func(v any) any { return opencdc.StructuredData{"a": v, "b": v} }},
		"slices":         {len(`[,]`), func(v any) any { return []any{v, v} }},
		"arrays":         {len(`[,]`), func(v any) any { return [2]any{v, v} }},
		"pointers":       {len(`[,]`), func(v any) any { return &[]any{v, v} }},
		"keys":           {len(`{"1":,"2":}`), func(v any) any { return map[int]any{1: v, 2: v} }},
		"slices of maps": {len(`[{"a":},{"a":}]`), func(v any) any { m := map[string]any{"a": v}; return []map[string]any{m, m} }},
		"maps of slices": {len(`{"a":[{"a":},{"a":}]}`), func(v any) any {
			m := map[string]any{"a": v}
			return map[string][]map[string]any{"a": {m, m}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			size := len(`true`)
			var v any = true
			for levels := 1; levels <= 100; levels++ {
				v = o.wrap(v)
				want := math.MaxInt
				if levels < 55 {
					size = o.bytes + 2*size
					want = size + len(`{"v":}`)
				}
				if levels >= 55 && levels < 70 {
					continue // it may still fit
				}
				d := opencdc.StructuredData{"v": v}
				if got := sizeOf(d); got != want {
					t.Fatalf("%d levels: got %d, want %d", levels, got, want)
				}
			}
			d := opencdc.StructuredData{"v": v}
			r := opencdc.Record{Key: d, Payload: opencdc.Change{Before: d, After: d}}
			if got := jsonsize.Record(&r); got != math.MaxInt {
				t.Errorf("three of them: got %d", got)
			}
			if allocs := testing.AllocsPerRun(1, func() { sizeOf(d) }); allocs > 100*100 {
				t.Errorf("%v allocations", allocs)
			}
		})
	}
}

func TestRecord_SharedMarshalled(t *testing.T) {
	for name, o := range opaques {
		t.Run(name, func(t *testing.T) {
			twice := func(v any) any {
				shared := []any{v, v}
				return o.wrap(shared)
			}
			for _, levels := range []int{5, 12} {
				d := opencdc.StructuredData{"v": nest(true, levels, 1, twice)}
				if got, want := sizeOf(d), len(d.Bytes()); got != want {
					t.Errorf("%d levels: got %d, want %d", levels, got, want)
				}
			}
			for _, levels := range []int{22, 60} {
				d := opencdc.StructuredData{"v": nest(true, levels, 1, twice), "w": custom{}}
				got, want := sizeOf(d), len(`{"v":,"w":{"A":null,"B":null}}`)
				if name == "structs of maps" {
					want += len(`{"a":}`)
				}
				if got != want {
					t.Errorf("%d levels: got %d, want %d", levels, got, want)
				}
			}
		})
	}
}

// TestRecord_SharedByMany holds one thing in many structs, each of which is
// small enough to be marshalled.
func TestRecord_SharedByMany(t *testing.T) {
	large := make([]any, 10_000)
	text := strings.Repeat("text", 10_000)
	bytes := []byte(text)
	for name, hold := range map[string]func() any{
		"slices":           func() any { return large },
		"texts":            func() any { return text },
		"bytes":            func() any { return bytes },
		"slices of texts":  func() any { return []any{text} },
		"slices of a kind": func() any { return []string{text} },
		"maps of texts":    func() any { return map[string]any{"a": text} },
		"keys":             func() any { return map[string]any{text: 1} },
		"slices of bytes":  func() any { return []any{bytes} },
	} {
		t.Run(name, func(t *testing.T) {
			some, many := make([]any, 5), make([]any, 2000)
			for i := range many {
				many[i] = custom{A: hold(), B: i}
			}
			copy(some, many)
			few := opencdc.StructuredData{"some": some, "few": custom{}}
			if got, want := sizeOf(few), len(few.Bytes()); got != want {
				t.Errorf("got %d, want %d", got, want)
			}
			all := opencdc.StructuredData{"v": many, "few": custom{}}
			want := len(`{"v":[],"few":{"A":null,"B":null}}`) + len(many) - 1
			if got := sizeOf(all); got != want {
				t.Errorf("got %d, want %d", got, want)
			}
		})
	}
}

// TestRecord_Large measures large things that are held 40 times, in as many
// steps as there are things, and then much that is held once.
func TestRecord_Large(t *testing.T) {
	t.Parallel()
	n := 1 << 16
	if raceEnabled {
		n = 1 << 12
	}
	long := strings.Repeat("0123456789<", n)
	for name, v := range map[string]any{
		"[]any":          make([]any, n),
		"[]bool":         make([]bool, n),
		"[][0]int":       make([][0]int, 1<<40),
		"texts":          []string{long, long},
		"text":           long,
		"key":            map[string]any{long: 1},
		"bytes":          make([]byte, n),
		"structs":        make([]struct{ A int }, n),
		"marshalled":     []custom{{A: long, B: make([]any, n)}},
		"many":           make([]struct{ A bool }, 1<<20+1),
		"nothing":        make([]struct{}, 10),
		"numbers as key": map[uint16]string{1: long, 22: long},
	} {
		t.Run(name, func(t *testing.T) {
			var one int
			if name == "[][0]int" {
				one = len(`{"v":}`) + 1 + 3<<40
			} else {
				one = len(opencdc.StructuredData{"v": v}.Bytes())
			}
			if got := sizeOf(opencdc.StructuredData{"v": v}); got != one {
				t.Errorf("got %d, want %d", got, one)
			}
			held := make([]any, 40)
			for i := range held {
				held[i] = v
			}
			want := len(`{"v":[]}`) + len(held) - 1 + len(held)*(one-len(`{"v":}`))
			if got := sizeOf(opencdc.StructuredData{"v": held}); got != want {
				t.Errorf("40 of them: got %d, want %d", got, want)
			}
		})
	}
	// A megabyte of references to a text of some megabytes.
	many := make([]any, n)
	for i := range many {
		many[i] = long
	}
	want := len(`{"v":[]}`) + len(many) - 1 + len(many)*(len(long)+5*n+2)
	if got := sizeOf(opencdc.StructuredData{"v": many}); got != want {
		t.Errorf("one text often: got %d, want %d", got, want)
	}
	if got := sizeOf(opencdc.StructuredData{"v": make([]struct{}, 1<<40)}); got != len(`{"v":}`) {
		t.Errorf("more empty structs than can be marshalled: got %d", got)
	}
}

func TestRecord_Circles(t *testing.T) {
	circle := func(n int) opencdc.StructuredData {
		first := opencdc.StructuredData{}
		last := first
		for range n - 1 {
			next := opencdc.StructuredData{}
			last["n"] = next
			last = next
		}
		last["n"] = first
		return first
	}
	for _, n := range []int{1, 100, 1000, nesting.MaxDepth} {
		if got := sizeOf(circle(n)); got != 0 {
			t.Errorf("circle of %d maps: got %d", n, got)
		}
	}
	if got, want := sizeOf(circle(nesting.MaxDepth+1)), nesting.MaxDepth*len(`{"n":}`); got != want {
		t.Errorf("circle that is not seen: got %d, want %d", got, want)
	}
	p := &pair{A: 1}
	p.B = map[string]any{"p": p}
	e := &embeds{opencdc.StructuredData{}}
	e.StructuredData["e"] = e
	nothing := &nothing{}
	nothing.Data = nothing
	var v any
	v = &v
	back := &parent{Name: "a", Child: &parent{Name: "b"}}
	back.Child.Parent = back
	hidden := outer{inner: &inner{}}
	hidden.hidden = hidden.inner
	for name, tc := range map[string]struct {
		data opencdc.Data
		want int
	}{
		"struct":       {opencdc.StructuredData{"p": p, "w": 1}, len(`{"p":,"w":1}`)},
		"in a map":     {opencdc.StructuredData{"p": p.B, "w": 1}, len(`{"p":{"p":},"w":1}`)},
		"embedded":     {e, 0},
		"data":         {nothing, 0},
		"pointer":      {opencdc.StructuredData{"v": v, "w": 1}, len(`{"v":,"w":1}`)},
		"not followed": {opencdc.StructuredData{"v": back}, len(`{"v":{"Name":"a","Child":{"Name":"b","Child":null}}}`)},
		"not exported": {opencdc.StructuredData{"v": hidden}, len(`{"v":{"Deep":null,"Value":null}}`)},
	} {
		if got := sizeOf(tc.data); got != tc.want {
			t.Errorf("%s: got %d, want %d", name, got, tc.want)
		}
	}
}

// TestRecord_DeepData measures data whose bytes are its own matter.
func TestRecord_DeepData(t *testing.T) {
	t.Parallel()
	deep := opencdc.StructuredData{"v": nest(1, farTooDeep(), 1, opens["maps"].wrap)}
	shared := opencdc.StructuredData{"v": nest(1, 60, 1, func(v any) any { return []any{v, v} })}
	fine := opencdc.StructuredData{"v": nest(1, 5000, 1, opens["maps"].wrap)}
	for name, tc := range map[string]struct {
		data opencdc.Data
		want int
	}{
		"deep":     {embeds{deep}, 0},
		"*deep":    {&embeds{deep}, 0},
		"data":     {nothing{&deep}, 0},
		"shared":   {embeds{shared}, 0},
		"fine":     {embeds{fine}, len(fine.Bytes())},
		"*fine":    {nothing{&fine}, len(fine.Bytes())},
		"*data":    {&fine, len(fine.Bytes())},
		"raw":      {&nothing{opencdc.RawData("raw")}, 3},
		"*raw":     {ptr(opencdc.RawData("raw")), 3},
		"*raw nil": {(*opencdc.RawData)(nil), 0},
	} {
		if got := sizeOf(tc.data); got != tc.want {
			t.Errorf("%s: got %d, want %d", name, got, tc.want)
		}
	}
}

// TestRecord_EndlessTypes measures types that the encoder cannot compile, alone
// and inside of what it is asked to marshal.
func TestRecord_EndlessTypes(t *testing.T) {
	for name, v := range map[string]any{
		"field":            hasTree{},
		"pointer":          (*hasTree)(nil),
		"slice":            []hasTree{},
		"key":              set{},
		"field with a key": hasSet{},
		"in an interface":  custom{A: tree{}},
		"nil":              custom{A: tree(nil)},
		"deeper":           custom{A: []any{map[string]any{"a": &forest{}}}},
	} {
		d := opencdc.StructuredData{"v": v, "w": map[string]any{"v": v}}
		if got, want := sizeOf(d), len(`{"v":,"w":{"v":}}`); got != want {
			t.Errorf("%s: got %d, want %d", name, got, want)
		}
	}
}

// padded returns the same data with a part that no budget suffices for, and the
// size of that part.
func padded(d opencdc.StructuredData) (opencdc.StructuredData, int) {
	const key, n = "a key that occurs nowhere else", 2000
	p := maps.Clone(d)
	p[key] = make([]bool, n)
	size := len(key) + len(`"":[],`) + n*len("false,") - 1
	if len(d) == 0 {
		size--
	}
	return p, size
}

// BenchmarkRecord_depth shows that a level costs the same at any depth.
func BenchmarkRecord_depth(b *testing.B) {
	for _, name := range []string{"maps", "slices", "slices of maps", "pointers"} {
		for _, levels := range []int{100, 1000, 10_000} {
			d := opencdc.StructuredData{"v": nest(1, levels-1, opens[name].levels, opens[name].wrap)}
			b.Run(fmt.Sprintf("%s/%d", name, levels), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					sizeOf(d)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(levels), "ns/level")
			})
		}
	}
}
