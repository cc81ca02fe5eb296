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
	"github.com/conduitio/funnel/log"
)

// taskErrors returns the TaskErrors in the tree of an error.
func taskErrors(err error) []*funnel.TaskError {
	var found []*funnel.TaskError
	if e, ok := err.(*funnel.TaskError); ok {
		found = append(found, e)
	}
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			found = append(found, taskErrors(err)...)
		}
	case interface{ Unwrap() error }:
		found = append(found, taskErrors(e.Unwrap())...)
	}
	return found
}

// wantTask fails the test if the error does not name the task, once.
func wantTask(t *testing.T, err error, id string) {
	t.Helper()
	found := taskErrors(err)
	if len(found) != 1 || found[0].TaskID != id {
		t.Errorf("the error is of the tasks %v, want %s once: %v", found, id, err)
	}
	var first *funnel.TaskError
	if errors.As(err, &first) && first.Error() != fmt.Sprintf("task %q: %v", id, first.Err) {
		t.Errorf("the text of the error is %q", first)
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
		return through("p", fakeProcessor(func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { return results }))
	}
	acks := func(acks ...connector.DestinationAck) func(d *fakeDestination) {
		return func(d *fakeDestination) {
			d.acks = func(context.Context) ([]connector.DestinationAck, error) { return acks, nil }
		}
	}
	ack := func(p string) connector.DestinationAck {
		return connector.DestinationAck{Position: opencdc.Position(p)}
	}
	window := funnel.NewDLQ("dlq", newDestination(&journal{}, "dlq"), log.Nop(), nil, 2, 1)
	for _, tt := range []struct {
		name     string
		read     string // "1 2" if it is empty
		through  *funnel.TaskNode
		out      func(*fakeDestination)
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
		{name: "a full window", through: through("p", each(fail)), dlq: window, want: funnel.ErrNackThreshold, task: "p", isFatal: true},
		{name: "another batch", through: custom("p", func(_ context.Context, b *funnel.Batch) error { *b = funnel.Batch{}; return nil }), want: funnel.ErrLostRecords, task: "p"},
		{name: "the end of a goroutine", through: custom("p", func(context.Context, *funnel.Batch) error { runtime.Goexit(); return nil }), want: funnel.ErrGoexit, task: "p", isBranch: true},
		{name: "a task around another", through: node(around{Task: results().Task, id: "around"}), want: funnel.ErrProcessorResults, task: "around"},
	} {
		for _, isBranch := range []bool{false, true} {
			if tt.isBranch && !isBranch {
				continue
			}
			synctest.Test(t, func(t *testing.T) {
				j := &journal{}
				source, out := batchesOf(j, "1 2"), newDestination(j, "out")
				if tt.read == "empty" {
					source = newSource(j, fakeRead{recs: records("1", "")})
				}
				if tt.out != nil {
					tt.out(out)
				}
				var middle *funnel.TaskNode
				if tt.through != nil {
					middle = chain(node(tt.through.Task), to(out))
				} else {
					middle = to(out)
				}
				first := from(source)
				if first.Next = []*funnel.TaskNode{middle}; isBranch {
					first.Next = append(first.Next, custom("other", func(context.Context, *funnel.Batch) error { return nil }))
				}
				w, err := funnel.NewWorker(first, tt.dlq, log.Nop(), nil)
				if err != nil {
					t.Fatal(err)
				}
				if tt.dlq != nil {
					wantNoError(t, tt.dlq.Open(t.Context()))
				}
				err = w.Do(t.Context())
				wantError(t, err, tt.want)
				wantTask(t, err, tt.task)
				if funnel.IsFatalError(err) != tt.isFatal {
					t.Errorf("%s: fatal or not: %v", tt.name, err)
				}
				wantNoError(t, w.Close(t.Context()))
			})
		}
	}
}

// A task that settles a batch and then changes it has not lost records silently.
func TestWorker_settledTwice(t *testing.T) {
	j := &journal{}
	var w *funnel.Worker
	task := custom("task", func(ctx context.Context, b *funnel.Batch) error {
		kept := *b
		if err := w.Ack(ctx, b); err != nil {
			return err
		}
		*b = kept
		return nil
	})
	w = newWorker(t, chain(from(batchesOf(j, "1 2")), task, to(newDestination(j, "out"))), nil)
	wantError(t, w.Do(t.Context()), funnel.ErrLostRecords)
	j.want(t, []string{"ack"}, "ack 1 2")
}

