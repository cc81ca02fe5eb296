package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
)

// Refused records are written again, alone and in order. Records that are refused for
// good go to the dead-letter queue with the error of the last attempt.
func TestRetryDestination(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		out := refusing(fake.NewDestination(j, "out"), map[string]int{"2": 2, "4": 1, "5": 9, "6": 2})
		dead := fake.NewDestination(j, "dlq")
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2 3 4 5 6 7")), intoTask(retrying(out))), fake.Queue(dead), opts...)
		fake.WantNoError(t, fake.RunWorker(t, w))
		j.Want(t, "out dlq ack", "out 1 2 3 4 5 6 7", "out 2 4 5 6", "out 2 5 6", "ack 1 2 3 4", "dlq 5", "ack 5", "ack 6 7")
		fake.WantNack(t, dead.Written[0], "out", "test error of 5, 7 to go")
	})
}

// Acks come back in order, each once it and all before it are decided. The pauses grow.
func TestRetryDestination_acks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		start := time.Now()
		inner := refusing(fake.NewDestination(&fake.Journal{}, "inner"), map[string]int{"2": 1, "3": 2, "5": 3})
		refuse := inner.OnWrite
		inner.OnWrite = func(ctx context.Context, recs []opencdc.Record) error {
			j.AddRecords(time.Since(start).String(), recs)
			return refuse(ctx, recs)
		}
		d := funnel.NewRetryDestination(ackingAtMost(inner, 3), funnel.DestinationRetry{MaxAttempts: 4, MinPause: time.Second, MaxPause: 3 * time.Second})
		recs := fake.Numbered(7)
		fake.WantNoError(t, d.Write(t.Context(), recs))
		clear(recs) // the slice is the caller's
		for _, want := range []struct {
			acks string
			at   time.Duration
		}{{"0 1", 0}, {"2", time.Second}, {"3 4", 3 * time.Second}, {"5 6", 6 * time.Second}} {
			acks, err := askForAcks(t.Context(), d, 1)
			fake.WantNoError(t, err)
			fake.WantLines(t, acks, want.acks)
			if got := time.Since(start); got != want.at {
				t.Errorf("the acks of %s have come after %v, want %v", want.acks, got, want.at)
			}
		}
		j.Want(t, "", "0s 0 1 2 3 4 5 6", "1s 2 3 5", "3s 3 5", "6s 5")
		for _, rec := range inner.Written {
			if string(rec.Payload.After.Bytes()) != string(rec.Position) {
				t.Errorf("record %s was written with the payload %s", rec.Position, rec.Payload.After)
			}
		}
	})
}

// Fields that are not set have defaults, and pauses have the configured length.
func TestRetryDestination_pauses(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		retry funnel.DestinationRetry
		want  []time.Duration // when there is an attempt
	}{
		{funnel.DestinationRetry{}, []time.Duration{0, 10 * ms, 30 * ms}},
		{funnel.DestinationRetry{MaxAttempts: -1, MinPause: -1, MaxPause: -1}, []time.Duration{0, 10 * ms, 30 * ms}},
		{funnel.DestinationRetry{MaxAttempts: 1}, []time.Duration{0}},
		{funnel.DestinationRetry{MaxAttempts: 2}, []time.Duration{0, 10 * ms}},
		{funnel.DestinationRetry{MaxAttempts: 4, MinPause: 400 * ms}, []time.Duration{0, 400 * ms, 1200 * ms, 2200 * ms}},
		{funnel.DestinationRetry{MinPause: 5000 * ms}, []time.Duration{0, 5000 * ms, 10000 * ms}},
		{funnel.DestinationRetry{MaxPause: 15 * ms}, []time.Duration{0, 10 * ms, 25 * ms}},
		{funnel.DestinationRetry{MaxPause: 4 * ms}, []time.Duration{0, 4 * ms, 8 * ms}},
		{funnel.DestinationRetry{MinPause: 9 * ms, MaxPause: 4 * ms}, []time.Duration{0, 4 * ms, 8 * ms}},
		{funnel.DestinationRetry{MinPause: time.Hour, MaxPause: math.MaxInt64}, []time.Duration{0, time.Hour, 3 * time.Hour}},
	} {
		synctest.Test(t, func(t *testing.T) {
			inner := fake.NewDestination(&fake.Journal{}, "inner")
			inner.Refuse["0"] = fake.ErrTest
			start := time.Now()
			var attempts []time.Duration
			inner.OnWrite = func(context.Context, []opencdc.Record) error {
				attempts = append(attempts, time.Since(start))
				return nil
			}
			d := funnel.NewRetryDestination(inner, tt.retry)
			fake.WantNoError(t, d.Write(t.Context(), fake.Numbered(1)))
			acks, err := askForAcks(t.Context(), d, 1)
			fake.WantNoError(t, err)
			fake.WantLines(t, acks, "0!")
			if !slices.Equal(attempts, tt.want) {
				t.Errorf("%+v: attempts at %v, want %v", tt.retry, attempts, tt.want)
			}
		})
	}
}

