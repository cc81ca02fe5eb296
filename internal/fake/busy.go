package fake

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// Busy is a pipeline, for a synctest bubble, whose destination writes the first
// batch, record 1, until GoOn is closed. Meanwhile a worker that reads far ahead
// reads 2 and 3 and begins another read, which stays pending. Without read-ahead
// that read begins after 2 and 3 are written.
type Busy struct {
	*Journal
	Source *StrictSource
	Out    *Destination
	DLQ    *funnel.DLQ
	First  *funnel.TaskNode // the source's node; the destination's is next
	GoOn   chan struct{}
	Worker *funnel.Worker

	// Reads is the number of reads before the pending one: 1 to 3.
	Reads int
	// Pending is what the pending read and those after it do. If it is nil, they
	// wait for the teardown.
	Pending func(context.Context) ([]opencdc.Record, error)
	// Result, unless nil, gives the result of the write of record 1.
	Result func() error

	isReading bool // the read is pending
}

// NewBusy returns a Busy, which may be changed until Start is called.
func NewBusy(t testing.TB) *Busy {
	b := &Busy{Journal: &Journal{}, GoOn: make(chan struct{}), Reads: 3}
	b.Source = &StrictSource{T: t, Source: NewSource(b.Journal)}
	b.Source.OnRead = b.read
	b.Out = NewDestination(b.Journal, "out")
	b.Out.OnWrite = b.write
	b.DLQ = Queue(NewDestination(b.Journal, "dlq"))
	b.First = Chain(From(b.Source), To(b.Out))
	return b
}

func (b *Busy) read(ctx context.Context) ([]opencdc.Record, error) {
	b.Add("read")
	n := len(b.Lines("read"))
	if n == 2 {
		time.Sleep(time.Millisecond) // until 1 is in flight, alone
	}
	if n <= b.Reads {
		return Records(strconv.Itoa(n)), nil
	}
	b.isReading = true
	defer func() { b.isReading = false }()
	if b.Pending != nil {
		return b.Pending(ctx)
	}
	<-b.Source.TornDown
	return Records("4"), errors.New("the source was torn down")
}

// IsReading reports whether the read is pending.
func (b *Busy) IsReading() bool { return b.isReading }

func (b *Busy) write(_ context.Context, recs []opencdc.Record) error {
	if string(recs[0].Position) == "1" {
		<-b.GoOn
		if b.Result != nil {
			return b.Result()
		}
	}
	return nil
}

// UntilEnded is a read that lasts until its context ends or the source is torn down.
func (b *Busy) UntilEnded(ctx context.Context) ([]opencdc.Record, error) {
	select {
	case <-ctx.Done():
	case <-b.Source.TornDown:
	}
	return nil, errors.New("some error")
}

// Start opens and starts the worker, and waits until it writes record 1.
func (b *Busy) Start(t testing.TB, ctx context.Context, opts ...funnel.WorkerOption) <-chan Ending {
	t.Helper()
	b.Worker = NewWorker(t, b.First, b.DLQ, opts...)
	WantNoError(t, b.Worker.Open(t.Context()))
	done := Start(ctx, b.Worker)
	time.Sleep(2 * time.Millisecond)
	synctest.Wait()
	if b.Given("out") != "1" {
		t.Fatalf("written: %s", b.Given("out"))
	}
	return done
}

// StartReading is Start with read-ahead. It fails the test if no read is pending then.
func (b *Busy) StartReading(t testing.TB, ctx context.Context) <-chan Ending {
	t.Helper()
	done := b.Start(t, ctx, Ahead(100)...)
	if !b.isReading {
		t.Fatal("no read is pending")
	}
	return done
}

// StartIdle starts the worker, and waits until it has written 1, 2 and 3 and a read
// is pending.
func (b *Busy) StartIdle(t testing.TB, ctx context.Context, opts ...funnel.WorkerOption) <-chan Ending {
	t.Helper()
	done := b.Start(t, ctx, opts...)
	close(b.GoOn)
	time.Sleep(2 * time.Millisecond)
	synctest.Wait()
	if !b.isReading || b.Given("out") != "1 2 3" {
		t.Fatalf("a read is pending: %t, written: %s", b.isReading, b.Given("out"))
	}
	return done
}

// WantOver fails the test if a read is still pending, or if the number of teardowns
// in the journal is another one.
func (b *Busy) WantOver(t testing.TB, teardowns int) {
	t.Helper()
	if b.isReading {
		t.Error("a read is still pending")
	}
	if n := len(b.Lines("teardown")); n != teardowns {
		t.Errorf("there were %d teardowns, want %d", n, teardowns)
	}
}
