package funnel_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// With WithWholeBatches a batch stays whole: nacks neither divide it nor the calls that
// release it.
func TestWithWholeBatches_calls(t *testing.T) {
	for _, tt := range []struct {
		name   string
		batch  string
		tasks  []fake.Answers // one processor each
		refuse string         // positions that the destination nacks
		want   []string
	}{{
		name:  "no nacks",
		batch: "1 2 3",
		want:  []string{"out 1 2 3", "ack 1 2 3"},
	}, {
		name:  "a nack in the middle",
		batch: "1 2 3",
		tasks: []fake.Answers{{"2": fake.Fail}},
		want:  []string{"out 1 3", "dlq 2", "ack 1 2 3"},
	}, {
		name:  "nacks of several tasks",
		batch: "1 2 3 4 5",
		tasks: []fake.Answers{{"4": fake.Fail}, {"2": fake.Fail}},
		want:  []string{"out 1 3 5", "dlq 2 4", "ack 1 2 3 4 5"},
	}, {
		name:   "nacks of a processor and of the destination",
		batch:  "1 2 3 4",
		tasks:  []fake.Answers{{"1": fake.Fail}},
		refuse: "3",
		want:   []string{"out 2 3 4", "dlq 1 3", "ack 1 2 3 4"},
	}, {
		name:  "nacks only",
		batch: "1 2",
		tasks: []fake.Answers{{"1": fake.Fail, "2": fake.Fail}, {"1": fake.Fail}},
		want:  []string{"dlq 1 2", "ack 1 2"},
	}, {
		name:  "nacks and filtered records",
		batch: "1 2 3 4",
		tasks: []fake.Answers{{"1": fake.Filter, "2": fake.Fail}, {"3": fake.Filter, "4": fake.Fail}},
		want:  []string{"dlq 2 4", "ack 1 2 3 4"},
	}, {
		name:  "a nacked piece takes its siblings with it",
		batch: "1 2 3",
		tasks: []fake.Answers{{"2": fake.Split(3)}, {"2b": fake.Fail}},
		want:  []string{"out 1 3", "dlq 2", "ack 1 2 3"},
	}, {
		name:  "a nack beside a split",
		batch: "1 2 3",
		tasks: []fake.Answers{{"1": fake.Fail, "2": fake.Split(2), "3": fake.Fail}, {"2a": fake.Filter}},
		want:  []string{"out 2b", "dlq 1 3", "ack 1 2 3"},
	}, {
		name:   "a piece that the destination nacks",
		batch:  "1 2 3",
		tasks:  []fake.Answers{{"2": fake.Split(2)}},
		refuse: "2b",
		want:   []string{"out 1 2a 2b 3", "dlq 2", "ack 1 2 3"},
	}, {
		name:  "retries divide the batch, which is released at its end",
		batch: "1 2 3 4",
		tasks: []fake.Answers{{"1": fake.Fail, "2": fake.SecondTime(fake.Pass), "4": fake.SecondTime(fake.Fail)}},
		want:  []string{"out 2", "out 3", "dlq 1 4", "ack 1 2 3 4"},
	}, {
		name:  "a record behind pieces that is nacked when it is given again",
		batch: "1 2",
		tasks: []fake.Answers{{"1": fake.Split(3)}, {"2": fake.SecondTime(fake.Fail)}},
		want:  []string{"out 1a 1b 1c", "dlq 2", "ack 1 2"},
	}, {
		name:  "a piece that is nacked after its sibling was delivered",
		batch: "1 2",
		tasks: []fake.Answers{{"1": fake.Split(2)}, {"1a": fake.SecondTime(fake.Fail)}},
		want:  []string{"out 1b 2", "dlq 1", "ack 1 2"},
	}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				out := fake.NewDestination(j, "out")
				for _, p := range strings.Fields(tt.refuse) {
					out.Refuse[p] = fake.ErrOf(p)
				}
				nodes := []*funnel.TaskNode{fake.From(fake.SourceOf(j, tt.batch))}
				for i, task := range tt.tasks {
					nodes = append(nodes, fake.Through(fmt.Sprint("task", i), fake.ByPosition(task)))
				}
				fake.WantNoError(t, runWhole(t, fake.DLQ(j), append(nodes, fake.To(out))...))
				j.Want(t, "out dlq ack", tt.want...)
			})
		})
	}
}

// runWhole runs a pipeline whose batches stay whole to its end.
func runWhole(t *testing.T, dlq *funnel.DLQ, nodes ...*funnel.TaskNode) error {
	t.Helper()
	return fake.RunWorker(t, fake.NewWorker(t, fake.Chain(nodes...), dlq, funnel.WithWholeBatches()))
}

