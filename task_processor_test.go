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
	"github.com/conduitio/funnel/log"
)

// The processor is given the active records only, and its results are those of
// the same records: the example of the documentation of Do.
func TestProcessorTask_filteredRecords(t *testing.T) {
	j := &journal{}
	upper := fakeProcessor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		j.add(append([]string{"process"}, positionsOf(recs)...)...)
		return []sdk.ProcessedRecord{
			sdk.SingleRecord{Position: opencdc.Position("1x")},
			sdk.FilterRecord{},
			sdk.SingleRecord{Position: opencdc.Position("4x")},
		}
	})
	before := byPosition(does{"3": filter, "5": filter})
	wantNoError(t, run(t, nil, from(batchesOf(j, "1 2 3 4 5")), through("before", before), through("upper", upper), to(newDestination(j, "out"))))
	j.want(t, []string{"process", "out", "ack"}, "process 1 2 4", "out 1x 4x", "ack 1 2 3 4 5")
}

// Each kind of result does the same wherever it stands among the others.
func TestProcessorTask_everyMixOfResults(t *testing.T) {
	kinds := []struct {
		result func(opencdc.Record) sdk.ProcessedRecord
		out    []string // suffixes of what is written, in the first or second round
	}{
		{single, []string{""}},
		{filter, nil},
		{split(2), []string{"a", "b"}},
		{split(1), []string{"a"}},
		{split(0), nil},
		{fail, nil},
	}
	const n = 4
	for code := range 6 * 6 * 6 * 6 {
		do, want, dead := does{}, []string(nil), []string(nil)
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
		j := &journal{}
		out, dlq := newDestination(j, "out"), newDestination(j, "dlq")
		wantNoError(t, run(t, queue(dlq), from(batchesOf(j, "1 2 3 4")), through("p", byPosition(do)), to(out)))
		if got := positionsOf(out.written); !slices.Equal(got, want) {
			t.Errorf("mix %d: written %v, want %v", code, got, want)
		}
		if got := positionsOf(dlq.written); !slices.Equal(got, dead) {
			t.Errorf("mix %d: in the queue %v, want %v", code, got, dead)
		}
	}
}

// A processor may return slices of the records that it was given as the pieces
// of a split. They are neither mixed up nor written to.
func TestProcessorTask_piecesOfTheInput(t *testing.T) {
	j := &journal{}
	var pieces sdk.MultiRecord
	p := fakeProcessor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		pieces = sdk.MultiRecord(recs[1:3])
		return []sdk.ProcessedRecord{
			sdk.FilterRecord{},
			sdk.SingleRecord{Position: opencdc.Position("new")},
			pieces,
			sdk.MultiRecord(recs[0:1]),
		}
	})
	rewrite := each(func(rec opencdc.Record) sdk.ProcessedRecord {
		rec.Position = opencdc.Position(string(rec.Position) + "!")
		return sdk.SingleRecord(rec)
	})
	wantNoError(t, run(t, nil, from(batchesOf(j, "1 2 3 4")), through("p", p), through("rewrite", rewrite), to(newDestination(j, "out"))))
	j.want(t, []string{"out", "ack"}, "out new! 2! 3! 1!", "ack 1 2 3 4")
	if got := positionsOf(pieces); !slices.Equal(got, []string{"2", "3"}) {
		t.Errorf("the slice of the processor holds %v", got)
	}
}

// Nor are single pieces, which take the place of records.
func TestProcessorTask_recordsExchanged(t *testing.T) {
	j := &journal{}
	p := fakeProcessor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		return []sdk.ProcessedRecord{sdk.MultiRecord(recs[1:2]), sdk.MultiRecord(recs[0:1])}
	})
	wantNoError(t, run(t, nil, from(batchesOf(j, "1 2")), through("p", p), to(newDestination(j, "out"))))
	j.want(t, []string{"out", "ack"}, "out 2 1", "ack 1 2")
}

// The results are not written to.
func TestProcessorTask_resultsBelongToTheProcessor(t *testing.T) {
	j := &journal{}
	results := []sdk.ProcessedRecord{
		sdk.SingleRecord{Position: opencdc.Position("1")}, nil, sdk.FilterRecord{},
		sdk.MultiRecord{{Position: opencdc.Position("4a")}, {Position: opencdc.Position("4b")}},
	}
	calls := 0
	p := fakeProcessor(func(context.Context, []opencdc.Record) []sdk.ProcessedRecord {
		if calls++; calls == 1 {
			return results
		}
		return []sdk.ProcessedRecord{sdk.SingleRecord{Position: opencdc.Position("2")}}
	})
	fails := byPosition(does{"4b": fail})
	wantNoError(t, run(t, queue(newDestination(j, "dlq")), from(batchesOf(j, "1 2 3 4")), through("p", p), through("fails", fails), to(newDestination(j, "out"))))
	j.want(t, []string{"out", "dlq"}, "out 1", "out 2", "dlq 4")
	if got := string(results[0].(sdk.SingleRecord).Position) + positionsOf(results[3].(sdk.MultiRecord))[1]; got != "14b" || results[1] != nil {
		t.Errorf("the results are %v", results)
	}
}

