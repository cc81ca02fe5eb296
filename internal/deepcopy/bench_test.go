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
				deepcopy.Record(r)
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
