package funnel_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/conduitio/conduit-commons/opencdc"
	opencdcv1 "github.com/conduitio/conduit-commons/proto/opencdc/v1"
	sdk "github.com/conduitio/conduit-processor-sdk"
	"github.com/rs/zerolog"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
)

// strictError is an error whose methods need what its pointer points to.
type strictError struct{ text string }

func (e *strictError) Error() string { return e.text }
func (e *strictError) Unwrap() error { return errors.New(e.text) }
func (e *strictError) Is(error) bool { return e.text == "" }

// explodingError has a method that panics.
type explodingError struct{}

func (explodingError) Error() string { panic("boom") }

// deadLettersOf returns what becomes of records that are nacked.
func deadLettersOf(t *testing.T, err error, recs ...opencdc.Record) []opencdc.Record {
	t.Helper()
	j := &journal{}
	dead := newDestination(j, "dlq")
	wantNoError(t, run(t, queue(dead), from(newSource(j, fakeRead{recs: recs})),
		through("p", each(func(opencdc.Record) sdk.ProcessedRecord { return sdk.ErrorRecord{Error: err} })),
		to(newDestination(j, "out"))))
	if len(dead.written) != len(recs) {
		t.Fatalf("%d dead letters for %d records", len(dead.written), len(recs))
	}
	return dead.written
}

func payloadOf(t *testing.T, letter opencdc.Record) map[string]any {
	t.Helper()
	after, ok := letter.Payload.After.(opencdc.StructuredData)
	if !ok {
		t.Fatalf("the payload is a %T", letter.Payload.After)
	}
	return after
}

// All that a record holds is in its dead letter, also behind pointers, and what
// the engine adds can be stored wherever the record can.
func TestDLQ_recordIsComplete(t *testing.T) {
	raw, structured := opencdc.RawData("key"), opencdc.StructuredData{"amount": 12}
	letter := deadLettersOf(t, errTest, opencdc.Record{
		Position: opencdc.Position("1"),
		Key:      &raw,
		Payload:  opencdc.Change{Before: (*opencdc.StructuredData)(nil), After: &structured},
	})[0]
	got := payloadOf(t, letter)
	if key, ok := got["key"].([]byte); !ok || string(key) != "key" {
		t.Errorf("the key is %v", got["key"])
	}
	payload := got["payload"].(map[string]any)
	if after, ok := payload["after"].(map[string]any); !ok || after["amount"] != 12 || payload["before"] != nil {
		t.Errorf("the payload is %v", payload)
	}
	if got["operation"] != opencdc.OperationCreate.String() {
		t.Errorf("the operation is %v", got["operation"])
	}
	if err := letter.ToProto(&opencdcv1.Record{}); err != nil {
		t.Errorf("the dead letter cannot be encoded: %v", err)
	}
	letter = deadLettersOf(t, errTest, opencdc.Record{Position: opencdc.Position("1"), Key: (*opencdc.RawData)(nil), Operation: opencdc.OperationDelete})[0]
	if got := payloadOf(t, letter); got["key"] != nil || got["operation"] != opencdc.OperationDelete.String() {
		t.Errorf("the payload is %v", got)
	}
}

// The IDs in a dead letter are valid text, whatever the host has chosen.
func TestDLQ_idsAreValid(t *testing.T) {
	j := &journal{}
	dead := newDestination(j, "dlq")
	source := node(funnel.NewSourceTask("source\xff", batchesOf(j, "1"), log.Nop(), nil))
	wantNoError(t, run(t, queue(dead), source, through("p\xfe", each(fail)), to(newDestination(j, "out"))))
	got, err := dead.written[0].Metadata.GetConduitSourceConnectorID()
	if err != nil || got != "source\uFFFD" {
		t.Errorf("the ID of the source is %q, %v", got, err)
	}
	if got, err = dead.written[0].Metadata.GetConduitDLQNackNodeID(); err != nil || got != "p\uFFFD" {
		t.Errorf("the ID of the task is %q, %v", got, err)
	}
}

// Errors become text once, guarded, and the text is valid. A nil pointer is no
// error.
func TestDLQ_errorTexts(t *testing.T) {
	const replaced = "\uFFFD"
	for _, tt := range []struct {
		err  error
		want string
	}{
		{errors.New("unexpected byte '\xff'"), "unexpected byte '" + replaced + "'"},
		{(*strictError)(nil), "nacked without an error"},
		{nil, "nacked without an error"},
		{explodingError{}, "boom"},
	} {
		letter := deadLettersOf(t, tt.err, records("1")...)[0]
		got, err := letter.Metadata.GetConduitDLQNackError()
		if err != nil || !strings.Contains(got, tt.want) || !utf8.ValidString(got) {
			t.Errorf("%T: the text is %q, %v", tt.err, got, err)
		}
		if err := letter.ToProto(&opencdcv1.Record{}); err != nil {
			t.Errorf("%T: the dead letter cannot be encoded: %v", tt.err, err)
		}
		// Without a queue the error is that of Do.
		j := &journal{}
		err = run(t, nil, from(batchesOf(j, "1")),
			through("p", each(func(opencdc.Record) sdk.ProcessedRecord { return sdk.ErrorRecord{Error: tt.err} })),
			to(newDestination(j, "out")))
		wantError(t, err, nil, `task "p"`, `record "1"`)
	}
}