// The errors of connectors name their task, whatever it was doing.
func TestWorker_errorsNameTheTask(t *testing.T) {
	for what, task := range map[string]string{
		"open source": "source", "open out": "out", "read": "source", "write": "out", "acks": "out",
		"ack": "source", "teardown source": "source", "teardown out": "out",
	} {
		j := &journal{}
		source, out := batchesOf(j, "1"), newDestination(j, "out")
		fails := func(context.Context) error { return errTest }
		switch what {
		case "open source":
			source.open = fails
		case "open out":
			out.open = fails
		case "read":
			source.read = func(context.Context) ([]opencdc.Record, error) { return nil, errTest }
		case "write":
			out.write = func(context.Context, []opencdc.Record) error { return errTest }
		case "acks":
			out.acks = func(context.Context) ([]connector.DestinationAck, error) { return nil, errTest }
		case "ack":
			source.ack = func(context.Context, []opencdc.Position) error { return errTest }
		case "teardown source":
			source.teardown = fails
		case "teardown out":
			out.teardown = fails
		}
		w := newWorker(t, chain(from(source), to(out)), nil)
		err := w.Open(t.Context())
		if err == nil {
			err = errors.Join(w.Do(t.Context()), w.Close(t.Context()))
		}
		wantError(t, err, errTest)
		wantTask(t, err, task)
		if what == "read" {
			wantError(t, err, nil, "failed to read from source")
		}
	}
}

// Long positions are shown by their beginning and length, wherever they are.
func TestWorker_longPositions(t *testing.T) {
	long := strings.Repeat("\xff", 10<<20)
	for name, first := range map[string]*funnel.TaskNode{
		"write": chain(from(newSource(&journal{}, fakeRead{recs: records(long)})), to(&fakeDestination{journal: &journal{}, name: "out",
			write: func(context.Context, []opencdc.Record) error { return errTest }})),
		"wrong ack": chain(from(newSource(&journal{}, fakeRead{recs: records(long)})), to(&fakeDestination{journal: &journal{}, name: "out",
			acks: func(context.Context) ([]connector.DestinationAck, error) {
				return []connector.DestinationAck{{Position: opencdc.Position(long + "x")}}, nil
			}})),
		"nack": chain(from(newSource(&journal{}, fakeRead{recs: records(long)})), through("p", each(func(opencdc.Record) sdk.ProcessedRecord {
			return sdk.ErrorRecord{Error: errTest}
		})), to(newDestination(&journal{}, "out"))),
		"results": chain(from(newSource(&journal{}, fakeRead{recs: records(long)})), through("p", fakeProcessor(
			func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { return nil },
		)), to(newDestination(&journal{}, "out"))),
	} {
		err := newWorker(t, first, nil).Do(t.Context())
		wantError(t, err, nil, `\xff\xff`, fmt.Sprint(10<<20))
		if n := len(err.Error()); n > 2000 {
			t.Errorf("%s: the text has %d bytes", name, n)
		}
	}
	short := strings.Repeat("x", 64)
	first := chain(from(newSource(&journal{}, fakeRead{recs: records(short)})), to(&fakeDestination{journal: &journal{}, name: "out",
		write: func(context.Context, []opencdc.Record) error { return errTest }}))
	wantError(t, newWorker(t, first, nil).Do(t.Context()), errTest, fmt.Sprintf("%q", short))
}

