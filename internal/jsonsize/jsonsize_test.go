package jsonsize_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/conduitio/funnel/internal/jsonsize"
)

type (
	custom  struct{ A, B any }
	text    string
	node    struct{ Next *node }
	tree    []tree
	forest  map[string]*forest
	chars   [3]byte
	upset   struct{}
	embeds  struct{ opencdc.StructuredData }
	nothing struct{ opencdc.Data }
)

func (upset) MarshalJSON() ([]byte, error) { panic("upset") }

// sizeOf returns the size of a record whose key is d.
func sizeOf(d opencdc.Data) int {
	return jsonsize.Record(&opencdc.Record{Key: d})
}

func TestRecord_Values(t *testing.T) {
	berlin := time.FixedZone("Berlin", 2*60*60)
	odd := time.FixedZone("odd", -(9*60+30)*60)
	values := []any{
		nil, true, false,
		0, 7, -7, 10, 99, 100, math.MaxInt64, math.MinInt64,
		int8(math.MinInt8), int16(math.MinInt16), int32(math.MinInt32), int64(math.MinInt64),
		uint(0), uint8(math.MaxUint8), uint16(math.MaxUint16), uint32(math.MaxUint32), uint64(math.MaxUint64), uintptr(12),

		0.0, math.Copysign(0, -1), 1.0, -1.5, 0.1, 1e-6, 9.99e-7, 1e-7, -1e-7, 1e20, 1e21, -1e21, 9.99e20,
		1e9, 1e-10, 1e100, 1e-100, math.MaxFloat64, math.SmallestNonzeroFloat64, math.Pi,
		float32(0), float32(0.1), float32(1e-6), float32(1e-7), float32(1e20), float32(1e21), float32(math.Pi),
		float32(math.MaxFloat32), float32(math.SmallestNonzeroFloat32),
		float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()),
		math.Nextafter32(1e-6, 0), math.Nextafter32(1e21, 0),

		"", "plain", `quote " and \ backslash`, "/", "'", "\n\r\t", "\b\f\v\x00\x1f", "\x7f", "<b>&amp;</b>",
		"grüße", "日本", "😀", "\u2027\u2028\u2029\u202a", "\ufffd", "\u0080", "\U0010ffff",
		"\xff", "a\xffb", "\xe2\x80", "\xe2\x80\xa8", "\xe2\x80x", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80", "\xf0\x9f\x98",
		"longer than eight bytes, plain", "longer than eight bytes, then <", "longer than eight bytes, then \xff",

		[]byte(nil), []byte{}, []byte("a"), []byte("ab"), []byte("abc"), []byte("abcd"), make([]byte, 1000),
		opencdc.RawData(nil), opencdc.RawData{}, opencdc.RawData("a"), opencdc.RawData("abc"),

		map[string]any(nil), map[string]any{}, map[string]any{"a": 1}, map[string]any{"a<": 1, "": "b", "\xff": nil},
		map[string]any{"a": map[string]any{"b": map[string]any{"c": []any{map[string]any{}}}}},
		opencdc.StructuredData(nil), opencdc.StructuredData{}, opencdc.StructuredData{"a": opencdc.StructuredData{"b": 1}},
		[]any(nil), []any{}, []any{1}, []any{1, "a", nil, []any{}, []any{[]any{true}}},
		map[string]string(nil), map[string]string{}, map[string]string{"a&": "<b", "c": "\xff"},
		[]string(nil), []string{}, []string{"a"}, []string{"a", "<", "\u2028"},

		time.Time{}, time.Unix(0, 0).UTC(), time.Date(2020, 12, 31, 23, 59, 59, 120_000_000, time.UTC),
		time.Date(2020, 1, 2, 3, 4, 5, 123456789, berlin), time.Date(9999, 1, 2, 3, 4, 5, 100, odd), time.Now(),

		// What follows is marshalled to see its size.
		json.Number("12.50"), json.Number(""), json.Number("+-.eE0123456789"), json.Number(strings.Repeat("1", 100)), json.RawMessage(`{"a": 1}`), time.Second, text("<"), text(""),
		opencdc.Position("pos"), opencdc.Metadata{"a": "b"}, chars{1, 2, 3}, [0]int{}, []int{1, 2}, []int(nil), []float64{1e-7},
		[]map[string]any{{"a": 1}, nil}, map[int]string{1: "a"}, map[text][]byte{"a": []byte("b")},
		custom{A: 1, B: []any{"<"}}, &custom{}, (*custom)(nil), &node{Next: &node{}}, struct{}{},
		big.NewInt(1 << 60), (*big.Int)(nil), big.NewRat(1, 3), big.NewFloat(1.5), *big.NewInt(5),
		ptr(1), ptr("a"), (*int)(nil), ptr(ptr(1)), ptr[any](map[string]any{"a": 1}),
		ptr(opencdc.RawData("raw")), ptr(opencdc.StructuredData{"a": 1}), ptr(time.Unix(0, 0)),
		opencdc.Record{Key: opencdc.RawData("key")}, opencdc.OperationCreate,
	}
	for _, v := range values {
		t.Run(fmt.Sprintf("%T", v), func(t *testing.T) {
			for _, d := range []opencdc.StructuredData{
				{"v": v},
				{"a": 1, "v": v, "z": nil},
				{"a": map[string]any{"b": []any{v, v}}},
			} {
				if got, want := sizeOf(d), len(d.Bytes()); got != want {
					t.Errorf("%s: got %d, want %d", d.Bytes(), got, want)
				}
			}
		})
	}
}

