package system_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// The memory of a batch grows with the batch, not faster, also if the batch goes
// down branches in many sub-batches.
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

// While small batches follow, the memory of a large one is given back: its records
// and the bookkeeping of them, whatever was done to it.
func TestWorker_memoryFollowsTheWork(t *testing.T) {
	const large, size, small, mostLeft = 10_000, 500, 70, 900_000
	nack := func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		results := make([]sdk.ProcessedRecord, len(recs))
		for i := range results {
			results[i] = sdk.ErrorRecord{Error: fake.ErrTest}
		}
		return results
	}
	splits := func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		results := make([]sdk.ProcessedRecord, len(recs))
		for i, rec := range recs {
			results[i] = sdk.MultiRecord{rec, rec}
		}
		return results
	}
	passes := func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		results := make([]sdk.ProcessedRecord, len(recs))
		for i, rec := range recs {
			results[i] = sdk.SingleRecord(rec)
		}
		return results
	}
	before := 0
	var left atomic.Int64
	end := func(id string) *funnel.TaskNode {
		return fake.Node(funnel.NewDestinationTask(id, &forgetful{}, log.Nop(), nil))
	}
	// Buffers that are in use are there at each collection.
	collecting := func(id string) *funnel.TaskNode {
		return fake.Node(funnel.NewDestinationTask(id, &forgetful{written: func() { left.Store(int64(heap() - before)) }}, log.Nop(), nil))
	}
	tree := func(first *funnel.TaskNode, next ...*funnel.TaskNode) *funnel.TaskNode {
		first.Next = next
		return first
	}
	for name, first := range map[string]func() *funnel.TaskNode{
		"split, while in use": func() *funnel.TaskNode {
			return fake.Chain(fake.Through("p", fake.Processor(splits)), collecting("out"))
		},
		"split":  func() *funnel.TaskNode { return fake.Chain(fake.Through("p", fake.Processor(splits)), end("out")) },
		"nacked": func() *funnel.TaskNode { return fake.Chain(fake.Through("p", fake.Processor(nack)), end("out")) },
		"split and nacked": func() *funnel.TaskNode {
			return fake.Chain(fake.Through("p", fake.Processor(splits)), fake.Through("q", fake.Processor(nack)), end("out"))
		},
		"nacked on a branch": func() *funnel.TaskNode {
			return tree(fake.Through("p", fake.Processor(splits)), fake.Chain(fake.Through("q", fake.Processor(nack)), end("a")), end("b"))
		},
		"in chunks": func() *funnel.TaskNode {
			d := funnel.NewLimitedDestination(&forgetful{}, funnel.WriteLimit{Records: 100})
			return fake.Node(funnel.NewDestinationTask("out", d, log.Nop(), nil))
		},
		"in chunks and one by one": func() *funnel.TaskNode {
			d := funnel.NewLimitedDestination(&refusingDestination{start: -1, atMost: 1}, funnel.WriteLimit{Records: 100})
			return fake.Node(funnel.NewDestinationTask("out", d, log.Nop(), nil))
		},
		"written again": func() *funnel.TaskNode {
			d := funnel.NewRetryDestination(&refusingDestination{start: 0}, funnel.DestinationRetry{MaxAttempts: 2, MaxPause: 1})
			return fake.Node(funnel.NewDestinationTask("out", d, log.Nop(), nil))
		},
		"in parallel": func() *funnel.TaskNode { return fake.Chain(fake.Through("p", fake.Parallel(t, passes, 4)), end("out")) },
		"in lanes": func() *funnel.TaskNode {
			key := func(rec opencdc.Record) string { return string(rec.Position) }
			lanes := funnel.NewPartitionedDestination(4, key, func(int) (funnel.Destination, error) { return &forgetful{}, nil })
			fake.WantNoError(t, lanes.Open(t.Context()))
			return fake.Node(funnel.NewDestinationTask("out", lanes, log.Nop(), nil))
		},
		"by a task": func() *funnel.TaskNode {
			return fake.Chain(fake.Custom("task", func(_ context.Context, b *funnel.Batch) error {
				recs := b.ActiveRecords()
				for i := len(recs) - 1; i >= 0; i-- {
					b.SplitRecord(i, []opencdc.Record{recs[i], recs[i]})
					b.Nack(i, fake.ErrTest)
				}
				return nil
			}), end("out"))
		},
	} {
		for _, ahead := range []int{0, 10} {
			before = heap()
			left.Store(0)
			reads := 0
			source := quietSource{read: func() ([]opencdc.Record, error) {
				n := 1
				switch reads++; {
				case reads == 1:
					n = large
				case reads == small*(1+ahead): // several may become one batch
					// The worker may still be using a buffer for what was read ahead. It
					// puts the buffer back when it waits for more.
					now := heap() - before
					for tries := 0; now > mostLeft && tries < 100; tries++ {
						now = heap() - before
					}
					left.Store(max(left.Load(), int64(now)))
					return nil, io.EOF
				}
				recs := make([]opencdc.Record, n)
				for i := range recs {
					recs[i].Position = opencdc.Position(fmt.Sprint(i))
					recs[i].Payload.After = opencdc.RawData(make([]byte, size))
				}
				return recs, nil
			}}
			dlq := funnel.NewDLQ("dlq", &forgetful{}, log.Nop(), nil, 0, 0)
			w := fake.NewTimedWorker(t, fake.Chain(fake.From(source), first()), dlq, listening{}, fake.Ahead(ahead)...)
			fake.WantNoError(t, w.Do(t.Context()))
			if left := left.Load(); left > mostLeft {
				t.Errorf("%s, ahead %d: of a batch of %d bytes, %d are left after %d small ones", name, ahead, large*size, left, reads-2)
			}
			runtime.KeepAlive(w)
		}
	}
}