// What has gone wrong before a panic is in the panic.
func TestWorker_panicHidesNothing(t *testing.T) {
	known, boom := errors.New("known before"), errors.New("boom")
	for _, where := range []string{"a branch", "a part", "release after a branch", "ack after the queue", "read after an ack"} {
		synctest.Test(t, func(t *testing.T) {
			j := &journal{}
			source, a, b := batchesOf(j, "1 2"), newDestination(j, "a"), newDestination(j, "b")
			dead := newDestination(j, "dlq")
			nodes := []*funnel.TaskNode{to(a), to(b)}
			switch where {
			case "a branch":
				writing := make(chan struct{})
				a.write = func(context.Context, []opencdc.Record) error { <-writing; return known }
				b.write = func(ctx context.Context, _ []opencdc.Record) error { close(writing); <-ctx.Done(); panic(boom) }
			case "a part":
				failed := make(chan struct{})
				nodes = []*funnel.TaskNode{chain(through("p", parallel(t, func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
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
				b.acks = func(context.Context) ([]connector.DestinationAck, error) {
					defer close(delivered)
					return b.pending, nil
				}
				a.write = func(_ context.Context, recs []opencdc.Record) error {
					if string(recs[0].Position) == "2" {
						<-delivered
						return known
					}
					return nil
				}
				nodes[0] = chain(through("p", byPosition(does{"2": once(single)})), nodes[0])
				source.ack = func(context.Context, []opencdc.Position) error { panic(boom) }
			case "ack after the queue":
				nodes = []*funnel.TaskNode{chain(through("p", each(fail)), nodes[0])}
				dead.refuse["2"] = known
				source.ack = func(context.Context, []opencdc.Position) error { panic(boom) }
			case "read after an ack":
				nodes = nodes[:1]
				known = io.EOF
				source.ack = func(context.Context, []opencdc.Position) error { return io.EOF }
				read := source.reads[0]
				reads := 0
				source.read = func(context.Context) ([]opencdc.Record, error) {
					if reads++; reads > 1 {
						panic(boom)
					}
					return read.recs, nil
				}
			}
			first := from(source)
			first.Next = nodes
			w := newWorker(t, first, queue(dead))
			e := <-start(t.Context(), w)
			wantPanic(t, e, boom)
			if p, ok := e.panicked.(*funnel.PanicError); ok && (!errors.Is(p.Err, known) || !errors.Is(p, known)) {
				t.Errorf("%s: the panic holds %v", where, p.Err)
			}
			wantNoError(t, w.Close(t.Context()))
		})
	}
}

// Panics on several branches all come back.
func TestFanOut_panics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		other := errors.New("another panic")
		a, b := newDestination(j, "a"), newDestination(j, "b")
		writing := make(chan struct{})
		a.write = func(context.Context, []opencdc.Record) error { <-writing; panic(errTest) }
		b.write = func(ctx context.Context, _ []opencdc.Record) error { close(writing); <-ctx.Done(); panic(other) }
		first := from(batchesOf(j, "1"))
		first.Next = []*funnel.TaskNode{to(a), to(b)}
		e := <-start(t.Context(), newWorker(t, first, nil))
		wantPanic(t, e, errTest)
		wantError(t, e.panicked.(error), other)
	})
}

// The error of an ended context has its cause, too.
func TestWorker_contextCause(t *testing.T) {
	for _, ahead := range []int{0, 1} {
		ctx, cancel := context.WithCancelCause(t.Context())
		j := &journal{}
		s := batchesOf(j, "1")
		s.endless = true
		w := newAhead(t, ahead, chain(from(s), to(newDestination(j, "out"))), nil, nil)
		done := start(ctx, w)
		<-s.reading
		cancel(errTest)
		e := <-done
		e.want(t, context.Canceled)
		e.want(t, errTest)
		ctx, cancel = context.WithCancelCause(t.Context())
		cancel(errTest)
		w = newAhead(t, ahead, chain(from(batchesOf(j, "1")), to(newDestination(j, "out"))), nil, nil)
		err := w.Do(ctx)
		wantError(t, err, context.Canceled)
		wantError(t, err, errTest)
	}
}

// The error of a branch whose goroutine is ended names the task that had the batch.
func TestFanOut_goexitNamesTheTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		out := newDestination(j, "out")
		out.write = func(context.Context, []opencdc.Record) error { runtime.Goexit(); return nil }
		first := from(batchesOf(j, "1"))
		first.Next = []*funnel.TaskNode{chain(through("p", each(single)), to(out)), to(newDestination(j, "other"))}
		err := runWorker(t, newWorker(t, first, nil))
		wantError(t, err, funnel.ErrGoexit)
		wantTask(t, err, "out")
	})
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
		j := &journal{}
		recs := append(records("1"), nested("2", tt.levels), nested("3", 1))
		shallow := fakeProcessor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			results := make([]sdk.ProcessedRecord, len(recs))
			for i, rec := range recs {
				if results[i] = sdk.SingleRecord(rec); tt.split {
					results[i] = sdk.MultiRecord(records(string(rec.Position)+"a", string(rec.Position)+"b"))
				}
			}
			return results
		})
		pass := through("a", each(single))
		if tt.nack {
			pass = through("a", each(fail))
		}
		next := []*funnel.TaskNode{chain(pass, to(newDestination(j, "out")))}
		if tt.branch {
			next = append(next, chain(through("b", each(single)), to(newDestination(j, "other"))), to(newDestination(j, "third")))
		}
		// Records are copied by those that need it, in the order of the branches.
		if tt.branch {
			next[0], next[1] = next[1], next[0]
		}
		first := from(newSource(j, fakeRead{recs: recs}))
		first.Next = []*funnel.TaskNode{through("shallow", shallow)}
		first.Next[0].Next = next
		err := runWorker(t, newWorker(t, first, queue(newDestination(j, "dlq"))))
		if !tt.tooDeep {
			wantNoError(t, err)
			continue
		}
		wantError(t, err, funnel.ErrTooDeep, `"2"`)
		wantTask(t, err, tt.task)
		if !funnel.IsFatalError(err) {
			t.Errorf("%s: error is not fatal: %v", tt.name, err)
		}
		if tt.nack {
			j.want(t, []string{"dlq", "ack"}, "dlq 1", "ack 1")
		} else {
			j.want(t, []string{"dlq", "ack"})
		}
	}
}

