package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
)

// The calls of the connectors come in this order: what goes where, in which sub-batches,
// and when it is acked.
func TestWalk_calls(t *testing.T) {
	for _, tt := range []struct {
		name    string
		batches []string
		tasks   []fake.Answers // one processor each
		refuse  string         // positions that the destination nacks
		want    []string
	}{{
		name:    "batches stay whole",
		batches: []string{"1 2 3", "4"},
		want:    []string{"out 1 2 3", "ack 1 2 3", "out 4", "ack 4"},
	}, {
		name:    "an empty read is harmless",
		batches: []string{"", "1", ""},
		want:    []string{"out 1", "ack 1"},
	}, {
		name:    "filtered records are acked with their batch",
		batches: []string{"1 2 3"},
		tasks:   []fake.Answers{{"1": fake.Filter, "3": fake.Filter}},
		want:    []string{"out 2", "ack 1 2 3"},
	}, {
		name:    "a filtered batch is written nowhere",
		batches: []string{"1 2"},
		tasks:   []fake.Answers{{"1": fake.Filter, "2": fake.Filter}, {"1": fake.Fail}},
		want:    []string{"ack 1 2"},
	}, {
		name:    "a nack splits the batch",
		batches: []string{"1 2 3 4 5"},
		tasks:   []fake.Answers{{"2": fake.Fail}},
		want:    []string{"out 1", "ack 1", "dlq 2", "ack 2", "out 3 4 5", "ack 3 4 5"},
	}, {
		name:    "nacks side by side go to the queue together",
		batches: []string{"1 2 3"},
		tasks:   []fake.Answers{{"1": fake.Fail, "2": fake.Fail}},
		want:    []string{"dlq 1 2", "ack 1 2", "out 3", "ack 3"},
	}, {
		name:    "filtered records do not separate acked ones",
		batches: []string{"1 2 3 4"},
		tasks:   []fake.Answers{{"2": fake.Filter}, {"4": fake.Fail}},
		want:    []string{"out 1 3", "ack 1 2 3", "dlq 4", "ack 4"},
	}, {
		name:    "a filtered record goes on with those behind a nack",
		batches: []string{"1 2 3"},
		tasks:   []fake.Answers{{"1": fake.Fail, "2": fake.Filter}},
		want:    []string{"dlq 1", "ack 1", "out 3", "ack 2 3"},
	}, {
		name:    "a nack in the destination",
		batches: []string{"1 2 3"},
		refuse:  "2",
		want:    []string{"out 1 2 3", "ack 1", "dlq 2", "ack 2", "ack 3"},
	}, {
		name:    "pieces are acked when the last one is done",
		batches: []string{"1 2"},
		tasks:   []fake.Answers{{"1": fake.Split(3)}},
		want:    []string{"out 1a 1b 1c 2", "ack 1 2"},
	}, {
		name:    "a MultiRecord of one replaces, an empty one filters",
		batches: []string{"1 2 3"},
		tasks: []fake.Answers{{
			"1": fake.Split(0), "2": fake.Split(1),
			"3": func(rec opencdc.Record) sdk.ProcessedRecord { return sdk.MultiRecord(nil) },
		}},
		want: []string{"out 2a", "ack 1 2 3"},
	}, {
		name:    "a nacked piece takes its siblings with it, and the original goes to the queue",
		batches: []string{"1 2 3"},
		tasks:   []fake.Answers{{"2": fake.Split(3)}, {"2b": fake.Fail}},
		want:    []string{"out 1", "ack 1", "dlq 2", "ack 2", "out 3", "ack 3"},
	}, {
		name:    "siblings that were filtered stay so, and those to be retried are nacked",
		batches: []string{"1"},
		tasks:   []fake.Answers{{"1": fake.Split(4)}, {"1a": fake.Filter, "1b": fake.SecondTime(fake.Pass), "1c": fake.Fail}},
		want:    []string{"dlq 1", "ack 1"},
	}, {
		name:    "a filtered piece of a record that is nacked",
		batches: []string{"1"},
		tasks:   []fake.Answers{{"1": fake.Split(2)}, {"1a": fake.Filter}, {"1b": fake.Fail}},
		want:    []string{"dlq 1", "ack 1"},
	}, {
		name:    "pieces in other sub-batches go on",
		batches: []string{"1 2"},
		tasks:   []fake.Answers{{"1": fake.Split(2)}, {"1a": fake.SecondTime(fake.Fail)}},
		want:    []string{"out 1b 2", "dlq 1", "ack 1", "ack 2"},
	}, {
		name:    "pieces of pieces: what goes to the queue is the first original",
		batches: []string{"1"},
		tasks:   []fake.Answers{{"1": fake.Split(2)}, {"1b": fake.Split(2)}, {"1bb": fake.Fail}},
		want:    []string{"dlq 1", "ack 1"},
	}, {
		name:    "a retried record keeps its place",
		batches: []string{"1 2 3"},
		tasks:   []fake.Answers{{"2": fake.SecondTime(fake.Pass)}},
		want:    []string{"out 1", "ack 1", "out 2", "ack 2", "out 3", "ack 3"},
	}, {
		name:    "nothing behind the last task separates batches of different outcome",
		batches: []string{"1 2 3 4"},
		tasks:   []fake.Answers{{"1": fake.Filter, "2": fake.Fail, "3": fake.Split(2), "4": fake.SecondTime(fake.Fail)}},
		want:    []string{"ack 1", "dlq 2", "ack 2", "out 3a 3b", "ack 3", "dlq 4", "ack 4"},
	}, {
		name:    "a filtered record between records to be retried separates them",
		batches: []string{"1 2 3"},
		tasks:   []fake.Answers{{"2": fake.Filter}, {"1": fake.SecondTime(fake.Pass), "3": fake.SecondTime(fake.Pass)}},
		want:    []string{"out 1", "ack 1", "ack 2", "out 3", "ack 3"},
	}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				out := fake.NewDestination(j, "out")
				for _, p := range strings.Fields(tt.refuse) {
					out.Refuse[p] = fake.ErrOf(p)
				}
				nodes := []*funnel.TaskNode{fake.From(fake.SourceOf(j, tt.batches...))}
				for i, task := range tt.tasks {
					nodes = append(nodes, fake.Through(fmt.Sprint("task", i), fake.ByPosition(task)))
				}
				fake.WantNoError(t, fake.Run(t, fake.DLQ(j), append(nodes, fake.To(out))...))
				j.Want(t, "out ack dlq", tt.want...)
			})
		})
	}
}

