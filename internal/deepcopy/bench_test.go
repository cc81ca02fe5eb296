package deepcopy_test

import (
	"fmt"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/conduitio/funnel/internal/deepcopy"
)

func BenchmarkRecord(b *testing.B) {
	row := opencdc.StructuredData{}
	for i := range 20 {
		row[fmt.Sprintf("column_%d", i)] = i
	}
	for _, bench := range []struct {
		name string
		data opencdc.Data
	}{
		{"raw", opencdc.RawData(make([]byte, 1024))},
		{"flat", row},
		{"nested", opencdc.StructuredData{
			"id":    1,
			"user":  map[string]any{"name": "n", "address": map[string]any{"city": "c", "zip": "z"}},
			"items": []any{map[string]any{"sku": "a", "n": 1}, map[string]any{"sku": "b", "n": 2}},
			"blob":  make([]byte, 64),
		}},
	} {
		r := opencdc.Record{
			Position: opencdc.Position("position"),
			Metadata: opencdc.Metadata{"opencdc.collection": "users", "opencdc.readAt": "1", "opencdc.version": "v1"},
			Payload:  opencdc.Change{After: bench.data},
		}
		b.Run(bench.name+"/deepcopy", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = deepcopy.Record(r)
			}
		})
		b.Run(bench.name+"/Record.Clone", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Clone()
			}
		})
	}
}

// BenchmarkRecord_depth shows that a level costs the same at any depth.
func BenchmarkRecord_depth(b *testing.B) {
	for _, name := range []string{"maps", "slices", "slices of maps", "pointers", "structs"} {
		for _, levels := range []int{100, 1000, 10_000} {
			w := wraps[name]
			r := opencdc.Record{Key: nest(levels, w.levels, w.wrap)}
			perLevel := func(b *testing.B) {
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(levels), "ns/level")
			}
			b.Run(fmt.Sprintf("%s/%d/Record", name, levels), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					_, _ = deepcopy.Record(r)
				}
				perLevel(b)
			})
			b.Run(fmt.Sprintf("%s/%d/CheckDepth", name, levels), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					_ = deepcopy.CheckDepth(&r)
				}
				perLevel(b)
			})
		}
	}
}

// BenchmarkRecord_large copies a thousand rows, for which a memory pays nothing.
func BenchmarkRecord_large(b *testing.B) {
	rows := make([]any, 1000)
	for i := range rows {
		row := map[string]any{}
		for j := range 10 {
			row[fmt.Sprintf("column_%d", j)] = j
		}
		rows[i] = row
	}
	r := opencdc.Record{Key: opencdc.StructuredData{"rows": rows}}
	b.ReportAllocs()
	for b.Loop() {
		_, _ = deepcopy.Record(r)
	}
}
