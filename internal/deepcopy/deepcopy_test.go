package deepcopy_test

import (
	"encoding/json"
	"maps"
	"math"
	"math/big"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/conduitio/funnel/internal/deepcopy"
)

type (
	named   map[string][]int
	words   []string
	pointer *int

	// Base and base are embedded below, one of them exported.
	Base struct {
		Tags []string
	}
	base struct {
		Labels map[string]string
		hidden int
	}
	nested struct {
		Base
		base
		ID     int
		Next   *nested
		Any    any
		Array  [2][]byte
		Amount big.Int
		hidden int
	}

	embedsRaw struct {
		opencdc.RawData
		N int
	}
	embedsStructured struct {
		opencdc.StructuredData
		Extra []int
	}
	embedsData struct {
		opencdc.Data
	}
)

// values make one value each, a new one at each call.
var values = map[string]func() any{
	"nil":         func() any { return nil },
	"bool":        func() any { return true },
	"string":      func() any { return "s" },
	"int":         func() any { return 1 },
	"int8":        func() any { return int8(1) },
	"uint64":      func() any { return uint64(math.MaxUint64) },
	"float32":     func() any { return float32(0.1) },
	"float64":     func() any { return 1e300 },
	"complex":     func() any { return 1i },
	"json.Number": func() any { return json.Number("12.50") },
	"time":        func() any { return time.Date(2020, 1, 2, 3, 4, 5, 6, time.FixedZone("zone", 3600)) },
	"duration":    func() any { return time.Second },

	"map[string]any":       func() any { return map[string]any{"a": map[string]any{"b": []any{"c", map[string]any{}}}} },
	"map[string]any nil":   func() any { return map[string]any(nil) },
	"map[string]any empty": func() any { return map[string]any{} },
	"StructuredData": func() any {
		return opencdc.StructuredData{"a": opencdc.StructuredData{"b": map[string]any{"c": []byte("d")}}}
	},
	"StructuredData nil":      func() any { return opencdc.StructuredData(nil) },
	"StructuredData empty":    func() any { return opencdc.StructuredData{} },
	"[]any":                   func() any { return []any{1, []any{2, []any{"x"}}, nil} },
	"[]any nil":               func() any { return []any(nil) },
	"[]any empty":             func() any { return []any{} },
	"[]any spare capacity":    func() any { return append(make([]any, 0, 8), 1, []any{2}) },
	"[]map[string]any":        func() any { return []map[string]any{{"a": []any{1}}, nil, {}} },
	"[]map[string]any nil":    func() any { return []map[string]any(nil) },
	"[]map[string]any empty":  func() any { return []map[string]any{} },
	"[]byte":                  func() any { return []byte("bytes") },
	"[]byte nil":              func() any { return []byte(nil) },
	"[]byte empty":            func() any { return []byte{} },
	"RawData":                 func() any { return opencdc.RawData("raw") },
	"RawData nil":             func() any { return opencdc.RawData(nil) },
	"RawData empty":           func() any { return opencdc.RawData{} },
	"[]string":                func() any { return []string{"a", "b"} },
	"[]string nil":            func() any { return []string(nil) },
	"[]string empty":          func() any { return []string{} },
	"map[string]string":       func() any { return map[string]string{"a": "b"} },
	"map[string]string nil":   func() any { return map[string]string(nil) },
	"map[string]string empty": func() any { return map[string]string{} },

	"Metadata":          func() any { return opencdc.Metadata{"a": "b"} },
	"Position":          func() any { return opencdc.Position("pos") },
	"named map":         func() any { return named{"a": {1, 2}, "b": nil} },
	"named map nil":     func() any { return named(nil) },
	"named slice":       func() any { return words{"a"} },
	"named slice nil":   func() any { return words(nil) },
	"named pointer":     func() any { return pointer(ptr(1)) },
	"[]int":             func() any { return []int{1, 2} },
	"[][]string":        func() any { return [][]string{{"a"}, nil, {}} },
	"map[int][]int":     func() any { return map[int][]int{1: {2}} },
	"map[any]any":       func() any { return map[any]any{1: []any{"a"}, "b": map[any]any{2.5: ptr(3)}} },
	"map[array]pointer": func() any { return map[[2]int]*int{{1, 2}: ptr(3), {}: nil} },
	"map of structs":    func() any { return map[string]Base{"a": {Tags: []string{"b"}}} },
	"map of arrays":     func() any { return map[string][1][]int{"a": {{1}}, "b": {{2}}} },
	"array":             func() any { return [3]any{[]any{1}, map[string]any{"a": 1}, nil} },
	"array of ints":     func() any { return [2]int{1, 2} },
	"*int":              func() any { return ptr(1) },
	"*int nil":          func() any { return (*int)(nil) },
	"**int":             func() any { return ptr(ptr(1)) },
	"*any":              func() any { return ptr[any](map[string]any{"a": 1}) },
	"*map":              func() any { return &map[string]any{"a": []any{1}} },
	"struct": func() any {
		return nested{
			Base:   Base{Tags: []string{"a"}},
			base:   base{Labels: map[string]string{"b": "c"}, hidden: 1},
			ID:     1,
			Next:   &nested{Any: []any{"d"}, hidden: 2},
			Any:    map[string]any{"e": ptr("f")},
			Array:  [2][]byte{[]byte("g"), nil},
			Amount: *big.NewInt(1234),
			hidden: 3,
		}
	},
	"*struct":      func() any { return &nested{Next: &nested{Base: Base{Tags: []string{"a"}}}} },
	"empty struct": func() any { return struct{}{} },
	"record": func() any {
		return opencdc.Record{
			Position: opencdc.Position("p"),
			Metadata: opencdc.Metadata{"a": "b"},
			Payload:  opencdc.Change{After: opencdc.StructuredData{"c": []any{1}}},
		}
	},

	"*big.Int":      func() any { return new(big.Int).Lsh(big.NewInt(-3), 200) },
	"*big.Int nil":  func() any { return (*big.Int)(nil) },
	"*big.Int zero": func() any { return new(big.Int) },
	"big.Int":       func() any { return *new(big.Int).Lsh(big.NewInt(3), 200) },
	"*big.Rat":      func() any { return big.NewRat(-1, 3) },
	"big.Rat":       func() any { return *big.NewRat(2, 3) },
	"*big.Float": func() any {
		return new(big.Float).SetPrec(100).SetMode(big.ToZero).SetInt64(1 << 40)
	},
	"big.Float":   func() any { return *big.NewFloat(-1.5) },
	"[]*big.Int":  func() any { return []*big.Int{big.NewInt(1), nil} },
	"map big.Rat": func() any { return map[string]big.Rat{"a": *big.NewRat(1, 7)} },

	"*RawData":            func() any { return ptr(opencdc.RawData("raw")) },
	"*RawData nil":        func() any { return (*opencdc.RawData)(nil) },
	"*StructuredData":     func() any { return &opencdc.StructuredData{"a": []any{1}} },
	"*StructuredData nil": func() any { return (*opencdc.StructuredData)(nil) },
	"embeds RawData":      func() any { return embedsRaw{RawData: opencdc.RawData("raw"), N: 1} },
	"embeds StructuredData": func() any {
		return &embedsStructured{StructuredData: opencdc.StructuredData{"a": []any{1}}, Extra: []int{1}}
	},
	"embeds Data":    func() any { return embedsData{Data: opencdc.RawData("raw")} },
	"embeds no Data": func() any { return embedsData{} },
}