// A processor behind a custom task that has nacked gives no answer for the last record:
// it is given again.
func TestWithWholeBatches_noAnswerAfterNack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		nack := fake.Custom("nack", func(_ context.Context, b *funnel.Batch) error { b.Nack(0, fake.ErrTest); return nil })
		p := fake.ByPosition(fake.Answers{"2": fake.Fail, "3": fake.SecondTime(fake.Pass)})
		fake.WantNoError(t, runWhole(t, fake.DLQ(j), fake.From(fake.SourceOf(j, "1 2 3")), nack, fake.Through("p", p), fake.Out(j)))
		j.Want(t, "out dlq ack", "out 3", "dlq 1 2", "ack 1 2 3")
	})
}

// Any number of nacks costs one write to the queue and one ack.
func TestWithWholeBatches_anyNumberOfNacks(t *testing.T) {
	const records = 1_000
	for _, every := range []int{100, 10, 2, 1} {
		t.Run(fmt.Sprintf("1 of %d", every), func(t *testing.T) {
			fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
				j := &fake.Journal{}
				n := 0
				p := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
					if n++; n%every == 0 {
						return fake.Fail(rec)
					}
					return fake.Pass(rec)
				})
				source := fake.NewSource(j, fake.Read{Records: fake.Numbered(records)})
				w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.Through("p", p), fake.Out(j)), fake.DLQ(j),
					append(opts, funnel.WithWholeBatches())...)
				fake.WantNoError(t, fake.RunWorker(t, w))
				writes := 1
				if every == 1 {
					writes = 0
				}
				for word, want := range map[string]int{"out": writes, "dlq": 1, "ack": 1} {
					if got := len(j.Lines(word)); got != want {
						t.Errorf("%d calls of %s, want %d", got, word, want)
					}
				}
				if got := len(strings.Fields(j.Given("dlq"))); got != records/every {
					t.Errorf("%d dead letters, want %d", got, records/every)
				}
			})
		})
	}
}

// The dead letters name the task and the error of each record.
func TestWithWholeBatches_letters(t *testing.T) {
	j := &fake.Journal{}
	dead, out := fake.NewDestination(j, "dlq"), fake.NewDestination(j, "out")
	out.Refuse["3"] = fake.ErrOf("3")
	fake.WantNoError(t, runWhole(t, fake.Queue(dead), fake.From(fake.SourceOf(j, "1 2 3")),
		fake.Through("a", fake.ByPosition(fake.Answers{"2": fake.FailWith(fake.ErrOf("2"))})),
		fake.Custom("b", func(_ context.Context, b *funnel.Batch) error { b.Nack(0, fake.ErrOf("1")); return nil }),
		fake.To(out)))
	j.Want(t, "out dlq ack", "out 3", "dlq 1 2 3", "ack 1 2 3")
	for i, task := range []string{"b", "a", "out"} {
		fake.WantNack(t, dead.Written[i], task, fake.ErrOf(fmt.Sprint(i+1)).Error())
	}
}

// At a nack that the window refuses, everything before it is dead-lettered and acked, and
// nothing behind it is acked, though it was delivered.
func TestWithWholeBatches_refusedNack(t *testing.T) {
	for _, tt := range []struct {
		name            string
		size, threshold int
		want            []string
		wantErr         error
	}{
		{"no nack is tolerated", 10, 0, []string{"out 1 3 5", "ack 1"}, fake.ErrTest},
		{"one is tolerated", 10, 1, []string{"out 1 3 5", "dlq 2", "ack 1 2 3"}, funnel.ErrNackThreshold},
	} {
		j := &fake.Journal{}
		p := fake.ByPosition(fake.Answers{"2": fake.Fail, "4": fake.Fail})
		err := runWhole(t, fake.Window(fake.NewDestination(j, "dlq"), tt.size, tt.threshold),
			fake.From(fake.SourceOf(j, "1 2 3 4 5")), fake.Through("p", p), fake.Out(j))
		fake.WantError(t, err, tt.wantErr)
		fake.WantTask(t, err, "p")
		j.Want(t, "out dlq ack", tt.want...)
	}
}

// Without a queue, the first nack stops the worker; the records before it are acked.
func TestWithWholeBatches_noQueue(t *testing.T) {
	j := &fake.Journal{}
	p := fake.ByPosition(fake.Answers{"2": fake.Fail, "3": fake.Fail})
	err := runWhole(t, nil, fake.From(fake.SourceOf(j, "1 2 3 4")), fake.Through("p", p), fake.Out(j))
	fake.WantError(t, err, fake.ErrTest, `"2"`)
	fake.WantTask(t, err, "p")
	j.Want(t, "out ack", "out 1 4", "ack 1")
}

