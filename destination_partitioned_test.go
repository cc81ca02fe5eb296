package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// keyOf returns the letters at the start of the position of a record.
func keyOf(rec opencdc.Record) string {
	return strings.TrimRight(string(rec.Position), "0123456789")
}

// recordsAt returns records with these positions, which are separated by spaces.
func recordsAt(positions string) []opencdc.Record { return fake.Records(strings.Fields(positions)...) }

// nodeTo returns the node of a destination.
func nodeTo(id string, d funnel.Destination) *funnel.TaskNode {
	return fake.Node(funnel.NewDestinationTask(id, d, log.Nop(), nil))
}

// partitioned is a partitioned destination whose lanes are the fakes "lane0", "lane1",
// and so on.
type partitioned struct {
	funnel.Destination
	*fake.Journal
	key   func(opencdc.Record) string // keyOf, unless a test changes it
	lanes []*fake.Destination         // of the last Open
}

// newPartitioned returns a destination that is not open. prepare, unless it is nil, is
// called for each lane.
func newPartitioned(lanes int, prepare func(lane int, d *fake.Destination)) *partitioned {
	p := &partitioned{Journal: &fake.Journal{}, key: keyOf}
	key := func(rec opencdc.Record) string { return p.key(rec) }
	p.Destination = funnel.NewPartitionedDestination(lanes, key, func(lane int) (funnel.Destination, error) {
		d := fake.NewDestination(p.Journal, fmt.Sprint("lane", lane))
		p.lanes = append(p.lanes[:lane:lane], d)
		if prepare != nil {
			prepare(lane, d)
		}
		return d, nil
	})
	return p
}

// openPartitioned returns an open destination with an empty journal.
func openPartitioned(t *testing.T, lanes int, prepare func(lane int, d *fake.Destination)) *partitioned {
	t.Helper()
	p := newPartitioned(lanes, prepare)
	fake.WantNoError(t, p.Open(t.Context()))
	p.Clear()
	return p
}

// wantLanes fails the test unless the lines of the journal, in the order of the lanes,
// are these. It clears the journal.
func (p *partitioned) wantLanes(t *testing.T, want ...string) {
	t.Helper()
	lines := p.Lines("")
	slices.Sort(lines) // lanes write at the same time
	fake.WantLines(t, lines, want...)
	p.Clear()
}

// wantAcks fails the test unless Ack returns an ack for each record, with the error that
// is given for its position, and then no more.
func (p *partitioned) wantAcks(t *testing.T, recs []opencdc.Record, refused map[string]error) {
	t.Helper()
	want := []connector.DestinationAck{}
	for _, rec := range recs {
		want = append(want, connector.DestinationAck{Position: rec.Position, Error: refused[string(rec.Position)]})
	}
	for len(want) > 0 {
		acks, err := p.Ack(t.Context())
		fake.WantNoError(t, err)
		if !reflect.DeepEqual(acks, want) {
			t.Errorf("Ack: %v, want %v", acks, want)
		}
		want = nil
	}
	if acks, err := p.Ack(t.Context()); len(acks) > 0 || err != nil {
		t.Errorf("Ack: %v, %v", acks, err)
	}
}

// wantWrite writes records with these positions, and fails the test unless the lanes are
// given these and all are acked.
func (p *partitioned) wantWrite(t *testing.T, positions string, lanes ...string) {
	t.Helper()
	recs := recordsAt(positions)
	fake.WantNoError(t, p.Write(t.Context(), recs))
	p.wantLanes(t, lanes...)
	p.wantAcks(t, recs, nil)
}

