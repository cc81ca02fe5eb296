package funnel_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// adding is an observer that adds up what it is told.
type adding struct {
	funnel.NopObserver
	mu  sync.Mutex
	sum funnel.Stats
	// tasks has what tasks have nacked and retried. Filtered records are those of the
	// first task, too, which is not observed.
	tasks      funnel.Stats
	begun      int
	unbalanced []funnel.TaskDone
}

func (a *adding) BatchRead(ctx context.Context, e funnel.BatchRead) context.Context {
	a.sum.Read += uint64(e.Records)
	a.begun++
	return ctx
}

func (a *adding) TaskDone(_ context.Context, e funnel.TaskDone) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tasks.Nacked += uint64(e.Nacked)
	a.tasks.Retried += uint64(e.Retried)
	a.tasks.Filtered += uint64(e.Filtered)
	if e.Err == nil && e.In+e.Added != e.Out+e.Filtered+e.Nacked+e.Retried {
		a.unbalanced = append(a.unbalanced, e)
	}
}

func (a *adding) DeadLettersWritten(_ context.Context, e funnel.DeadLettersWritten) {
	a.sum.DeadLettered += uint64(e.Confirmed)
}

func (a *adding) RecordsAcked(_ context.Context, e funnel.RecordsAcked) {
	a.sum.Acked += uint64(e.Records)
}

func (a *adding) BatchDone(_ context.Context, e funnel.BatchDone) {
	a.sum.Filtered += uint64(e.Filtered)
	a.sum.Nacked += uint64(e.Nacked)
	a.sum.Retried += uint64(e.Retried)
	a.sum.Batches++
}

// Whatever a pipeline does, also if a connector panics, the events add up to the stats.
func TestWithObserver_addsUp(t *testing.T) {
	for seed := range uint64(400) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 2))
			j, a := &fake.Journal{}, &adding{}
			source, queue := fake.SourceOf(j, "1 2 3 4", "5", "6 7 8 9 10 11"), fake.NewDestination(j, "dlq")
			mayPanic := rng.IntN(2) == 0
			maybe := func(what string, rare int) {
				if mayPanic && rng.IntN(rare) == 0 {
					panic(what)
				}
			}
			source.OnAck = func(context.Context, []opencdc.Position) error { maybe("ack", 20); return nil }
			queue.OnWrite = func(context.Context, []opencdc.Record) error {
				maybe("queue", 10)
				if rng.IntN(10) == 0 {
					return fake.ErrTest
				}
				return nil
			}
			answers := rand.New(rand.NewPCG(seed, 3))
			p := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
				switch answers.IntN(6) {
				case 0:
					return fake.Filter(rec)
				case 1:
					return fake.Fail(rec)
				case 2:
					return fake.Split(1 + answers.IntN(3))(rec)
				case 3:
					return nil // again
				default:
					return fake.Pass(rec)
				}
			})
			first := fake.Chain(fake.From(source), fake.Through("p", p))
			last := first.Next[0]
			for i := range 1 + rng.IntN(3) {
				d := fake.NewDestination(j, fmt.Sprint("out", i))
				d.Refuse[fmt.Sprint(1+rng.IntN(11))] = fake.ErrTest
				fake.Fork(last, fake.To(d))
			}
			opts := []funnel.WorkerOption{funnel.WithObserver(a)}
			if rng.IntN(2) == 0 {
				opts = append(opts, funnel.WithWholeBatches())
			}
			if rng.IntN(2) == 0 {
				opts = append(opts, funnel.WithReadAhead(5))
			}
			w := fake.NewWorker(t, first, fake.Window(queue, 10, 1+rng.IntN(10)), opts...)
			panicked := fake.PanicOf(func() { _ = w.Do(t.Context()) }) != nil
			fake.WantNoError(t, w.Close(t.Context()))
			s := w.Stats()
			if a.sum.Acked != s.Acked || a.sum.DeadLettered != s.DeadLettered || uint64(a.begun) != s.Batches {
				t.Fatalf("seed %d: the events add up to %+v, the stats are %+v", seed, a.sum, s)
			}
			if !panicked && (a.sum.Filtered != s.Filtered || a.sum.Nacked != s.Nacked || a.sum.Retried != s.Retried || a.sum.Batches != s.Batches) {
				t.Fatalf("seed %d: the events add up to %+v, the stats are %+v", seed, a.sum, s)
			}
			if !panicked && (a.tasks.Filtered != s.Filtered || a.tasks.Nacked != s.Nacked || a.tasks.Retried != s.Retried) {
				t.Fatalf("seed %d: the tasks' events add up to %+v, the stats are %+v", seed, a.tasks, s)
			}
			if len(a.unbalanced) > 0 {
				t.Fatalf("seed %d: what a task got is not what it gave: %+v", seed, a.unbalanced)
			}
		})
	}
}
