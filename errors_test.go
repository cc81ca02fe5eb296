package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
)

// An error that wraps a fatal one is fatal. FatalError keeps the text of an error, and
// what it wraps.
func TestFatalError(t *testing.T) {
	err := errors.Join(errors.New("another error"), funnel.FatalError(fake.ErrTest))
	if !funnel.IsFatalError(err) || !errors.Is(err, fake.ErrTest) || funnel.FatalError(fake.ErrTest).Error() != fake.ErrTest.Error() {
		t.Errorf("%v", err)
	}
	if funnel.IsFatalError(fake.ErrTest) || funnel.IsFatalError(nil) || funnel.FatalError(nil) != nil {
		t.Error("not every error is fatal")
	}
}

// An error of a connector names its task, whatever the connector was doing.
func TestWorker_errorsNameTheTask(t *testing.T) {
	for what, task := range map[string]string{
		"open source": "source", "open out": "out", "read": "source", "write": "out", "acks": "out",
		"ack": "source", "teardown source": "source", "teardown out": "out",
	} {
		t.Run(what, func(t *testing.T) {
			j := &fake.Journal{}
			source, out := fake.SourceOf(j, "1"), fake.NewDestination(j, "out")
			fails := func(context.Context) error { return fake.ErrTest }
			switch what {
			case "open source":
				source.OnOpen = fails
			case "open out":
				out.OnOpen = fails
			case "read":
				source.OnRead = func(context.Context) ([]opencdc.Record, error) { return nil, fake.ErrTest }
			case "write":
				out.OnWrite = func(context.Context, []opencdc.Record) error { return fake.ErrTest }
			case "acks":
				out.OnAck = func(context.Context) ([]connector.DestinationAck, error) { return nil, fake.ErrTest }
			case "ack":
				source.OnAck = func(context.Context, []opencdc.Position) error { return fake.ErrTest }
			case "teardown source":
				source.OnTeardown = fails
			case "teardown out":
				out.OnTeardown = fails
			}
			w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil)
			err := w.Open(t.Context())
			if err == nil {
				err = errors.Join(w.Do(t.Context()), w.Close(t.Context()))
			}
			fake.WantError(t, err, fake.ErrTest)
			fake.WantTask(t, err, task)
			if what == "read" {
				fake.WantError(t, err, nil, "failed to read from source")
			}
		})
	}
}