// NewWorker and Open reject invalid arguments and say why, also for a dead-letter queue.
func TestPartitionedDestination_invalid(t *testing.T) {
	open := func(int) (funnel.Destination, error) { panic("a lane was made") }
	for _, tt := range []struct {
		name  string
		d     funnel.Destination
		words []string
	}{
		{"no lanes", funnel.NewPartitionedDestination(0, keyOf, open), []string{"among 0 lanes", "at least 1"}},
		{"fewer than no lanes", funnel.NewPartitionedDestination(-1, keyOf, open), []string{"among -1 lanes"}},
		{"no key", funnel.NewPartitionedDestination(2, nil, open), []string{"the key", "nil"}},
		{"no lane", funnel.NewPartitionedDestination(2, keyOf, nil), []string{"makes a lane", "nil"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			words := append(tt.words, "cannot divide records")
			j := &fake.Journal{}
			_, err := funnel.NewWorker(fake.Chain(fake.From(fake.SourceOf(j)), nodeTo("out", tt.d)), nil, log.Nop(), nil)
			fake.WantError(t, err, nil, words...)
			fake.WantTask(t, err, "out")
			dlq := funnel.NewDLQ("dead", tt.d, log.Nop(), nil, 0, 0)
			_, err = funnel.NewWorker(fake.Chain(fake.From(fake.SourceOf(j)), fake.Out(j)), dlq, log.Nop(), nil)
			fake.WantError(t, err, nil, append(words, `"dead"`)...)
			fake.WantError(t, tt.d.Open(t.Context()), nil, words...)
			fake.WantError(t, tt.d.Write(t.Context(), recordsAt("a1")), nil, words...)
			fake.WantNoError(t, tt.d.Teardown(t.Context()))
		})
	}
}

// Without Open, the lanes are made by the first Write and used as they are: a worker may
// run without Open, too. After Teardown there are no lanes.
func TestPartitionedDestination_withoutOpen(t *testing.T) {
	j := &fake.Journal{}
	d := funnel.NewPartitionedDestination(2, keyOf, func(i int) (funnel.Destination, error) {
		return fake.NewDestination(j, fmt.Sprint("lane", i)), nil
	})
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "a1 b1", "c1")), nodeTo("out", d)), nil)
	fake.WantNoError(t, w.Do(t.Context()))
	j.WantGiven(t, "", "", "a1 b1 c1")
	j.Want(t, "open")
	fake.WantNoError(t, d.Teardown(t.Context()))
	fake.WantError(t, d.Write(t.Context(), recordsAt("a1")), nil, "not open")
}

// Records with the same key go to the same lane, in order. Lanes get about the same
// number of records. Records without a key go to the lanes in turn, from Write to Write.
// The acks are in the order of the records.
func TestPartitionedDestination_divides(t *testing.T) {
	p := openPartitioned(t, 3, nil)
	p.wantWrite(t, "a1 a2 a3", "lane0 a1 a2 a3")
	p.wantWrite(t, "a1 b1 b2 a2", "lane0 a1 a2", "lane1 b1 b2")
	p.wantWrite(t, "a1 b1 c1 d1 e1", "lane0 a1 d1", "lane1 b1 e1", "lane2 c1")
	p.wantWrite(t, "a1 b1 c1 c2 c3 d1", "lane0 c1 c2 c3", "lane1 a1 d1", "lane2 b1")
	p.wantWrite(t, "1 2 3 4", "lane0 1 4", "lane1 2", "lane2 3")
	p.wantWrite(t, "5", "lane1 5")
	p.wantWrite(t, "6 a1 7 b1 b2", "lane0 a1 7", "lane1 b1 b2", "lane2 6")
	p.wantWrite(t, "8 9", "lane1 8", "lane2 9")
	p.wantWrite(t, "a1", "lane0 a1")
	p.wantWrite(t, "")
}

// The key function is called once for each record, in order, on the goroutine of the
// caller, before anything is written.
func TestPartitionedDestination_key(t *testing.T) {
	p := openPartitioned(t, 2, nil)
	caller := goroutine()
	p.key = func(rec opencdc.Record) string {
		p.AddRecords("key", []opencdc.Record{rec})
		if g := goroutine(); g != caller {
			t.Errorf("the key is asked for on %s, not on %s", g, caller)
		}
		return keyOf(rec)
	}
	fake.WantNoError(t, p.Write(t.Context(), recordsAt("a1 b1 a2 1")))
	fake.WantLines(t, p.Lines("")[:4], "key a1", "key b1", "key a2", "key 1")
	fake.WantLines(t, p.Lines("key"), p.Lines("")[:4]...)
}

