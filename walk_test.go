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
)

// byPosition returns a processor that looks up what it does with a record by
// the record's position. It returns other records as they are.
func byPosition(do map[string]func(opencdc.Record) sdk.ProcessedRecord) fakeProcessor {
	return each(func(rec opencdc.Record) sdk.ProcessedRecord {
		if f, ok := do[string(rec.Position)]; ok {
			return f(rec)
		}
		return sdk.SingleRecord(rec)
	})
}

func filter(opencdc.Record) sdk.ProcessedRecord { return sdk.FilterRecord{} }

func fail(rec opencdc.Record) sdk.ProcessedRecord {
	return sdk.ErrorRecord{Error: errFor(string(rec.Position))}
}

func split(n int) func(opencdc.Record) sdk.ProcessedRecord {
	return func(rec opencdc.Record) sdk.ProcessedRecord { return splitInto(rec, n) }
}

// once returns a function that gives no answer the first time that it is asked
// for a record, and then does what f does.
func once(f func(opencdc.Record) sdk.ProcessedRecord) func(opencdc.Record) sdk.ProcessedRecord {
	asked := false
	return func(rec opencdc.Record) sdk.ProcessedRecord {
		if !asked {
			asked = true
			return nil
		}
		return f(rec)
	}
}

func single(rec opencdc.Record) sdk.ProcessedRecord { return sdk.SingleRecord(rec) }

type does = map[string]func(opencdc.Record) sdk.ProcessedRecord

// TestWalk_calls checks every call that reaches the connectors, in order: what
// goes where, in which sub-batches, and when it is acked.
func TestWalk_calls(t *testing.T) {
	for _, tt := range []struct {
		name    string
		batches []string
		tasks   []does // one processor each
		refuse  string // positions that the destination nacks
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
		tasks:   []does{{"1": filter, "3": filter}},
		want:    []string{"out 2", "ack 1 2 3"},
	}, {
		name:    "a filtered batch is written nowhere",
		batches: []string{"1 2"},
		tasks:   []does{{"1": filter, "2": filter}, {"1": fail}},
		want:    []string{"ack 1 2"},
	}, {
		name:    "a nack splits the batch",
		batches: []string{"1 2 3 4 5"},
		tasks:   []does{{"2": fail}},
		want:    []string{"out 1", "ack 1", "dlq 2", "ack 2", "out 3 4 5", "ack 3 4 5"},
	}, {
		name:    "nacks side by side go to the queue together",
		batches: []string{"1 2 3"},
		tasks:   []does{{"1": fail, "2": fail}},
		want:    []string{"dlq 1 2", "ack 1 2", "out 3", "ack 3"},
	}, {
		name:    "filtered records do not separate acked ones",
		batches: []string{"1 2 3 4"},
		tasks:   []does{{"2": filter}, {"4": fail}},
		want:    []string{"out 1 3", "ack 1 2 3", "dlq 4", "ack 4"},
	}, {
		name:    "a filtered record goes on with those behind a nack",
		batches: []string{"1 2 3"},
		tasks:   []does{{"1": fail, "2": filter}},
		want:    []string{"dlq 1", "ack 1", "out 3", "ack 2 3"},
	}, {
		name:    "a nack in the destination",
		batches: []string{"1 2 3"},
		refuse:  "2",
		want:    []string{"out 1 2 3", "ack 1", "dlq 2", "ack 2", "ack 3"},
	}, {
		name:    "pieces are acked when the last one is done",
		batches: []string{"1 2"},
		tasks:   []does{{"1": split(3)}},
		want:    []string{"out 1a 1b 1c 2", "ack 1 2"},
	}, {
		name:    "a MultiRecord of one replaces, an empty one filters",
		batches: []string{"1 2 3"},
		tasks: []does{{
			"1": split(0), "2": split(1),
			"3": func(rec opencdc.Record) sdk.ProcessedRecord { return sdk.MultiRecord(nil) },
		}},
		want: []string{"out 2a", "ack 1 2 3"},
	}, {
		name:    "a nacked piece takes its siblings with it, and the original goes to the queue",
		batches: []string{"1 2 3"},
		tasks:   []does{{"2": split(3)}, {"2b": fail}},
		want:    []string{"out 1", "ack 1", "dlq 2", "ack 2", "out 3", "ack 3"},
	}, {
		name:    "siblings that were filtered stay so, and those to be retried are nacked",
		batches: []string{"1"},
		tasks:   []does{{"1": split(4)}, {"1a": filter, "1b": once(single), "1c": fail}},
		want:    []string{"dlq 1", "ack 1"},
	}, {
		name:    "a filtered piece of a record that is nacked",
		batches: []string{"1"},
		tasks:   []does{{"1": split(2)}, {"1a": filter}, {"1b": fail}},
		want:    []string{"dlq 1", "ack 1"},
	}, {
		name:    "pieces in other sub-batches go on",
		batches: []string{"1 2"},
		tasks:   []does{{"1": split(2)}, {"1a": once(fail)}},
		want:    []string{"out 1b 2", "dlq 1", "ack 1", "ack 2"},
	}, {
		name:    "pieces of pieces: what goes to the queue is the first original",
		batches: []string{"1"},
		tasks:   []does{{"1": split(2)}, {"1b": split(2)}, {"1bb": fail}},
		want:    []string{"dlq 1", "ack 1"},
	}, {
		name:    "a retried record keeps its place",
		batches: []string{"1 2 3"},
		tasks:   []does{{"2": once(single)}},
		want:    []string{"out 1", "ack 1", "out 2", "ack 2", "out 3", "ack 3"},
	}, {
		name:    "nothing behind the last task separates batches of different outcome",
		batches: []string{"1 2 3 4"},
		tasks:   []does{{"1": filter, "2": fail, "3": split(2), "4": once(fail)}},
		want:    []string{"ack 1", "dlq 2", "ack 2", "out 3a 3b", "ack 3", "dlq 4", "ack 4"},
	}, {
		name:    "a filtered record between records to be retried separates them",
		batches: []string{"1 2 3"},
		tasks:   []does{{"2": filter}, {"1": once(single), "3": once(single)}},
		want:    []string{"out 1", "ack 1", "ack 2", "out 3", "ack 3"},
	}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &journal{}
				out := newDestination(j, "out")
				for _, p := range strings.Fields(tt.refuse) {
					out.refuse[p] = errFor(p)
				}
				nodes := []*funnel.TaskNode{from(batchesOf(j, tt.batches...))}
				for i, task := range tt.tasks {
					nodes = append(nodes, through(fmt.Sprint("task", i), byPosition(task)))
				}
				wantNoError(t, run(t, queue(newDestination(j, "dlq")), append(nodes, to(out))...))
				j.want(t, []string{"out", "ack", "dlq"}, tt.want...)
			})
		})
	}
}

