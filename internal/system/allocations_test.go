package system_test

import (
	"context"
	"io"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// A batch costs two allocations, however large it is and however many records are
// filtered, split or routed: buffers are reused, and nothing is done per record for
// metrics, logs and timers that do nothing.
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
		turn := -1 // of the function of "routes"
		out := func(id string, n int) *funnel.TaskNode {
			return fake.Node(funnel.NewDestinationTask(id, quietDestination{acks: slices.Repeat(acks, 2)[:n]}, log.Nop(), nil))
		}
		fan := func(first *funnel.TaskNode, next ...*funnel.TaskNode) *funnel.TaskNode {
			first.Next = next
			return first
		}
		for name, first := range map[string]*funnel.TaskNode{
			"linear": out("out", size),
			"three":  fake.Chain(fake.Through("1", fake.Returns(single...)), fake.Through("2", fake.Returns(single...)), fake.Through("3", fake.Returns(single...)), out("out", size)),
			"filter": fake.Chain(fake.Through("half", fake.Returns(half...)), out("out", (size+1)/2)),
			"split":  fake.Chain(fake.Through("split", fake.Returns(split...)), out("out", 2*size)),
			"routes": funnel.NewRouteTask("route", func(opencdc.Record) string { turn = (turn + 1) % size; return "ba"[turn%2:][:1] },
				funnel.Case{Name: "b", Node: out("b", (size+1)/2)}, funnel.Case{Name: "a", Node: out("a", size/2)}).Node(),
			"a route": funnel.NewRouteTask("route", func(opencdc.Record) string { return "b" },
				funnel.Case{Name: "b", Node: out("b", size)}, funnel.Case{Name: "a", Node: out("a", size)}).Node(),
			"destinations": fan(fake.Through("1", fake.Returns(single...)), out("a", size), out("b", size), out("c", size)),
			"split and destinations": fan(fake.Through("split", fake.Returns(split...)),
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

// With read-ahead, a read costs a few allocations, however many records it
// returns.
func TestWithReadAhead_allocations(t *testing.T) {
	for _, tt := range []struct {
		size  int
		mark  bool
		ahead int
		limit float64 // of allocations for each read
	}{
		{1, false, 1, 3}, {1, false, 1000, 3}, {100, false, 1000, 4}, {1000, false, 1000, 5},
		{1, true, 1000, 8},
	} {
		const reads = 5000
		recs := slices.Repeat([]opencdc.Record{{Position: opencdc.Position("p")}}, tt.size)
		n := 0
		source := quietSource{read: func() ([]opencdc.Record, error) {
			if n++; n > reads {
				return nil, io.EOF
			}
			return recs, nil
		}}
		first := fake.FromThen(source, func(_ context.Context, b *funnel.Batch) error {
			if tt.mark {
				b.Nack(0)
				b.Ack(0)
			}
			return nil
		})
		out := fake.Node(funnel.NewDestinationTask("out", newQuietAcks(tt.ahead+tt.size), log.Nop(), nil))
		w := fake.NewWorker(t, fake.Chain(first, out), nil, fake.Ahead(tt.ahead)...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := w.Do(t.Context())
		runtime.ReadMemStats(&after)
		fake.WantNoError(t, err)
		if perRead := float64(after.Mallocs-before.Mallocs) / reads; perRead > tt.limit {
			t.Errorf("%+v: %.2f allocations for each read", tt, perRead)
		}
	}
}

// The memory in which read-ahead joins single records is reused: it grows with the
// largest batch, not with the number of batches.
func TestWithReadAhead_buffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, batches = 1000, 50
		recs := []opencdc.Record{{Position: opencdc.Position("p")}}
		n := 0
		source := quietSource{read: func() ([]opencdc.Record, error) {
			if n++; n > size*batches {
				return nil, io.EOF
			}
			return recs, nil
		}}
		d := newQuietAcks(size)
		d.write = func(int) { time.Sleep(time.Millisecond) } // meanwhile the reader comes to its bound
		w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.Node(funnel.NewDestinationTask("out", d, log.Nop(), nil))), nil, fake.Ahead(size)...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := w.Do(t.Context())
		runtime.ReadMemStats(&after)
		fake.WantNoError(t, err)
		// A record of a batch is some 150 bytes, which are not allocated each time; its
		// position is 24 bytes, which are, when it is read and, while the positions of a
		// batch grow, about twice again.
		if perRecord := (after.TotalAlloc - before.TotalAlloc) / (size * batches); perRecord > 120 {
			t.Errorf("%d bytes for each record", perRecord)
		}
	})
}

// A parallel processor allocates per part, and for the largest batch once.
func TestParallelProcessor_allocations(t *testing.T) {
	const workers = 4
	answers := slices.Repeat([]sdk.ProcessedRecord{sdk.FilterRecord{}}, 10_000)
	p := fake.Parallel(t, func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		return answers[:len(recs)]
	}, workers)
	for _, size := range []int{workers, 1000, 10_000} {
		recs := make([]opencdc.Record, size)
		n := testing.AllocsPerRun(50, func() { p.Process(t.Context(), recs) })
		if n > 4*workers {
			t.Errorf("%d records: %v allocations for %d parts", size, n, workers)
		}
		const calls = 50
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range calls {
			p.Process(t.Context(), recs)
		}
		runtime.ReadMemStats(&after)
		if n := (after.TotalAlloc - before.TotalAlloc) / calls; n > 1000*workers {
			t.Errorf("%d records: %d bytes for %d parts", size, n, workers)
		}
	}
	recs := make([]opencdc.Record, 1)
	if n := testing.AllocsPerRun(50, func() { p.Process(t.Context(), recs) }); n != 0 {
		t.Errorf("one record: %v allocations", n)
	}
}
