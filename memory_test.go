package funnel_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// forgetful is a destination that keeps nothing but what it has to ack.
type forgetful struct {
	funnel.Destination
	acks    []connector.DestinationAck
	written func()
}

func (d *forgetful) Write(_ context.Context, recs []opencdc.Record) error {
	if d.written != nil {
		d.written()
	}
	d.acks = make([]connector.DestinationAck, len(recs))
	for i := range recs {
		d.acks[i].Position = recs[i].Position
	}
	return nil
}

func (d *forgetful) Ack(context.Context) ([]connector.DestinationAck, error) {
	acks := d.acks
	d.acks = nil
	return acks, nil
}

func (d *forgetful) Teardown(context.Context) error { return nil }

// listening is a timer that somebody listens to.
type listening struct{}

func (listening) Update(time.Duration) {}

func (listening) UpdateSince(time.Time) {}

// heap returns how much memory is in use.
func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// What a large batch has needed is given back while small ones follow: its records,
// and what the engine has kept books of, whatever was done to it.
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
		"in parallel": func() *funnel.TaskNode { return fake.Chain(fake.Through("p", fake.Parallel(t, passes, 4)), end("out")) },
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
					left.Store(max(left.Load(), int64(heap()-before)))
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

// A buffer that is used by smaller batches lets go of the records that they leave
// in it.
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
