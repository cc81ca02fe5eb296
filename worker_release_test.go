package funnel_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// The source may keep the slices of positions that it gets, and append to them.
func TestWorker_positionsBelongToTheSource(t *testing.T) {
	j := &fake.Journal{}
	var batches []string
	for i := range 50 {
		batches = append(batches, strconv.Itoa(3*i)+" "+strconv.Itoa(3*i+1)+" "+strconv.Itoa(3*i+2))
	}
	source := fake.SourceOf(j, batches...)
	var kept [][]opencdc.Position
	source.OnAck = func(_ context.Context, positions []opencdc.Position) error {
		kept = append(kept, positions)
		_ = append(positions, opencdc.Position("written by the source"))
		return nil
	}
	p := fake.ByPosition(fake.Answers{"4": fake.Fail, "7": fake.Split(2), "9": fake.Filter})
	fake.WantNoError(t, fake.Run(t, fake.DLQ(j), fake.From(source), fake.Through("p", p), fake.Out(j)))
	i := 0
	for _, positions := range kept {
		for _, p := range positions {
			if string(p) != strconv.Itoa(i) {
				t.Fatalf("position %d is %q", i, p)
			}
			i++
		}
	}
	if i != 150 {
		t.Errorf("%d positions were acked", i)
	}
}

// Even if a processor rewrites positions, Source.Ack gets the source's own.
func TestWorker_rewrittenPositions(t *testing.T) {
	j := &fake.Journal{}
	dead := fake.NewDestination(j, "dlq")
	rewrite := fake.ByPosition(fake.Answers{"1": fake.Split(1), "2": fake.Split(2), "3": fake.Split(1)})
	failing := fake.ByPosition(fake.Answers{"2b": fake.Fail, "3a": fake.Fail})
	fake.WantNoError(t, fake.Run(t, fake.Queue(dead), fake.From(fake.SourceOf(j, "1 2 3")), fake.Through("rewrite", rewrite), fake.Through("fail", failing), fake.Out(j)))
	j.Want(t, "out ack dlq", "out 1a", "ack 1", "dlq 2 3a", "ack 2 3")
}

// If the host calls Worker.Ack, each record of the batch is settled once. A batch in
// which a record is marked or has no position is refused.
func TestWorker_ackFromOutside(t *testing.T) {
	j := &fake.Journal{}
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j)), fake.Out(j)), fake.DLQ(j))
	ctx := t.Context()

	b := funnel.NewBatch(fake.Records("1", "2", "3"))
	b.Filter(0)
	b.SplitRecord(0, fake.Records("2a", "2b"))
	fake.WantNoError(t, w.Ack(ctx, b))
	fake.WantNoError(t, w.Ack(ctx, b))
	fake.WantNoError(t, w.Nack(ctx, b, "task"))
	j.Want(t, "ack dlq", "ack 1 2 3")

	j.Clear()
	b = funnel.NewBatch(fake.Records("4", "5"))
	b.Nack(1, fake.ErrTest)
	fake.WantError(t, w.Ack(ctx, b), nil, "1 nacked")
	b.Ack(1)
	b.Retry(0)
	b.Retry(1)
	b.Ack(1)
	fake.WantError(t, w.Ack(ctx, b), nil, "0 nacked, 1 to be retried")
	b.Ack(0, 2)
	b.Retry(0, 2)
	fake.WantError(t, w.Ack(ctx, b), nil, "0 nacked, 2 to be retried")
	fake.WantError(t, w.Ack(ctx, funnel.NewBatch(fake.Records("6", ""))), nil, "empty position")
	fake.WantNoError(t, w.Ack(ctx, &funnel.Batch{}))
	j.Want(t, "")
}

// If the host calls Worker.Nack, each record of the batch is dead-lettered once, as it
// was before it was split. Another call retries what failed.
func TestWorker_nackFromOutside(t *testing.T) {
	j := &fake.Journal{}
	source, dead := fake.SourceOf(j), fake.NewDestination(j, "dlq")
	w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.Out(j)), fake.Queue(dead))
	ctx := t.Context()

	b := funnel.NewBatch(fake.Records("1", "2", "3", "4"))
	b.Filter(1)
	b.Nack(0, fake.ErrOf("1"))
	b.SplitRecord(1, fake.Records("3a", "3b"))
	b.Nack(2, fake.ErrOf("3b"))
	b.Retry(3)
	fake.WantNoError(t, w.Nack(ctx, b, "task"))
	fake.WantNoError(t, w.Nack(ctx, b, "task"))
	j.Want(t, "ack dlq", "dlq 1", "ack 1", "ack 2", "dlq 3 4", "ack 3 4")
	for i, want := range []string{fake.ErrOf("1").Error(), fake.ErrOf("3b").Error(), "nacked without an error"} {
		fake.WantNack(t, dead.Written[i], "task", want)
	}

	// What has failed is tried again.
	j.Clear()
	failing := fake.ErrTest
	source.OnAck = func(_ context.Context, positions []opencdc.Position) error { clear(positions); return failing }
	b = funnel.NewBatch(fake.Records("5"))
	fake.WantError(t, w.Ack(ctx, b), fake.ErrTest)
	failing = nil
	fake.WantNoError(t, w.Ack(ctx, b))
	fake.WantNoError(t, w.Ack(ctx, b))
	j.Want(t, "ack dlq", "ack 5", "ack 5")
}

