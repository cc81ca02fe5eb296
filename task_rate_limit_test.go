package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// bucket is a limiter like that of golang.org/x/time/rate: a bucket that holds at most
// burst tokens and gets a new one each interval. It writes each wait to the journal.
type bucket struct {
	*fake.Journal
	burst    int
	interval time.Duration
	full     time.Time // when the bucket will be full again
}

func newBucket(j *fake.Journal, burst int, interval time.Duration) *bucket {
	return &bucket{Journal: j, burst: burst, interval: interval, full: time.Now()}
}

func (b *bucket) Burst() int { return b.burst }

func (b *bucket) WaitN(ctx context.Context, n int) error {
	b.Add("wait", fmt.Sprint(n))
	if n > b.burst {
		return fmt.Errorf("rate: Wait(n=%d) exceeds limiter's burst %d", n, b.burst)
	}
	if now := time.Now(); b.full.Before(now) {
		b.full = now
	}
	b.full = b.full.Add(time.Duration(n) * b.interval)
	wait := time.Until(b.full) - time.Duration(b.burst)*b.interval
	if wait <= 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// limiterFunc is a limiter without a burst.
type limiterFunc func(ctx context.Context, n int) error

func (f limiterFunc) WaitN(ctx context.Context, n int) error { return f(ctx, n) }

// bursting is a limiter with a burst.
type bursting struct {
	limiterFunc
	burst int
}

func (b bursting) Burst() int { return b.burst }

func limited(l funnel.Limiter) *funnel.TaskNode {
	return fake.Node(funnel.NewRateLimitTask("limit", l))
}

// The task waits for each active record, in chunks of at most the burst.
func TestRateLimitTask_waits(t *testing.T) {
	for _, tt := range []struct {
		burst int
		waits string
	}{{1, "1 1 1 1 1 1 1"}, {3, "3 3 1"}, {6, "6 1"}, {7, "7"}, {100, "7"}} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			filter := fake.Through("filter", fake.ByPosition(fake.Answers{"2": fake.Filter, "4": fake.Split(3)}))
			begun := time.Now()
			fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3 4 5 6")), filter,
				limited(newBucket(j, tt.burst, time.Second)), fake.Out(j)))
			if got := j.Given("wait"); got != tt.waits {
				t.Errorf("burst %d: it waited for %s, want %s", tt.burst, got, tt.waits)
			}
			if took, want := time.Since(begun), time.Duration(max(0, 7-tt.burst))*time.Second; took != want {
				t.Errorf("burst %d: it took %v, want %v", tt.burst, took, want)
			}
			j.WantGiven(t, "1 3 4a 4b 4c 5 6", "", "1 2 3 4 5 6")
		})
	}
}

// Without a burst, or with one of 0, which means no limit together with an infinite rate,
// the task waits for all records at once.
func TestRateLimitTask_noBurst(t *testing.T) {
	var waits []int
	wait := limiterFunc(func(_ context.Context, n int) error { waits = append(waits, n); return nil })
	for _, l := range []funnel.Limiter{wait, bursting{wait, 0}, bursting{wait, -1}} {
		waits = nil
		task := funnel.NewRateLimitTask("limit", l)
		fake.WantNoError(t, task.Do(t.Context(), funnel.NewBatch(fake.Numbered(5000))))
		fake.WantNoError(t, task.Do(t.Context(), funnel.NewBatch(nil)))
		if len(waits) != 1 || waits[0] != 5000 {
			t.Errorf("a %T was asked for %v", l, waits)
		}
	}
}

// An error of the limiter stops the worker: nothing of the batch is written or acked.
func TestRateLimitTask_fails(t *testing.T) {
	j := &fake.Journal{}
	calls := 0
	l := bursting{func(context.Context, int) error {
		if calls++; calls == 3 {
			return fake.ErrTest
		}
		return nil
	}, 2}
	err := fake.Run(t, nil, fake.From(fake.SourceOf(j, "1", "2 3 4 5 6")), limited(l), fake.Out(j))
	fake.WantError(t, err, fake.ErrTest, "2 of 5 records")
	fake.WantTask(t, err, "limit")
	j.WantGiven(t, "1", "", "1")
}