// An error whose methods need what its nil pointer points to harms nothing,
// wherever it is returned.
func TestWorker_nilPointerErrors(t *testing.T) {
	for _, where := range []string{"write", "write after another branch", "read", "ack", "task", "nack when the context has ended"} {
		synctest.Test(t, func(t *testing.T) {
			j := &journal{}
			source, a := batchesOf(j, "1"), newDestination(j, "a")
			task := custom("task", func(context.Context, *funnel.Batch) error { return nil })
			var none *strictError
			writing := make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			switch where {
			case "write after another branch":
				a.write = func(ctx context.Context, _ []opencdc.Record) error { close(writing); <-ctx.Done(); return none }
			case "nack when the context has ended":
				task = through("task", each(func(opencdc.Record) sdk.ProcessedRecord { cancel(); return sdk.ErrorRecord{Error: none} }))
			case "write":
				a.write = func(context.Context, []opencdc.Record) error { return none }
			case "read":
				source.read = func(context.Context) ([]opencdc.Record, error) { return nil, none }
			case "ack":
				source.ack = func(context.Context, []opencdc.Position) error { return none }
			case "task":
				task = custom("task", func(context.Context, *funnel.Batch) error { return none })
			}
			b := newDestination(j, "b")
			b.write = func(ctx context.Context, _ []opencdc.Record) error {
				switch where {
				case "write", "task":
					<-ctx.Done()
					return ctx.Err()
				case "write after another branch":
					<-writing
					return errTest
				}
				return nil
			}
			first := from(source)
			first.Next = []*funnel.TaskNode{chain(task, to(a)), to(b)}
			w := newWorker(t, first, nil)
			done := start(ctx, w)
			if e := <-done; e.err == nil {
				t.Errorf("%s: Do has ended with %+v", where, e)
			}
			wantNoError(t, w.Close(t.Context()))
		})
	}
}

// A processor may take a record's position away. Its dead letter has that of the
// source.
func TestDLQ_positionOfTheSource(t *testing.T) {
	j := &journal{}
	dead := newDestination(j, "dlq")
	away := each(func(rec opencdc.Record) sdk.ProcessedRecord { rec.Position = nil; return sdk.SingleRecord(rec) })
	wantNoError(t, run(t, queue(dead), from(batchesOf(j, "1 2")), through("away", away), through("p", each(fail)), to(newDestination(j, "out"))))
	j.want(t, []string{"dlq", "ack"}, "dlq 1 2", "ack 1 2")
	if got := payloadOf(t, dead.written[0])["position"]; len(got.([]byte)) != 0 {
		t.Errorf("the position of the record itself is %q", got)
	}
}

// A queue that fails does not hide why the record is to go there, and neither does
// one that panics.
func TestDLQ_failureNamesTheRecord(t *testing.T) {
	broken := errors.New("broker unreachable")
	for _, how := range []string{"write", "ack", "refusal", "panic"} {
		j := &journal{}
		dead := newDestination(j, "dlq")
		switch how {
		case "write":
			dead.write = func(context.Context, []opencdc.Record) error { return broken }
		case "panic":
			dead.write = func(context.Context, []opencdc.Record) error { panic(broken) }
		case "refusal":
			dead.refuse["2"] = broken
		case "ack":
			dead.write = func(context.Context, []opencdc.Record) error { dead.pending = nil; return nil }
		}
		w := newWorker(t, chain(from(batchesOf(j, "1 2")), through("p", byPosition(does{"2": fail})), to(newDestination(j, "out"))), queue(dead))
		var e ending
		synctest.Test(t, func(t *testing.T) { e = <-start(t.Context(), w) })
		err := e.err
		if how == "panic" {
			wantPanic(t, e, broken)
			err, _ = e.panicked.(error)
		}
		wantError(t, err, errTest, `task "p"`, `record "2"`)
		var from *funnel.TaskError
		if !errors.As(err, &from) || from.TaskID != "p" {
			t.Errorf("%s: the error is of %v", how, from)
		}
		switch how {
		case "ack":
			wantError(t, err, funnel.ErrAcksStopped)
		default:
			wantError(t, err, broken)
		}
		if how != "panic" && !funnel.IsFatalError(err) {
			t.Errorf("%s: error is not fatal: %v", how, err)
		}
	}
}