func ptr[T any](v T) *T { return &v }

// mustCopy copies a record that is not too deep.
func mustCopy(r opencdc.Record) opencdc.Record {
	copied, err := deepcopy.Record(r)
	if err != nil {
		panic(err)
	}
	return copied
}

// copyOf copies a value of any type as part of a record.
func copyOf(v any) any {
	return mustCopy(opencdc.Record{Key: opencdc.StructuredData{"v": v}}).Key.(opencdc.StructuredData)["v"]
}

func TestRecord_Values(t *testing.T) {
	for name, make := range values {
		t.Run(name, func(t *testing.T) {
			original := make()
			copied := copyOf(original)
			if reflect.TypeOf(copied) != reflect.TypeOf(original) {
				t.Fatalf("type %T became %T", original, copied)
			}
			if !reflect.DeepEqual(copied, original) {
				t.Fatalf("copy differs:\n%#v\n%#v", copied, original)
			}
			mustShareNothing(t, copied, original)

			scribble(copied)
			if pristine := make(); !reflect.DeepEqual(original, pristine) {
				t.Errorf("a change of the copy shows in the original:\n%#v\n%#v", original, pristine)
			}
			original = make()
			copied = copyOf(original)
			scribble(original)
			if pristine := make(); !reflect.DeepEqual(copied, pristine) {
				t.Errorf("a change of the original shows in the copy:\n%#v\n%#v", copied, pristine)
			}
		})
	}
}

// TestScribble makes sure that the test above would notice what is shared.
func TestScribble(t *testing.T) {
	unchangeable := map[string]bool{
		"[]any empty": true, "[]byte empty": true, "[]string empty": true, "RawData empty": true,
		"[]map[string]any empty": true, "array of ints": true, "*big.Int zero": true,
	}
	for name, make := range values {
		v := make()
		if unchangeable[name] || v == nil || !isReference(reflect.ValueOf(v)) {
			continue
		}
		scribble(v)
		if reflect.DeepEqual(v, make()) {
			t.Errorf("%s: not changed", name)
		}
	}
}

