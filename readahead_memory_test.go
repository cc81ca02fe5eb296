package funnel_test

import (
	"context"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// quietAcks is a destination that acks all and allocates nothing.
type quietAcks struct {
	funnel.Destination
	acks    []connector.DestinationAck // of positions "p"
	pending int
	write   func(n int)
}

func (d *quietAcks) Write(_ context.Context, recs []opencdc.Record) error {
	d.pending = len(recs)
	if d.write != nil {
		d.write(len(recs))
	}
	return nil
}

func (d *quietAcks) Ack(context.Context) ([]connector.DestinationAck, error) {
	return d.acks[:d.pending], nil
}

// newQuietAcks returns a destination for up to n records at a time.
func newQuietAcks(n int) *quietAcks {
	acks := slices.Repeat([]connector.DestinationAck{{Position: opencdc.Position("p")}}, n)
	return &quietAcks{acks: acks}
}

// A record that is read by itself costs few allocations, on average, one of a
// larger read next to none.
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

// The memory that single records are put together in is used again: it grows with
// the largest batch, not with the number of batches.
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

// A batch that is done is not held while the worker waits for the next one.
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

// A processor gets the records of a batch in memory that nobody else writes to,
// also while others are read.
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
		fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, fake.Chain(fake.From(s), fake.Through("p", p), fake.To(fake.NewDestination(j, "out"))), nil, funnel.WithReadAhead(20))))
		if j.Given("out") != j.Given("ack") || len(strings.Fields(j.Given("out"))) != 100 {
			t.Errorf("written: %s\nacked: %s", j.Given("out"), j.Given("ack"))
		}
	})
}