// If the queue confirms only some of the dead letters, everything before the first
// missing one is acked, and nothing else.
func TestWithWholeBatches_queueConfirmsInPart(t *testing.T) {
	j := &fake.Journal{}
	dead := fake.NewDestination(j, "dlq")
	dead.Refuse["4"] = fake.ErrOf("4")
	p := fake.ByPosition(fake.Answers{"2": fake.Fail, "4": fake.Fail, "6": fake.Fail})
	err := runWhole(t, fake.Queue(dead), fake.From(fake.SourceOf(j, "1 2 3 4 5 6")), fake.Through("p", p), fake.Out(j))
	fake.WantError(t, err, fake.ErrTest, `record "4"`)
	fake.WantFatal(t, err, true)
	j.Want(t, "out dlq ack", "out 1 3 5", "dlq 2 4 6", "ack 1 2 3")
}

// If the walk ends with an error, the finished records at the front are released, once.
func TestWithWholeBatches_error(t *testing.T) {
	fails := func(j *fake.Journal, at string) *funnel.TaskNode {
		out := fake.NewDestination(j, "out")
		out.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
			if string(recs[0].Position) == at {
				return fake.ErrOf(at)
			}
			return nil
		}
		return fake.To(out)
	}
	for _, tt := range []struct {
		name   string
		task   func() fake.Answers
		failAt string
		want   []string
	}{{
		name:   "nacks at the front",
		task:   func() fake.Answers { return fake.Answers{"1": fake.Fail, "2": fake.Fail, "4": fake.Fail} },
		failAt: "3",
		want:   []string{"out 3 5", "dlq 1 2", "ack 1 2"},
	}, {
		name:   "a part that was done",
		task:   func() fake.Answers { return fake.Answers{"2": fake.Fail, "3": fake.SecondTime(fake.Pass)} },
		failAt: "3",
		want:   []string{"out 1", "out 3", "dlq 2", "ack 1 2"},
	}, {
		name:   "nothing at the front",
		task:   func() fake.Answers { return fake.Answers{"2": fake.Fail} },
		failAt: "1",
		want:   []string{"out 1 3 4 5"},
	}} {
		t.Run(tt.name, func(t *testing.T) {
			fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
				j := &fake.Journal{}
				w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2 3 4 5")), fake.Through("p", fake.ByPosition(tt.task())),
					fails(j, tt.failAt)), fake.DLQ(j), append(opts, funnel.WithWholeBatches())...)
				fake.WantError(t, fake.RunWorker(t, w), fake.ErrTest, "failed to write")
				j.Want(t, "out dlq ack", tt.want...)
			})
		})
	}
}

// A record that is nacked on several branches goes to the queue once, and the other
// branch goes on without being divided.
func TestWithWholeBatches_branches(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
		a.Refuse["1"], b.Refuse["1"], b.Refuse["3"] = fake.ErrOf("a"), fake.ErrOf("b"), fake.ErrOf("3")
		first := fake.Fork(fake.From(fake.SourceOf(j, "1 2 3 4 5")),
			fake.Chain(fake.Through("p", fake.ByPosition(fake.Answers{"2": fake.Fail})), fake.To(a)), fake.To(b))
		w := fake.NewWorker(t, first, fake.DLQ(j), append(opts, funnel.WithWholeBatches())...)
		fake.WantNoError(t, fake.RunWorker(t, w))
		j.Want(t, "a", "a 1 3 4 5")
		j.Want(t, "b", "b 1 2 3 4 5")
		j.Want(t, "dlq ack", "dlq 1 2 3", "ack 1 2 3 4 5")
	})
}

// A nack that only says that the context has ended is no answer: nothing of its call is
// settled.
func TestWithWholeBatches_contextEnds(t *testing.T) {
	j := &fake.Journal{}
	ctx, cancel := context.WithCancel(t.Context())
	p := fake.Processor(func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		cancel()
		return fake.Each(fake.FailWith(ctx.Err()))(ctx, recs)
	})
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2")), fake.Through("p", p), fake.Out(j)), fake.DLQ(j), funnel.WithWholeBatches())
	fake.WantNoError(t, w.Open(t.Context()))
	fake.WantError(t, w.Do(ctx), context.Canceled)
	fake.WantNoError(t, w.Close(t.Context()))
	j.Want(t, "out dlq ack")
}

// A task that wraps a ProcessorTask sees its nacks, and may take them back.
func TestWithWholeBatches_wrappedProcessor(t *testing.T) {
	j := &fake.Journal{}
	inner := funnel.NewProcessorTask("inner", fake.ByPosition(fake.Answers{"1": fake.Fail, "2": fake.Fail}), log.Nop(), nil)
	wrapper := fake.Custom("wrapper", func(ctx context.Context, b *funnel.Batch) error {
		if err := inner.Do(ctx, b); err != nil {
			return err
		}
		if got := b.Status(1).Flag; got != funnel.RecordFlagNack {
			t.Errorf("the status is %v", got)
		}
		b.Ack(1)
		return nil
	})
	fake.WantNoError(t, runWhole(t, fake.DLQ(j), fake.From(fake.SourceOf(j, "1 2 3")), wrapper, fake.Out(j)))
	j.Want(t, "out dlq ack", "out 2 3", "dlq 1", "ack 1 2 3")
}
