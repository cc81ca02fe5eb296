package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
)

// Reads that return nothing begin further and further apart, unless they have
// waited themselves; a record ends the series.
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
		want  []time.Duration // between the begins
	}{
		{"at once", make([]int, 11), nil, ms(1, 2, 4, 8, 16, 32, 64, 100, 100, 100)},
		{"after waiting", make([]int, 5), ms(7, 7, 7, 7, 7), ms(7, 7, 7, 8)},
		{"a record between", []int{0, 0, 1, 0, 0, 0}, nil, ms(1, 2, 0, 1, 2)},
		{"a wait between", make([]int, 5), ms(0, 500, 0, 0, 0), ms(1, 500, 4, 8)},
	} {
		for _, ahead := range []int{0, 10} {
			synctest.Test(t, func(t *testing.T) {
				j := &journal{}
				var begins []time.Time
				s := newSource(j)
				s.read = func(context.Context) ([]opencdc.Record, error) {
					n := len(begins)
					if begins = append(begins, time.Now()); n == len(tt.reads) {
						return nil, io.EOF
					}
					if n < len(tt.waits) {
						time.Sleep(tt.waits[n])
					}
					return records("a", "b", "c")[:tt.reads[n]], nil
				}
				wantNoError(t, newAhead(t, ahead, chain(from(s), to(newDestination(j, "out"))), nil, nil).Do(t.Context()))
				var got []time.Duration
				for i := range begins[2:] {
					got = append(got, begins[i+1].Sub(begins[i]))
				}
				if fmt.Sprint(got) != fmt.Sprint(tt.want) {
					t.Errorf("%s, ahead %d: the begins are %v apart, want %v", tt.name, ahead, got, tt.want)
				}
			})
		}
	}
}

// The pause between empty reads ends with the context, and with Stop.
func TestWorker_emptyReadsAreInterrupted(t *testing.T) {
	for _, ahead := range []int{0, 10} {
		for _, isStop := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				j := &journal{}
				s := newSource(j)
				s.read = func(context.Context) ([]opencdc.Record, error) { return nil, nil }
				w := newAhead(t, ahead, chain(from(s), to(newDestination(j, "out"))), nil, nil)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := start(ctx, w)
				time.Sleep(10*time.Second + time.Millisecond/2)
				synctest.Wait()
				at := time.Now()
				if isStop {
					wantNoError(t, w.Stop(t.Context()))
					(<-done).want(t, nil)
				} else {
					cancel()
					(<-done).want(t, context.Canceled)
				}
				if d := time.Since(at); d != 0 {
					t.Errorf("ahead %d, stop %t: it has taken %v", ahead, isStop, d)
				}
				wantNoError(t, w.Close(t.Context()))
			})
		}
	}
}

// Ack and Nack from outside wait for the worker no longer than their context
// lasts, and leave no trace then.
func TestWorker_ackGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		s, goOn := batchesOf(j, "1"), make(chan struct{})
		s.ack = func(context.Context, []opencdc.Position) error { <-goOn; return nil }
		w := newWorker(t, chain(from(s), to(newDestination(j, "out"))), queue(newDestination(j, "dlq")))
		done := start(t.Context(), w)
		synctest.Wait()
		acked, failed := funnel.NewBatch(records("2")), nacked("3")
		for _, call := range []func(context.Context) error{
			func(ctx context.Context) error { return w.Ack(ctx, acked) },
			func(ctx context.Context) error { return w.Nack(ctx, failed, "task") },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			at := time.Now()
			wantError(t, call(ctx), context.DeadlineExceeded)
			if d := time.Since(at); d != 50*time.Millisecond {
				t.Errorf("it has taken %v", d)
			}
			cancel()
		}
		close(goOn)
		(<-done).want(t, nil)
		wantNoError(t, w.Ack(t.Context(), acked))
		wantNoError(t, w.Nack(t.Context(), failed, "task"))
		j.want(t, []string{"ack", "dlq"}, "ack 1", "ack 2", "dlq 3", "ack 3")
	})
}

// A processor whose service is away for a second is waited for.
func TestWalk_outage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		back := time.Now().Add(time.Second)
		p := fakeProcessor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			results := make([]sdk.ProcessedRecord, len(recs))
			if time.Now().Before(back) {
				return results
			}
			for i := range recs {
				results[i] = sdk.SingleRecord(recs[i])
			}
			return results
		})
		wantNoError(t, run(t, nil, from(batchesOf(j, "1 2", "3")), through("p", p), to(newDestination(j, "out"))))
		j.want(t, []string{"ack"}, "ack 1 2", "ack 3")
	})
}

