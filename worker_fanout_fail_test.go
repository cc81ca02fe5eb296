package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
)

// The cause of a failure is what Do returns, the others are told, and all of
// them are waited for. What both have done before is acked.
func TestFanOut_failure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
		writing := make(chan struct{})
		a.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
			if string(recs[0].Position) == "3" {
				<-writing
				return fake.ErrTest
			}
			return nil
		}
		b.OnWrite = func(ctx context.Context, recs []opencdc.Record) error {
			if string(recs[0].Position) != "3" {
				return nil
			}
			close(writing)
			<-ctx.Done()
			j.Add("told b")
			return ctx.Err()
		}
		retry := fake.Fork(fake.Through("retry", fake.ByPosition(fake.Answers{"3": fake.SecondTime(fake.Pass)})), fake.To(a), fake.To(b))
		err := fake.Run(t, fake.DLQ(j), fake.From(fake.SourceOf(j, "1 2 3 4")), retry)
		fake.WantError(t, err, fake.ErrTest, `task "a"`)
		if errors.Is(err, context.Canceled) {
			t.Errorf("the error is the cancellation: %v", err)
		}
		j.Want(t, "ack dlq told", "ack 1 2", "told b")
	})
}

// What is finished on all branches when one of them fails is acked.
func TestFanOut_failureReleasesWhatIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
		b.Refuse["2"] = fake.ErrOf("2")
		delivered := make(chan struct{})
		b.OnAck = func(context.Context) ([]connector.DestinationAck, error) {
			defer close(delivered)
			return b.Pending, nil
		}
		later := fake.Fork(fake.Through("later", fake.ByPosition(fake.Answers{"3": fake.SecondTime(fake.Pass)})), fake.To(a))
		a.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
			if string(recs[0].Position) == "3" {
				<-delivered
				return fake.ErrTest
			}
			return nil
		}
		first := fake.Fork(fake.From(fake.SourceOf(j, "1 2 3")), later, fake.To(b))
		err := fake.RunWorker(t, fake.NewWorker(t, first, fake.DLQ(j)))
		fake.WantError(t, err, fake.ErrTest)
		j.Want(t, "ack dlq", "ack 1", "dlq 2", "ack 2")
	})
}

// What is done on all branches is released, whatever happens on one of them, and
// on whichever.
func TestFanOut_releasesAfterFailure(t *testing.T) {
	for _, isLast := range []bool{false, true} {
		for _, end := range []func() error{func() error { return fake.ErrTest }, func() error { runtime.Goexit(); return nil }} {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				d := fake.NewDestination(j, "d")
				p := fake.Through("p", fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
					if string(rec.Position) == "2" {
						return sdk.ErrorRecord{Error: fake.ErrTest}
					}
					return sdk.SingleRecord(rec)
				}))
				p.Next = []*funnel.TaskNode{fake.Custom("q", func(_ context.Context, b *funnel.Batch) error {
					if string(b.ActiveRecords()[0].Position) == "3" {
						synctest.Wait() // for the other branch
						return end()
					}
					return nil
				})}
				first := fake.Fork(fake.From(fake.SourceOf(j, "1 2 3")), p, fake.To(d))
				if isLast {
					slices.Reverse(first.Next)
				}
				fake.WantError(t, fake.NewWorker(t, first, fake.DLQ(j)).Do(t.Context()), nil)
				j.Want(t, "ack dlq", "ack 1", "dlq 2", "ack 2")
			})
		}
	}
}

// Errors of several branches that do not follow from each other are all in the
// error.
func TestFanOut_twoFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
		other := errors.New("another error")
		writing := make(chan struct{})
		a.OnWrite = func(context.Context, []opencdc.Record) error { <-writing; return fake.ErrTest }
		b.OnWrite = func(ctx context.Context, _ []opencdc.Record) error {
			close(writing)
			<-ctx.Done()
			return funnel.FatalError(other)
		}
		first := fake.Fork(fake.From(fake.SourceOf(j, "1")), fake.To(a), fake.To(b))
		err := fake.RunWorker(t, fake.NewWorker(t, first, nil))
		fake.WantError(t, err, fake.ErrTest)
		fake.WantError(t, err, other)
		fake.WantFatal(t, err, true)
	})
}