// A buffer that smaller batches use lets go of the records behind them.
func TestWorker_buffersForgetLargeRecords(t *testing.T) {
	const large, size, mostLeft = 3_000, 2_000, 2_000_000
	before, left, reads := 0, 0, 0
	source := quietSource{read: func() ([]opencdc.Record, error) {
		n, bytes := large/2, 0
		switch reads++; reads {
		case 1:
			n, bytes = large, size
		case 5:
			return nil, io.EOF
		}
		recs := make([]opencdc.Record, n)
		for i := range recs {
			recs[i].Position = opencdc.Position(fmt.Sprint(i))
			recs[i].Payload.After = opencdc.RawData(make([]byte, bytes))
		}
		return recs, nil
	}}
	splits := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord { return sdk.MultiRecord{rec, rec} })
	out := fake.Node(funnel.NewDestinationTask("out", &forgetful{written: func() { left = heap() - before }}, log.Nop(), nil))
	w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.Through("p", splits), out), nil)
	before = heap()
	fake.WantNoError(t, w.Do(t.Context()))
	if left > mostLeft {
		t.Errorf("of %d bytes, %d are left", large*size, left)
	}
}

// A worker that waits for the next batch holds no record of the last one.
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
			t.Run(fmt.Sprintf("%s, branches %d", name, branches), func(t *testing.T) {
				fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) { testForgets(t, p, branches, opts...) })
			})
		}
	}
}

func testForgets(t *testing.T, p fake.Processor, branches int, opts ...funnel.WorkerOption) {
	var held []weak.Pointer[byte]
	s := fake.NewSource(&fake.Journal{})
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
		fake.Fork(task, fake.Node(funnel.NewDestinationTask(fmt.Sprint(i), &refusingDestination{start: -1}, log.Nop(), nil)))
	}
	w := fake.NewWorker(t, fake.Chain(fake.From(s), task), nil, opts...)
	done := fake.Start(t.Context(), w)
	<-s.Reading
	synctest.Wait()
	for range 3 {
		runtime.GC()
	}
	for i := range held {
		if held[i].Value() != nil {
			t.Errorf("record %d is still held", i)
		}
	}
	fake.WantNoError(t, w.Stop(t.Context()))
	(<-done).Want(t, nil)
}

