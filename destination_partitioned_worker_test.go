package funnel_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// sorted returns the lines of the lanes, sorted.
func (p *partitioned) sorted() []string {
	lines := slices.DeleteFunc(p.Lines(""), func(line string) bool { return !strings.HasPrefix(line, "lane") })
	slices.Sort(lines)
	return lines
}

// In a worker, records are acked in the order of the source, and those that a lane has
// refused go to the queue, also behind a parallel processor and with read-ahead.
func TestPartitionedDestination_inAWorker(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		p := newPartitioned(2, func(_ int, d *fake.Destination) {
			d.Refuse = map[string]error{"b1": fake.ErrOf("b1"), "a2": fake.ErrOf("a2")}
		})
		process := fake.Parallel(t, fake.Each(fake.Pass), 3)
		source := fake.SourceOf(p.Journal, "a1 b1 c1 a2 b2 c2")
		w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.Through("p", process), nodeTo("out", p)), fake.DLQ(p.Journal), opts...)
		fake.WantNoError(t, fake.RunWorker(t, w))
		fake.WantLines(t, p.sorted(), "lane0 a1 c1 a2 c2", "lane1 b1 b2")
		p.Want(t, "ack dlq", "ack a1", "dlq b1", "ack b1", "ack c1", "dlq a2", "ack a2", "ack b2 c2")
		p.Want(t, "open teardown",
			"open source", "open lane0", "open lane1", "open dlq",
			"teardown source", "teardown dlq", "teardown lane1", "teardown lane0")
	})
}

// If a lane fails, the worker stops with its error, and nothing of the batch is acked.
func TestPartitionedDestination_failsInAWorker(t *testing.T) {
	p := newPartitioned(2, func(lane int, d *fake.Destination) {
		d.OnWrite = func(ctx context.Context, recs []opencdc.Record) error {
			switch {
			case len(recs) == 1:
				return nil
			case lane == 1:
				return fake.ErrTest
			}
			return endsWithContext(ctx)
		}
	})
	source := fake.SourceOf(p.Journal, "a0 b0", "a1 b1 a2 b2", "a3 b3")
	err := fake.Run(t, fake.DLQ(p.Journal), fake.From(source), nodeTo("out", p))
	fake.WantError(t, err, fake.ErrTest, `failed to write 4 records, from "a1" on: lane 1: failed to write 2 records, from "b1" on: test error`)
	fake.WantTask(t, err, "out")
	p.Want(t, "ack dlq", "ack a0 b0")
}

// If a lane panics, so does the worker; if a lane ends its goroutine, the worker stops
// with an error. The lanes can then be torn down.
func TestPartitionedDestination_endsAWorker(t *testing.T) {
	for _, way := range []string{"panic", "goexit"} {
		p := newPartitioned(2, func(lane int, d *fake.Destination) {
			if lane == 1 {
				inWrite(ways[way])(d)
			}
		})
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(p.Journal, "a1 b1")), nodeTo("out", p)), nil)
		fake.WantNoError(t, w.Open(t.Context()))
		end := <-fake.Start(t.Context(), w)
		if way == "panic" {
			end.WantPanic(t, fake.ErrTest)
		} else {
			end.Want(t, funnel.ErrGoexit, "lane 1")
			fake.WantTask(t, end.Err, "out")
		}
		fake.WantNoError(t, w.Stop(t.Context()))
		fake.WantNoError(t, w.Close(t.Context()))
		p.Want(t, "ack teardown", "teardown source", "teardown lane1", "teardown lane0")
	}
}

// If another branch fails, the context of the lanes ends; if a lane fails, the context of
// the other branch ends.
func TestPartitionedDestination_onABranch(t *testing.T) {
	for _, failing := range []string{"lane", "branch"} {
		synctest.Test(t, func(t *testing.T) {
			end := func(what string, ctx context.Context) error {
				if what == failing {
					time.Sleep(time.Second)
					return fake.ErrTest
				}
				return endsWithContext(ctx)
			}
			p := newPartitioned(2, func(lane int, d *fake.Destination) {
				d.OnWrite = func(ctx context.Context, _ []opencdc.Record) error {
					return end([]string{"lane", "other lane"}[lane], ctx)
				}
			})
			other := fake.NewDestination(p.Journal, "other")
			other.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { return end("branch", ctx) }
			source := fake.From(fake.SourceOf(p.Journal, "a1 b1"))
			err := fake.RunWorker(t, fake.NewWorker(t, fake.Fork(source, nodeTo("out", p), fake.To(other)), nil))
			fake.WantError(t, err, fake.ErrTest)
			fake.WantTask(t, err, map[string]string{"lane": "out", "branch": "other"}[failing])
			p.Want(t, "ack")
		})
	}
}

// As a dead-letter queue, it divides the dead letters; if a lane fails, none is
// confirmed, and the error is fatal.
func TestPartitionedDestination_asQueue(t *testing.T) {
	for _, fails := range []bool{false, true} {
		p := newPartitioned(2, func(lane int, d *fake.Destination) {
			if fails && lane == 1 {
				inWrite(endsInError)(d)
			}
		})
		dlq := funnel.NewDLQ("dlq", p, log.Nop(), nil, 0, 0)
		source := fake.SourceOf(p.Journal, "a1 b1 a2 b2")
		err := fake.Run(t, dlq, fake.From(source), fake.Through("p", fake.Each(fake.Fail)), fake.Out(p.Journal))
		fake.WantLines(t, p.sorted(), "lane0 a1 a2", "lane1 b1 b2")
		if !fails {
			fake.WantNoError(t, err)
			p.Want(t, "ack", "ack a1 b1 a2 b2")
			continue
		}
		fake.WantError(t, err, fake.ErrTest, "lane 1")
		fake.WantFatal(t, err, true)
		p.Want(t, "ack")
	}
}

// A stop waits for the lanes. The same destination then serves another worker, with new
// lanes.
func TestPartitionedDestination_stopAndRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := 0
		p := newPartitioned(2, func(lane int, d *fake.Destination) {
			made++
			d.OnWrite = func(context.Context, []opencdc.Record) error {
				time.Sleep(time.Duration(lane+1) * time.Second)
				return nil
			}
		})
		for run := range 2 {
			source := fake.SourceOf(p.Journal, fmt.Sprintf("a%d b%d", run, run), "c9")
			w := fake.NewWorker(t, fake.Chain(fake.From(source), nodeTo("out", p)), nil)
			fake.WantNoError(t, w.Open(t.Context()))
			done := fake.Start(t.Context(), w)
			synctest.Wait()
			start := time.Now()
			fake.WantNoError(t, w.Stop(t.Context()))
			if took := time.Since(start); took != 2*time.Second {
				t.Errorf("Stop has returned after %v", took)
			}
			(<-done).Want(t, nil)
			fake.WantNoError(t, w.Close(t.Context()))
		}
		fake.WantLines(t, p.sorted(), "lane0 a0", "lane0 a1", "lane1 b0", "lane1 b1")
		p.Want(t, "ack", "ack a0 b0", "ack a1 b1")
		if made != 4 {
			t.Errorf("%d lanes were made", made)
		}
	})
}