// When the context of Do ends, that is what Do returns.
func TestFanOut_contextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		j := &fake.Journal{}
		a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
		a.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { cancel(); <-ctx.Done(); return ctx.Err() }
		b.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { <-ctx.Done(); return ctx.Err() }
		first := fake.Fork(fake.From(fake.SourceOf(j, "1")), fake.To(a), fake.To(b))
		w := fake.NewWorker(t, first, nil)
		if err := w.Do(ctx); err != context.Canceled {
			t.Errorf("Do: %v", err)
		}
		fake.WantNoError(t, w.Close(t.Context()))
		j.Want(t, "ack teardown", "teardown source")
	})
}

// A branch does not go on to its next task once another one has failed.
func TestFanOut_failureStopsTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
		a.OnWrite = func(context.Context, []opencdc.Record) error { return fake.ErrTest }
		waits := fake.Processor(func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			<-ctx.Done()
			return fake.Each(fake.Pass)(ctx, recs)
		})
		first := fake.Fork(fake.From(fake.SourceOf(j, "1")), fake.To(a), fake.Chain(fake.Through("waits", waits), fake.To(b)))
		fake.WantError(t, fake.RunWorker(t, fake.NewWorker(t, first, nil)), fake.ErrTest)
		j.Want(t, "b ack")
	})
}

// What a task nacks because its context has ended, since another branch has failed,
// is not taken for a failed record, also if the context of Do ends then.
func TestFanOut_nacksOfAnEndedContext(t *testing.T) {
	for _, isCanceled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			ofDo, cancel := context.WithCancel(t.Context())
			defer cancel()
			a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
			waits := fake.Processor(func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
				<-ctx.Done()
				if isCanceled {
					cancel()
				}
				return fake.Each(func(opencdc.Record) sdk.ProcessedRecord { return sdk.ErrorRecord{Error: ctx.Err()} })(ctx, recs)
			})
			later := fake.Through("later", fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
				return []sdk.ProcessedRecord{sdk.SingleRecord(recs[0])} // one at a time
			}))
			later.Next = []*funnel.TaskNode{fake.To(a)}
			a.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
				if string(recs[0].Position) == "2" {
					return fake.ErrTest
				}
				return nil
			}
			first := fake.Fork(fake.From(fake.SourceOf(j, "1 2")), later, fake.Chain(fake.Through("waits", waits), fake.To(b)))
			fake.WantError(t, fake.NewWorker(t, first, fake.DLQ(j)).Do(ofDo), fake.ErrTest)
			j.Want(t, "a b ack dlq", "a 1", "a 2")
		})
	}
}

// An error is not lost among those that tell of the context only.
func TestFanOut_errorBesideCancellations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := errors.New("other error")
		a := fake.Custom("a", func(context.Context, *funnel.Batch) error { synctest.Wait(); return fake.ErrTest })
		c := fake.Custom("c", func(ctx context.Context, _ *funnel.Batch) error { <-ctx.Done(); return ctx.Err() })
		d := fake.Custom("d", func(ctx context.Context, _ *funnel.Batch) error {
			<-ctx.Done()
			synctest.Wait()
			return funnel.FatalError(other)
		})
		inner := fake.Fork(fake.Custom("inner", fake.Nothing), c, d)
		first := fake.Fork(fake.From(fake.SourceOf(&fake.Journal{}, "1")), a, inner)
		err := fake.RunWorker(t, fake.NewWorker(t, first, nil))
		fake.WantError(t, err, fake.ErrTest)
		fake.WantError(t, err, other)
		fake.WantFatal(t, err, true)
	})
}

// invalid is an error that could wrap others, but has none.
type invalid struct{}

func (invalid) Error() string { return "invalid" }

func (invalid) Unwrap() []error { return nil }

// Nor is an error that wraps nothing taken for one that tells of the context.
func TestFanOut_errorOfNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := fake.From(fake.SourceOf(&fake.Journal{}, "1"))
		first.Next = []*funnel.TaskNode{
			fake.Custom("a", func(context.Context, *funnel.Batch) error { synctest.Wait(); return fake.ErrTest }),
			fake.Custom("b", func(ctx context.Context, _ *funnel.Batch) error { <-ctx.Done(); return invalid{} }),
		}
		err := fake.RunWorker(t, fake.NewWorker(t, first, nil))
		fake.WantError(t, err, fake.ErrTest)
		fake.WantError(t, err, invalid{})
	})
}