// What goes wrong in parts of a parallel processor has its sentinel, in each part.
func TestParallelProcessor_sentinels(t *testing.T) {
	for name, want := range map[string]error{"nothing": funnel.ErrProcessorResults, "more": funnel.ErrProcessorResults, "goexit": funnel.ErrGoexit} {
		p := parallel(t, func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			switch name {
			case "more":
				return make([]sdk.ProcessedRecord, len(recs)+1)
			case "goexit":
				runtime.Goexit()
			}
			return nil
		}, 2)
		err := run(t, nil, from(batchesOf(&journal{}, "1 2")), through("p", p), to(newDestination(&journal{}, "out")))
		wantError(t, err, want, `from "1" on`, `from "2" on`)
		wantTask(t, err, "p")
	}
}

// An error that names a task already, of the host's own, is found as that of the
// task in the pipeline, and is found all the same.
func TestWorker_taskErrorIsOnce(t *testing.T) {
	inner := funnel.FatalError(&funnel.TaskError{TaskID: "inner", Err: errTest})
	for name, process := range map[string]func(b *funnel.Batch) error{
		"returned": func(*funnel.Batch) error { return inner },
		"wrapped":  func(*funnel.Batch) error { return fmt.Errorf("outer: %w", inner) },
		"nacked":   func(b *funnel.Batch) error { b.Nack(0, inner); return nil },
	} {
		task := custom("own", func(_ context.Context, b *funnel.Batch) error { return process(b) })
		err := run(t, nil, from(batchesOf(&journal{}, "1")), task, to(newDestination(&journal{}, "out")))
		wantError(t, err, errTest, `task "own"`, `task "inner"`)
		wantTask(t, err, "own")
		if !funnel.IsFatalError(err) {
			t.Errorf("%s: error is not fatal: %v", name, err)
		}
	}
}

// With read-ahead, a goroutine that ends in a read is known whatever else goes
// wrong, and so is an error of a read that was there before.
func TestWithReadAhead_errorsAreJoined(t *testing.T) {
	for _, isEarly := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			j := &journal{}
			other := errors.New("another error")
			s, out, failed := newSource(j), newDestination(j, "out"), make(chan struct{})
			reads := 0
			s.read = func(context.Context) ([]opencdc.Record, error) {
				switch reads++; {
				case reads == 1:
					return records("1"), nil
				case isEarly:
					close(failed)
					return nil, other
				}
				<-s.torn
				runtime.Goexit()
				return nil, nil
			}
			out.write = func(context.Context, []opencdc.Record) error {
				if isEarly {
					<-failed
				}
				synctest.Wait()
				return errTest
			}
			w := newAhead(t, 10, chain(from(s), to(out)), nil, nil)
			err := w.Do(t.Context())
			wantError(t, err, errTest)
			if isEarly {
				wantError(t, err, other)
			} else {
				wantError(t, err, funnel.ErrGoexit)
			}
			wantNoError(t, w.Close(t.Context()))
		})
	}
}

// If acking reports io.EOF and the context ends before the next read says why, the
// error of the ack is known.
func TestWorker_ackReportsEOFAndTheContextEnds(t *testing.T) {
	for _, ahead := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			j := &journal{}
			s := batchesOf(j, "1")
			s.endless = true
			s.reading = make(chan struct{}, 10)
			s.ack = func(context.Context, []opencdc.Position) error { return io.EOF }
			w := newAhead(t, ahead, chain(from(s), to(newDestination(j, "out"))), nil, nil)
			done := start(ctx, w)
			synctest.Wait()
			cancel()
			e := <-done
			e.want(t, context.Canceled)
			e.want(t, io.EOF, "failed to ack")
			wantNoError(t, w.Close(t.Context()))
		})
	}
}