// The host says which errors are retried. It is asked once for each refusal, unless no
// attempt is left or the error is one of a context.
func TestRetryDestination_retryable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		inner := fake.NewDestination(j, "write")
		temporary, permanent := errors.New("temporary"), errors.New("permanent")
		inner.Refuse["1"], inner.Refuse["2"], inner.Refuse["4"] = permanent, temporary, context.Canceled
		inner.OnWrite = func(context.Context, []opencdc.Record) error {
			if len(j.Lines("write")) == 2 {
				inner.Refuse["2"] = permanent
				inner.Pending[0].Error = permanent
			}
			return nil
		}
		d := funnel.NewRetryDestination(inner, funnel.DestinationRetry{Retryable: func(err error) bool {
			j.Add("retryable", err.Error())
			return err == temporary
		}})
		fake.WantNoError(t, d.Write(t.Context(), fake.Numbered(5)))
		acks, err := askForAcks(t.Context(), d, 5)
		fake.WantNoError(t, err)
		fake.WantLines(t, acks, "0 1!", "2! 3 4!")
		j.Want(t, "", "write 0 1 2 3 4", "retryable permanent", "retryable temporary", "write 2", "retryable permanent")

		j.Clear()
		inner.Refuse["2"] = temporary
		inner.OnWrite = nil
		fake.WantNoError(t, d.Write(t.Context(), fake.Records("2")))
		acks, err = askForAcks(t.Context(), d, 1)
		fake.WantNoError(t, err)
		fake.WantLines(t, acks, "2!")
		j.Want(t, "", "write 2", "retryable temporary", "write 2", "retryable temporary", "write 2")
	})
}

// An error of a context is never retried, even if its methods or the host say otherwise.
func TestRetryDestination_contextErrors(t *testing.T) {
	cause := errors.New("the cause")
	always := funnel.DestinationRetry{Retryable: func(error) bool { return true }}
	for _, tt := range []struct {
		hasEnded  bool // the context, with the cause
		err       error
		isRetried bool
	}{
		{false, context.Canceled, false},
		{false, fmt.Errorf("wrapped: %w", context.DeadlineExceeded), false},
		{false, errors.Join(fake.ErrTest, context.Canceled), false},
		{false, cause, true},
		{false, (*strictError)(nil), true},
		{false, explodingError{}, true},
		{true, fmt.Errorf("wrapped: %w", cause), false},
		{true, context.Canceled, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if tt.hasEnded {
				cancel(cause)
			}
			j := &fake.Journal{}
			inner := fake.NewDestination(j, "write")
			inner.Refuse["1"] = tt.err
			d := funnel.NewRetryDestination(inner, always)
			fake.WantNoError(t, d.Write(ctx, fake.Numbered(3)))
			acks, err := askForAcks(ctx, d, 3)
			fake.WantNoError(t, err)
			if tt.isRetried {
				fake.WantLines(t, acks, "0", "1! 2")
				j.Want(t, "", "write 0 1 2", "write 1", "write 1")
			} else {
				fake.WantLines(t, acks, "0 1! 2")
				j.Want(t, "", "write 0 1 2")
			}
		})
	}
}

// If the context ends in a pause, Ack returns its error, after the acks before the first
// undecided record.
func TestRetryDestination_contextEndsInAPause(t *testing.T) {
	for _, tt := range []struct {
		first, ends string // the first refused record, and how the context ends
	}{{"0", "cancel"}, {"1", "cancel"}, {"1", "timeout"}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Millisecond)
			defer cancel()
			want := context.DeadlineExceeded
			if tt.ends == "cancel" {
				want = context.Canceled
				time.AfterFunc(14*time.Millisecond, cancel)
			}
			start := time.Now()
			j := &fake.Journal{}
			inner := fake.NewDestination(j, "write")
			inner.Refuse[tt.first], inner.Refuse["2"] = fake.ErrTest, fake.ErrTest
			d := retrying(inner)
			fake.WantNoError(t, d.Write(ctx, fake.Numbered(4)))
			acks, err := askForAcks(ctx, d, 4)
			if took := time.Since(start); err != want || took != 15*time.Millisecond-map[string]time.Duration{"cancel": time.Millisecond}[tt.ends] {
				t.Errorf("Ack has returned %v after %v", err, took)
			}
			if got := strings.Join(acks, "|"); got != map[string]string{"0": "", "1": "0"}[tt.first] {
				t.Errorf("acks before: %s", got)
			}
			if again, err := d.Ack(ctx); len(again) > 0 || err != want {
				t.Errorf("Ack then returns %v, %v", again, err)
			}
			j.Want(t, "", "write 0 1 2 3", "write "+tt.first+" 2")

			fake.WantNoError(t, d.Write(t.Context(), fake.Records("4", "5")))
			acks, err = askForAcks(t.Context(), d, 2)
			fake.WantNoError(t, err)
			fake.WantLines(t, acks, "4 5")
		})
	}
}

