package typenote_test

import (
	"fmt"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/typenote"
)

// BenchmarkAppend writes the notes on rows of ten columns.
func BenchmarkAppend(b *testing.B) {
	texts, mixed := opencdc.StructuredData{}, opencdc.StructuredData{}
	for i := range 10 {
		name := fmt.Sprint("column_", i)
		texts[name] = "text"
		mixed[name] = []any{"text", i, float64(i), i%2 == 0}[i%4]
	}
	for _, bench := range []struct {
		name string
		data opencdc.Data
	}{{"raw", opencdc.RawData("raw")}, {"texts", texts}, {"mixed", mixed}} {
		r := opencdc.Record{
			Operation: opencdc.OperationCreate,
			Metadata:  opencdc.Metadata{"opencdc.collection": "users", "opencdc.readAt": "1", "opencdc.version": "v1"},
			Payload:   opencdc.Change{After: bench.data},
		}
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			var room [512]byte
			for b.Loop() {
				if _, err := typenote.Append(room[:0], &r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
