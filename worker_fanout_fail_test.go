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

// If a branch fails, Do returns its error, not the cancellation that follows. The context
// of the other branches ends, and Do waits for all of them. Records that were done before
// are acked.
func TestFanOut_failure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
		meet := fake.Meeting(2)
		a.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
			if string(recs[0].Position) == "3" {
				meet()
				return fake.ErrTest
			}
			return nil
		}
		b.OnWrite = func(ctx context.Context, recs []opencdc.Record) error {
			if string(recs[0].Position) != "3" {
				return nil
			}
			meet()
			<-ctx.Done()
			j.Add("told b")
			return ctx.Err()
		}
		retry := fake.Through("retry", fake.ByPosition(fake.Answers{"3": fake.SecondTime(fake.Pass)}))
		err := fake.Run(t, fake.DLQ(j), fake.From(fake.SourceOf(j, "1 2 3 4")), fake.Fork(retry, fake.To(a), fake.To(b)))
		fake.WantError(t, err, fake.ErrTest, `task "a"`)
		if errors.Is(err, context.Canceled) {
			t.Errorf("the error is the cancellation: %v", err)
		}
		j.Want(t, "ack dlq told", "ack 1 2", "told b")
	})
}

// If a branch fails, what all branches have finished is acked, and what one of them
// has nacked goes to the queue, even if parts of the batch were released before.
func TestFanOut_failureReleasesWhatIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
		b.Refuse["2"] = fake.ErrOf("2")
		delivered := make(chan struct{})
		b.OnAck = func(context.Context) ([]connector.DestinationAck, error) {
			if len(b.Pending) > 1 {
				defer close(delivered)
			}
			return b.Pending, nil
		}
		divides := fake.Through("divides", fake.ByPosition(fake.Answers{"x": fake.Fail}))
		later := fake.Through("later", fake.ByPosition(fake.Answers{"3": fake.SecondTime(fake.Pass)}))
		a.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
			if string(recs[0].Position) == "3" {
				<-delivered
				synctest.Wait() // until the other branch has settled its records
				return fake.ErrTest
			}
			return nil
		}
		first := fake.From(fake.SourceOf(j, "0 x 1 2 3"))
		fake.Chain(first, fake.Fork(divides, fake.Chain(later, fake.To(a)), fake.To(b)))
		err := fake.RunWorker(t, fake.NewWorker(t, first, fake.DLQ(j)))
		fake.WantError(t, err, fake.ErrTest)
		j.Want(t, "ack dlq", "ack 0", "dlq x", "ack x", "ack 1", "dlq 2", "ack 2")
	})
}

// Finished records are released whichever branch fails, and in whatever way.
func TestFanOut_releasesAfterFailure(t *testing.T) {
	for _, isLast := range []bool{false, true} {
		for how, end := range ends {
			t.Run(fmt.Sprintf("%s, last %t", how, isLast), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					j := &fake.Journal{}
					p := fake.Through("p", fake.ByPosition(fake.Answers{"2": fake.FailWith(fake.ErrTest)}))
					q := fake.Custom("q", func(_ context.Context, b *funnel.Batch) error {
						if string(b.ActiveRecords()[0].Position) == "3" {
							synctest.Wait() // until the other branch is through
							return end()
						}
						return nil
					})
					first := fake.Fork(fake.From(fake.SourceOf(j, "1 2 3")), fake.Chain(p, q), fake.To(fake.NewDestination(j, "d")))
					if isLast {
						slices.Reverse(first.Next)
					}
					fake.WantError(t, fake.NewWorker(t, first, fake.DLQ(j)).Do(t.Context()), nil)
					j.Want(t, "ack dlq", "ack 1", "dlq 2", "ack 2")
				})
			})
		}
	}
}

// ends are the ways in which a task fails.
var ends = map[string]func() error{
	"error":  func() error { return fake.ErrTest },
	"goexit": func() error { runtime.Goexit(); return nil },
}

// The error of Do holds the errors of all branches, except those that follow from
// another. It is fatal if one of them is.
func TestFanOut_twoFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
		other := errors.New("another error")
		meet := fake.Meeting(2)
		a.OnWrite = func(context.Context, []opencdc.Record) error { meet(); return fake.ErrTest }
		b.OnWrite = func(ctx context.Context, _ []opencdc.Record) error {
			meet()
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

// An error is not lost among others that only say that the context has ended.
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
		err := fake.RunWorker(t, fake.NewWorker(t, fake.Fork(fake.From(fake.SourceOf(&fake.Journal{}, "1")), a, inner), nil))
		fake.WantError(t, err, fake.ErrTest)
		fake.WantError(t, err, other)
		fake.WantFatal(t, err, true)
	})
}

// hollow is an error that could wrap others but wraps none.
type hollow struct{}

func (hollow) Error() string { return "hollow" }

func (hollow) Unwrap() []error { return nil }

