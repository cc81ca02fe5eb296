package funnel_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// The processor is given the active records only, and its results are those of
// the same records: the example of the documentation of Do.
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
	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3 4 5")), fake.Through("before", before), fake.Through("upper", upper), fake.To(fake.NewDestination(j, "out"))))
	j.Want(t, "process out ack", "process 1 2 4", "out 1x 4x", "ack 1 2 3 4 5")
}

// Each kind of result does the same wherever it stands among the others.
func TestProcessorTask_everyMixOfResults(t *testing.T) {
	kinds := []struct {
		result func(opencdc.Record) sdk.ProcessedRecord
		out    []string // suffixes of what is written, in the first or second round
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

// A processor may return slices of the records that it was given as the pieces
// of a split. They are neither mixed up nor written to.
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
	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3 4")), fake.Through("p", p), fake.Through("rewrite", rewrite), fake.To(fake.NewDestination(j, "out"))))
	j.Want(t, "out ack", "out new! 2! 3! 1!", "ack 1 2 3 4")
	if got := fake.Positions(pieces); !slices.Equal(got, []string{"2", "3"}) {
		t.Errorf("the slice of the processor holds %v", got)
	}
}

// Nor are single pieces, which take the place of records.
func TestProcessorTask_recordsExchanged(t *testing.T) {
	j := &fake.Journal{}
	p := fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		return []sdk.ProcessedRecord{sdk.MultiRecord(recs[1:2]), sdk.MultiRecord(recs[0:1])}
	})
	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2")), fake.Through("p", p), fake.To(fake.NewDestination(j, "out"))))
	j.Want(t, "out ack", "out 2 1", "ack 1 2")
}

// The results are not written to.
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
	fake.WantNoError(t, fake.Run(t, fake.Queue(fake.NewDestination(j, "dlq")), fake.From(fake.SourceOf(j, "1 2 3 4")), fake.Through("p", p), fake.Through("fails", fails), fake.To(fake.NewDestination(j, "out"))))
	j.Want(t, "out dlq", "out 1", "out 2", "dlq 4")
	if got := string(results[0].(sdk.SingleRecord).Position) + fake.Positions(results[3].(sdk.MultiRecord))[1]; got != "14b" || results[1] != nil {
		t.Errorf("the results are %v", results)
	}
}

// A task may wrap a ProcessorTask and mark its records further.
func TestProcessorTask_wrapped(t *testing.T) {
	j := &fake.Journal{}
	rounds := 0
	inner := funnel.NewProcessorTask("inner", fake.ByPosition(fake.Answers{"2": fake.Fail, "3": fake.Filter}), log.Nop(), nil)
	wrapped := fake.Custom("wrapped", func(ctx context.Context, b *funnel.Batch) error {
		j.AddRecords("task", b.ActiveRecords())
		err := inner.Do(ctx, b)
		if rounds++; rounds == 1 {
			b.Retry(1, len(b.ActiveRecords())) // the one that was nacked included
		}
		return err
	})
	fake.WantNoError(t, fake.Run(t, fake.Queue(fake.NewDestination(j, "dlq")), fake.From(fake.SourceOf(j, "1 2 3 4 5")), wrapped, fake.To(fake.NewDestination(j, "out"))))
	j.Want(t, "task out ack dlq",
		"task 1 2 3 4 5", "out 1", "ack 1",
		"task 2", "dlq 2", "ack 2", "ack 3", "task 4 5", "out 4 5", "ack 4 5")
}

// A task may run several ProcessorTasks on its batch. A nack of the first one is
// not forgotten if the second one leaves the record for another call.
func TestProcessorTask_twoInOneTask(t *testing.T) {
	j := &fake.Journal{}
	first := funnel.NewProcessorTask("first", fake.ByPosition(fake.Answers{"4": fake.Fail}), log.Nop(), nil)
	second := funnel.NewProcessorTask("second", fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		return fake.ByPosition(fake.Answers{"1": fake.Split(2)})(nil, recs[:1])
	}), log.Nop(), nil)
	both := fake.Custom("both", func(ctx context.Context, b *funnel.Batch) error {
		return errors.Join(first.Do(ctx, b), second.Do(ctx, b))
	})
	fake.WantNoError(t, fake.Run(t, fake.Queue(fake.NewDestination(j, "dlq")), fake.From(fake.SourceOf(j, "1 2 3 4 5")), both, fake.To(fake.NewDestination(j, "out"))))
	j.Want(t, "out ack dlq",
		"out 1a 1b", "ack 1", "out 2", "ack 2", "out 3", "ack 3", "dlq 4", "ack 4", "out 5", "ack 5")
}