// A queue that fails because the worker's context has ended would not fail again.
func TestDLQ_contextEnds(t *testing.T) {
	j := &journal{}
	ctx, cancel := context.WithCancel(t.Context())
	dead := newDestination(j, "dlq")
	dead.write = func(ctx context.Context, _ []opencdc.Record) error { cancel(); return ctx.Err() }
	err := newWorker(t, chain(from(batchesOf(j, "1")), through("p", each(fail)), to(newDestination(j, "out"))), queue(dead)).Do(ctx)
	wantError(t, err, context.Canceled)
	wantError(t, err, errTest)
	if funnel.IsFatalError(err) {
		t.Errorf("error is fatal: %v", err)
	}
}

// Once a nack was refused, all are, until the queue is opened again.
func TestDLQ_frozenWindow(t *testing.T) {
	j := &journal{}
	w := newWorker(t, chain(from(batchesOf(j)), to(newDestination(j, "out"))), funnel.NewDLQ("dlq", newDestination(j, "dlq"), log.Nop(), nil, 2, 1))
	ctx := t.Context()
	nack := func(p string) error { return w.Nack(ctx, nacked(p), "task") }
	wantNoError(t, nack("1"))
	refused := nack("2")
	wantError(t, refused, funnel.ErrNackThreshold, `"2"`, "more than 1", "last 2")
	wantError(t, refused, errTest, `task "task"`)
	if !funnel.IsFatalError(refused) {
		t.Errorf("error is not fatal: %v", refused)
	}
	wantNoError(t, w.Ack(ctx, funnel.NewBatch(records("3", "4", "5"))))
	wantError(t, nack("6"), funnel.ErrNackThreshold)
	wantNoError(t, w.DLQ.Open(ctx))
	wantNoError(t, nack("7"))
	j.want(t, []string{"dlq", "ack"}, "dlq 1", "ack 1", "ack 3 4 5", "dlq 7", "ack 7")
}

// nacked returns a batch in which each record is nacked.
func nacked(positions ...string) *funnel.Batch {
	b := funnel.NewBatch(records(positions...))
	for i, p := range positions {
		b.Nack(i, errFor(p))
	}
	return b
}

// Called again after a part has failed, Nack dead-letters and acks only what is
// left, counts no record twice, and is refused with the same error.
func TestWorker_nackAgain(t *testing.T) {
	j := &journal{}
	dead, source := newDestination(j, "dlq"), batchesOf(j)
	dlq := funnel.NewDLQ("dlq", dead, log.Nop(), nil, 10, 3)
	w := newWorker(t, chain(from(source), to(newDestination(j, "out"))), dlq)
	ctx := t.Context()
	b := nacked("0", "1", "2")
	dead.refuse["1"] = errTest
	wantError(t, w.Nack(ctx, b, "task"), errTest, `"1"`)
	source.ack = func(context.Context, []opencdc.Position) error { return errTest }
	delete(dead.refuse, "1")
	wantError(t, w.Nack(ctx, b, "task"), errTest)
	source.ack = nil
	wantNoError(t, w.Nack(ctx, b, "task"))
	wantNoError(t, w.Nack(ctx, b, "task"))
	j.want(t, []string{"dlq", "ack"}, "dlq 0 1 2", "ack 0", "dlq 1", "ack 1 2", "ack 1 2")

	// Three have counted, so the next one is one too many.
	other := nacked("3", "4")
	err := w.Nack(ctx, other, "task")
	wantError(t, err, funnel.ErrNackThreshold, `"3"`)
	if again := w.Nack(ctx, other, "task"); again != err {
		t.Errorf("another error: %v", again)
	}
	j.want(t, []string{"dlq"}, "dlq 0 1 2", "dlq 1")
}

// A queue that fails and a window that refuses a later record are both known.
func TestDLQ_failureAndRefusal(t *testing.T) {
	j := &journal{}
	dead := newDestination(j, "dlq")
	broken := errors.New("broker unreachable")
	dead.write = func(context.Context, []opencdc.Record) error { return broken }
	dlq := funnel.NewDLQ("dlq", dead, log.Nop(), nil, 10, 1)
	err := run(t, dlq, from(batchesOf(j, "1 2")), through("p", each(fail)), to(newDestination(j, "out")))
	wantError(t, err, broken, `"1"`)
	wantError(t, err, funnel.ErrNackThreshold, `"2"`)
	j.want(t, []string{"dlq", "ack"}, "dlq 1")
}