// Neither Ack nor Nack settles a batch in which a position is empty: acking it would wipe
// the position from which the source resumes.
func TestWorker_emptyPositionFromOutside(t *testing.T) {
	j := &fake.Journal{}
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.NewSource(j)), fake.Out(j)), fake.DLQ(j))
	batch := func() *funnel.Batch { return funnel.NewBatch(fake.Records("a", "", "c")) }
	for _, err := range []error{w.Ack(t.Context(), batch()), w.Nack(t.Context(), batch(), "task")} {
		fake.WantError(t, err, funnel.ErrEmptyPosition, "record 1", "batch of 3", "empty position")
		fake.WantFatal(t, err, true)
	}
	j.Want(t, "")
}

// If the host calls Ack or Nack while the worker releases records, the call waits. If its
// context ends first, it leaves no trace.
func TestWorker_ackGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		s, goOn := fake.SourceOf(j, "1"), make(chan struct{})
		s.OnAck = func(context.Context, []opencdc.Position) error { <-goOn; return nil }
		w := fake.NewWorker(t, fake.Chain(fake.From(s), fake.Out(j)), fake.DLQ(j))
		done := fake.Start(t.Context(), w)
		synctest.Wait()
		acked, failed := funnel.NewBatch(fake.Records("2")), fake.NackedBatch("3")
		for _, call := range []func(context.Context) error{
			func(ctx context.Context) error { return w.Ack(ctx, acked) },
			func(ctx context.Context) error { return w.Nack(ctx, failed, "task") },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			at := time.Now()
			fake.WantError(t, call(ctx), context.DeadlineExceeded)
			if d := time.Since(at); d != 50*time.Millisecond {
				t.Errorf("it took %v", d)
			}
			cancel()
		}
		close(goOn)
		(<-done).Want(t, nil)
		fake.WantNoError(t, w.Ack(t.Context(), acked))
		fake.WantNoError(t, w.Nack(t.Context(), failed, "task"))
		j.Want(t, "ack dlq", "ack 1", "ack 2", "dlq 3", "ack 3")
	})
}

// If Nack is called again after it failed in part, it dead-letters and acks only what is
// left, and counts no record twice. After a refusal it returns the same error.
func TestWorker_nackAgain(t *testing.T) {
	j := &fake.Journal{}
	dead, source := fake.NewDestination(j, "dlq"), fake.SourceOf(j)
	dlq := fake.Window(dead, 10, 3)
	w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.Out(j)), dlq)
	ctx := t.Context()
	b := fake.NackedBatch("0", "1", "2")
	dead.Refuse["1"] = fake.ErrTest
	fake.WantError(t, w.Nack(ctx, b, "task"), fake.ErrTest, `"1"`)
	source.OnAck = func(context.Context, []opencdc.Position) error { return fake.ErrTest }
	delete(dead.Refuse, "1")
	fake.WantError(t, w.Nack(ctx, b, "task"), fake.ErrTest)
	source.OnAck = nil
	fake.WantNoError(t, w.Nack(ctx, b, "task"))
	fake.WantNoError(t, w.Nack(ctx, b, "task"))
	j.Want(t, "dlq ack", "dlq 0 1 2", "ack 0", "dlq 1", "ack 1 2", "ack 1 2")

	// Three have counted, so the next one is one too many.
	other := fake.NackedBatch("3", "4")
	err := w.Nack(ctx, other, "task")
	fake.WantError(t, err, funnel.ErrNackThreshold, `"3"`)
	if again := w.Nack(ctx, other, "task"); again != err {
		t.Errorf("another error: %v", again)
	}
	j.Want(t, "dlq", "dlq 0 1 2", "dlq 1")
}

