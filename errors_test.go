package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// The errors of connectors name their task, whatever it was doing.
func TestWorker_errorsNameTheTask(t *testing.T) {
	for what, task := range map[string]string{
		"open source": "source", "open out": "out", "read": "source", "write": "out", "acks": "out",
		"ack": "source", "teardown source": "source", "teardown out": "out",
	} {
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

// An error that names a task already, of the host's own, is found as that of the
// task in the pipeline, and is found all the same.
func TestWorker_taskErrorIsOnce(t *testing.T) {
	inner := funnel.FatalError(&funnel.TaskError{TaskID: "inner", Err: fake.ErrTest})
	for _, process := range map[string]func(b *funnel.Batch) error{
		"returned": func(*funnel.Batch) error { return inner },
		"wrapped":  func(*funnel.Batch) error { return fmt.Errorf("outer: %w", inner) },
		"nacked":   func(b *funnel.Batch) error { b.Nack(0, inner); return nil },
	} {
		task := fake.Custom("own", func(_ context.Context, b *funnel.Batch) error { return process(b) })
		err := fake.Run(t, nil, fake.From(fake.SourceOf(&fake.Journal{}, "1")), task, fake.Out(&fake.Journal{}))
		fake.WantError(t, err, fake.ErrTest, `task "own"`, `task "inner"`)
		fake.WantTask(t, err, "own")
		fake.WantFatal(t, err, true)
	}
}

// around is a task of the host's own around one of the engine.
type around struct {
	funnel.Task
	id string
}

func (a around) ID() string { return a.id }

// Each way in which the engine ends a worker has its sentinel, and the error names
// the task once.
func TestWorker_sentinels(t *testing.T) {
	results := func(results ...sdk.ProcessedRecord) *funnel.TaskNode {
		return fake.Through("p", fake.Processor(func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { return results }))
	}
	acks := func(acks ...connector.DestinationAck) func(d *fake.Destination) {
		return func(d *fake.Destination) {
			d.OnAck = func(context.Context) ([]connector.DestinationAck, error) { return acks, nil }
		}
	}
	ack := func(p string) connector.DestinationAck {
		return connector.DestinationAck{Position: opencdc.Position(p)}
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
		{name: "a wrong ack", out: acks(ack("2")), want: funnel.ErrAckMismatch, task: "out"},
		{name: "too many acks", out: acks(ack("1"), ack("2"), ack("3")), want: funnel.ErrAckMismatch, task: "out"},
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
				if first.Next = []*funnel.TaskNode{middle}; isBranch {
					first.Next = append(first.Next, fake.Custom("other", fake.Nothing))
				}
				w := fake.NewTimedWorker(t, first, tt.dlq, nil)
				if tt.dlq != nil {
					fake.WantNoError(t, tt.dlq.Open(t.Context()))
				}
				err := w.Do(t.Context())
				fake.WantError(t, err, tt.want)
				fake.WantTask(t, err, tt.task)
				fake.WantFatal(t, err, tt.isFatal)
				fake.WantNoError(t, w.Close(t.Context()))
			})
		}
	}
}