// A task may wrap a ProcessorTask and mark its records further.
func TestProcessorTask_wrapped(t *testing.T) {
	j := &journal{}
	rounds := 0
	inner := funnel.NewProcessorTask("inner", byPosition(does{"2": fail, "3": filter}), log.Nop(), nil)
	wrapped := custom("wrapped", func(ctx context.Context, b *funnel.Batch) error {
		j.add(append([]string{"task"}, positionsOf(b.ActiveRecords())...)...)
		err := inner.Do(ctx, b)
		if rounds++; rounds == 1 {
			b.Retry(1, len(b.ActiveRecords())) // the one that was nacked included
		}
		return err
	})
	wantNoError(t, run(t, queue(newDestination(j, "dlq")), from(batchesOf(j, "1 2 3 4 5")), wrapped, to(newDestination(j, "out"))))
	j.want(t, []string{"task", "out", "ack", "dlq"},
		"task 1 2 3 4 5", "out 1", "ack 1",
		"task 2", "dlq 2", "ack 2", "ack 3", "task 4 5", "out 4 5", "ack 4 5")
}

// A task may run several ProcessorTasks on its batch. A nack of the first one is
// not forgotten if the second one leaves the record for another call.
func TestProcessorTask_twoInOneTask(t *testing.T) {
	j := &journal{}
	first := funnel.NewProcessorTask("first", byPosition(does{"4": fail}), log.Nop(), nil)
	second := funnel.NewProcessorTask("second", fakeProcessor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		return byPosition(does{"1": split(2)})(nil, recs[:1])
	}), log.Nop(), nil)
	both := custom("both", func(ctx context.Context, b *funnel.Batch) error {
		return errors.Join(first.Do(ctx, b), second.Do(ctx, b))
	})
	wantNoError(t, run(t, queue(newDestination(j, "dlq")), from(batchesOf(j, "1 2 3 4 5")), both, to(newDestination(j, "out"))))
	j.want(t, []string{"out", "ack", "dlq"},
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
	j := &journal{}
	m := &fakeProcessorMetrics{}
	p := fakeProcessor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		return each(single)(nil, recs[:min(2, len(recs))])
	})
	wantNoError(t, run(t, nil, from(batchesOf(j, "1 2 3", "")),
		node(funnel.NewProcessorTask("p", p, log.Nop(), m)), to(newDestination(j, "out"))))
	if !slices.Equal(m.observed, []int{2, 1}) {
		t.Errorf("observed %v", m.observed)
	}
}

type fakeConnectorMetrics struct {
	*journal
	name string
}

func (m fakeConnectorMetrics) Observe(recs []opencdc.Record, start time.Time) {
	if start.IsZero() {
		m.add("no start")
	}
	m.add(append([]string{m.name}, positionsOf(recs)...)...)
}

func TestConnectorTasks_metrics(t *testing.T) {
	j := &journal{}
	d := newDestination(j, "d")
	source := batchesOf(j, "1 2", "", "3")
	first := chain(
		node(funnel.NewSourceTask("s", source, log.Nop(), fakeConnectorMetrics{j, "read"})),
		through("p", byPosition(does{"1": filter, "3": fail})),
		node(funnel.NewDestinationTask("d", d, log.Nop(), fakeConnectorMetrics{j, "written"})),
	)
	dlq := funnel.NewDLQ("q", newDestination(j, "q"), log.Nop(), fakeConnectorMetrics{j, "dead"}, 0, 0)
	wantNoError(t, runWorker(t, newWorker(t, first, dlq)))
	j.want(t, []string{"no", "read", "written", "dead"}, "read 1 2", "written 2", "read 3", "dead 3")
}

// lifeProcessor fails to open and to be torn down.
type lifeProcessor struct {
	fakeProcessor
	*journal
	err error
}

func (p lifeProcessor) Open(context.Context) error     { p.add("open processor"); return p.err }
func (p lifeProcessor) Teardown(context.Context) error { p.add("teardown processor"); return p.err }

func TestProcessorTask_life(t *testing.T) {
	j := &journal{}
	task := funnel.NewProcessorTask("p", lifeProcessor{journal: j, err: errTest}, log.Nop(), nil)
	if task.ID() != "p" {
		t.Errorf("ID: %q", task.ID())
	}
	wantError(t, task.Open(t.Context()), errTest)
	wantError(t, task.Close(t.Context()), errTest)
	wantNoError(t, task.Do(t.Context(), funnel.NewBatch(nil)))
	j.want(t, nil, "open processor", "teardown processor")
}

// An error marked as fatal is known as such through what it is wrapped in.
func TestFatalError(t *testing.T) {
	err := errors.Join(errors.New("another error"), funnel.FatalError(errTest))
	if !funnel.IsFatalError(err) || !errors.Is(err, errTest) || funnel.FatalError(errTest).Error() != errTest.Error() {
		t.Errorf("%v", err)
	}
	if funnel.IsFatalError(errTest) || funnel.IsFatalError(nil) || funnel.FatalError(nil) != nil {
		t.Error("not every error is fatal")
	}
}

// An error names its task once, whoever calls the task.
func TestTasks_errorsNameTheTask(t *testing.T) {
	j := &journal{}
	nothing := fakeProcessor(func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { return nil })
	out := newDestination(j, "out")
	out.write = func(context.Context, []opencdc.Record) error { return errTest }
	for _, n := range []*funnel.TaskNode{through("nothing", nothing), to(out)} {
		name := `task "` + n.Task.ID() + `": `
		wantError(t, n.Task.Do(t.Context(), funnel.NewBatch(records("1"))), nil, name)
		err := run(t, nil, from(batchesOf(j, "1")), n, custom("end", func(context.Context, *funnel.Batch) error { return nil }))
		wantError(t, err, nil, name)
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