func TestData_Implementations(t *testing.T) {
	for name, make := range values {
		original, ok := make().(opencdc.Data)
		if !ok {
			continue
		}
		t.Run(name, func(t *testing.T) {
			copied, err := deepcopy.Data(original)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(copied, original) {
				t.Fatalf("copy differs:\n%#v\n%#v", copied, original)
			}
			mustShareNothing(t, copied, original)
			scribble(copied)
			if pristine := make(); !reflect.DeepEqual(original, pristine) {
				t.Errorf("a change of the copy shows in the original:\n%#v\n%#v", original, pristine)
			}
		})
	}
	if got, err := deepcopy.Data(nil); got != nil || err != nil {
		t.Errorf("copy of nil: %#v, %v", got, err)
	}
}

type serializer struct{ out string }

func (s *serializer) Serialize(opencdc.Record) ([]byte, error) { return []byte(s.out), nil }

func TestRecord_Fields(t *testing.T) {
	make := func() opencdc.Record {
		return opencdc.Record{
			Position:  opencdc.Position("pos"),
			Operation: opencdc.OperationUpdate,
			Metadata:  opencdc.Metadata{"a": "b"},
			Key:       opencdc.RawData("key"),
			Payload: opencdc.Change{
				Before: opencdc.RawData("before"),
				After:  opencdc.StructuredData{"a": map[string]any{"b": 1}},
			},
		}
	}
	original := make()
	copied := mustCopy(original)
	if !reflect.DeepEqual(copied, original) {
		t.Fatalf("copy differs:\n%#v\n%#v", copied, original)
	}
	if &copied.Position[0] != &original.Position[0] {
		t.Error("the position was copied")
	}
	copied.Metadata["a"] = "changed"
	copied.Metadata["c"] = "added"
	copied.Key.(opencdc.RawData)[0] = 'X'
	copied.Payload.Before.(opencdc.RawData)[0] = 'X'
	copied.Payload.After.(opencdc.StructuredData)["a"].(map[string]any)["b"] = 2
	if !reflect.DeepEqual(original, make()) {
		t.Errorf("a change of the copy shows in the original: %v", original)
	}

	if got := mustCopy(opencdc.Record{}); !reflect.DeepEqual(got, opencdc.Record{}) {
		t.Errorf("copy of a zero record: %#v", got)
	}
}

func TestRecord_KeepsSerializer(t *testing.T) {
	r := opencdc.Record{Key: opencdc.RawData("key")}
	r.SetSerializer(&serializer{out: "custom"})
	if got := string(mustCopy(r).Bytes()); got != "custom" {
		t.Errorf("the copy serializes to %s", got)
	}
}

func TestRecord_Shared(t *testing.T) {
	ch := make(chan int)
	fn := func() {}
	key := ptr(1)
	opaque := struct{ p *int }{p: ptr(1)}

	if got := copyOf(ch); got != any(ch) {
		t.Error("a channel was copied")
	}
	if got := copyOf(fn); reflect.ValueOf(got).Pointer() != reflect.ValueOf(fn).Pointer() {
		t.Error("a function was copied")
	}
	if got := copyOf(time.Local); got != any(time.Local) {
		t.Error("a location was copied")
	}
	if got := copyOf(opaque); got != any(opaque) {
		t.Error("an unexported field was changed")
	}
	got := copyOf(map[*int][]int{key: {1}}).(map[*int][]int)
	if len(got[key]) != 1 {
		t.Error("a key of a map was copied")
	}
}

func TestRecord_Concurrent(t *testing.T) {
	r := opencdc.Record{Metadata: opencdc.Metadata{"a": "b"}, Key: opencdc.StructuredData{}}
	for name, make := range values {
		r.Key.(opencdc.StructuredData)[name] = make()
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			copied := mustCopy(r)
			copied.Metadata["a"] = "c"
			scribble(copied.Key)
		})
	}
	wg.Wait()
}

func TestRecord_Allocations(t *testing.T) {
	var sink any
	metadata := opencdc.Metadata{"a": "1", "b": "2", "c": "3"}
	r := opencdc.Record{Metadata: metadata, Key: opencdc.RawData("key"), Payload: opencdc.Change{After: opencdc.RawData("after")}}
	clone := testing.AllocsPerRun(100, func() { sink = maps.Clone(metadata) })
	var record opencdc.Record
	got := testing.AllocsPerRun(100, func() { record, _ = deepcopy.Record(r) })
	// Each piece of raw data takes its bytes and a slice header.
	if want := clone + 4; got > want {
		t.Errorf("%v allocations, want at most %v", got, want)
	}
	_, _ = sink, record
}
