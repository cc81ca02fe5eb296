package funnel_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// Reads that return nothing begin further and further apart, up to 100 ms, unless they
// block that long themselves. A record ends the series.
func TestWorker_emptyReads(t *testing.T) {
	ms := func(n ...int) (all []time.Duration) {
		for _, n := range n {
			all = append(all, time.Duration(n)*time.Millisecond)
		}
		return all
	}
	for _, tt := range []struct {
		name  string
		reads []int // how many records each returns
		waits []time.Duration
		want  []time.Duration // from start to start
	}{
		{"at once", make([]int, 11), nil, ms(1, 2, 4, 8, 16, 32, 64, 100, 100, 100)},
		{"after waiting", make([]int, 5), ms(7, 7, 7, 7, 7), ms(7, 7, 7, 8)},
		{"a record between", []int{0, 0, 1, 0, 0, 0}, nil, ms(1, 2, 0, 1, 2)},
		{"a wait between", make([]int, 5), ms(0, 500, 0, 0, 0), ms(1, 500, 4, 8)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
				j := &fake.Journal{}
				var begins []time.Time
				s := fake.NewSource(j)
				s.OnRead = func(context.Context) ([]opencdc.Record, error) {
					n := len(begins)
					if begins = append(begins, time.Now()); n == len(tt.reads) {
						return nil, io.EOF
					}
					if n < len(tt.waits) {
						time.Sleep(tt.waits[n])
					}
					return fake.Records("a", "b", "c")[:tt.reads[n]], nil
				}
				fake.WantNoError(t, fake.NewWorker(t, fake.Chain(fake.From(s), fake.Out(j)), nil, opts...).Do(t.Context()))
				var got []time.Duration
				for i := range begins[2:] {
					got = append(got, begins[i+1].Sub(begins[i]))
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("the reads begin %v apart, want %v", got, tt.want)
				}
			})
		})
	}
}

// The end of the context and Stop interrupt the pause between empty reads, and end a
// series of reads that return at once.
func TestWorker_emptyReadsAreInterrupted(t *testing.T) {
	for _, how := range []string{"stop", "context"} {
		for _, after := range []time.Duration{time.Millisecond, 10*time.Second + time.Millisecond/2} {
			t.Run(fmt.Sprintf("%s after %v", how, after), func(t *testing.T) {
				fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
					j := &fake.Journal{}
					s := fake.NewSource(j)
					inRead := time.Microsecond // so a read is rarely pending when the end comes
					if after > time.Second {
						inRead = 0
					}
					s.OnRead = func(context.Context) ([]opencdc.Record, error) { time.Sleep(inRead); return nil, nil }
					w := fake.NewWorker(t, fake.Chain(fake.From(s), fake.Out(j)), nil, opts...)
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					done := fake.Start(ctx, w)
					time.Sleep(after)
					synctest.Wait()
					at := time.Now()
					if how == "stop" {
						fake.WantNoError(t, w.Stop(t.Context()))
						(<-done).Want(t, nil)
					} else {
						cancel()
						(<-done).Want(t, context.Canceled)
					}
					if d := time.Since(at); inRead == 0 && d != 0 {
						t.Errorf("it took %v", d)
					}
					j.WantGiven(t, "", "", "")
					fake.WantNoError(t, w.Close(t.Context()))
				})
			})
		}
	}
}

// A task that never answers is called sixteen times, with growing pauses. Then the
// worker stops with a fatal error. The records before are done.
func TestRetry_noAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		var asked []time.Time
		stuck := fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			results := make([]sdk.ProcessedRecord, len(recs))
			if string(recs[0].Position) == "1" {
				results[0] = sdk.SingleRecord(recs[0])
				return results
			}
			asked = append(asked, time.Now())
			return results
		})
		err := fake.Run(t, fake.DLQ(j), fake.From(fake.SourceOf(j, "1 2 3")), fake.Through("stuck", stuck), fake.Out(j))
		fake.WantError(t, err, nil, `"stuck"`, `"2"`)
		fake.WantFatal(t, err, true)
		j.Want(t, "out ack dlq", "out 1", "ack 1")
		var pauses []time.Duration
		for i := 1; i < len(asked); i++ {
			pauses = append(pauses, asked[i].Sub(asked[i-1]))
		}
		var want []time.Duration
		for d := time.Millisecond; d < 600*time.Millisecond; d *= 2 {
			want = append(want, d)
		}
		want = append(want, slices.Repeat([]time.Duration{time.Second}, 5)...)
		if fmt.Sprint(pauses) != fmt.Sprint(want) {
			t.Errorf("pauses %v, want %v", pauses, want)
		}
	})
}

// An answer resets the count of calls without an answer.
func TestRetry_progressResetsTheCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		calls := 0
		slow := fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			if calls++; calls%5 != 0 {
				return make([]sdk.ProcessedRecord, 1)
			}
			return []sdk.ProcessedRecord{sdk.SingleRecord(recs[0])}
		})
		fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3")), fake.Through("slow", slow), fake.Out(j)))
		j.Want(t, "ack", "ack 1", "ack 2", "ack 3")
		if calls != 15 {
			t.Errorf("%d calls, want 15", calls)
		}
	})
}

// The end of the context interrupts the pause before a retry.
func TestRetry_contextEndsThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		j := &fake.Journal{}
		stuck := fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			cancel()
			return make([]sdk.ProcessedRecord, len(recs))
		})
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.Through("stuck", stuck), fake.Out(j)), nil)
		start := time.Now()
		if err := w.Do(ctx); err != context.Canceled {
			t.Errorf("Do: %v", err)
		}
		if passed := time.Since(start); passed != 0 {
			t.Errorf("Do waited %v", passed)
		}
		j.Want(t, "ack out")
	})
}

// The worker waits for a processor whose service is down for a second.
func TestRetry_outage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		back := time.Now().Add(time.Second)
		p := fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			results := make([]sdk.ProcessedRecord, len(recs))
			if time.Now().Before(back) {
				return results
			}
			for i := range recs {
				results[i] = sdk.SingleRecord(recs[i])
			}
			return results
		})
		fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2", "3")), fake.Through("p", p), fake.Out(j)))
		j.Want(t, "ack", "ack 1 2", "ack 3")
	})
}
