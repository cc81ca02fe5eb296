package funnel_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// TestWalk_calls checks every call that reaches the connectors, in order: what
// goes where, in which sub-batches, and when it is acked.
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
				fake.WantNoError(t, fake.Run(t, fake.Queue(fake.NewDestination(j, "dlq")), append(nodes, fake.To(out))...))
				j.Want(t, "out ack dlq", tt.want...)
			})
		})
	}
}

// A processor that answers for a few of the records at a time is given the
// others, and only they, until it is through.
func TestWalk_shortResults(t *testing.T) {
	j := &fake.Journal{}
	limited := fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		j.AddRecords("process", recs)
		return fake.Each(fake.Pass)(nil, recs[:min(2, len(recs))])
	})
	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3 4 5")), fake.Through("limited", limited), fake.To(fake.NewDestination(j, "out"))))
	j.Want(t, "process out ack",
		"process 1 2 3 4 5", "out 1 2", "ack 1 2",
		"process 3 4 5", "out 3 4", "ack 3 4",
		"process 5", "out 5", "ack 5")
}

// A processor that answers for one record per call is called as often as there
// are records, which must neither grow the stack nor cost more per round.
func TestWalk_manyRounds(t *testing.T) {
	const n = 200_000
	j := &fake.Journal{}
	source := fake.NewSource(j)
	recs := make([]opencdc.Record, n)
	for i := range recs {
		recs[i] = opencdc.Record{Position: opencdc.Position("p")}
	}
	source.Reads = []fake.Read{{Records: recs}}
	calls := 0
	depth := 0
	one := fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		calls++
		if calls == 10 {
			depth = stackDepth()
		} else if calls == 100 && stackDepth() != depth {
			t.Errorf("the stack has %d frames in call 10 and %d in call 100", depth, stackDepth())
		}
		if len(recs) != n-calls+1 {
			t.Fatalf("call %d got %d records", calls, len(recs))
		}
		return []sdk.ProcessedRecord{sdk.FilterRecord{}}
	})
	fake.WantNoError(t, fake.Run(t, nil, fake.From(source), fake.Through("one", one), fake.To(fake.NewDestination(j, "out"))))
	if calls != n {
		t.Errorf("%d calls, want %d", calls, n)
	}
}

func stackDepth() int {
	return runtime.Callers(0, make([]uintptr, 10_000))
}

// A task that never answers is asked sixteen times, with growing pauses, and then
// stops the worker. What came before is done.
func TestWalk_noAnswer(t *testing.T) {
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
		err := fake.Run(t, fake.Queue(fake.NewDestination(j, "dlq")), fake.From(fake.SourceOf(j, "1 2 3")), fake.Through("stuck", stuck), fake.To(fake.NewDestination(j, "out")))
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

// Progress starts the count of rounds without an answer anew.
func TestWalk_progressResetsTheCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		calls := 0
		slow := fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			if calls++; calls%5 != 0 {
				return make([]sdk.ProcessedRecord, 1)
			}
			return []sdk.ProcessedRecord{sdk.SingleRecord(recs[0])}
		})
		fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3")), fake.Through("slow", slow), fake.To(fake.NewDestination(j, "out"))))
		j.Want(t, "ack", "ack 1", "ack 2", "ack 3")
		if calls != 15 {
			t.Errorf("%d calls, want 15", calls)
		}
	})
}

// The pause before another attempt ends with the context.
func TestWalk_contextEndsThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		j := &fake.Journal{}
		stuck := fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			cancel()
			return make([]sdk.ProcessedRecord, len(recs))
		})
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.Through("stuck", stuck), fake.To(fake.NewDestination(j, "out"))), nil)
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

// A custom task may mark records to be retried. Given again they are unmarked.
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
	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3 4")), retry, fake.To(fake.NewDestination(j, "out"))))
	j.Want(t, "task out", "task 1 2 3 4", "out 1", "task 2", "out 2", "out 3", "task 4", "out 4")
}

// A record that was retried is like any other behind the task: the next one does
// not see it again.
func TestWalk_retriedOnce(t *testing.T) {
	j := &fake.Journal{}
	first := fake.ByPosition(fake.Answers{"1": fake.SecondTime(fake.Pass), "2": fake.SecondTime(fake.Pass)})
	second := fake.Processor(func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		j.AddRecords("process", recs)
		return fake.ByPosition(fake.Answers{"1": fake.Fail})(ctx, recs)
	})
	fake.WantNoError(t, fake.Run(t, fake.Queue(fake.NewDestination(j, "dlq")), fake.From(fake.SourceOf(j, "1 2 3")),
		fake.Through("first", first), fake.Through("second", second), fake.To(fake.NewDestination(j, "out"))))
	j.Want(t, "", "open source", "open out", "open dlq",
		"process 1 2", "dlq 1", "ack 1", "out 2", "ack 2",
		"process 3", "out 3", "ack 3",
		"teardown source", "teardown dlq", "teardown out")
}