// A nack that says that a context has ended, while the context has ended, is no
// answer: nothing of that call is settled, whoever gives it.
func TestWalk_nacksOfAnEndedContext(t *testing.T) {
	cause := errors.New("the cause")
	errs := map[string]func(ctx context.Context) error{
		"the context's error": func(ctx context.Context) error { return ctx.Err() },
		"wrapped":             func(ctx context.Context) error { return fmt.Errorf("query: %w", ctx.Err()) },
		"a deadline":          func(context.Context) error { return context.DeadlineExceeded },
		"the cause":           func(ctx context.Context) error { return context.Cause(ctx) },
	}
	kinds := map[string]func(err func(context.Context) error, end func()) *funnel.TaskNode{
		"processor": func(err func(context.Context) error, end func()) *funnel.TaskNode {
			return through("p", fakeProcessor(func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
				end()
				return []sdk.ProcessedRecord{sdk.SingleRecord(recs[0]), sdk.ErrorRecord{Error: err(ctx)}, sdk.FilterRecord{}, sdk.ErrorRecord{Error: errTest}}
			}))
		},
		"destination": func(err func(context.Context) error, end func()) *funnel.TaskNode {
			d := newDestination(&journal{}, "first")
			d.acks = func(ctx context.Context) ([]connector.DestinationAck, error) {
				end()
				d.pending[1].Error = err(ctx)
				return d.pending, nil
			}
			return to(d)
		},
		"custom task": func(err func(context.Context) error, end func()) *funnel.TaskNode {
			return custom("task", func(ctx context.Context, b *funnel.Batch) error {
				end()
				b.SplitRecord(0, records("1a", "1b"))
				b.Nack(0, err(ctx))
				b.Nack(3, errTest)
				return nil
			})
		},
	}
	for what, err := range errs {
		for kind, task := range kinds {
			for _, isBranch := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					j := &journal{}
					ctx, cancel := context.WithCancelCause(t.Context())
					middle := task(err, func() { cancel(cause) })
					middle.Next = []*funnel.TaskNode{to(newDestination(j, "out"))}
					first := from(batchesOf(j, "1 2 3 4"))
					if first.Next = []*funnel.TaskNode{middle}; isBranch {
						first.Next = append(first.Next, custom("other", func(context.Context, *funnel.Batch) error { return nil }))
					}
					got := newWorker(t, first, queue(newDestination(j, "dlq"))).Do(ctx)
					wantError(t, got, context.Canceled)
					wantError(t, got, cause)
					j.want(t, []string{"out", "dlq", "ack"})
					if t.Failed() {
						t.Fatalf("%s, %s, branch %t", what, kind, isBranch)
					}
				})
			}
		}
	}
	// While the context lives, and for every other error, a nack is a nack.
	for _, isOther := range []bool{false, true} {
		j := &journal{}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p := through("p", each(func(opencdc.Record) sdk.ProcessedRecord {
			if isOther {
				cancel()
				return sdk.ErrorRecord{Error: errTest}
			}
			return sdk.ErrorRecord{Error: context.Canceled}
		}))
		err := newWorker(t, chain(from(batchesOf(j, "1")), p, to(newDestination(j, "out"))), queue(newDestination(j, "dlq"))).Do(ctx)
		if isOther {
			wantError(t, err, context.Canceled)
		} else {
			wantNoError(t, err)
		}
		j.want(t, []string{"dlq", "ack"}, "dlq 1", "ack 1")
	}
	// Nor is one from outside reinterpreted.
	j := &journal{}
	w := newWorker(t, chain(from(batchesOf(j)), to(newDestination(j, "out"))), queue(newDestination(j, "dlq")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := funnel.NewBatch(records("1"))
	b.Nack(0, context.Canceled)
	wantNoError(t, w.Nack(ctx, b, "task"))
	j.want(t, []string{"dlq", "ack"}, "dlq 1", "ack 1")
}

// So are the nacks of a first task of the host's own, and every nack on a branch
// whose context has ended because another branch has failed.
func TestWalk_nacksOfOthers(t *testing.T) {
	for _, ahead := range []int{0, 1} {
		j := &journal{}
		ctx, cancel := context.WithCancel(t.Context())
		first := fromThen(batchesOf(j, "1"), func(ctx context.Context, b *funnel.Batch) error {
			cancel()
			<-ctx.Done()
			b.Nack(0, ctx.Err())
			return nil
		})
		w := newAhead(t, ahead, chain(first, to(newDestination(j, "out"))), queue(newDestination(j, "dlq")), nil)
		wantError(t, w.Do(ctx), context.Canceled)
		j.want(t, []string{"out", "dlq", "ack"})
	}
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		nacking, failing := make(chan struct{}), make(chan struct{})
		fails := custom("fails", func(_ context.Context, b *funnel.Batch) error {
			if len(b.ActiveRecords()) == 2 {
				b.Retry(1)
				return nil
			}
			close(failing)
			<-nacking
			return errTest
		})
		nacks := custom("nacks", func(ctx context.Context, b *funnel.Batch) error {
			<-failing
			close(nacking)
			<-ctx.Done()
			b.Nack(0, errors.New("the connection was closed"))
			return nil
		})
		first := from(batchesOf(j, "1 2"))
		first.Next = []*funnel.TaskNode{fails, nacks}
		wantError(t, runWorker(t, newWorker(t, first, queue(newDestination(j, "dlq")))), errTest)
		j.want(t, []string{"dlq", "ack"})
	})
}