// What goes to the queue is logged, however much it is: the first record at once,
// then at most a line a second, which says how many there were since.
func TestDLQ_log(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		logger := log.New(zerolog.New(&out).Level(zerolog.WarnLevel))
		j := &journal{}
		dead := newDestination(j, "dlq")
		dlq := funnel.NewDLQ("dlq", dead, logger, nil, 0, 0)
		w := newWorker(t, chain(from(batchesOf(j)), to(newDestination(j, "out"))), dlq)
		nack := func(positions ...string) {
			t.Helper()
			wantNoError(t, w.Nack(t.Context(), nacked(positions...), "task "+positions[0]))
		}
		lines := func(want ...string) {
			t.Helper()
			got := strings.Split(strings.TrimSpace(out.String()), "\n")
			if len(got) != len(want) {
				t.Fatalf("log:\n%s", out.String())
			}
			for i := range want {
				for _, word := range strings.Split(want[i], ", ") {
					if !strings.Contains(got[i], word) {
						t.Errorf("line %s does not say %s", got[i], word)
					}
				}
			}
			out.Reset()
		}
		nack("1", "2")
		lines(`"level":"warn", "records":2, "record_position":"1", "task_id":"task 1", "error":"test error of 1"`)
		time.Sleep(999 * time.Millisecond)
		nack("3")
		nack("4", "5")
		if out.Len() > 0 {
			t.Errorf("log:\n%s", out.String())
		}
		time.Sleep(time.Millisecond)
		nack("6")
		lines(`"records":4, "record_position":"3", "task_id":"task 3", "error":"test error of 3"`)
	})
}

// What the queue has confirmed before it panics, or its metrics do, is not written
// again.
func TestWorker_nackAgainAfterAPanic(t *testing.T) {
	for _, where := range []string{"ack", "metrics"} {
		j := &journal{}
		dead := newDestination(j, "dlq")
		panics := true
		dead.acks = func(context.Context) ([]connector.DestinationAck, error) {
			if len(dead.pending) == 0 || !panics || where == "metrics" {
				acks := dead.pending
				dead.pending = nil
				return acks, nil
			}
			if len(dead.pending) < 3 {
				panic(errTest)
			}
			acks := dead.pending[:1]
			dead.pending = dead.pending[1:]
			return acks, nil
		}
		metrics := observing(func() {
			if panics && where == "metrics" {
				panic(errTest)
			}
		})
		w := newWorker(t, chain(from(batchesOf(j)), to(newDestination(j, "out"))), funnel.NewDLQ("dlq", dead, log.Nop(), metrics, 0, 0))
		b := nacked("0", "1", "2")
		p, ok := panicOf(func() { _ = w.Nack(t.Context(), b, "task") }).(*funnel.PanicError)
		if !ok || p.Value != errTest || !strings.Contains(p.Err.Error(), `task "task"`) {
			t.Errorf("%s: Nack panicked with %v", where, p)
		}
		panics = false
		wantNoError(t, w.Nack(t.Context(), b, "task"))
		if where == "ack" {
			j.want(t, []string{"dlq", "ack"}, "dlq 0 1 2", "dlq 1 2", "ack 0 1 2")
		} else {
			j.want(t, []string{"dlq", "ack"}, "dlq 0 1 2", "ack 0 1 2")
		}
	}
}

// observing is metrics that call a function.
type observing func()

func (o observing) Observe([]opencdc.Record, time.Time) { o() }

// The window counts each record at the first call, whatever fails then. A refusal
// that is known is in the panic of a queue.
func TestWorker_windowCountsAtTheFirstCall(t *testing.T) {
	j := &journal{}
	source, dead := batchesOf(j), newDestination(j, "dlq")
	w := newWorker(t, chain(from(source), to(newDestination(j, "out"))), funnel.NewDLQ("dlq", dead, log.Nop(), nil, 2, 1))
	ctx := t.Context()
	wantNoError(t, w.Nack(ctx, nacked("1"), "task"))
	source.ack = func(context.Context, []opencdc.Position) error { return errTest }
	wantError(t, w.Ack(ctx, funnel.NewBatch(records("2"))), errTest)
	source.ack = nil
	wantNoError(t, w.Nack(ctx, nacked("3"), "task")) // the window holds 2 and 3

	dead.write = func(context.Context, []opencdc.Record) error { panic(errTest) }
	w = newWorker(t, chain(from(source), to(newDestination(j, "out"))), funnel.NewDLQ("dlq", dead, log.Nop(), nil, 9, 1))
	p, ok := panicOf(func() { _ = w.Nack(ctx, nacked("4", "5"), "task") }).(*funnel.PanicError)
	if !ok || !errors.Is(p.Err, funnel.ErrNackThreshold) {
		t.Errorf("Nack panicked with %v", p)
	}
}