// A custom task that retries the tail of its batch, round after round.
func TestWalk_customRetryOfTheTail(t *testing.T) {
	const n = 100_000
	j := &fake.Journal{}
	recs := make([]opencdc.Record, n)
	for i := range recs {
		recs[i].Position = opencdc.Position("p")
	}
	calls := 0
	tail := fake.Custom("tail", func(_ context.Context, b *funnel.Batch) error {
		left := len(b.ActiveRecords())
		if calls++; calls%2 == 0 {
			b.Nack(0, fake.ErrTest)
		}
		if left > 1 {
			b.Retry(1, left)
		}
		if calls%2 == 1 {
			b.Filter(0)
		}
		return nil
	})
	dead := fake.NewDestination(j, "dlq")
	dead.OnWrite = func(context.Context, []opencdc.Record) error { dead.Written = nil; return nil }
	fake.WantNoError(t, fake.Run(t, fake.Queue(dead), fake.From(fake.NewSource(j, fake.Read{Records: recs})), tail, fake.To(fake.NewDestination(j, "out"))))
	if calls != n {
		t.Errorf("%d calls, want %d", calls, n)
	}
}

// A task may go through the records that it has got once from either end, and
// split, filter and mark on the way.
func TestWalk_customTaskReadsWhileItEdits(t *testing.T) {
	edit := func(b *funnel.Batch, i int, rec opencdc.Record) (n int) {
		switch rec.Position[0] {
		case '1', '4':
			b.SplitRecord(i, fake.Pieces(rec, 3))
			return 3
		case '2':
			b.Filter(i)
			return 0
		case '5':
			b.Nack(i, fake.ErrOf("5"))
		}
		return 1
	}
	for name, task := range map[string]func(b *funnel.Batch){
		"backward": func(b *funnel.Batch) {
			recs := b.ActiveRecords()
			for i := len(recs) - 1; i >= 0; i-- {
				edit(b, i, recs[i])
			}
		},
		"forward": func(b *funnel.Batch) {
			at := 0
			for _, rec := range b.ActiveRecords() {
				at += edit(b, at, rec)
			}
		},
		"looking again each time": func(b *funnel.Batch) {
			for at := 0; at < len(b.ActiveRecords()); {
				at += edit(b, at, b.ActiveRecords()[at])
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			j := &fake.Journal{}
			custom := fake.Custom("custom", func(_ context.Context, b *funnel.Batch) error { task(b); return nil })
			fake.WantNoError(t, fake.Run(t, fake.Queue(fake.NewDestination(j, "dlq")), fake.From(fake.SourceOf(j, "1 2 3 4 5 6 7")), custom, fake.To(fake.NewDestination(j, "out"))))
			j.Want(t, "out dlq ack", "out 1a 1b 1c 3 4a 4b 4c", "ack 1 2 3 4", "dlq 5", "ack 5", "out 6 7", "ack 6 7")
		})
	}
}

// What a task puts into the ledger's way is noticed.
func TestWalk_lostRecords(t *testing.T) {
	j := &fake.Journal{}
	loses := fake.Custom("loses", func(_ context.Context, b *funnel.Batch) error {
		*b = *funnel.NewBatch(b.ActiveRecords()[:1])
		return nil
	})
	err := fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2")), loses, fake.To(fake.NewDestination(j, "out")))
	fake.WantError(t, err, nil, "2 of 2 records")
}

// What stops the worker leaves the records unacked that are not done.
func TestWalk_errors(t *testing.T) {
	for _, tt := range []struct {
		name  string
		task  fake.Processor
		words []string
	}{
		{"no results", func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { return nil }, []string{"no result", "3 records"}},
		{"an empty slice", func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { return []sdk.ProcessedRecord{} }, []string{"no result"}},
		{"too many results", func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { return make([]sdk.ProcessedRecord, 4) }, []string{"3 records", "4"}},
		{"a pointer", fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
			if string(rec.Position) == "2" {
				return &sdk.FilterRecord{}
			}
			return sdk.SingleRecord(rec)
		}), []string{"*sdk.FilterRecord", `"2"`}},
		{"a nil pointer", fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord { return (*sdk.SingleRecord)(nil) }), []string{"*sdk.SingleRecord"}},
		{"a kind of somebody else", fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord { return struct{ sdk.FilterRecord }{} }), []string{"struct"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := &fake.Journal{}
			err := fake.Run(t, fake.Queue(fake.NewDestination(j, "dlq")), fake.From(fake.SourceOf(j, "1 2 3")), fake.Through("bad", tt.task), fake.To(fake.NewDestination(j, "out")))
			fake.WantError(t, err, nil, append(tt.words, `"bad"`)...)
			j.Want(t, "out ack dlq")
		})
	}
}