// If the function for the key panics, nothing is written, and the next Write works.
func TestPartitionedDestination_keyPanics(t *testing.T) {
	p := openPartitioned(t, 2, nil)
	p.key = func(rec opencdc.Record) string {
		if keyOf(rec) == "b" {
			panic(fake.ErrTest)
		}
		return keyOf(rec)
	}
	if value := fake.PanicOf(func() { _ = p.Write(t.Context(), recordsAt("a1 b1 a2")) }); value != fake.ErrTest {
		t.Errorf("Write panicked with %v", value)
	}
	p.wantLanes(t)
	p.wantAcks(t, nil, nil)
	p.key = keyOf
	p.wantWrite(t, "a1 b1 a2", "lane0 a1 a2", "lane1 b1")
}

// If only one lane has records, it is written and asked for acks on the goroutine of the
// caller, with its context, and given its slice.
func TestPartitionedDestination_singleLane(t *testing.T) {
	ctx := context.WithValue(t.Context(), fake.ContextKey{}, "value")
	caller, recs := goroutine(), recordsAt("a1 a2 a3")
	for _, lanes := range []int{1, 3} {
		p := openPartitioned(t, lanes, func(_ int, d *fake.Destination) {
			check := func(got context.Context) {
				if got != ctx || goroutine() != caller {
					t.Errorf("%s was called with %v on %s", d.Name, got, goroutine())
				}
			}
			d.OnWrite = func(got context.Context, given []opencdc.Record) error {
				check(got)
				if len(given) != len(recs) || &given[0] != &recs[0] {
					t.Errorf("%s was given another slice", d.Name)
				}
				return nil
			}
			d.OnAck = func(got context.Context) ([]connector.DestinationAck, error) {
				check(got)
				return fake.Acks("a1", "a2", "a3"), nil
			}
		})
		fake.WantNoError(t, p.Write(ctx, recs))
		p.wantLanes(t, "lane0 a1 a2 a3")
	}
}

// Several lanes are written at the same time, each on a goroutine of its own, with a
// slice of its own. Their context is derived from that of Write, and ends with it.
func TestPartitionedDestination_severalLanes(t *testing.T) {
	type call struct {
		ctx       context.Context
		recs      []opencdc.Record
		goroutine string
	}
	ctx := context.WithValue(t.Context(), fake.ContextKey{}, "value")
	meet := fake.Meeting(3)
	var mu sync.Mutex
	var calls []call
	p := openPartitioned(t, 4, func(_ int, d *fake.Destination) {
		d.OnWrite = func(ctx context.Context, recs []opencdc.Record) error {
			mu.Lock()
			calls = append(calls, call{ctx, recs, goroutine()})
			mu.Unlock()
			meet()
			if ctx.Err() != nil {
				t.Error("the context has ended")
			}
			return nil
		}
	})
	recs := recordsAt("a1 b1 a2 c1 b2")
	fake.WantNoError(t, p.Write(ctx, recs))
	p.wantLanes(t, "lane0 a1 a2", "lane1 b1 b2", "lane2 c1")
	p.wantAcks(t, recs, nil)
	goroutines := map[string]bool{goroutine(): true}
	for _, c := range calls {
		goroutines[c.goroutine] = true
		if c.ctx.Value(fake.ContextKey{}) != "value" || c.ctx.Err() == nil {
			t.Errorf("a lane was given the context %v", c.ctx)
		}
		for i := range recs {
			if &c.recs[0] == &recs[i] || cap(c.recs) != len(c.recs) {
				t.Error("the slice of a lane is part of another one")
			}
		}
	}
	if len(goroutines) != 4 {
		t.Errorf("the goroutines were %v", goroutines)
	}
}

// Refusals keep their errors and their places, in whatever portions a lane returns its
// acks.
func TestPartitionedDestination_refusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := map[string]error{"b1": fake.ErrOf("b1"), "a2": fake.ErrOf("a2"), "3": context.Canceled, "b4": (*funnel.TaskError)(nil)}
		for _, lanes := range []int{1, 2, 3, 9} {
			p := openPartitioned(t, lanes, func(lane int, d *fake.Destination) {
				d.Refuse = refused
				calls := 0
				d.OnAck = func(context.Context) (acks []connector.DestinationAck, _ error) {
					if calls++; (calls+lane)%2 == 0 || len(d.Pending) == 0 {
						return nil, nil
					}
					acks, d.Pending = d.Pending[:1], d.Pending[1:]
					return acks, nil
				}
			})
			for range 2 {
				recs := recordsAt("a1 b1 3 a2 b2 4 c1 b3 b4 a3 5")
				fake.WantNoError(t, p.Write(t.Context(), recs))
				p.wantAcks(t, recs, refused)
			}
		}
	})
}