// If Nack is called again after the queue or its metrics panicked, it does not write
// again what the queue has confirmed.
func TestWorker_nackAgainAfterAPanic(t *testing.T) {
	for _, where := range []string{"ack", "metrics"} {
		j := &fake.Journal{}
		dead := fake.NewDestination(j, "dlq")
		panics := true
		dead.OnAck = func(context.Context) ([]connector.DestinationAck, error) {
			if len(dead.Pending) == 0 || !panics || where == "metrics" {
				acks := dead.Pending
				dead.Pending = nil
				return acks, nil
			}
			if len(dead.Pending) < 3 {
				panic(fake.ErrTest)
			}
			acks := dead.Pending[:1]
			dead.Pending = dead.Pending[1:]
			return acks, nil
		}
		metrics := observing(func() {
			if panics && where == "metrics" {
				panic(fake.ErrTest)
			}
		})
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j)), fake.Out(j)), funnel.NewDLQ("dlq", dead, log.Nop(), metrics, 0, 0))
		b := fake.NackedBatch("0", "1", "2")
		p, ok := fake.PanicOf(func() { _ = w.Nack(t.Context(), b, "task") }).(*funnel.PanicError)
		if !ok || p.Value != fake.ErrTest || !strings.Contains(p.Err.Error(), `task "task"`) {
			t.Errorf("%s: Nack panicked with %v", where, p)
		}
		panics = false
		fake.WantNoError(t, w.Nack(t.Context(), b, "task"))
		if where == "ack" {
			j.Want(t, "dlq ack", "dlq 0 1 2", "dlq 1 2", "ack 0 1 2")
		} else {
			j.Want(t, "dlq ack", "dlq 0 1 2", "ack 0 1 2")
		}
	}
}

// observing is metrics that call a function.
type observing func()

func (o observing) Observe([]opencdc.Record, time.Time) { o() }

// The window counts a record at the first call of Ack or Nack, even if that fails. If the
// queue panics, the panic holds the refusal of a later record.
func TestWorker_windowCountsAtTheFirstCall(t *testing.T) {
	j := &fake.Journal{}
	source, dead := fake.SourceOf(j), fake.NewDestination(j, "dlq")
	w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.Out(j)), fake.Window(dead, 2, 1))
	ctx := t.Context()
	fake.WantNoError(t, w.Nack(ctx, fake.NackedBatch("1"), "task"))
	source.OnAck = func(context.Context, []opencdc.Position) error { return fake.ErrTest }
	fake.WantError(t, w.Ack(ctx, funnel.NewBatch(fake.Records("2"))), fake.ErrTest)
	source.OnAck = nil
	fake.WantNoError(t, w.Nack(ctx, fake.NackedBatch("3"), "task")) // the window holds 2 and 3

	dead.OnWrite = func(context.Context, []opencdc.Record) error { panic(fake.ErrTest) }
	w = fake.NewWorker(t, fake.Chain(fake.From(source), fake.Out(j)), fake.Window(dead, 9, 1))
	p, ok := fake.PanicOf(func() { _ = w.Nack(ctx, fake.NackedBatch("4", "5"), "task") }).(*funnel.PanicError)
	if !ok || !errors.Is(p.Err, funnel.ErrNackThreshold) {
		t.Errorf("Nack panicked with %v", p)
	}
}

// The source may overwrite the positions that it gets, even while the rest of the batch
// is in flight.
func TestWorker_ackedPositionsAreNotReadAgain(t *testing.T) {
	j := &fake.Journal{}
	source := fake.SourceOf(j, "1 2 3")
	source.OnAck = func(_ context.Context, positions []opencdc.Position) error { clear(positions); return nil }
	var w *funnel.Worker
	settles := fake.Custom("settles", func(ctx context.Context, b *funnel.Batch) error {
		if string(b.ActiveRecords()[0].Position) == "1" {
			return nil
		}
		return w.Ack(ctx, b)
	})
	first := fake.Chain(fake.From(source), fake.Through("p", fake.ByPosition(fake.Answers{"2": fake.SecondTime(fake.Pass)})), settles, fake.Out(j))
	w = fake.NewWorker(t, first, nil)
	fake.WantNoError(t, fake.RunWorker(t, w))
	b := funnel.NewBatch(fake.Records("4"))
	for range 2 {
		fake.WantNoError(t, w.Ack(t.Context(), b))
		fake.WantNoError(t, w.Nack(t.Context(), b, "task"))
	}
	j.Want(t, "out ack", "out 1", "ack 1", "ack 2", "ack 3", "ack 4")
}

// A task that settles its batch takes it out of the pipeline.
func TestWorker_taskSettlesItsBatch(t *testing.T) {
	j := &fake.Journal{}
	var w *funnel.Worker
	settles := fake.Custom("settles", func(ctx context.Context, b *funnel.Batch) error {
		switch first := string(b.ActiveRecords()[0].Position); first {
		case "1":
			return w.Ack(ctx, b)
		case "3":
			return w.Nack(ctx, b, "settles")
		}
		return nil
	})
	w = fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2", "3", "4")), settles, fake.Out(j)), fake.DLQ(j))
	fake.WantNoError(t, fake.RunWorker(t, w))
	j.Want(t, "out ack dlq", "ack 1 2", "dlq 3", "ack 3", "out 4", "ack 4")
}
