package system_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// The cost per record must not grow with the batch. Each benchmark reports it for
// batches of several sizes.

// Two destinations refuse every other record, in turn: the largest possible number
// of groups of nacks.
func BenchmarkWorker_alternatingNacks(b *testing.B) {
	benchmarkBatch(b, func() *funnel.TaskNode {
		return fake.Node(&fake.Task{Name: "fan-out", OnDo: fake.Nothing},
			fake.Node(funnel.NewDestinationTask("a", &refusingDestination{start: 0}, log.Nop(), nil)),
			fake.Node(funnel.NewDestinationTask("b", &refusingDestination{start: 1}, log.Nop(), nil)))
	})
}

// A task answers for one record per round, in one of several ways.
func BenchmarkWorker_rounds(b *testing.B) {
	for name, answer := range map[string]func(b *funnel.Batch, n int){
		"filter": func(b *funnel.Batch, n int) { b.Filter(0); b.Retry(0, n-1) },
		"nack":   func(b *funnel.Batch, n int) { b.Nack(0, fake.ErrTest); b.Retry(1, n) },
		"split":  func(b *funnel.Batch, n int) { b.SplitRecord(0, make([]opencdc.Record, 2)); b.Retry(2, n+1) },
		"set":    func(b *funnel.Batch, n int) { b.SetRecords(0, make([]opencdc.Record, 1)); b.Retry(1, n) },
	} {
		b.Run(name, func(b *testing.B) {
			benchmarkBatch(b, func() *funnel.TaskNode {
				return fake.Custom("task", func(_ context.Context, b *funnel.Batch) error {
					answer(b, len(b.ActiveRecords()))
					return nil
				})
			})
		})
	}
}

// A processor answers for one record per round.
func BenchmarkWorker_shortResults(b *testing.B) {
	benchmarkBatch(b, func() *funnel.TaskNode {
		return fake.Chain(fake.Through("p", fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			return []sdk.ProcessedRecord{sdk.MultiRecord{recs[0], recs[0]}}
		})), fake.Custom("end", fake.Nothing))
	})
}

// piecesOnBranches returns a processor that nacks every other record and splits
// those between. So each record goes down the branches in a sub-batch of its own,
// and is copied there.
func piecesOnBranches() *funnel.TaskNode {
	k := 0
	p := fake.Through("p", fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		if k++; k%2 == 0 {
			return sdk.ErrorRecord{Error: fake.ErrTest}
		}
		return sdk.MultiRecord{rec, rec}
	}))
	for i := range 2 {
		p.Next = append(p.Next, fake.Chain(fake.Through(fmt.Sprint("q", i), fake.Each(fake.Pass)),
			fake.Node(funnel.NewDestinationTask(fmt.Sprint("d", i), &refusingDestination{start: -1}, log.Nop(), nil))))
	}
	return p
}

func BenchmarkWorker_piecesOnBranches(b *testing.B) {
	benchmarkBatch(b, piecesOnBranches)
}

// A processor splits each record in two, and others may pass the pieces on, with piece
// IDs and without them.
func BenchmarkWorker_pieceIDs(b *testing.B) {
	for _, entries := range []int{0, 3, 10} {
		metadata := opencdc.Metadata{}
		for i := range entries {
			metadata[fmt.Sprint("key ", i)] = "value"
		}
		piece := opencdc.Record{Position: opencdc.Position("p"), Metadata: metadata}
		pieces := sdk.MultiRecord{piece, piece}
		for _, processors := range []int{0, 3} {
			for _, opts := range [][]funnel.WorkerOption{nil, {funnel.WithPieceIDs()}} {
				b.Run(fmt.Sprintf("metadata=%d/processors=%d/IDs=%t", entries, processors, opts != nil), func(b *testing.B) {
					var w *funnel.Worker
					benchmarkWorker(b, &w, func() *funnel.TaskNode {
						nodes := []*funnel.TaskNode{fake.Through("split", fake.Each(func(opencdc.Record) sdk.ProcessedRecord { return pieces }))}
						for i := range processors {
							nodes = append(nodes, fake.Through(fmt.Sprint("p", i), fake.Each(fake.Pass)))
						}
						out := fake.Node(funnel.NewDestinationTask("out", newQuietAcks(200_000), log.Nop(), nil))
						return fake.Chain(append(nodes, out)...)
					}, opts...)
				})
			}
		}
	}
}

// A task settles many small batches itself.
func BenchmarkWorker_settlingTask(b *testing.B) {
	var w *funnel.Worker
	benchmarkWorker(b, &w, func() *funnel.TaskNode {
		k := 0
		return fake.Chain(fake.Through("p", fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
			if k++; k%2 == 0 {
				return sdk.ErrorRecord{Error: fake.ErrTest}
			}
			return sdk.SingleRecord(rec)
		})), fake.Custom("settles", func(ctx context.Context, batch *funnel.Batch) error { return w.Ack(ctx, batch) }))
	})
}

// The decorators of destinations, around a destination that refuses nothing.
func BenchmarkDestination_decorated(b *testing.B) {
	for _, tt := range []struct {
		name     string
		decorate func(funnel.Destination) funnel.Destination
	}{
		{"plain", func(d funnel.Destination) funnel.Destination { return d }},
		{"retry", func(d funnel.Destination) funnel.Destination {
			return funnel.NewRetryDestination(d, funnel.DestinationRetry{})
		}},
		{"limited to the batch", func(d funnel.Destination) funnel.Destination {
			return funnel.NewLimitedDestination(d, funnel.WriteLimit{Records: 1 << 30, Bytes: 1 << 30})
		}},
		{"limited to 100 records", func(d funnel.Destination) funnel.Destination {
			return funnel.NewLimitedDestination(d, funnel.WriteLimit{Records: 100})
		}},
	} {
		b.Run(tt.name, func(b *testing.B) {
			benchmarkBatch(b, func() *funnel.TaskNode {
				return fake.Node(funnel.NewDestinationTask("out", tt.decorate(newQuietAcks(100_000)), log.Nop(), nil))
			})
		})
	}
}

// benchmarkBatch benchmarks a worker with a task for batches of several sizes.
func benchmarkBatch(b *testing.B, task func() *funnel.TaskNode) {
	var w *funnel.Worker
	benchmarkWorker(b, &w, task)
}

// benchmarkWorker does the same, with options, and sets w.
func benchmarkWorker(b *testing.B, w **funnel.Worker, task func() *funnel.TaskNode, opts ...funnel.WorkerOption) {
	for _, size := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			recs := make([]opencdc.Record, size)
			reads := 0
			source := quietSource{read: func() ([]opencdc.Record, error) {
				if reads++; reads > b.N {
					return nil, fake.ErrTest
				}
				for i := range recs {
					recs[i] = opencdc.Record{Position: opencdc.Position("p")}
				}
				return recs, nil
			}}
			dlq := funnel.NewDLQ("dlq", &refusingDestination{start: -1}, log.Nop(), nil, 0, 0)
			var err error
			if *w, err = funnel.NewWorker(fake.Chain(fake.From(source), task()), dlq, log.Nop(), nil, opts...); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			if err := (*w).Do(b.Context()); !errors.Is(err, fake.ErrTest) {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/record")
		})
	}
}