// The acks of a Write stay as they are until the next one.
func TestPartitionedDestination_acksLast(t *testing.T) {
	p := openPartitioned(t, 2, nil)
	fake.WantNoError(t, p.Write(t.Context(), recordsAt("a1 b1")))
	acks, err := p.Ack(t.Context())
	fake.WantNoError(t, err)
	_, _ = p.Ack(t.Context())
	if !reflect.DeepEqual(acks, fake.Acks("a1", "b1")) {
		t.Errorf("the acks are %v", acks)
	}
	// Acks that nobody asks for are dropped.
	fake.WantNoError(t, p.Write(t.Context(), recordsAt("a2 b2")))
	fake.WantNoError(t, p.Write(t.Context(), recordsAt("a3")))
	p.wantAcks(t, recordsAt("a3"), nil)
}

// 1,000 records that take 2 ms each take as long on 16 lanes as 63 of them on one.
func TestPartitionedDestination_speed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := openPartitioned(t, 16, func(_ int, d *fake.Destination) {
			d.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
				time.Sleep(time.Duration(len(recs)) * 2 * time.Millisecond)
				return nil
			}
		})
		p.key = func(rec opencdc.Record) string { return string(rec.Position) }
		start := time.Now()
		fake.WantNoError(t, p.Write(t.Context(), fake.Numbered(1000)))
		if took := time.Since(start); took != 126*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

// quietDestination acks everything, keeps no record, and allocates nothing once it has
// seen a Write of the same size.
type quietDestination struct {
	fake.Destination
	acks []connector.DestinationAck
	err  error // of Write
}

func (d *quietDestination) Open(context.Context) error { return nil }

func (d *quietDestination) Write(_ context.Context, recs []opencdc.Record) error {
	d.acks = d.acks[:0]
	for _, rec := range recs {
		d.acks = append(d.acks, connector.DestinationAck{Position: rec.Position})
	}
	return d.err
}

func (d *quietDestination) Ack(context.Context) ([]connector.DestinationAck, error) {
	return d.acks, nil
}

// A Write makes some small allocations for each lane, and none for each record.
func TestPartitionedDestination_allocations(t *testing.T) {
	const lanes, perLane, bytesPerLane = 4, 4, 500
	key := func(rec opencdc.Record) string { return rec.Metadata["id"] }
	d := funnel.NewPartitionedDestination(lanes, key, func(int) (funnel.Destination, error) { return &quietDestination{}, nil })
	fake.WantNoError(t, d.Open(t.Context()))
	recs := fake.Numbered(1000)
	if got := testing.AllocsPerRun(100, func() { _ = d.Write(t.Context(), recs) }); got > lanes*perLane {
		t.Errorf("%v allocations", got)
	}
	const writes = 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range writes {
		fake.WantNoError(t, d.Write(t.Context(), recs))
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / writes; got > lanes*bytesPerLane {
		t.Errorf("%d bytes", got)
	}
	recs = fake.Numbered(1)
	if got := testing.AllocsPerRun(20, func() { _ = d.Write(t.Context(), recs) }); got > 0 {
		t.Errorf("%v allocations if only one lane has records", got)
	}
}

// After a Write, however it ends, the destination holds no record.
func TestPartitionedDestination_letsGo(t *testing.T) {
	for _, positions := range []string{"a1 a2", "a1 b1"} {
		for _, err := range []error{nil, fake.ErrTest} {
			d := funnel.NewPartitionedDestination(2, keyOf, func(int) (funnel.Destination, error) {
				return &quietDestination{err: err}, nil
			})
			fake.WantNoError(t, d.Open(t.Context()))
			recs := recordsAt(positions)
			payload := make(opencdc.RawData, 1000)
			recs[1].Payload.After = payload
			left := weak.Make(&payload[0])
			if got := d.Write(t.Context(), recs); !errors.Is(got, err) {
				t.Errorf("Write: %v", got)
			}
			recs, payload = nil, nil
			runtime.GC()
			if left.Value() != nil {
				t.Errorf("the destination holds a record of %s after Write has returned %v", positions, err)
			}
			runtime.KeepAlive(d)
		}
	}
}