// Long positions are shown by their beginning and length, wherever they are.
func TestWorker_longPositions(t *testing.T) {
	long := strings.Repeat("\xff", 10<<20)
	for name, first := range map[string]*funnel.TaskNode{
		"write": fake.Chain(fake.From(fake.NewSource(&fake.Journal{}, fake.Read{Records: fake.Records(long)})), fake.To(&fake.Destination{Journal: &fake.Journal{}, Name: "out",
			OnWrite: func(context.Context, []opencdc.Record) error { return fake.ErrTest }})),
		"wrong ack": fake.Chain(fake.From(fake.NewSource(&fake.Journal{}, fake.Read{Records: fake.Records(long)})), fake.To(&fake.Destination{Journal: &fake.Journal{}, Name: "out",
			OnAck: func(context.Context) ([]connector.DestinationAck, error) {
				return []connector.DestinationAck{{Position: opencdc.Position(long + "x")}}, nil
			}})),
		"nack": fake.Chain(fake.From(fake.NewSource(&fake.Journal{}, fake.Read{Records: fake.Records(long)})), fake.Through("p", fake.Each(func(opencdc.Record) sdk.ProcessedRecord {
			return sdk.ErrorRecord{Error: fake.ErrTest}
		})), fake.Out(&fake.Journal{})),
		"results": fake.Chain(fake.From(fake.NewSource(&fake.Journal{}, fake.Read{Records: fake.Records(long)})), fake.Through("p", fake.Processor(
			func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { return nil },
		)), fake.Out(&fake.Journal{})),
	} {
		err := fake.NewWorker(t, first, nil).Do(t.Context())
		fake.WantError(t, err, nil, `\xff\xff`, fmt.Sprint(10<<20))
		if n := len(err.Error()); n > 2000 {
			t.Errorf("%s: the text has %d bytes", name, n)
		}
	}
	short := strings.Repeat("x", 64)
	first := fake.Chain(fake.From(fake.NewSource(&fake.Journal{}, fake.Read{Records: fake.Records(short)})), fake.To(&fake.Destination{Journal: &fake.Journal{}, Name: "out",
		OnWrite: func(context.Context, []opencdc.Record) error { return fake.ErrTest }}))
	fake.WantError(t, fake.NewWorker(t, first, nil).Do(t.Context()), fake.ErrTest, fmt.Sprintf("%q", short))
}

// An error whose methods need what its nil pointer points to harms nothing,
// wherever it is returned.
func TestWorker_nilPointerErrors(t *testing.T) {
	for _, where := range []string{"write", "write after another branch", "read", "ack", "task", "nack when the context has ended"} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			source, a := fake.SourceOf(j, "1"), fake.NewDestination(j, "a")
			task := fake.Custom("task", fake.Nothing)
			var none *strictError
			writing := make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			switch where {
			case "write after another branch":
				a.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { close(writing); <-ctx.Done(); return none }
			case "nack when the context has ended":
				task = fake.Through("task", fake.Each(func(opencdc.Record) sdk.ProcessedRecord { cancel(); return sdk.ErrorRecord{Error: none} }))
			case "write":
				a.OnWrite = func(context.Context, []opencdc.Record) error { return none }
			case "read":
				source.OnRead = func(context.Context) ([]opencdc.Record, error) { return nil, none }
			case "ack":
				source.OnAck = func(context.Context, []opencdc.Position) error { return none }
			case "task":
				task = fake.Custom("task", func(context.Context, *funnel.Batch) error { return none })
			}
			b := fake.NewDestination(j, "b")
			b.OnWrite = func(ctx context.Context, _ []opencdc.Record) error {
				switch where {
				case "write", "task":
					<-ctx.Done()
					return ctx.Err()
				case "write after another branch":
					<-writing
					return fake.ErrTest
				}
				return nil
			}
			first := fake.Fork(fake.From(source), fake.Chain(task, fake.To(a)), fake.To(b))
			w := fake.NewWorker(t, first, nil)
			done := fake.Start(ctx, w)
			if e := <-done; e.Err == nil {
				t.Errorf("%s: Do has ended with %+v", where, e)
			}
			fake.WantNoError(t, w.Close(t.Context()))
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

// A record that is nested too deep stops the worker where it must be copied or made
// a dead letter, and only there. What comes before it is done.
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
		j := &fake.Journal{}
		recs := append(fake.Records("1"), nested("2", tt.levels), nested("3", 1))
		shallow := fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			results := make([]sdk.ProcessedRecord, len(recs))
			for i, rec := range recs {
				if results[i] = sdk.SingleRecord(rec); tt.split {
					results[i] = sdk.MultiRecord(fake.Records(string(rec.Position)+"a", string(rec.Position)+"b"))
				}
			}
			return results
		})
		pass := fake.Through("a", fake.Each(fake.Pass))
		if tt.nack {
			pass = fake.Through("a", fake.Each(fake.Fail))
		}
		next := []*funnel.TaskNode{fake.Chain(pass, fake.Out(j))}
		if tt.branch {
			next = append(next, fake.Chain(fake.Through("b", fake.Each(fake.Pass)), fake.To(fake.NewDestination(j, "other"))), fake.To(fake.NewDestination(j, "third")))
		}
		// Records are copied by those that need it, in the order of the branches.
		if tt.branch {
			next[0], next[1] = next[1], next[0]
		}
		first := fake.Fork(fake.From(fake.NewSource(j, fake.Read{Records: recs})), fake.Through("shallow", shallow))
		first.Next[0].Next = next
		err := fake.RunWorker(t, fake.NewWorker(t, first, fake.DLQ(j)))
		if !tt.tooDeep {
			fake.WantNoError(t, err)
			continue
		}
		fake.WantError(t, err, funnel.ErrTooDeep, `"2"`)
		fake.WantTask(t, err, tt.task)
		fake.WantFatal(t, err, true)
		if tt.nack {
			j.Want(t, "dlq ack", "dlq 1", "ack 1")
		} else {
			j.Want(t, "dlq ack")
		}
	}
}