// If a custom task marks records to be retried, it gets them again, unmarked.
func TestWalk_customRetry(t *testing.T) {
	j := &fake.Journal{}
	rounds := 0
	retry := fake.Custom("retry", func(_ context.Context, b *funnel.Batch) error {
		j.AddRecords("task", b.ActiveRecords())
		if rounds++; rounds == 1 {
			b.Retry(1, 3)
			b.Ack(2)
			b.Retry(3)
		}
		return nil
	})
	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3 4")), retry, fake.Out(j)))
	j.Want(t, "task out", "task 1 2 3 4", "out 1", "task 2", "out 2", "out 3", "task 4", "out 4")
}

// Once its task has passed it on, a retried record is like any other: the next task gets
// it once.
func TestWalk_retriedOnce(t *testing.T) {
	j := &fake.Journal{}
	first := fake.ByPosition(fake.Answers{"1": fake.SecondTime(fake.Pass), "2": fake.SecondTime(fake.Pass)})
	second := fake.Processor(func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		j.AddRecords("process", recs)
		return fake.ByPosition(fake.Answers{"1": fake.Fail})(ctx, recs)
	})
	fake.WantNoError(t, fake.Run(t, fake.DLQ(j), fake.From(fake.SourceOf(j, "1 2 3")),
		fake.Through("first", first), fake.Through("second", second), fake.Out(j)))
	j.Want(t, "", "open source", "open out", "open dlq",
		"process 1 2", "dlq 1", "ack 1", "out 2", "ack 2",
		"process 3", "out 3", "ack 3",
		"teardown source", "teardown dlq", "teardown out")
}

// A task that replaces its batch with another one has lost the records of the first.
func TestWalk_lostRecords(t *testing.T) {
	j := &fake.Journal{}
	loses := fake.Custom("loses", func(_ context.Context, b *funnel.Batch) error {
		*b = *funnel.NewBatch(b.ActiveRecords()[:1])
		return nil
	})
	err := fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2")), loses, fake.Out(j))
	fake.WantError(t, err, nil, "2 of 2 records")
}

