package funnel_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// The processor gets the active records only, and its results apply to them, as in the
// example in the documentation of Do.
func TestProcessorTask_filteredRecords(t *testing.T) {
	j := &fake.Journal{}
	upper := fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		j.AddRecords("process", recs)
		return []sdk.ProcessedRecord{
			sdk.SingleRecord{Position: opencdc.Position("1x")},
			sdk.FilterRecord{},
			sdk.SingleRecord{Position: opencdc.Position("4x")},
		}
	})
	before := fake.ByPosition(fake.Answers{"3": fake.Filter, "5": fake.Filter})
	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3 4 5")), fake.Through("before", before), fake.Through("upper", upper), fake.Out(j)))
	j.Want(t, "process out ack", "process 1 2 4", "out 1x 4x", "ack 1 2 3 4 5")
}

// Each kind of result has its effect wherever it stands among the others.
func TestProcessorTask_everyMixOfResults(t *testing.T) {
	kinds := []struct {
		result func(opencdc.Record) sdk.ProcessedRecord
		out    []string // suffixes of the records written, in the first or second round
	}{
		{fake.Pass, []string{""}},
		{fake.Filter, nil},
		{fake.Split(2), []string{"a", "b"}},
		{fake.Split(1), []string{"a"}},
		{fake.Split(0), nil},
		{fake.Fail, nil},
	}
	const n = 4
	for code := range 6 * 6 * 6 * 6 {
		do, want, dead := fake.Answers{}, []string(nil), []string(nil)
		for i, c := 0, code; i < n; i, c = i+1, c/6 {
			position, kind := string(rune('1'+i)), kinds[c%6]
			do[position] = kind.result
			for _, suffix := range kind.out {
				want = append(want, position+suffix)
			}
			if c%6 == 5 {
				dead = append(dead, position)
			}
		}
		j := &fake.Journal{}
		out, dlq := fake.NewDestination(j, "out"), fake.NewDestination(j, "dlq")
		fake.WantNoError(t, fake.Run(t, fake.Queue(dlq), fake.From(fake.SourceOf(j, "1 2 3 4")), fake.Through("p", fake.ByPosition(do)), fake.To(out)))
		if got := fake.Positions(out.Written); !slices.Equal(got, want) {
			t.Errorf("mix %d: written %v, want %v", code, got, want)
		}
		if got := fake.Positions(dlq.Written); !slices.Equal(got, dead) {
			t.Errorf("mix %d: in the queue %v, want %v", code, got, dead)
		}
	}
}

// A result applies to the record at its index, however many records were filtered and
// split before, by other tasks or by this one.
func TestProcessorTask_resultsWhileIndicesShift(t *testing.T) {
	j := &fake.Journal{}
	before := fake.Custom("before", func(_ context.Context, b *funnel.Batch) error {
		for _, i := range []int{9, 5, 2, 1, 0} { // a b c f j
			b.Filter(i)
		}
		b.SplitRecord(4, pieces("i1 i2 i3"))
		return nil
	})
	plan := map[string]sdk.ProcessedRecord{
		"d":  sdk.FilterRecord{},
		"e":  sdk.MultiRecord(pieces("e1 e2 e3")),
		"g":  sdk.FilterRecord{},
		"h":  sdk.SingleRecord(pieces("H")[0]),
		"i1": sdk.MultiRecord{},
		"i2": sdk.MultiRecord(pieces("I2")),
		"i3": sdk.MultiRecord(pieces("i31 i32")),
		"k":  sdk.ErrorRecord{Error: fake.ErrTest},
		"l":  sdk.SingleRecord(pieces("L")[0]),
	}
	process := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		j.Add("process", string(rec.Position))
		return plan[string(rec.Position)]
	})
	fake.WantNoError(t, fake.Run(t, fake.QueueWithErrors(j), fake.From(fake.SourceOf(j, "a b c d e f g h i j k l")),
		before, fake.Through("p", process), fake.Out(j)))
	j.Want(t, "process out dlq ack",
		"process d", "process e", "process g", "process h", "process i1", "process i2", "process i3",
		"process k", "process l",
		"out e1 e2 e3 H I2 i31 i32", "ack a b c d e f g h i j", "dlq k:test error", "ack k", "out L", "ack l")
}

// A processor may return part of its input as the pieces of a split. The engine neither
// mixes these up nor writes to them.
func TestProcessorTask_piecesOfTheInput(t *testing.T) {
	j := &fake.Journal{}
	var pieces sdk.MultiRecord
	p := fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		pieces = sdk.MultiRecord(recs[1:3])
		return []sdk.ProcessedRecord{
			sdk.FilterRecord{},
			sdk.SingleRecord{Position: opencdc.Position("new")},
			pieces,
			sdk.MultiRecord(recs[0:1]),
		}
	})
	rewrite := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		rec.Position = opencdc.Position(string(rec.Position) + "!")
		return sdk.SingleRecord(rec)
	})
	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3 4")), fake.Through("p", p), fake.Through("rewrite", rewrite), fake.Out(j)))
	j.Want(t, "out ack", "out new! 2! 3! 1!", "ack 1 2 3 4")
	if got := fake.Positions(pieces); !slices.Equal(got, []string{"2", "3"}) {
		t.Errorf("the slice of the processor holds %v", got)
	}
}

// The same holds for single pieces, which replace a record.
func TestProcessorTask_recordsExchanged(t *testing.T) {
	j := &fake.Journal{}
	p := fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		return []sdk.ProcessedRecord{sdk.MultiRecord(recs[1:2]), sdk.MultiRecord(recs[0:1])}
	})
	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2")), fake.Through("p", p), fake.Out(j)))
	j.Want(t, "out ack", "out 2 1", "ack 1 2")
}

