package funnel_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"weak"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// prepared is a processor that returns the same results again and again.
func prepared(results []sdk.ProcessedRecord) fake.Processor {
	return func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { return results }
}

// A batch costs a few allocations, however large it is and however many records
// were filtered or split: nothing is done per record for metrics, logs and timers
// that do nothing, and the buffers are used again.
func TestWorker_allocations(t *testing.T) {
	const batches = 200
	for _, size := range []int{1, 1000} {
		recs, acks := make([]opencdc.Record, size), make([]connector.DestinationAck, size)
		single, half, split := make([]sdk.ProcessedRecord, size), make([]sdk.ProcessedRecord, size), make([]sdk.ProcessedRecord, size)
		for i := range recs {
			recs[i].Position = opencdc.Position("p")
			acks[i].Position = recs[i].Position
			single[i], half[i] = sdk.SingleRecord(recs[i]), sdk.SingleRecord(recs[i])
			if i%2 == 1 {
				half[i] = sdk.FilterRecord{}
			}
			split[i] = sdk.MultiRecord{recs[i], recs[i]}
		}
		out := func(id string, n int) *funnel.TaskNode {
			return fake.Node(funnel.NewDestinationTask(id, quietDestination{acks: slices.Repeat(acks, 2)[:n]}, log.Nop(), nil))
		}
		fan := func(first *funnel.TaskNode, next ...*funnel.TaskNode) *funnel.TaskNode {
			first.Next = next
			return first
		}
		for name, first := range map[string]*funnel.TaskNode{
			"linear":       out("out", size),
			"three":        fake.Chain(fake.Through("1", prepared(single)), fake.Through("2", prepared(single)), fake.Through("3", prepared(single)), out("out", size)),
			"filter":       fake.Chain(fake.Through("half", prepared(half)), out("out", (size+1)/2)),
			"split":        fake.Chain(fake.Through("split", prepared(split)), out("out", 2*size)),
			"destinations": fan(fake.Through("1", prepared(single)), out("a", size), out("b", size), out("c", size)),
			"split and destinations": fan(fake.Through("split", prepared(split)),
				out("a", 2*size), out("b", 2*size)),
		} {
			reads := 0
			source := quietSource{read: func() ([]opencdc.Record, error) {
				if reads++; reads > batches {
					return nil, io.EOF
				}
				return recs, nil
			}}
			w := fake.NewWorker(t, fake.Chain(fake.From(source), first), nil)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := w.Do(t.Context())
			runtime.ReadMemStats(&after)
			fake.WantNoError(t, err)
			// One is the slice of positions, which the source may keep.
			if perBatch := float64(after.Mallocs-before.Mallocs) / batches; perBatch > 2 {
				t.Errorf("%s: a batch of %d records costs %.2f allocations", name, size, perBatch)
			}
		}
	}
}

// Memory that is used for a batch grows with it, and not faster, also if it goes
// down branches in many parts.
func TestWorker_memoryOfParts(t *testing.T) {
	bytesOf := func(size int) float64 {
		recs := make([]opencdc.Record, size)
		for i := range recs {
			recs[i].Position = opencdc.Position("p")
		}
		source := fake.NewSource(&fake.Journal{}, fake.Read{Records: recs})
		dlq := funnel.NewDLQ("dlq", &refusingDestination{start: -1}, log.Nop(), nil, 0, 0)
		w := fake.NewWorker(t, fake.Chain(fake.From(source), piecesOnBranches()), dlq)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		fake.WantNoError(t, w.Do(t.Context()))
		runtime.ReadMemStats(&after)
		return float64(after.TotalAlloc-before.TotalAlloc) / float64(size)
	}
	if small, large := bytesOf(1000), bytesOf(8000); large > 1.5*small {
		t.Errorf("%.0f bytes per record of a batch of 1,000, and %.0f of one of 8,000", small, large)
	}
}

// What a destination keeps stays as it was, while the worker uses its buffers
// again.
func TestWorker_recordsStay(t *testing.T) {
	j := &fake.Journal{}
	source := fake.NewSource(j)
	var want []string
	for i := range 50 {
		var positions []string
		for k := range 1 + i%7 {
			positions = append(positions, fmt.Sprint(i, "/", k))
		}
		source.Reads = append(source.Reads, fake.Read{Records: fake.Records(positions...)})
		for k, p := range positions {
			if k%3 == 1 {
				continue // filtered
			}
			want = append(want, p+"a", p+"b")
		}
	}
	edit := fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		results := make([]sdk.ProcessedRecord, len(recs))
		for i, rec := range recs {
			results[i] = fake.Pieces(rec, 2)
			if i%3 == 1 {
				results[i] = sdk.FilterRecord{}
			}
		}
		return results
	})
	var kept []opencdc.Record
	a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
	a.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
		kept = append(kept, recs...)
		return nil
	}
	first := fake.From(source)
	edits := fake.Through("edit", edit)
	edits.Next = []*funnel.TaskNode{fake.To(a), fake.To(b)}
	first.Next = []*funnel.TaskNode{edits}
	fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, nil)))
	if got := fake.Positions(kept); !slices.Equal(got, want) {
		t.Errorf("a destination has kept\n%v, want\n%v", got, want)
	}
}

// A batch that is done is not held for long while the worker waits for the next
// one.
func TestWorker_forgets(t *testing.T) {
	pass := fake.Each(fake.Pass)
	split := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord { return fake.Pieces(rec, 2) })
	filter := fake.Processor(func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		results := fake.Each(fake.Pass)(ctx, recs)
		results[1] = sdk.FilterRecord{}
		return results
	})
	for name, p := range map[string]fake.Processor{"replaced": pass, "split": split, "filtered": filter} {
		for branches := 1; branches <= 2; branches++ {
			synctest.Test(t, func(t *testing.T) {
				var held []weak.Pointer[byte]
				s := fake.NewSource(&fake.Journal{})
				s.Endless = true
				s.OnRead = func(ctx context.Context) ([]opencdc.Record, error) {
					if len(held) > 0 {
						return nil, s.Block(ctx)
					}
					recs := fake.Records("1", "2", "3")
					for i := range recs {
						data := make([]byte, 100)
						held = append(held, weak.Make(&data[0]))
						recs[i].Payload.After = opencdc.RawData(data)
					}
					return recs, nil
				}
				task := fake.Through("task", p)
				for i := range branches {
					task.Next = append(task.Next, fake.Node(funnel.NewDestinationTask(fmt.Sprint(i), &refusingDestination{start: -1}, log.Nop(), nil)))
				}
				w := fake.NewWorker(t, fake.Chain(fake.From(s), task), nil)
				done := make(chan error, 1)
				go func() { done <- w.Do(t.Context()) }()
				<-s.Reading
				synctest.Wait()
				for range 3 {
					runtime.GC()
				}
				for i := range held {
					if held[i].Value() != nil {
						t.Errorf("%s, %d branches: record %d is still held", name, branches, i)
					}
				}
				fake.WantNoError(t, w.Stop(t.Context()))
				fake.WantNoError(t, <-done)
			})
		}
	}
}