type fakeProcessorMetrics struct{ observed []int }

func (m *fakeProcessorMetrics) Observe(n int, start time.Time) {
	if start.IsZero() {
		n = -1
	}
	m.observed = append(m.observed, n)
}

// What was not answered is observed when it is.
func TestProcessorTask_metrics(t *testing.T) {
	j := &fake.Journal{}
	m := &fakeProcessorMetrics{}
	p := fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		return fake.Each(fake.Pass)(nil, recs[:min(2, len(recs))])
	})
	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3", "")),
		fake.Node(funnel.NewProcessorTask("p", p, log.Nop(), m)), fake.To(fake.NewDestination(j, "out"))))
	if !slices.Equal(m.observed, []int{2, 1}) {
		t.Errorf("observed %v", m.observed)
	}
}

type fakeConnectorMetrics struct {
	*fake.Journal
	name string
}

func (m fakeConnectorMetrics) Observe(recs []opencdc.Record, start time.Time) {
	if start.IsZero() {
		m.Add("no start")
	}
	m.Add(append([]string{m.name}, fake.Positions(recs)...)...)
}

func TestConnectorTasks_metrics(t *testing.T) {
	j := &fake.Journal{}
	d := fake.NewDestination(j, "d")
	source := fake.SourceOf(j, "1 2", "", "3")
	first := fake.Chain(
		fake.Node(funnel.NewSourceTask("s", source, log.Nop(), fakeConnectorMetrics{j, "read"})),
		fake.Through("p", fake.ByPosition(fake.Answers{"1": fake.Filter, "3": fake.Fail})),
		fake.Node(funnel.NewDestinationTask("d", d, log.Nop(), fakeConnectorMetrics{j, "written"})),
	)
	dlq := funnel.NewDLQ("q", fake.NewDestination(j, "q"), log.Nop(), fakeConnectorMetrics{j, "dead"}, 0, 0)
	fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, dlq)))
	j.Want(t, "no read written dead", "read 1 2", "written 2", "read 3", "dead 3")
}

// lifeProcessor fails to open and to be torn down.
type lifeProcessor struct {
	fake.Processor
	*fake.Journal
	err error
}

func (p lifeProcessor) Open(context.Context) error { p.Add("open processor"); return p.err }

func (p lifeProcessor) Teardown(context.Context) error { p.Add("teardown processor"); return p.err }

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

// An error marked as fatal is known as such through what it is wrapped in.
func TestFatalError(t *testing.T) {
	err := errors.Join(errors.New("another error"), funnel.FatalError(fake.ErrTest))
	if !funnel.IsFatalError(err) || !errors.Is(err, fake.ErrTest) || funnel.FatalError(fake.ErrTest).Error() != fake.ErrTest.Error() {
		t.Errorf("%v", err)
	}
	if funnel.IsFatalError(fake.ErrTest) || funnel.IsFatalError(nil) || funnel.FatalError(nil) != nil {
		t.Error("not every error is fatal")
	}
}

// An error names its task once, whoever calls the task.
func TestTasks_errorsNameTheTask(t *testing.T) {
	j := &fake.Journal{}
	nothing := fake.Processor(func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { return nil })
	out := fake.NewDestination(j, "out")
	out.OnWrite = func(context.Context, []opencdc.Record) error { return fake.ErrTest }
	for _, n := range []*funnel.TaskNode{fake.Through("nothing", nothing), fake.To(out)} {
		name := `task "` + n.Task.ID() + `": `
		fake.WantError(t, n.Task.Do(t.Context(), funnel.NewBatch(fake.Records("1"))), nil, name)
		err := fake.Run(t, nil, fake.From(fake.SourceOf(j, "1")), n, fake.Custom("end", fake.Nothing))
		fake.WantError(t, err, nil, name)
		if strings.Count(err.Error(), name) != 1 {
			t.Errorf("error: %v", err)
		}
	}
}

func TestRecordFlag_String(t *testing.T) {
	for flag, want := range map[funnel.RecordFlag]string{
		funnel.RecordFlagAck:    "ack",
		funnel.RecordFlagNack:   "nack",
		funnel.RecordFlagRetry:  "retry",
		funnel.RecordFlagFilter: "filter",
		funnel.RecordFlag(7):    "RecordFlag(7)",
	} {
		if got := flag.String(); got != want {
			t.Errorf("flag %d is %q, want %q", int(flag), got, want)
		}
	}
}