// The engine does not write to the results.
func TestProcessorTask_resultsBelongToTheProcessor(t *testing.T) {
	j := &fake.Journal{}
	results := []sdk.ProcessedRecord{
		sdk.SingleRecord{Position: opencdc.Position("1")}, nil, sdk.FilterRecord{},
		sdk.MultiRecord{{Position: opencdc.Position("4a")}, {Position: opencdc.Position("4b")}},
	}
	calls := 0
	p := fake.Processor(func(context.Context, []opencdc.Record) []sdk.ProcessedRecord {
		if calls++; calls == 1 {
			return results
		}
		return []sdk.ProcessedRecord{sdk.SingleRecord{Position: opencdc.Position("2")}}
	})
	fails := fake.ByPosition(fake.Answers{"4b": fake.Fail})
	fake.WantNoError(t, fake.Run(t, fake.DLQ(j), fake.From(fake.SourceOf(j, "1 2 3 4")), fake.Through("p", p), fake.Through("fails", fails), fake.Out(j)))
	j.Want(t, "out dlq", "out 1", "out 2", "dlq 4")
	if got := string(results[0].(sdk.SingleRecord).Position) + fake.Positions(results[3].(sdk.MultiRecord))[1]; got != "14b" || results[1] != nil {
		t.Errorf("the results are %v", results)
	}
}

// A custom task may wrap a ProcessorTask and mark the records again afterwards.
func TestProcessorTask_wrapped(t *testing.T) {
	j := &fake.Journal{}
	rounds := 0
	inner := funnel.NewProcessorTask("inner", fake.ByPosition(fake.Answers{"2": fake.Fail, "3": fake.Filter}), log.Nop(), nil)
	wrapped := fake.Custom("wrapped", func(ctx context.Context, b *funnel.Batch) error {
		j.AddRecords("task", b.ActiveRecords())
		err := inner.Do(ctx, b)
		if rounds++; rounds == 1 {
			b.Retry(1, len(b.ActiveRecords())) // including the nacked one
		}
		return err
	})
	fake.WantNoError(t, fake.Run(t, fake.DLQ(j), fake.From(fake.SourceOf(j, "1 2 3 4 5")), wrapped, fake.Out(j)))
	j.Want(t, "task out ack dlq",
		"task 1 2 3 4 5", "out 1", "ack 1",
		"task 2", "dlq 2", "ack 2", "ack 3", "task 4 5", "out 4 5", "ack 4 5")
}

// A custom task may run several ProcessorTasks on its batch. If the second one gives no
// answer for a record that the first one nacked, the nack stays.
func TestProcessorTask_twoInOneTask(t *testing.T) {
	j := &fake.Journal{}
	first := funnel.NewProcessorTask("first", fake.ByPosition(fake.Answers{"4": fake.Fail}), log.Nop(), nil)
	second := funnel.NewProcessorTask("second", fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		return fake.ByPosition(fake.Answers{"1": fake.Split(2)})(nil, recs[:1])
	}), log.Nop(), nil)
	both := fake.Custom("both", func(ctx context.Context, b *funnel.Batch) error {
		return errors.Join(first.Do(ctx, b), second.Do(ctx, b))
	})
	fake.WantNoError(t, fake.Run(t, fake.DLQ(j), fake.From(fake.SourceOf(j, "1 2 3 4 5")), both, fake.Out(j)))
	j.Want(t, "out ack dlq",
		"out 1a 1b", "ack 1", "out 2", "ack 2", "out 3", "ack 3", "dlq 4", "ack 4", "out 5", "ack 5")
}

// lifeProcessor fails to open and to be torn down.
type lifeProcessor struct {
	fake.Processor
	*fake.Journal
	err error
}

func (p lifeProcessor) Open(context.Context) error { p.Add("open processor"); return p.err }

func (p lifeProcessor) Teardown(context.Context) error { p.Add("teardown processor"); return p.err }

// A ProcessorTask opens and tears down its processor, and returns its errors.
func TestProcessorTask_life(t *testing.T) {
	j := &fake.Journal{}
	task := funnel.NewProcessorTask("p", lifeProcessor{Journal: j, err: fake.ErrTest}, log.Nop(), nil)
	if task.ID() != "p" {
		t.Errorf("ID: %q", task.ID())
	}
	fake.WantError(t, task.Open(t.Context()), fake.ErrTest)
	fake.WantError(t, task.Close(t.Context()), fake.ErrTest)
	fake.WantNoError(t, task.Do(t.Context(), funnel.NewBatch(nil)))
	j.Want(t, "", "open processor", "teardown processor")
}

// A processor that answers for a few records at a time gets the others again, and only
// those, until all have an answer.
func TestProcessorTask_shortResults(t *testing.T) {
	j := &fake.Journal{}
	limited := fake.Processor(func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		j.AddRecords("process", recs)
		return fake.AtMost(2)(ctx, recs)
	})
	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3 4 5")), fake.Through("limited", limited), fake.Out(j)))
	j.Want(t, "process out ack",
		"process 1 2 3 4 5", "out 1 2", "ack 1 2",
		"process 3 4 5", "out 3 4", "ack 3 4",
		"process 5", "out 5", "ack 5")
}

// Invalid results stop the worker. Nothing of the batch is acked.
func TestProcessorTask_badResults(t *testing.T) {
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
			err := fake.Run(t, fake.DLQ(j), fake.From(fake.SourceOf(j, "1 2 3")), fake.Through("bad", tt.task), fake.Out(j))
			fake.WantError(t, err, nil, append(tt.words, `"bad"`)...)
			j.Want(t, "out ack dlq")
		})
	}
}