// A panic on a branch reaches the caller of Do after the other branches have
// ended, and the worker can still be stopped and closed.
func TestFanOut_panic(t *testing.T) {
	for _, depth := range []string{"branch", "nested branch"} {
		t.Run(depth, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
				writing := make(chan struct{})
				a.OnWrite = func(context.Context, []opencdc.Record) error { <-writing; panic(fake.ErrTest) }
				b.OnWrite = func(ctx context.Context, _ []opencdc.Record) error {
					close(writing)
					<-ctx.Done()
					j.Add("told b")
					return ctx.Err()
				}
				first := fake.Fork(fake.From(fake.SourceOf(j, "1")), fake.To(a), fake.To(b))
				if depth == "nested branch" {
					inner := fake.Fork(fake.Through("inner", fake.Each(fake.Pass)), fake.To(a), fake.To(fake.NewDestination(j, "c")))
					first.Next[0] = inner
				}
				w := fake.NewWorker(t, first, nil)
				fake.WantNoError(t, w.Open(t.Context()))
				func() {
					defer func() {
						p, ok := recover().(*funnel.PanicError)
						if !ok || p.Value != fake.ErrTest || !errors.Is(p, fake.ErrTest) ||
							!strings.Contains(p.Error(), fake.ErrTest.Error()) ||
							!strings.Contains(string(p.Stack), "TestFanOut_panic") {
							t.Errorf("Do panicked with %v", p)
						}
						j.Add("panicked")
					}()
					_ = w.Do(t.Context())
					t.Error("Do has not panicked")
				}()
				fake.WantNoError(t, w.Stop(t.Context()))
				fake.WantNoError(t, w.Close(t.Context()))
				j.Want(t, "ack told panicked", "told b", "panicked")
			})
		})
	}
}

// Panics on several branches all come back.
func TestFanOut_panics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		other := errors.New("another panic")
		a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
		writing := make(chan struct{})
		a.OnWrite = func(context.Context, []opencdc.Record) error { <-writing; panic(fake.ErrTest) }
		b.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { close(writing); <-ctx.Done(); panic(other) }
		first := fake.Fork(fake.From(fake.SourceOf(j, "1")), fake.To(a), fake.To(b))
		e := <-fake.Start(t.Context(), fake.NewWorker(t, first, nil))
		e.WantPanic(t, fake.ErrTest)
		fake.WantError(t, e.Panic.(error), other)
	})
}

// A panic is one even if there is nothing in it.
func TestFanOut_emptyPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		first := fake.From(fake.SourceOf(j, "1"))
		first.Next = []*funnel.TaskNode{
			fake.Custom("a", func(context.Context, *funnel.Batch) error { panic((*funnel.PanicError)(nil)) }),
			fake.To(fake.NewDestination(j, "b")),
		}
		w := fake.NewWorker(t, first, nil)
		defer func() {
			if p, ok := recover().(*funnel.PanicError); !ok || p == nil {
				t.Errorf("Do has panicked with %v", p)
			}
			fake.WantNoError(t, w.Close(t.Context()))
			j.Want(t, "ack")
		}()
		_ = w.Do(t.Context())
		t.Error("Do has returned")
	})
}

// A branch whose goroutine ends has not succeeded.
func TestFanOut_goexit(t *testing.T) {
	for i := range 2 {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
			[]*fake.Destination{a, b}[i].OnWrite = func(context.Context, []opencdc.Record) error { runtime.Goexit(); return nil }
			first := fake.Fork(fake.From(fake.SourceOf(j, "1")), fake.To(a), fake.To(b))
			err := fake.RunWorker(t, fake.NewWorker(t, first, nil))
			fake.WantError(t, err, nil, "Goexit", []string{`"a"`, `"b"`}[i])
			j.Want(t, "ack")
		})
	}
}