// When the context ends while the task waits, the worker ends with its error.
func TestRateLimitTask_contextEnds(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		first := fake.Chain(fake.From(fake.SourceOf(j, "1 2 3")), limited(newBucket(j, 1, time.Hour)), fake.Out(j))
		w := fake.NewWorker(t, first, nil, opts...)
		ctx, cancel := context.WithCancel(t.Context())
		fake.WantNoError(t, w.Open(ctx))
		done := fake.Start(ctx, w)
		synctest.Wait()
		cancel()
		(<-done).Want(t, context.Canceled)
		fake.WantNoError(t, w.Close(t.Context()))
		j.WantGiven(t, "", "", "")
	})
}

// Branches that only limit the rate before a destination share records. Others do not see
// what a processor changes.
func TestRateLimitTask_sharesRecords(t *testing.T) {
	free := func() funnel.Limiter { return limiterFunc(func(context.Context, int) error { return nil }) }
	limit := func(id string, next ...*funnel.TaskNode) *funnel.TaskNode {
		return fake.Node(funnel.NewRateLimitTask(id, free()), next...)
	}
	change := func(next ...*funnel.TaskNode) *funnel.TaskNode {
		return fake.Node(funnel.NewProcessorTask("change", fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
			rec.Metadata["id"] = "changed"
			return sdk.SingleRecord(rec)
		}), log.Nop(), nil), next...)
	}
	for name, tt := range map[string]struct {
		branches func(a, b, c *funnel.TaskNode) []*funnel.TaskNode
		shared   bool // by a and b
		want     string
	}{
		"destinations": {func(a, b, c *funnel.TaskNode) []*funnel.TaskNode {
			return []*funnel.TaskNode{limit("1", a), limit("2", limit("3", b)), c}
		}, true, "1 1 1"},
		"a fan-out": {func(a, b, c *funnel.TaskNode) []*funnel.TaskNode {
			return []*funnel.TaskNode{limit("1", a, b), c}
		}, true, "1 1 1"},
		"a processor": {func(a, b, c *funnel.TaskNode) []*funnel.TaskNode {
			return []*funnel.TaskNode{a, limit("1", change(b)), limit("2", c)}
		}, false, "1 changed 1"},
		"a processor in a fan-out": {func(a, b, c *funnel.TaskNode) []*funnel.TaskNode {
			return []*funnel.TaskNode{a, limit("1", change(b), c)}
		}, false, "1 changed 1"},
	} {
		t.Run(name, func(t *testing.T) {
			j := &fake.Journal{}
			outs := []*fake.Destination{fake.NewDestination(j, "a"), fake.NewDestination(j, "b"), fake.NewDestination(j, "c")}
			first := fake.Fork(fake.From(fake.SourceOf(j, "1 2", "3")), tt.branches(fake.To(outs[0]), fake.To(outs[1]), fake.To(outs[2]))...)
			fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, nil, funnel.WithPieceIDs())))
			var got []string
			for _, out := range outs {
				got = append(got, out.Written[0].Metadata["id"])
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("written: %v, want %s", got, tt.want)
			}
			outs[0].Written[0].Metadata["id"] = "marked"
			if isShared := outs[1].Written[0].Metadata["id"] == "marked"; isShared != tt.shared {
				t.Errorf("the branches share records: %t", isShared)
			}
		})
	}
}

// A rate limit needs a limiter, and a task after it.
func TestRateLimitTask_invalid(t *testing.T) {
	j := &fake.Journal{}
	free := newBucket(j, 1, 0)
	for _, tt := range []struct {
		node  *funnel.TaskNode
		words string
	}{
		{fake.Chain(limited(nil), fake.Out(j)), "the limiter is nil"},
		{fake.Chain(limited((*bucket)(nil)), fake.Out(j)), "the limiter is nil"},
		{limited(free), "nothing comes after"},
		{fake.Fork(fake.Custom("fork", fake.Nothing), fake.Out(j), limited(free)), "nothing comes after"},
	} {
		_, err := funnel.NewWorker(fake.Chain(fake.From(fake.SourceOf(j)), tt.node), nil, log.Nop(), nil)
		fake.WantError(t, err, nil, `task "limit"`, tt.words)
	}
	task := funnel.NewRateLimitTask("limit", free)
	if err := errors.Join(task.Open(t.Context()), task.Close(t.Context())); err != nil || task.ID() != "limit" {
		t.Errorf("%q: %v", task.ID(), err)
	}
}