// The same with read-ahead, whether a batch is made of one read or of several.
func TestWithReadAhead_forgets(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reads int
		mark  bool
	}{{"a single read", 1, false}, {"several reads", 3, false}, {"marked batches", 3, true}} {
		synctest.Test(t, func(t *testing.T) {
			var held []weak.Pointer[byte]
			s := fake.NewSource(&fake.Journal{})
			s.Endless = true
			writing := make(chan struct{})
			s.OnRead = func(ctx context.Context) ([]opencdc.Record, error) {
				if len(held) == tt.reads {
					return nil, s.Block(ctx)
				}
				if len(held) == 1 {
					<-writing // the first batch, so that the others wait together
				}
				data := make([]byte, 100)
				held = append(held, weak.Make(&data[0]))
				return []opencdc.Record{{Position: opencdc.Position("p"), Payload: opencdc.Change{After: opencdc.RawData(data)}}}, nil
			}
			first := fake.FromThen(s, func(_ context.Context, b *funnel.Batch) error {
				if tt.mark {
					b.Nack(0)
					b.Ack(0)
				}
				return nil
			})
			d := newQuietAcks(tt.reads)
			largest := 0
			d.write = func(n int) {
				if largest == 0 {
					close(writing)
				}
				largest = max(largest, n)
				time.Sleep(time.Millisecond)
			}
			w := fake.NewWorker(t, fake.Chain(first, fake.Node(funnel.NewDestinationTask("out", d, log.Nop(), nil))), nil, funnel.WithReadAhead(100))
			done := fake.Start(t.Context(), w)
			time.Sleep(time.Second)
			synctest.Wait()
			if merges := tt.reads > 1 && !tt.mark; (largest > 1) != merges {
				t.Errorf("%s: the largest batch has %d records", tt.name, largest)
			}
			runtime.GC()
			for i := range held {
				if held[i].Value() != nil {
					t.Errorf("%s: record %d of %d is still held", tt.name, i, len(held))
				}
			}
			fake.WantNoError(t, w.Stop(t.Context()))
			(<-done).Want(t, nil)
		})
	}
}

// A parallel processor holds no record of the batch before for long, whether it is
// given another batch or not.
func TestParallelProcessor_forgets(t *testing.T) {
	for name, then := range map[string]func(funnel.Processor){
		"nothing":             func(funnel.Processor) {},
		"a smaller batch":     func(p funnel.Processor) { p.Process(t.Context(), fake.Numbered(2)) },
		"a batch of one part": func(p funnel.Processor) { p.Process(t.Context(), fake.Numbered(1)) },
	} {
		p := fake.Parallel(t, fake.Each(fake.Pass), 3)
		held := func() weak.Pointer[byte] {
			recs := fake.Numbered(9)
			data := make([]byte, 100)
			recs[8].Payload.After = opencdc.RawData(data)
			p.Process(t.Context(), recs)
			return weak.Make(&data[0])
		}()
		then(p)
		for range 3 {
			runtime.GC()
		}
		if held.Value() != nil {
			t.Errorf("%s: the record is still held", name)
		}
		runtime.KeepAlive(p)
	}
}

// The records that a destination keeps stay as they were, while the worker reuses
// its buffers.
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
	edits := fake.Fork(fake.Through("edit", edit), fake.To(a), fake.To(b))
	first.Next = []*funnel.TaskNode{edits}
	fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, nil)))
	if got := fake.Positions(kept); !slices.Equal(got, want) {
		t.Errorf("a destination has kept\n%v, want\n%v", got, want)
	}
}

// The records that a processor is working on stay as they are, while others are
// read.
func TestWithReadAhead_recordsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		p := fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			before := fake.Positions(recs)
			time.Sleep(10 * time.Millisecond)
			if after := fake.Positions(recs); !slices.Equal(before, after) {
				t.Errorf("the records %v have become %v", before, after)
			}
			results := make([]sdk.ProcessedRecord, len(recs))
			for i, rec := range recs {
				results[i] = sdk.SingleRecord(rec)
			}
			return results
		})
		s := fake.SteadySource(j, 100, time.Millisecond)
		fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, fake.Chain(fake.From(s), fake.Through("p", p), fake.Out(j)), nil, funnel.WithReadAhead(20))))
		if j.Given("out") != j.Given("ack") || len(strings.Fields(j.Given("out"))) != 100 {
			t.Errorf("written: %s\nacked: %s", j.Given("out"), j.Given("ack"))
		}
	})
}