// An error with an empty list of wrapped errors does not count as one that only says that
// the context has ended.
func TestFanOut_hollowError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := fake.Fork(fake.From(fake.SourceOf(&fake.Journal{}, "1")),
			fake.Custom("a", func(context.Context, *funnel.Batch) error { synctest.Wait(); return fake.ErrTest }),
			fake.Custom("b", func(ctx context.Context, _ *funnel.Batch) error { <-ctx.Done(); return hollow{} }))
		err := fake.RunWorker(t, fake.NewWorker(t, first, nil))
		fake.WantError(t, err, fake.ErrTest)
		fake.WantError(t, err, hollow{})
	})
}

// If the context of Do ends, Do returns its error.
func TestFanOut_contextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		j := &fake.Journal{}
		a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
		meet := fake.Meeting(2)
		a.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { meet(); cancel(); <-ctx.Done(); return ctx.Err() }
		b.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { meet(); <-ctx.Done(); return ctx.Err() }
		w := fake.NewWorker(t, fake.Fork(fake.From(fake.SourceOf(j, "1")), fake.To(a), fake.To(b)), nil)
		if err := w.Do(ctx); err != context.Canceled {
			t.Errorf("Do: %v", err)
		}
		fake.WantNoError(t, w.Close(t.Context()))
		j.Want(t, "ack teardown", "teardown source")
	})
}

// Once a branch has failed, the others do not go on to their next tasks.
func TestFanOut_failureStopsTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
		meet := fake.Meeting(2)
		a.OnWrite = func(context.Context, []opencdc.Record) error { meet(); return fake.ErrTest }
		waits := fake.Processor(func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			meet()
			<-ctx.Done()
			return fake.Each(fake.Pass)(ctx, recs)
		})
		first := fake.Fork(fake.From(fake.SourceOf(j, "1")), fake.To(a), fake.Chain(fake.Through("waits", waits), fake.To(b)))
		fake.WantError(t, fake.RunWorker(t, fake.NewWorker(t, first, nil)), fake.ErrTest)
		j.Want(t, "b ack")
	})
}

// If a branch has failed and so ended the context of the others, a nack that only says so
// nacks no record, even if the context of Do ends then.
func TestFanOut_nacksOfAnEndedContext(t *testing.T) {
	for _, isCanceled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			ofDo, cancel := context.WithCancel(t.Context())
			defer cancel()
			a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
			meet := fake.Meeting(2)
			waits := fake.Processor(func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
				meet()
				<-ctx.Done()
				if isCanceled {
					cancel()
				}
				return fake.Each(fake.FailWith(ctx.Err()))(ctx, recs)
			})
			a.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
				if string(recs[0].Position) == "2" {
					meet()
					return fake.ErrTest
				}
				return nil
			}
			first := fake.Fork(fake.From(fake.SourceOf(j, "1 2")),
				fake.Chain(fake.Through("one by one", fake.AtMost(1)), fake.To(a)),
				fake.Chain(fake.Through("waits", waits), fake.To(b)))
			fake.WantError(t, fake.NewWorker(t, first, fake.DLQ(j)).Do(ofDo), fake.ErrTest)
			j.Want(t, "a b ack dlq", "a 1", "a 2")
		})
	}
}

// A panic on a branch reaches the caller of Do, with its stack, once the other branches
// have ended. The worker can then be stopped and closed.
func TestFanOut_panic(t *testing.T) {
	for _, where := range []string{"branch", "nested branch"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				a, b, c := fake.NewDestination(j, "a"), fake.NewDestination(j, "b"), fake.NewDestination(j, "c")
				meet := fake.Meeting(2)
				a.OnWrite = func(context.Context, []opencdc.Record) error { meet(); panic(fake.ErrTest) }
				b.OnWrite = func(ctx context.Context, _ []opencdc.Record) error {
					meet()
					<-ctx.Done()
					j.Add("told b")
					return ctx.Err()
				}
				branch := fake.To(a)
				if where == "nested branch" {
					branch = fake.Fork(fake.Through("inner", fake.Each(fake.Pass)), branch, fake.To(c))
				}
				w := fake.NewWorker(t, fake.Fork(fake.From(fake.SourceOf(j, "1")), branch, fake.To(b)), nil)
				fake.WantNoError(t, w.Open(t.Context()))
				e := <-fake.Start(t.Context(), w)
				j.Add("panicked")
				e.WantPanic(t, fake.ErrTest)
				if p, ok := e.Panic.(*funnel.PanicError); ok && (!strings.Contains(p.Error(), fake.ErrTest.Error()) ||
					!strings.Contains(string(p.Stack), "TestFanOut_panic")) {
					t.Errorf("Do panicked with %v", p)
				}
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
		meet := fake.Meeting(2)
		a.OnWrite = func(context.Context, []opencdc.Record) error { meet(); panic(fake.ErrTest) }
		b.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { meet(); <-ctx.Done(); panic(other) }
		e := <-fake.Start(t.Context(), fake.NewWorker(t, fake.Fork(fake.From(fake.SourceOf(j, "1")), fake.To(a), fake.To(b)), nil))
		e.WantPanic(t, fake.ErrTest)
		fake.WantError(t, e.Panic.(error), other)
	})
}