// In a worker whose context ends in a pause, nothing is acked, and nothing goes to the
// queue.
func TestRetryDestination_workerEndsInAPause(t *testing.T) {
	for _, refusal := range []error{fake.ErrTest, context.Canceled} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			out := fake.NewDestination(j, "out")
			out.Refuse["2"] = refusal
			ctx, cancel := context.WithCancel(t.Context())
			out.OnWrite = func(context.Context, []opencdc.Record) error { cancel(); return nil }
			w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2 3")), intoTask(retrying(out))), fake.DLQ(j))
			if err := w.Do(ctx); err != context.Canceled {
				t.Errorf("Do: %v", err)
			}
			j.Want(t, "", "out 1 2 3")
		})
	}
}

// If any call of the destination fails, Ack first returns the acks before the first
// undecided record, then the error in each call, without calling the destination again.
func TestRetryDestination_failures(t *testing.T) {
	wrong := func(acks []connector.DestinationAck) []connector.DestinationAck {
		return append(acks[:len(acks)-1:len(acks)-1], fake.Acks("another")...)
	}
	tooMany := func(acks []connector.DestinationAck) []connector.DestinationAck {
		return append(slices.Clone(acks), fake.Acks("another", "another")...)
	}
	none := func([]connector.DestinationAck) []connector.DestinationAck { return nil }
	for _, tt := range []struct {
		fault string // what fails: "write" or "ack", and the number of the call
		acks  func([]connector.DestinationAck) []connector.DestinationAck
		err   error
		calls []string // what Ack returns before the error
		words []string
	}{
		// Without a fault: write 0 1 2 3 4 5, ack 0 1, ack 2! 3, ack 4! 5!, write 2 4 5,
		// ack 2 4!, ack 5, write 4, ack 4!
		{fault: "write 1"},
		{fault: "ack 1", words: []string{"6 records, 0 are acked", `"0"`}},
		{fault: "ack 2", calls: []string{"0 1"}, words: []string{"6 records, 2 are acked", `"2"`}},
		{fault: "ack 3", calls: []string{"0 1"}, words: []string{"6 records, 4 are acked", `"4"`}},
		{fault: "write 2", calls: []string{"0 1"}, words: []string{"attempt 2 of 3", "write 3 records", `"2"`}},
		{fault: "ack 4", calls: []string{"0 1"}, words: []string{"attempt 2 of 3", "3 records, 0 are acked", `"2"`}},
		{fault: "ack 5", calls: []string{"0 1", "2 3"}, words: []string{"attempt 2 of 3", "3 records, 2 are acked", `"5"`}},
		{fault: "write 3", calls: []string{"0 1", "2 3"}, words: []string{"attempt 3 of 3", "write 1 records", `"4"`}},
		{fault: "ack 6", calls: []string{"0 1", "2 3"}, words: []string{"attempt 3 of 3", "1 records, 0 are acked", `"4"`}},
		{fault: "ack 1", acks: wrong, err: funnel.ErrAckMismatch, words: []string{`"another"`, `"1"`}},
		{fault: "ack 3", acks: wrong, err: funnel.ErrAckMismatch, words: []string{`"another"`, `"5"`}},
		{fault: "ack 5", acks: wrong, err: funnel.ErrAckMismatch, calls: []string{"0 1"}, words: []string{"attempt 2 of 3", `"another"`, `"5"`}},
		{fault: "ack 3", acks: tooMany, err: funnel.ErrAckMismatch, words: []string{"6 records", "8", `"another"`}},
		{fault: "ack 5", acks: tooMany, err: funnel.ErrAckMismatch, calls: []string{"0 1"}, words: []string{"3 records", "5"}},
		{fault: "ack 2", acks: none, err: funnel.ErrAcksStopped, calls: []string{"0 1"}, words: []string{"2 of 6", `"2"`}},
		{fault: "ack 5", acks: none, err: funnel.ErrAcksStopped, calls: []string{"0 1", "2 3"}, words: []string{"attempt 2 of 3", "2 of 3", `"5"`}},
		{fault: "ack 6", acks: none, err: funnel.ErrAcksStopped, calls: []string{"0 1", "2 3"}, words: []string{"attempt 3 of 3", "0 of 1", `"4"`}},
	} {
		t.Run(fmt.Sprint(tt.fault, " ", tt.err), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if tt.err == nil {
					tt.err = fake.ErrTest
				}
				j := &fake.Journal{}
				inner := ackingAtMost(fake.NewDestination(j, "write"), 2)
				refuse, ask := refusing(inner, map[string]int{"2": 1, "4": 9, "5": 1}).OnWrite, inner.OnAck
				writes, asks, isHealed, isBroken := 0, 0, false, false
				inner.OnWrite = func(ctx context.Context, recs []opencdc.Record) error {
					if writes++; tt.fault == fmt.Sprint("write ", writes) {
						return fake.ErrTest
					}
					return refuse(ctx, recs)
				}
				inner.OnAck = func(ctx context.Context) ([]connector.DestinationAck, error) {
					asks++
					acks, err := ask(ctx)
					isBroken = isBroken || tt.fault == fmt.Sprint("ack ", asks)
					switch {
					case isHealed || !isBroken:
						return acks, err
					case tt.acks == nil:
						return nil, fake.ErrTest
					default:
						return tt.acks(acks), nil
					}
				}
				d := retrying(inner)
				err := d.Write(t.Context(), fake.Numbered(6))
				var calls []string
				if err == nil {
					calls, err = askForAcks(t.Context(), d, 6)
				}
				fake.WantError(t, err, tt.err, tt.words...)
				fake.WantLines(t, calls, tt.calls...)
				writesBefore, asksBefore := writes, asks
				for range 2 {
					if acks, again := d.Ack(t.Context()); len(acks) > 0 || !errors.Is(again, err) {
						t.Errorf("Ack then returns %v, %v", acks, again)
					}
				}
				if writes != writesBefore || asks != asksBefore {
					t.Error("the destination was called after the error")
				}

				isHealed = true
				if len(tt.calls)%2 == 1 {
					fake.WantNoError(t, d.Open(t.Context()))
				}
				fake.WantNoError(t, d.Write(t.Context(), fake.Records("a", "b", "c")))
				calls, err = askForAcks(t.Context(), d, 3)
				fake.WantNoError(t, err)
				fake.WantLines(t, calls, "a b c")
			})
		})
	}
}

