package parquet_test

import (
	"testing"
	"time"

	pq "github.com/parquet-go/parquet-go"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector/file/parquet"
	"github.com/conduitio/funnel/funneltest"
)

func TestSource_conformance(t *testing.T) {
	for name, batch := range map[string]int{"small_batches": 3, "large_batches": 1000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			funneltest.TestSource(t, funneltest.SourceConformance{
				New: func(t testing.TB) funnel.Source {
					dir := t.TempDir()
					one := save(t, dir, "1", encoded(t, wides(5), pq.MaxRowsPerRowGroup(2)))
					two := save(t, dir, "2", encoded(t, wides(7), pq.PageBufferSize(50)))
					age(t, one, time.Hour)
					age(t, two, time.Hour) // young files have other positions than old ones
					return newSource(t, dir, nil, parquet.WithBatch(batch, 1<<20))
				},
				Records:       12,
				AckDuringRead: true,
			})
		})
	}
}
