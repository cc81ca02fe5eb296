package system_test

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// inOrder are ways to mark many records once each, in order.
var inOrder = map[string]func(b *funnel.Batch, n int){
	"nack": func(b *funnel.Batch, n int) {
		for i := range n {
			b.Nack(i, fake.ErrTest)
		}
	},
	"retry backward": func(b *funnel.Batch, n int) {
		for i := n - 1; i >= 0; i-- {
			b.Retry(i)
		}
	},
	"filter": func(b *funnel.Batch, n int) {
		for range n {
			b.Filter(0)
		}
	},
	"filter backward": func(b *funnel.Batch, n int) {
		for i := n - 1; i >= 0; i-- {
			b.Filter(i)
		}
	},
	"filter every other": func(b *funnel.Batch, n int) {
		for i := range n / 2 {
			b.Filter(i)
			b.Nack(i, fake.ErrTest)
		}
	},
	"filter every other backward": func(b *funnel.Batch, n int) {
		for i := n - 1; i >= 1; i -= 2 {
			b.Filter(i)
			b.Ack(i - 1)
		}
	},
	"split": func(b *funnel.Batch, n int) {
		for i := range n {
			b.SplitRecord(2*i, twoPieces)
		}
	},
	"split backward": func(b *funnel.Batch, n int) {
		for i := n - 1; i >= 0; i-- {
			b.SplitRecord(i, twoPieces)
		}
	},
	"mixed": func(b *funnel.Batch, n int) {
		at := 0
		for i := range n {
			switch i % 5 {
			case 0:
				b.Filter(at)
				continue
			case 1:
				b.SplitRecord(at, twoPieces)
				b.Retry(at)
				at++
			case 2:
				b.Nack(at, fake.ErrTest)
			case 3:
				b.SetRecords(at, twoPieces[:1])
			}
			at++
		}
	},
	"mixed backward": func(b *funnel.Batch, n int) {
		for i := n - 1; i >= 0; i-- {
			switch i % 5 {
			case 0:
				b.Filter(i)
			case 1:
				b.SplitRecord(i, twoPieces)
				b.Retry(i)
			case 2:
				b.Nack(i, fake.ErrTest)
			case 3:
				b.SetRecords(i, twoPieces[:1])
			}
		}
	},
	"process": func(b *funnel.Batch, _ int) {
		_ = fake.Through("p", fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
			switch len(rec.Position) % 4 {
			case 0:
				return sdk.FilterRecord{}
			case 1:
				return sdk.MultiRecord(twoPieces)
			case 2:
				return sdk.ErrorRecord{Error: fake.ErrTest}
			default:
				return sdk.SingleRecord(rec)
			}
		})).Task.Do(context.Background(), b)
	},
}

var twoPieces = fake.Records("x", "y")

// manyRecords returns records whose positions have all lengths from 1 to 8.
func manyRecords(n int) []opencdc.Record {
	recs := make([]opencdc.Record, n)
	for i := range recs {
		recs[i].Position = opencdc.Position("abcdefgh")[:1+i%8]
	}
	return recs
}

// Marking a batch in order allocates a few times the memory of its records: no
// mark works out the active records anew.
func TestBatch_memoryIsLinear(t *testing.T) {
	const n = 3_000
	for name, mark := range inOrder {
		t.Run(name, func(t *testing.T) {
			b := funnel.NewBatch(manyRecords(n))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			mark(b, n)
			runtime.ReadMemStats(&after)
			each := float64(after.TotalAlloc-before.TotalAlloc) / n / float64(unsafe.Sizeof(opencdc.Record{}))
			mallocs := float64(after.Mallocs-before.Mallocs) / n
			if each > 20 || mallocs > 5 {
				t.Errorf("a mark costs the memory of %.1f records and %.1f allocations", each, mallocs)
			}
		})
	}
}

// Marking all records from an index on to be retried allocates nothing per record,
// and neither does an ack in a batch without marks.
func TestBatch_tailCostsNothing(t *testing.T) {
	const n = 10_000
	for name, mark := range map[string]func(b *funnel.Batch){
		"retry from the middle": func(b *funnel.Batch) { b.Retry(n/2, n) },
		"retry all":             func(b *funnel.Batch) { b.Retry(0, n) },
		"retry the last one":    func(b *funnel.Batch) { b.Retry(n-1, n) },
		"ack":                   func(b *funnel.Batch) { b.Ack(0, n) },
		"set":                   func(b *funnel.Batch) { b.SetRecords(1, twoPieces) },
	} {
		t.Run(name, func(t *testing.T) {
			b := funnel.NewBatch(manyRecords(n))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			mark(b)
			runtime.ReadMemStats(&after)
			if cost := after.TotalAlloc - before.TotalAlloc; cost > n {
				t.Errorf("marking costs %d bytes", cost)
			}
		})
	}
}

// A mark costs about the same in a large batch as in a small one.
func BenchmarkBatch_inOrder(b *testing.B) {
	for _, name := range slices.Sorted(maps.Keys(inOrder)) {
		mark := inOrder[name]
		for _, n := range []int{1_000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%s/n=%d", strings.ReplaceAll(name, " ", "-"), n), func(b *testing.B) {
				b.ReportAllocs()
				recs := manyRecords(n)
				memory := make([]opencdc.Record, n)
				for b.Loop() {
					copy(memory, recs)
					mark(funnel.NewBatch(memory), n)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/record")
			})
		}
	}
}

// Splitting every record, and asking for the active records after each split,
// allocates a few arrays, however many records there are.
func BenchmarkBatch_splitAndAsk(b *testing.B) {
	for _, n := range []int{2_000, 8_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			recs := fake.Records(make([]string, n)...)
			pieces := fake.Records("a", "b")
			for b.Loop() {
				batch := funnel.NewBatch(slices.Clone(recs))
				for i := range n {
					batch.SplitRecord(2*i, pieces)
					batch.ActiveRecords()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/split")
		})
	}
}