// Nor has one if that happens further down. What ends the goroutine of Do before
// the branches begin ends its caller.
func TestFanOut_goexitAnywhere(t *testing.T) {
	for _, where := range []string{"before", "a", "b", "c", "d"} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			task := func(id string, next ...*funnel.TaskNode) *funnel.TaskNode {
				n := fake.Custom(id, func(context.Context, *funnel.Batch) error {
					if id == where {
						runtime.Goexit()
					}
					return nil
				})
				n.Next = next
				return n
			}
			inner := task("inner", task("c"), task("d"))
			first := fake.Chain(fake.From(fake.SourceOf(j, "1", "2")), task("before", task("a"), inner, task("b")))
			w := fake.NewWorker(t, first, nil)
			if where == "before" {
				if end := <-fake.Start(t.Context(), w); !end.Exited {
					t.Errorf("Do has ended with %+v", end)
				}
				fake.WantNoError(t, w.Close(t.Context()))
			} else {
				fake.WantError(t, fake.RunWorker(t, w), funnel.ErrGoexit, `task "`+where+`": `)
			}
			j.Want(t, "ack")
		})
	}
}

// The error of a branch whose goroutine is ended names the task that had the batch.
func TestFanOut_goexitNamesTheTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		out := fake.NewDestination(j, "out")
		out.OnWrite = func(context.Context, []opencdc.Record) error { runtime.Goexit(); return nil }
		first := fake.Fork(fake.From(fake.SourceOf(j, "1")), fake.Chain(fake.Through("p", fake.Each(fake.Pass)), fake.To(out)), fake.To(fake.NewDestination(j, "other")))
		err := fake.RunWorker(t, fake.NewWorker(t, first, nil))
		fake.WantError(t, err, funnel.ErrGoexit)
		fake.WantTask(t, err, "out")
	})
}

// However two branches end, wherever they are: what is told is the panic, or the
// error that came first.
func TestFanOut_twoEnds(t *testing.T) {
	const places = "abcd" // the first two behind one branch, the others behind another one
	for first := range places {
		for second := range places {
			for _, how := range []string{"error error", "error panic", "error goexit", "panic error", "panic panic",
				"panic goexit", "goexit error", "goexit panic", "goexit goexit"} {
				if first != second {
					synctest.Test(t, func(t *testing.T) {
						checkTwoEnds(t, places[first:first+1], places[second:second+1], strings.Fields(how))
					})
				}
			}
		}
	}
}

func checkTwoEnds(t *testing.T, first, second string, how []string) {
	end := func(id, how string) error {
		switch how {
		case "panic":
			panic(fake.ErrOf(id))
		case "goexit":
			runtime.Goexit()
		}
		return fake.ErrOf(id)
	}
	started, failed := make(chan struct{}), make(chan struct{})
	batches := 0
	leaf := func(id string) *funnel.TaskNode {
		return fake.Custom(id, func(context.Context, *funnel.Batch) error {
			switch {
			case batches == 1:
				return nil
			case id == first:
				<-started
				defer close(failed)
				return end(id, how[0])
			case id == second:
				close(started)
				<-failed
				synctest.Wait() // until everybody else knows
				return end(id, how[1])
			default:
				return nil
			}
		})
	}
	fork := func(id string, next ...*funnel.TaskNode) *funnel.TaskNode {
		n := fake.Custom(id, fake.Nothing)
		n.Next = next
		return n
	}
	w := fake.NewWorker(t, fake.Chain(
		fake.From(fake.SourceOf(&fake.Journal{}, "1", "2")),
		fake.Custom("count", func(context.Context, *funnel.Batch) error { batches++; return nil }),
		fork("fork", fork("left", leaf("a"), leaf("b")), fork("right", leaf("c"), leaf("d"))),
	), nil)
	err, panicked := error(nil), any(nil)
	func() {
		defer func() { panicked = recover() }()
		err = w.Do(t.Context())
	}()
	fake.WantNoError(t, w.Close(t.Context()))
	switch name := fmt.Sprint(first, " ", how[0], ", then ", second, " ", how[1]); {
	case slices.Contains(how, "panic"):
		culprit := first
		if how[0] != "panic" {
			culprit = second
		}
		p, ok := panicked.(*funnel.PanicError)
		if !ok || p.Value.(error).Error() != fake.ErrOf(culprit).Error() {
			t.Errorf("%s: the panic is %v, the error %v", name, panicked, err)
		}
	case panicked != nil || err == nil:
		t.Errorf("%s: the panic is %v, the error %v", name, panicked, err)
	case how[0] == "goexit":
		fake.WantError(t, err, nil, "Goexit")
	case !strings.HasPrefix(err.Error(), fmt.Sprintf("task %q: %v", first, fake.ErrOf(first))):
		t.Errorf("%s: the error is %v", name, err)
	}
}