func TestRecord_Sum(t *testing.T) {
	for name, tc := range map[string]struct {
		record opencdc.Record
		want   int
	}{
		"zero":      {opencdc.Record{}, 0},
		"no data":   {opencdc.Record{Position: opencdc.Position("pos"), Metadata: opencdc.Metadata{"a": "b"}}, 0},
		"key":       {opencdc.Record{Key: opencdc.RawData("key")}, 3},
		"before":    {opencdc.Record{Payload: opencdc.Change{Before: opencdc.RawData("1234")}}, 4},
		"after":     {opencdc.Record{Payload: opencdc.Change{After: opencdc.StructuredData{"a": 1}}}, len(`{"a":1}`)},
		"empty raw": {opencdc.Record{Key: opencdc.RawData{}, Payload: opencdc.Change{After: opencdc.RawData(nil)}}, 0},
		"empty structured": {opencdc.Record{
			Key:     opencdc.StructuredData{},
			Payload: opencdc.Change{After: opencdc.StructuredData(nil)},
		}, len(`{}`) + len(`null`)},
		"all": {opencdc.Record{
			Key:     opencdc.RawData("k"),
			Payload: opencdc.Change{Before: opencdc.StructuredData{"a": "b"}, After: opencdc.RawData("1234")},
		}, 1 + len(`{"a":"b"}`) + 4},
	} {
		if got := jsonsize.Record(&tc.record); got != tc.want {
			t.Errorf("%s: got %d, want %d", name, got, tc.want)
		}
	}
}

func TestRecord_Implementations(t *testing.T) {
	for name, tc := range map[string]struct {
		data opencdc.Data
		want int
	}{
		"*RawData":             {ptr(opencdc.RawData("raw")), 3},
		"*RawData nil":         {(*opencdc.RawData)(nil), 0},
		"*StructuredData":      {&opencdc.StructuredData{"a": 1}, len(`{"a":1}`)},
		"*StructuredData nil":  {(*opencdc.StructuredData)(nil), 0},
		"*StructuredData NaN":  {&opencdc.StructuredData{"a": math.NaN()}, len(`{"a":}`)},
		"embeds":               {embeds{opencdc.StructuredData{"a": 1}}, len(`{"a":1}`)},
		"*embeds":              {&embeds{opencdc.StructuredData{"a": 1}}, len(`{"a":1}`)},
		"*embeds nil":          {(*embeds)(nil), 0},
		"embeds a nil pointer": {nothing{(*opencdc.RawData)(nil)}, 0},
		"embeds nothing":       {nothing{}, 0},
	} {
		if got := sizeOf(tc.data); got != tc.want {
			t.Errorf("%s: got %d, want %d", name, got, tc.want)
		}
	}
}

func TestRecord_NotMarshallable(t *testing.T) {
	cyclic := &node{}
	cyclic.Next = cyclic
	branches := tree{nil}
	branches[0] = branches
	for name, v := range map[string]any{
		"NaN":               math.NaN(),
		"+Inf":              math.Inf(1),
		"-Inf":              math.Inf(-1),
		"channel":           make(chan int),
		"function":          func() {},
		"complex":           1i,
		"number":            json.Number("abc"),
		"long number":       json.Number(strings.Repeat("a", 100)),
		"spaced number":     json.Number(" 1"),
		"raw message":       json.RawMessage("{"),
		"late":              time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC),
		"far east":          time.Date(2000, 1, 1, 0, 0, 0, 0, time.FixedZone("far", 24*60*60)),
		"struct":            custom{A: make(chan int)},
		"panics":            upset{},
		"cyclic pointer":    cyclic,
		"type holds itself": tree{nil},
		"cyclic tree":       branches,
		"pointers":          &forest{"a": nil},
	} {
		d := opencdc.StructuredData{"a": v, "b": []any{v, 1}}
		if got, want := sizeOf(d), len(`{"a":,"b":[,1]}`); got != want {
			t.Errorf("%s: got %d, want %d", name, got, want)
		}
	}
}

func TestRecord_HoldsItself(t *testing.T) {
	self := map[string]any{}
	self["a"], self["b"], self["c"] = self, []any{self, self}, self
	a, b := opencdc.StructuredData{}, map[string]any{}
	a["b"], a["bb"], b["a"], b["aa"] = b, b, a, a
	slice := []any{1, nil, nil}
	slice[1], slice[2] = slice, slice[:2]
	maps := map[string]any{}
	maps["a"] = []map[string]any{maps}
	for name, tc := range map[string]struct {
		data opencdc.Data
		want int
	}{
		"map":           {opencdc.StructuredData(self), 0},
		"two maps":      {a, 0},
		"slice":         {opencdc.StructuredData{"a": slice}, 0},
		"pointer":       {ptr(opencdc.StructuredData(self)), 0},
		"embedded":      {embeds{opencdc.StructuredData(self)}, 0},
		"slice of maps": {opencdc.StructuredData(maps), len(`{"a":}`)},
	} {
		if got := sizeOf(tc.data); got != tc.want {
			t.Errorf("%s: got %d, want %d", name, got, tc.want)
		}
	}
}

// TestRecord_SameTwice meets the same maps and slices again, but never inside
// of themselves.
func TestRecord_SameTwice(t *testing.T) {
	shared := map[string]any{"x": []any{1, 2}, "empty": map[string]any{}, "nil": map[string]any(nil)}
	slice := []any{shared, []any{}, []any{}, []any(nil), shared}
	beginning := []any{1, nil}
	beginning[1] = beginning[:1]
	var v any = map[string]any{"a": shared, "b": shared, "c": slice, "d": slice[:2], "e": beginning}
	for range 200 {
		v = []any{v, shared}
	}
	d := opencdc.StructuredData{"v": v, "w": v}
	if got, want := sizeOf(d), len(d.Bytes()); got != want {
		t.Errorf("got %d, want %d", got, want)
	}
}

func ptr[T any](v T) *T { return &v }