// A processor that answers for a few of the records at a time is given the
// others, and only they, until it is through.
func TestWalk_shortResults(t *testing.T) {
	j := &journal{}
	limited := fakeProcessor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		j.add(append([]string{"process"}, positionsOf(recs)...)...)
		return each(single)(nil, recs[:min(2, len(recs))])
	})
	wantNoError(t, run(t, nil, from(batchesOf(j, "1 2 3 4 5")), through("limited", limited), to(newDestination(j, "out"))))
	j.want(t, []string{"process", "out", "ack"},
		"process 1 2 3 4 5", "out 1 2", "ack 1 2",
		"process 3 4 5", "out 3 4", "ack 3 4",
		"process 5", "out 5", "ack 5")
}

// A processor that answers for one record per call is called as often as there
// are records, which must neither grow the stack nor cost more per round.
func TestWalk_manyRounds(t *testing.T) {
	const n = 200_000
	j := &journal{}
	source := newSource(j)
	recs := make([]opencdc.Record, n)
	for i := range recs {
		recs[i] = opencdc.Record{Position: opencdc.Position("p")}
	}
	source.reads = []fakeRead{{recs: recs}}
	calls := 0
	depth := 0
	one := fakeProcessor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
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
	wantNoError(t, run(t, nil, from(source), through("one", one), to(newDestination(j, "out"))))
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
		j := &journal{}
		var asked []time.Time
		stuck := fakeProcessor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			results := make([]sdk.ProcessedRecord, len(recs))
			if string(recs[0].Position) == "1" {
				results[0] = sdk.SingleRecord(recs[0])
				return results
			}
			asked = append(asked, time.Now())
			return results
		})
		err := run(t, queue(newDestination(j, "dlq")), from(batchesOf(j, "1 2 3")), through("stuck", stuck), to(newDestination(j, "out")))
		wantError(t, err, nil, `"stuck"`, `"2"`)
		if !funnel.IsFatalError(err) {
			t.Errorf("error is not fatal: %v", err)
		}
		j.want(t, []string{"out", "ack", "dlq"}, "out 1", "ack 1")
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
		j := &journal{}
		calls := 0
		slow := fakeProcessor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			if calls++; calls%5 != 0 {
				return make([]sdk.ProcessedRecord, 1)
			}
			return []sdk.ProcessedRecord{sdk.SingleRecord(recs[0])}
		})
		wantNoError(t, run(t, nil, from(batchesOf(j, "1 2 3")), through("slow", slow), to(newDestination(j, "out"))))
		j.want(t, []string{"ack"}, "ack 1", "ack 2", "ack 3")
		if calls != 15 {
			t.Errorf("%d calls, want 15", calls)
		}
	})
}

// The pause before another attempt ends with the context.
func TestWalk_contextEndsThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		j := &journal{}
		stuck := fakeProcessor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			cancel()
			return make([]sdk.ProcessedRecord, len(recs))
		})
		w := newWorker(t, chain(from(batchesOf(j, "1")), through("stuck", stuck), to(newDestination(j, "out"))), nil)
		start := time.Now()
		if err := w.Do(ctx); err != context.Canceled {
			t.Errorf("Do: %v", err)
		}
		if passed := time.Since(start); passed != 0 {
			t.Errorf("Do waited %v", passed)
		}
		j.want(t, []string{"ack", "out"})
	})
}