// What has gone wrong before a panic is in the panic.
func TestWorker_panicHidesNothing(t *testing.T) {
	known, boom := errors.New("known before"), errors.New("boom")
	for _, where := range []string{"a branch", "a part", "release after a branch", "ack after the queue", "read after an ack"} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			source, a, b := fake.SourceOf(j, "1 2"), fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
			dead := fake.NewDestination(j, "dlq")
			nodes := []*funnel.TaskNode{fake.To(a), fake.To(b)}
			switch where {
			case "a branch":
				writing := make(chan struct{})
				a.OnWrite = func(context.Context, []opencdc.Record) error { <-writing; return known }
				b.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { close(writing); <-ctx.Done(); panic(boom) }
			case "a part":
				failed := make(chan struct{})
				nodes = []*funnel.TaskNode{fake.Chain(fake.Through("p", fake.Parallel(t, func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
					if string(recs[0].Position) == "1" {
						defer close(failed)
						return nil
					}
					<-failed
					synctest.Wait()
					panic(boom)
				}, 2)), nodes[0])}
				known = funnel.ErrProcessorResults
			case "release after a branch":
				delivered := make(chan struct{})
				b.OnAck = func(context.Context) ([]connector.DestinationAck, error) {
					defer close(delivered)
					return b.Pending, nil
				}
				a.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
					if string(recs[0].Position) == "2" {
						<-delivered
						return known
					}
					return nil
				}
				nodes[0] = fake.Chain(fake.Through("p", fake.ByPosition(fake.Answers{"2": fake.SecondTime(fake.Pass)})), nodes[0])
				source.OnAck = func(context.Context, []opencdc.Position) error { panic(boom) }
			case "ack after the queue":
				nodes = []*funnel.TaskNode{fake.Chain(fake.Through("p", fake.Each(fake.Fail)), nodes[0])}
				dead.Refuse["2"] = known
				source.OnAck = func(context.Context, []opencdc.Position) error { panic(boom) }
			case "read after an ack":
				nodes = nodes[:1]
				known = io.EOF
				source.OnAck = func(context.Context, []opencdc.Position) error { return io.EOF }
				read := source.Reads[0]
				reads := 0
				source.OnRead = func(context.Context) ([]opencdc.Record, error) {
					if reads++; reads > 1 {
						panic(boom)
					}
					return read.Records, nil
				}
			}
			first := fake.From(source)
			first.Next = nodes
			w := fake.NewWorker(t, first, fake.Queue(dead))
			e := <-fake.Start(t.Context(), w)
			e.WantPanic(t, boom)
			if p, ok := e.Panic.(*funnel.PanicError); ok && (!errors.Is(p.Err, known) || !errors.Is(p, known)) {
				t.Errorf("%s: the panic holds %v", where, p.Err)
			}
			fake.WantNoError(t, w.Close(t.Context()))
		})
	}
}