// An error names its task once, whether the worker or the host calls the task.
func TestTasks_errorsNameTheTask(t *testing.T) {
	j := &fake.Journal{}
	nothing := fake.Returns()
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

// If the error of a custom task wraps a TaskError, errors.As finds only the TaskError
// of the task in the pipeline. The text shows the inner one, and what it wraps is
// found.
func TestWorker_taskErrorIsOnce(t *testing.T) {
	inner := funnel.FatalError(&funnel.TaskError{TaskID: "inner", Err: fake.ErrTest})
	for how, process := range map[string]func(b *funnel.Batch) error{
		"returned": func(*funnel.Batch) error { return inner },
		"wrapped":  func(*funnel.Batch) error { return fmt.Errorf("outer: %w", inner) },
		"nacked":   func(b *funnel.Batch) error { b.Nack(0, inner); return nil },
	} {
		t.Run(how, func(t *testing.T) {
			j := &fake.Journal{}
			task := fake.Custom("own", func(_ context.Context, b *funnel.Batch) error { return process(b) })
			err := fake.Run(t, nil, fake.From(fake.SourceOf(j, "1")), task, fake.Out(j))
			fake.WantError(t, err, fake.ErrTest, `task "own"`, `task "inner"`)
			fake.WantTask(t, err, "own")
			fake.WantFatal(t, err, true)
		})
	}
}

// around is a custom task that wraps another one.
type around struct {
	funnel.Task
	id string
}

func (a around) ID() string { return a.id }

// Each reason for which the engine ends a worker has a sentinel, and the error names the
// task once.
func TestWorker_sentinels(t *testing.T) {
	results := func(results ...sdk.ProcessedRecord) *funnel.TaskNode {
		return fake.Through("p", fake.Returns(results...))
	}
	acks := func(positions ...string) func(d *fake.Destination) {
		return func(d *fake.Destination) {
			d.OnAck = func(context.Context) ([]connector.DestinationAck, error) { return fake.Acks(positions...), nil }
		}
	}
	window := fake.Window(fake.NewDestination(&fake.Journal{}, "dlq"), 2, 1)
	for _, tt := range []struct {
		name     string
		read     string // "1 2" if it is empty
		through  *funnel.TaskNode
		out      func(*fake.Destination)
		dlq      *funnel.DLQ
		want     error
		task     string
		isFatal  bool
		isBranch bool
	}{
		{name: "an empty position", read: "empty", want: funnel.ErrEmptyPosition, task: "source", isFatal: true},
		{name: "no answer", through: results(nil), want: funnel.ErrNoProgress, task: "p", isFatal: true},
		{name: "no result", through: results(), want: funnel.ErrProcessorResults, task: "p"},
		{name: "more results", through: results(sdk.FilterRecord{}, sdk.FilterRecord{}, sdk.FilterRecord{}), want: funnel.ErrProcessorResults, task: "p"},
		{name: "an unknown result", through: results(&sdk.FilterRecord{}), want: funnel.ErrProcessorResults, task: "p"},
		{name: "a wrong ack", out: acks("2"), want: funnel.ErrAckMismatch, task: "out"},
		{name: "too many acks", out: acks("1", "2", "3"), want: funnel.ErrAckMismatch, task: "out"},
		{name: "no acks", out: acks(), want: funnel.ErrAcksStopped, task: "out"},
		{name: "a full window", through: fake.Through("p", fake.Each(fake.Fail)), dlq: window, want: funnel.ErrNackThreshold, task: "p", isFatal: true},
		{name: "another batch", through: fake.Custom("p", func(_ context.Context, b *funnel.Batch) error { *b = funnel.Batch{}; return nil }), want: funnel.ErrLostRecords, task: "p"},
		{name: "the end of a goroutine", through: fake.Custom("p", func(context.Context, *funnel.Batch) error { runtime.Goexit(); return nil }), want: funnel.ErrGoexit, task: "p", isBranch: true},
		{name: "a task around another", through: fake.Node(around{Task: results().Task, id: "around"}), want: funnel.ErrProcessorResults, task: "around"},
	} {
		for _, isBranch := range []bool{false, true} {
			if tt.isBranch && !isBranch {
				continue
			}
			t.Run(fmt.Sprintf("%s, branch %t", tt.name, isBranch), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					j := &fake.Journal{}
					source, out := fake.SourceOf(j, "1 2"), fake.NewDestination(j, "out")
					if tt.read == "empty" {
						source = fake.NewSource(j, fake.Read{Records: fake.Records("1", "")})
					}
					if tt.out != nil {
						tt.out(out)
					}
					var middle *funnel.TaskNode
					if tt.through != nil {
						middle = fake.Chain(fake.Node(tt.through.Task), fake.To(out))
					} else {
						middle = fake.To(out)
					}
					first := fake.From(source)
					if isBranch {
						fake.Beside(first, middle)
					} else {
						fake.Chain(first, middle)
					}
					w := fake.NewWorker(t, first, tt.dlq)
					if tt.dlq != nil {
						fake.WantNoError(t, tt.dlq.Open(t.Context()))
					}
					err := w.Do(t.Context())
					fake.WantError(t, err, tt.want)
					fake.WantTask(t, err, tt.task)
					fake.WantFatal(t, err, tt.isFatal)
					fake.WantNoError(t, w.Close(t.Context()))
				})
			})
		}
	}
}

// Errors show long positions by their beginning and length.
func TestWorker_longPositions(t *testing.T) {
	writeFails := func(context.Context, []opencdc.Record) error { return fake.ErrTest }
	run := func(t *testing.T, position string, p funnel.Processor, out *fake.Destination) error {
		source := fake.NewSource(out.Journal, fake.Read{Records: fake.Records(position)})
		return fake.Run(t, nil, fake.From(source), fake.Through("p", p), fake.To(out))
	}
	long := strings.Repeat("\xff", 10<<20)
	for name, tt := range map[string]struct {
		p     funnel.Processor
		write func(context.Context, []opencdc.Record) error
		acks  func(context.Context) ([]connector.DestinationAck, error)
	}{
		"write":     {p: fake.Each(fake.Pass), write: writeFails},
		"wrong ack": {p: fake.Each(fake.Pass), acks: func(context.Context) ([]connector.DestinationAck, error) { return fake.Acks(long + "x"), nil }},
		"nack":      {p: fake.Each(fake.FailWith(fake.ErrTest))},
		"results":   {p: fake.Returns()},
	} {
		t.Run(name, func(t *testing.T) {
			out := fake.NewDestination(&fake.Journal{}, "out")
			out.OnWrite, out.OnAck = tt.write, tt.acks
			err := run(t, long, tt.p, out)
			fake.WantError(t, err, nil, `\xff\xff`, fmt.Sprint(10<<20))
			if n := len(err.Error()); n > 2000 {
				t.Errorf("the text has %d bytes", n)
			}
		})
	}
	short := strings.Repeat("x", 64)
	out := fake.NewDestination(&fake.Journal{}, "out")
	out.OnWrite = writeFails
	fake.WantError(t, run(t, short, fake.Each(fake.Pass), out), fake.ErrTest, fmt.Sprintf("%q", short))
}