// A panic with a nil pointer is like any other panic.
func TestFanOut_emptyPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		meet := fake.Meeting(2)
		w := fake.NewWorker(t, fake.Fork(fake.From(fake.SourceOf(j, "1")),
			fake.Custom("a", func(context.Context, *funnel.Batch) error { meet(); panic((*funnel.PanicError)(nil)) }),
			fake.Custom("b", func(context.Context, *funnel.Batch) error { meet(); return nil })), nil)
		e := <-fake.Start(t.Context(), w)
		if p, ok := e.Panic.(*funnel.PanicError); !ok || p == nil {
			t.Errorf("Do ended with %+v", e)
		}
		fake.WantNoError(t, w.Close(t.Context()))
		j.Want(t, "ack")
	})
}

// A Goexit on a branch, or on a branch of that branch, is a failure. The error names the
// task that had the batch. Before the fork, Goexit ends the goroutine of Do.
func TestFanOut_goexit(t *testing.T) {
	for _, where := range []string{"before", "a", "b", "c", "d", "out"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				meet := fake.Meeting(5)
				task := func(id string) *funnel.TaskNode {
					return fake.Custom(id, func(context.Context, *funnel.Batch) error {
						if id == "before" && where != "before" || id == "inner" {
							return nil
						}
						if where != "before" {
							meet()
						}
						if id == where {
							runtime.Goexit()
						}
						return nil
					})
				}
				out := fake.NewDestination(j, "out")
				out.OnWrite = func(context.Context, []opencdc.Record) error {
					meet()
					if where == "out" {
						runtime.Goexit()
					}
					return nil
				}
				w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1", "2")), fake.Fork(task("before"),
					task("a"),
					fake.Fork(task("inner"), task("c"), task("d")),
					task("b"),
					fake.Chain(fake.Through("p", fake.Each(fake.Pass)), fake.To(out)))), nil)
				if where == "before" {
					(<-fake.Start(t.Context(), w)).WantExit(t)
					fake.WantNoError(t, w.Close(t.Context()))
				} else {
					err := fake.RunWorker(t, w)
					fake.WantError(t, err, funnel.ErrGoexit, "Goexit", fmt.Sprintf("task %q: ", where))
					fake.WantTask(t, err, where)
				}
				j.Want(t, "ack")
			})
		})
	}
}

// If two branches fail, wherever they are, Do panics if one of them did. Otherwise it
// returns the error that came first.
func TestFanOut_twoEnds(t *testing.T) {
	const places = "abcd" // two below one branch, two below another one
	for first := range places {
		for second := range places {
			if first == second {
				continue
			}
			for _, how := range []string{"error error", "error panic", "error goexit", "panic error", "panic panic",
				"panic goexit", "goexit error", "goexit panic", "goexit goexit"} {
				synctest.Test(t, func(t *testing.T) {
					testTwoEnds(t, places[first:first+1], places[second:second+1], strings.Fields(how))
				})
			}
		}
	}
}

func testTwoEnds(t *testing.T, first, second string, how []string) {
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
				synctest.Wait() // until the first failure is known everywhere
				return end(id, how[1])
			default:
				return nil
			}
		})
	}
	fork := func(id string, next ...*funnel.TaskNode) *funnel.TaskNode {
		return fake.Fork(fake.Custom(id, fake.Nothing), next...)
	}
	w := fake.NewWorker(t, fake.Chain(
		fake.From(fake.SourceOf(&fake.Journal{}, "1", "2")),
		fake.Custom("count", func(context.Context, *funnel.Batch) error { batches++; return nil }),
		fork("fork", fork("left", leaf("a"), leaf("b")), fork("right", leaf("c"), leaf("d"))),
	), nil)
	e := <-fake.Start(t.Context(), w)
	fake.WantNoError(t, w.Close(t.Context()))
	switch name := fmt.Sprint(first, " ", how[0], ", then ", second, " ", how[1]); {
	case slices.Contains(how, "panic"):
		culprit := first
		if how[0] != "panic" {
			culprit = second
		}
		p, ok := e.Panic.(*funnel.PanicError)
		if !ok || p.Value.(error).Error() != fake.ErrOf(culprit).Error() {
			t.Errorf("%s: Do ended with %+v", name, e)
		}
	case e.Panic != nil || e.Err == nil:
		t.Errorf("%s: Do ended with %+v", name, e)
	case how[0] == "goexit":
		fake.WantError(t, e.Err, funnel.ErrGoexit, "Goexit")
	case !strings.HasPrefix(e.Err.Error(), fmt.Sprintf("task %q: %v", first, fake.ErrOf(first))):
		t.Errorf("%s: the error is %v", name, e.Err)
	}
}
