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
	"github.com/conduitio/funnel/internal/fake"
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
				fake.WantNoError(t, fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(fake.NewDestination(j, "out"))), nil, fake.Ahead(ahead)...).Do(t.Context()))
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
				j := &fake.Journal{}
				s := fake.NewSource(j)
				s.OnRead = func(context.Context) ([]opencdc.Record, error) { return nil, nil }
				w := fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(fake.NewDestination(j, "out"))), nil, fake.Ahead(ahead)...)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := fake.Start(ctx, w)
				time.Sleep(10*time.Second + time.Millisecond/2)
				synctest.Wait()
				at := time.Now()
				if isStop {
					fake.WantNoError(t, w.Stop(t.Context()))
					(<-done).Want(t, nil)
				} else {
					cancel()
					(<-done).Want(t, context.Canceled)
				}
				if d := time.Since(at); d != 0 {
					t.Errorf("ahead %d, stop %t: it has taken %v", ahead, isStop, d)
				}
				fake.WantNoError(t, w.Close(t.Context()))
			})
		}
	}
}

// Ack and Nack from outside wait for the worker no longer than their context
// lasts, and leave no trace then.
func TestWorker_ackGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		s, goOn := fake.SourceOf(j, "1"), make(chan struct{})
		s.OnAck = func(context.Context, []opencdc.Position) error { <-goOn; return nil }
		w := fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(fake.NewDestination(j, "out"))), fake.Queue(fake.NewDestination(j, "dlq")))
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
				t.Errorf("it has taken %v", d)
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

// A processor whose service is away for a second is waited for.
func TestWalk_outage(t *testing.T) {
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
		fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2", "3")), fake.Through("p", p), fake.To(fake.NewDestination(j, "out"))))
		j.Want(t, "ack", "ack 1 2", "ack 3")
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
			return fake.Through("p", fake.Processor(func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
				end()
				return []sdk.ProcessedRecord{sdk.SingleRecord(recs[0]), sdk.ErrorRecord{Error: err(ctx)}, sdk.FilterRecord{}, sdk.ErrorRecord{Error: fake.ErrTest}}
			}))
		},
		"destination": func(err func(context.Context) error, end func()) *funnel.TaskNode {
			d := fake.NewDestination(&fake.Journal{}, "first")
			d.OnAck = func(ctx context.Context) ([]connector.DestinationAck, error) {
				end()
				d.Pending[1].Error = err(ctx)
				return d.Pending, nil
			}
			return fake.To(d)
		},
		"custom task": func(err func(context.Context) error, end func()) *funnel.TaskNode {
			return fake.Custom("task", func(ctx context.Context, b *funnel.Batch) error {
				end()
				b.SplitRecord(0, fake.Records("1a", "1b"))
				b.Nack(0, err(ctx))
				b.Nack(3, fake.ErrTest)
				return nil
			})
		},
	}
	for what, err := range errs {
		for kind, task := range kinds {
			for _, isBranch := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					j := &fake.Journal{}
					ctx, cancel := context.WithCancelCause(t.Context())
					middle := task(err, func() { cancel(cause) })
					middle.Next = []*funnel.TaskNode{fake.To(fake.NewDestination(j, "out"))}
					first := fake.From(fake.SourceOf(j, "1 2 3 4"))
					if first.Next = []*funnel.TaskNode{middle}; isBranch {
						first.Next = append(first.Next, fake.Custom("other", fake.Nothing))
					}
					got := fake.NewWorker(t, first, fake.Queue(fake.NewDestination(j, "dlq"))).Do(ctx)
					fake.WantError(t, got, context.Canceled)
					fake.WantError(t, got, cause)
					j.Want(t, "out dlq ack")
					if t.Failed() {
						t.Fatalf("%s, %s, branch %t", what, kind, isBranch)
					}
				})
			}
		}
	}
	// While the context lives, and for every other error, a nack is a nack.
	for _, isOther := range []bool{false, true} {
		j := &fake.Journal{}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p := fake.Through("p", fake.Each(func(opencdc.Record) sdk.ProcessedRecord {
			if isOther {
				cancel()
				return sdk.ErrorRecord{Error: fake.ErrTest}
			}
			return sdk.ErrorRecord{Error: context.Canceled}
		}))
		err := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), p, fake.To(fake.NewDestination(j, "out"))), fake.Queue(fake.NewDestination(j, "dlq"))).Do(ctx)
		if isOther {
			fake.WantError(t, err, context.Canceled)
		} else {
			fake.WantNoError(t, err)
		}
		j.Want(t, "dlq ack", "dlq 1", "ack 1")
	}
	// Nor is one from outside reinterpreted.
	j := &fake.Journal{}
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j)), fake.To(fake.NewDestination(j, "out"))), fake.Queue(fake.NewDestination(j, "dlq")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := funnel.NewBatch(fake.Records("1"))
	b.Nack(0, context.Canceled)
	fake.WantNoError(t, w.Nack(ctx, b, "task"))
	j.Want(t, "dlq ack", "dlq 1", "ack 1")
}

// So are the nacks of a first task of the host's own, and every nack on a branch
// whose context has ended because another branch has failed.
func TestWalk_nacksOfOthers(t *testing.T) {
	for _, ahead := range []int{0, 1} {
		j := &fake.Journal{}
		ctx, cancel := context.WithCancel(t.Context())
		first := fake.FromThen(fake.SourceOf(j, "1"), func(ctx context.Context, b *funnel.Batch) error {
			cancel()
			<-ctx.Done()
			b.Nack(0, ctx.Err())
			return nil
		})
		w := fake.NewWorker(t, fake.Chain(first, fake.To(fake.NewDestination(j, "out"))), fake.Queue(fake.NewDestination(j, "dlq")), fake.Ahead(ahead)...)
		fake.WantError(t, w.Do(ctx), context.Canceled)
		j.Want(t, "out dlq ack")
	}
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		nacking, failing := make(chan struct{}), make(chan struct{})
		fails := fake.Custom("fails", func(_ context.Context, b *funnel.Batch) error {
			if len(b.ActiveRecords()) == 2 {
				b.Retry(1)
				return nil
			}
			close(failing)
			<-nacking
			return fake.ErrTest
		})
		nacks := fake.Custom("nacks", func(ctx context.Context, b *funnel.Batch) error {
			<-failing
			close(nacking)
			<-ctx.Done()
			b.Nack(0, errors.New("the connection was closed"))
			return nil
		})
		first := fake.From(fake.SourceOf(j, "1 2"))
		first.Next = []*funnel.TaskNode{fails, nacks}
		fake.WantError(t, fake.RunWorker(t, fake.NewWorker(t, first, fake.Queue(fake.NewDestination(j, "dlq")))), fake.ErrTest)
		j.Want(t, "dlq ack")
	})
}