// An error that is a nil pointer, and whose methods panic, does no harm wherever it is
// returned.
func TestWorker_nilPointerErrors(t *testing.T) {
	for _, where := range []string{"write", "write after another branch", "read", "ack", "task", "nack when the context has ended"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				source, a, b := fake.SourceOf(j, "1"), fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
				task := fake.Custom("task", fake.Nothing)
				var none *strictError
				meet := fake.Meeting(2)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				told := func(ctx context.Context, _ []opencdc.Record) error { meet(); <-ctx.Done(); return ctx.Err() }
				switch where {
				case "write":
					a.OnWrite = func(context.Context, []opencdc.Record) error { meet(); return none }
					b.OnWrite = told
				case "write after another branch":
					a.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { meet(); <-ctx.Done(); return none }
					b.OnWrite = func(context.Context, []opencdc.Record) error { meet(); return fake.ErrTest }
				case "task":
					task = fake.Custom("task", func(context.Context, *funnel.Batch) error { meet(); return none })
					b.OnWrite = told
				case "nack when the context has ended":
					task = fake.Through("task", fake.Each(func(opencdc.Record) sdk.ProcessedRecord { cancel(); return sdk.ErrorRecord{Error: none} }))
				case "read":
					source.OnRead = func(context.Context) ([]opencdc.Record, error) { return nil, none }
				case "ack":
					source.OnAck = func(context.Context, []opencdc.Position) error { return none }
				}
				w := fake.NewWorker(t, fake.Fork(fake.From(source), fake.Chain(task, fake.To(a)), fake.To(b)), nil)
				if e := <-fake.Start(ctx, w); e.Err == nil {
					t.Errorf("Do ended with %+v", e)
				}
				fake.WantNoError(t, w.Close(t.Context()))
			})
		})
	}
}

// nested returns a record whose payload has that many levels.
func nested(position string, levels int) opencdc.Record {
	data := map[string]any{}
	for range levels - 1 {
		data = map[string]any{"x": data}
	}
	return opencdc.Record{Position: opencdc.Position(position), Payload: opencdc.Change{After: opencdc.StructuredData(data)}}
}

// A record that is nested too deeply stops the worker where it has to be copied or made
// a dead letter, and only there. The records before it are done.
func TestWorker_tooDeep(t *testing.T) {
	for _, tt := range []struct {
		name    string
		levels  int
		branch  bool // copied for a branch
		split   bool // and only the record from before the split is that deep
		nack    bool
		tooDeep bool
		task    string
	}{
		{name: "written", levels: 1_000_000},
		{name: "copied", levels: 10_000, branch: true},
		{name: "copied too deep", levels: 10_001, branch: true, tooDeep: true, task: "b"},
		{name: "copied far too deep", levels: 1_000_000, branch: true, tooDeep: true, task: "b"},
		{name: "copied with what it was", levels: 10_001, branch: true, split: true, tooDeep: true, task: "b"},
		{name: "nacked", levels: 10_000, nack: true},
		{name: "nacked too deep", levels: 10_001, nack: true, tooDeep: true, task: "a"},
		{name: "nacked far too deep", levels: 1_000_000, nack: true, tooDeep: true, task: "a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := &fake.Journal{}
			shallow := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
				if tt.split {
					return sdk.MultiRecord(fake.Records(string(rec.Position)+"a", string(rec.Position)+"b"))
				}
				return sdk.SingleRecord(rec)
			})
			answer := fake.Pass
			if tt.nack {
				answer = fake.Fail
			}
			next := []*funnel.TaskNode{fake.Chain(fake.Through("a", fake.Each(answer)), fake.Out(j))}
			if tt.branch { // the first branch that needs a copy makes it
				b := fake.Chain(fake.Through("b", fake.Each(fake.Pass)), fake.To(fake.NewDestination(j, "other")))
				next = []*funnel.TaskNode{b, next[0], fake.To(fake.NewDestination(j, "third"))}
			}
			recs := append(fake.Records("1"), nested("2", tt.levels), nested("3", 1))
			source := fake.NewSource(j, fake.Read{Records: recs})
			err := fake.Run(t, fake.DLQ(j), fake.From(source), fake.Fork(fake.Through("shallow", shallow), next...))
			if !tt.tooDeep {
				fake.WantNoError(t, err)
				return
			}
			fake.WantError(t, err, funnel.ErrTooDeep, `"2"`)
			fake.WantTask(t, err, tt.task)
			fake.WantFatal(t, err, true)
			if tt.nack {
				j.Want(t, "dlq ack", "dlq 1", "ack 1")
			} else {
				j.Want(t, "dlq ack")
			}
		})
	}
}