// A custom task may mark records to be retried. Given again they are unmarked.
func TestWalk_customRetry(t *testing.T) {
	j := &journal{}
	rounds := 0
	retry := custom("retry", func(_ context.Context, b *funnel.Batch) error {
		j.add(append([]string{"task"}, positionsOf(b.ActiveRecords())...)...)
		if rounds++; rounds == 1 {
			b.Retry(1, 3)
			b.Ack(2)
			b.Retry(3)
		}
		return nil
	})
	wantNoError(t, run(t, nil, from(batchesOf(j, "1 2 3 4")), retry, to(newDestination(j, "out"))))
	j.want(t, []string{"task", "out"}, "task 1 2 3 4", "out 1", "task 2", "out 2", "out 3", "task 4", "out 4")
}

// A record that was retried is like any other behind the task: the next one does
// not see it again.
func TestWalk_retriedOnce(t *testing.T) {
	j := &journal{}
	first := byPosition(does{"1": once(single), "2": once(single)})
	second := fakeProcessor(func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		j.add(append([]string{"process"}, positionsOf(recs)...)...)
		return byPosition(does{"1": fail})(ctx, recs)
	})
	wantNoError(t, run(t, queue(newDestination(j, "dlq")), from(batchesOf(j, "1 2 3")),
		through("first", first), through("second", second), to(newDestination(j, "out"))))
	j.want(t, nil, "open source", "open out", "open dlq",
		"process 1 2", "dlq 1", "ack 1", "out 2", "ack 2",
		"process 3", "out 3", "ack 3",
		"teardown source", "teardown dlq", "teardown out")
}

// A custom task that retries the tail of its batch, round after round.
func TestWalk_customRetryOfTheTail(t *testing.T) {
	const n = 100_000
	j := &journal{}
	recs := make([]opencdc.Record, n)
	for i := range recs {
		recs[i].Position = opencdc.Position("p")
	}
	calls := 0
	tail := custom("tail", func(_ context.Context, b *funnel.Batch) error {
		left := len(b.ActiveRecords())
		if calls++; calls%2 == 0 {
			b.Nack(0, errTest)
		}
		if left > 1 {
			b.Retry(1, left)
		}
		if calls%2 == 1 {
			b.Filter(0)
		}
		return nil
	})
	dead := newDestination(j, "dlq")
	dead.write = func(context.Context, []opencdc.Record) error { dead.written = nil; return nil }
	wantNoError(t, run(t, queue(dead), from(newSource(j, fakeRead{recs: recs})), tail, to(newDestination(j, "out"))))
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
			b.SplitRecord(i, splitInto(rec, 3))
			return 3
		case '2':
			b.Filter(i)
			return 0
		case '5':
			b.Nack(i, errFor("5"))
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
			j := &journal{}
			custom := custom("custom", func(_ context.Context, b *funnel.Batch) error { task(b); return nil })
			wantNoError(t, run(t, queue(newDestination(j, "dlq")), from(batchesOf(j, "1 2 3 4 5 6 7")), custom, to(newDestination(j, "out"))))
			j.want(t, []string{"out", "dlq", "ack"}, "out 1a 1b 1c 3 4a 4b 4c", "ack 1 2 3 4", "dlq 5", "ack 5", "out 6 7", "ack 6 7")
		})
	}
}

// What a task puts into the ledger's way is noticed.
func TestWalk_lostRecords(t *testing.T) {
	j := &journal{}
	loses := custom("loses", func(_ context.Context, b *funnel.Batch) error {
		*b = *funnel.NewBatch(b.ActiveRecords()[:1])
		return nil
	})
	err := run(t, nil, from(batchesOf(j, "1 2")), loses, to(newDestination(j, "out")))
	wantError(t, err, nil, "2 of 2 records")
}

// What stops the worker leaves the records unacked that are not done.
func TestWalk_errors(t *testing.T) {
	for _, tt := range []struct {
		name  string
		task  fakeProcessor
		words []string
	}{
		{"no results", func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { return nil }, []string{"no result", "3 records"}},
		{"an empty slice", func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { return []sdk.ProcessedRecord{} }, []string{"no result"}},
		{"too many results", func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { return make([]sdk.ProcessedRecord, 4) }, []string{"3 records", "4"}},
		{"a pointer", each(func(rec opencdc.Record) sdk.ProcessedRecord {
			if string(rec.Position) == "2" {
				return &sdk.FilterRecord{}
			}
			return sdk.SingleRecord(rec)
		}), []string{"*sdk.FilterRecord", `"2"`}},
		{"a nil pointer", each(func(rec opencdc.Record) sdk.ProcessedRecord { return (*sdk.SingleRecord)(nil) }), []string{"*sdk.SingleRecord"}},
		{"a kind of somebody else", each(func(rec opencdc.Record) sdk.ProcessedRecord { return struct{ sdk.FilterRecord }{} }), []string{"struct"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := &journal{}
			err := run(t, queue(newDestination(j, "dlq")), from(batchesOf(j, "1 2 3")), through("bad", tt.task), to(newDestination(j, "out")))
			wantError(t, err, nil, append(tt.words, `"bad"`)...)
			j.want(t, []string{"out", "ack", "dlq"})
		})
	}
}