// After Open nothing is left of an earlier Write.
func TestRetryDestination_open(t *testing.T) {
	j := &fake.Journal{}
	inner := fake.NewDestination(j, "out")
	inner.Refuse["1"] = fake.ErrTest
	d := retrying(inner)
	fake.WantNoError(t, d.Write(t.Context(), fake.Numbered(3)))
	acks, err := askForAcks(t.Context(), d, 1)
	fake.WantNoError(t, err)
	fake.WantLines(t, acks, "0")
	fake.WantNoError(t, d.Open(t.Context()))
	if acks, err := d.Ack(t.Context()); len(acks) != 0 || err != nil {
		t.Errorf("Ack: %v, %v", acks, err)
	}
	j.Want(t, "", "out 0 1 2", "open out")
}

// In the order that NewRetryDestination recommends, no record is written before those
// before it are decided.
func TestRetryDestination_strictOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		out := refusing(fake.NewDestination(j, "out"), map[string]int{"2": 2, "3": 9})
		d := funnel.NewLimitedDestination(funnel.NewRetryDestination(out, funnel.DestinationRetry{}), funnel.WriteLimit{Records: 1})
		fake.WantNoError(t, fake.Run(t, fake.DLQ(j), fake.From(fake.SourceOf(j, "1 2 3 4")), intoTask(d)))
		j.Want(t, "out dlq ack", "out 1", "out 2", "out 2", "out 2", "out 3", "out 3", "out 3", "out 4",
			"ack 1 2", "dlq 3", "ack 3", "ack 4")
	})
}

// Pieces of a split may share a position. Each is decided by its own ack.
func TestRetryDestination_samePosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recs := fake.Records("1", "1", "1")
		for i := range recs {
			recs[i].Metadata["id"] = string(rune('a' + i))
		}
		inner := fake.NewDestination(&fake.Journal{}, "inner")
		var written []string
		inner.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
			for i, rec := range recs {
				written = append(written, rec.Metadata["id"])
				if rec.Metadata["id"] != "b" {
					inner.Pending[i].Error = fake.ErrTest
				}
			}
			return nil
		}
		d := retrying(inner)
		fake.WantNoError(t, d.Write(t.Context(), recs))
		acks, err := askForAcks(t.Context(), d, 3)
		fake.WantNoError(t, err)
		fake.WantLines(t, acks, "1! 1 1!")
		if got := strings.Join(written, ""); got != "abcacac" {
			t.Errorf("written: %s", got)
		}
	})
}