// So has a task that replaces its batch with a zero Batch. The error names the task.
func TestWalk_batchReplaced(t *testing.T) {
	for branches := 1; branches <= 2; branches++ {
		t.Run(fmt.Sprint("branches ", branches), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				first, meet := fake.From(fake.SourceOf(j, "1")), fake.Meeting(branches)
				for i := range branches {
					fake.Fork(first, fake.Custom(fmt.Sprint("task", i), func(_ context.Context, b *funnel.Batch) error {
						meet()
						*b = funnel.Batch{}
						return nil
					}))
				}
				fake.WantError(t, fake.RunWorker(t, fake.NewWorker(t, first, nil)), nil, `task "task`, "put another batch")
				j.Want(t, "ack")
			})
		})
	}
}

// If a task settles its batch and then restores the batch from before that, its records
// would be settled twice, which is an error.
func TestWalk_settledTwice(t *testing.T) {
	j := &fake.Journal{}
	var w *funnel.Worker
	task := fake.Custom("task", func(ctx context.Context, b *funnel.Batch) error {
		kept := *b
		if err := w.Ack(ctx, b); err != nil {
			return err
		}
		*b = kept
		return nil
	})
	w = fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2")), task, fake.Out(j)), nil)
	fake.WantError(t, w.Do(t.Context()), funnel.ErrLostRecords)
	j.Want(t, "ack", "ack 1 2")
}

// If a context has ended, a nack that only says so is no answer, whichever task gives it:
// nothing of that call is settled.
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
				t.Run(fmt.Sprintf("%s, %s, branch %t", what, kind, isBranch), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						j := &fake.Journal{}
						ctx, cancel := context.WithCancelCause(t.Context())
						middle := fake.Chain(task(err, func() { cancel(cause) }), fake.Out(j))
						first := fake.From(fake.SourceOf(j, "1 2 3 4"))
						if isBranch {
							fake.Beside(first, middle)
						} else {
							fake.Chain(first, middle)
						}
						got := fake.NewWorker(t, first, fake.DLQ(j)).Do(ctx)
						fake.WantError(t, got, context.Canceled)
						fake.WantError(t, got, cause)
						j.Want(t, "out dlq ack")
					})
				})
			}
		}
	}
}

// Until the context has ended, any nack counts. After that, nacks with another error
// still count, and so do calls of Worker.Nack by the host.
func TestWalk_nacksOfALivingContext(t *testing.T) {
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
		err := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), p, fake.Out(j)), fake.DLQ(j)).Do(ctx)
		if isOther {
			fake.WantError(t, err, context.Canceled)
		} else {
			fake.WantNoError(t, err)
		}
		j.Want(t, "dlq ack", "dlq 1", "ack 1")
	}
	j := &fake.Journal{}
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j)), fake.Out(j)), fake.DLQ(j))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := funnel.NewBatch(fake.Records("1"))
	b.Nack(0, context.Canceled)
	fake.WantNoError(t, w.Nack(ctx, b, "task"))
	j.Want(t, "dlq ack", "dlq 1", "ack 1")
}

// A nack of a custom first task is no answer either if it only says that the context has
// ended.
func TestWalk_nacksOfAFirstTask(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		ctx, cancel := context.WithCancel(t.Context())
		first := fake.FromThen(fake.SourceOf(j, "1"), func(ctx context.Context, b *funnel.Batch) error {
			cancel()
			<-ctx.Done()
			b.Nack(0, ctx.Err())
			return nil
		})
		w := fake.NewWorker(t, fake.Chain(first, fake.Out(j)), fake.DLQ(j), opts...)
		fake.WantError(t, w.Do(ctx), context.Canceled)
		j.Want(t, "out dlq ack")
	})
}

// If a branch has failed, nacks on the other branches are no answer, whatever their
// errors.
func TestWalk_nacksBesideAFailure(t *testing.T) {
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
		first := fake.Fork(fake.From(fake.SourceOf(j, "1 2")), fails, nacks)
		fake.WantError(t, fake.RunWorker(t, fake.NewWorker(t, first, fake.DLQ(j))), fake.ErrTest)
		j.Want(t, "dlq ack")
	})
}
