package funnel_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// silent returns a processor that gives no answer in its first calls, and records when it
// is called.
func silent(calls int, times *[]time.Duration) fake.Processor {
	start := time.Now()
	return func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		*times = append(*times, time.Since(start))
		if len(*times) <= calls {
			return make([]sdk.ProcessedRecord, len(recs))
		}
		return fake.Each(fake.Pass)(ctx, recs)
	}
}

// The policy says how long the pauses are, and after how many calls the worker stops.
func TestWithRetryPolicy(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name   string
		policy funnel.RetryPolicy
		silent int // calls without an answer
		calls  int // calls that are made
		last   time.Duration
		fails  bool
	}{
		{name: "the default gives up", silent: 16, calls: 16, last: 1023*ms + 5*time.Second, fails: true},
		{name: "the default holds out", silent: 15, calls: 16, last: 1023*ms + 5*time.Second},
		{name: "one call", policy: funnel.RetryPolicy{MaxCalls: 1}, silent: 1, calls: 1, fails: true},
		{name: "three calls", policy: funnel.RetryPolicy{MaxCalls: 3}, silent: 3, calls: 3, last: 3 * ms, fails: true},
		{name: "no limit", policy: funnel.RetryPolicy{MaxCalls: -1}, silent: 1000, calls: 1001, last: 1023*ms + 990*time.Second},
		{name: "pauses", policy: funnel.RetryPolicy{MinPause: 10 * ms, MaxPause: 30 * ms}, silent: 4, calls: 5, last: 90 * ms},
		{name: "a short longest pause", policy: funnel.RetryPolicy{MaxPause: ms / 2}, silent: 4, calls: 5, last: 2 * ms},
		{name: "a long shortest pause", policy: funnel.RetryPolicy{MinPause: 3 * time.Second}, silent: 2, calls: 3, last: 6 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				var times []time.Duration
				w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2")), fake.Through("p", silent(tt.silent, &times)), fake.Out(j)),
					nil, funnel.WithRetryPolicy(tt.policy))
				err := fake.RunWorker(t, w)
				if tt.fails {
					fake.WantError(t, err, funnel.ErrNoProgress)
					fake.WantFatal(t, err, true)
					fake.WantTask(t, err, "p")
					j.Want(t, "out ack")
				} else {
					fake.WantNoError(t, err)
					j.Want(t, "out ack", "out 1 2", "ack 1 2")
				}
				if len(times) != tt.calls || times[len(times)-1] != tt.last {
					t.Errorf("%d calls, the last one after %v, want %d, after %v", len(times), times[len(times)-1], tt.calls, tt.last)
				}
			})
		})
	}
}

// The context of Do interrupts a long pause.
func TestWithRetryPolicy_contextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		var times []time.Duration
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.Through("p", silent(1, &times)), fake.Out(j)),
			nil, funnel.WithRetryPolicy(funnel.RetryPolicy{MinPause: time.Hour}))
		fake.WantNoError(t, w.Open(t.Context()))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		fake.WantError(t, w.Do(ctx), context.DeadlineExceeded)
		fake.WantNoError(t, w.Close(t.Context()))
		j.Want(t, "out ack")
	})
}

// NewWorker rejects an invalid policy and says why.
func TestWithRetryPolicy_invalid(t *testing.T) {
	for words, policy := range map[string]funnel.RetryPolicy{
		"negative":                    {MinPause: -1},
		"a pause is negative":         {MaxPause: -time.Second},
		"2s, is longer than the long": {MinPause: 2 * time.Second, MaxPause: time.Second},
	} {
		j := &fake.Journal{}
		_, err := funnel.NewWorker(fake.Chain(fake.From(fake.SourceOf(j)), fake.Out(j)), nil, log.Nop(), nil, funnel.WithRetryPolicy(policy))
		fake.WantError(t, err, nil, "retry policy", words)
	}
}
