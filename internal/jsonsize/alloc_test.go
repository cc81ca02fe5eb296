package jsonsize_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/conduitio/funnel/internal/jsonsize"
)

func TestRecord_AllocatesNothing(t *testing.T) {
	for _, v := range []any{
		nil, true, "text <>&\u2028\xff grüße", -12345678, int8(1), int16(1), int32(1), int64(math.MinInt64),
		uint(1), uint8(1), uint16(1), uint32(1), uint64(math.MaxUint64), uintptr(1),
		1e-7, 1.5, -math.MaxFloat64, math.SmallestNonzeroFloat64, 123456789012345678.0, math.NaN(),
		float32(1e21), float32(0.1), time.Now(), time.Date(2020, 1, 2, 3, 4, 5, 123456789, time.FixedZone("", -9000)),
		[]byte("bytes"), opencdc.RawData("raw"), map[string]string{"a": "b"}, []string{"a", "b"},
		map[string]any{"a": map[string]any{"b": []any{1, "c"}}}, opencdc.StructuredData{"a": "b"}, []any{[]any{}, 1.5},
		slices.Repeat([]any{map[string]any{"a": []any{}}}, 100),
	} {
		r := opencdc.Record{
			Key:     opencdc.RawData("key"),
			Payload: opencdc.Change{Before: opencdc.StructuredData{"v": v}, After: opencdc.StructuredData{"w": []any{v}}},
		}
		if got := testing.AllocsPerRun(100, func() { jsonsize.Record(&r) }); got != 0 {
			t.Errorf("%T(%v): %v allocations", v, v, got)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	row := opencdc.StructuredData{}
	for i := range 20 {
		row[fmt.Sprintf("column_%d", i)] = fmt.Sprintf("the value of column %d", i)
	}
	for _, bench := range []struct {
		name string
		data opencdc.StructuredData
	}{
		{"five", opencdc.StructuredData{"id": 123456, "name": "a name", "price": 12.75, "ok": true, "at": "2024-01-01T00:00:00Z"}},
		{"flat", row},
		{"mixed", opencdc.StructuredData{
			"id": 123456, "price": 12.75, "at": time.Unix(1700000000, 0), "ok": true,
			"user":  map[string]any{"name": "Zoë", "tags": []any{"a", "b"}},
			"items": []any{map[string]any{"sku": "a", "n": 1}, map[string]any{"sku": "b", "n": 2}},
			"blob":  make([]byte, 64),
		}},
		{"unusual", opencdc.StructuredData{"d": time.Second}},
	} {
		r := opencdc.Record{Payload: opencdc.Change{After: bench.data}}
		b.Run(bench.name+"/jsonsize", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				jsonsize.Record(&r)
			}
		})
		b.Run(bench.name+"/len(Bytes)", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = len(r.Payload.After.Bytes())
			}
		})
	}
}

// BenchmarkRecord_large measures a thousand rows.
func BenchmarkRecord_large(b *testing.B) {
	rows := make([]any, 1000)
	for i := range rows {
		row := map[string]any{}
		for j := range 10 {
			row[fmt.Sprintf("column_%d", j)] = fmt.Sprintf("the value of column %d", j)
		}
		rows[i] = row
	}
	r := opencdc.Record{Key: opencdc.StructuredData{"rows": rows}}
	b.ReportAllocs()
	for b.Loop() {
		jsonsize.Record(&r)
	}
}

// BenchmarkRecord_other measures types of which some are marshalled.
func BenchmarkRecord_other(b *testing.B) {
	for _, v := range []any{[]int{1, 2, 3}, map[string]int{"a": 1}, custom{A: 1, B: "b"}, []map[string]any{{"a": 1}}, ptr(5), json.Number("12.5")} {
		r := opencdc.Record{Payload: opencdc.Change{After: opencdc.StructuredData{"d": v}}}
		b.Run(fmt.Sprintf("%T", v), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				jsonsize.Record(&r)
			}
		})
	}
}
