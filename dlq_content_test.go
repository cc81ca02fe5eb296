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
	"github.com/conduitio/funnel/internal/fake"
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
	j := &fake.Journal{}
	dead := fake.NewDestination(j, "dlq")
	fake.WantNoError(t, fake.Run(t, fake.Queue(dead), fake.From(fake.NewSource(j, fake.Read{Records: recs})),
		fake.Through("p", fake.Each(fake.FailWith(err))),
		fake.To(fake.NewDestination(j, "out"))))
	if len(dead.Written) != len(recs) {
		t.Fatalf("%d dead letters for %d records", len(dead.Written), len(recs))
	}
	return dead.Written
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
	letter := deadLettersOf(t, fake.ErrTest, opencdc.Record{
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
	letter = deadLettersOf(t, fake.ErrTest, opencdc.Record{Position: opencdc.Position("1"), Key: (*opencdc.RawData)(nil), Operation: opencdc.OperationDelete})[0]
	if got := payloadOf(t, letter); got["key"] != nil || got["operation"] != opencdc.OperationDelete.String() {
		t.Errorf("the payload is %v", got)
	}
}

// The IDs in a dead letter are valid text, whatever the host has chosen.
func TestDLQ_idsAreValid(t *testing.T) {
	j := &fake.Journal{}
	dead := fake.NewDestination(j, "dlq")
	source := fake.Node(funnel.NewSourceTask("source\xff", fake.SourceOf(j, "1"), log.Nop(), nil))
	fake.WantNoError(t, fake.Run(t, fake.Queue(dead), source, fake.Through("p\xfe", fake.Each(fake.Fail)), fake.To(fake.NewDestination(j, "out"))))
	got, err := dead.Written[0].Metadata.GetConduitSourceConnectorID()
	if err != nil || got != "source\uFFFD" {
		t.Errorf("the ID of the source is %q, %v", got, err)
	}
	if got, err = dead.Written[0].Metadata.GetConduitDLQNackNodeID(); err != nil || got != "p\uFFFD" {
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
		letter := deadLettersOf(t, tt.err, fake.Records("1")...)[0]
		got, err := letter.Metadata.GetConduitDLQNackError()
		if err != nil || !strings.Contains(got, tt.want) || !utf8.ValidString(got) {
			t.Errorf("%T: the text is %q, %v", tt.err, got, err)
		}
		if err := letter.ToProto(&opencdcv1.Record{}); err != nil {
			t.Errorf("%T: the dead letter cannot be encoded: %v", tt.err, err)
		}
		// Without a queue the error is that of Do.
		j := &fake.Journal{}
		err = fake.Run(t, nil, fake.From(fake.SourceOf(j, "1")),
			fake.Through("p", fake.Each(fake.FailWith(tt.err))),
			fake.To(fake.NewDestination(j, "out")))
		fake.WantError(t, err, nil, `task "p"`, `record "1"`)
	}
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
			first := fake.From(source)
			first.Next = []*funnel.TaskNode{fake.Chain(task, fake.To(a)), fake.To(b)}
			w := fake.NewWorker(t, first, nil)
			done := fake.Start(ctx, w)
			if e := <-done; e.Err == nil {
				t.Errorf("%s: Do has ended with %+v", where, e)
			}
			fake.WantNoError(t, w.Close(t.Context()))
		})
	}
}

// A processor may take a record's position away. Its dead letter has that of the
// source.
func TestDLQ_positionOfTheSource(t *testing.T) {
	j := &fake.Journal{}
	dead := fake.NewDestination(j, "dlq")
	away := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord { rec.Position = nil; return sdk.SingleRecord(rec) })
	fake.WantNoError(t, fake.Run(t, fake.Queue(dead), fake.From(fake.SourceOf(j, "1 2")), fake.Through("away", away), fake.Through("p", fake.Each(fake.Fail)), fake.To(fake.NewDestination(j, "out"))))
	j.Want(t, "dlq ack", "dlq 1 2", "ack 1 2")
	if got := payloadOf(t, dead.Written[0])["position"]; len(got.([]byte)) != 0 {
		t.Errorf("the position of the record itself is %q", got)
	}
}

// A queue that fails does not hide why the record is to go there, and neither does
// one that panics.
func TestDLQ_failureNamesTheRecord(t *testing.T) {
	broken := errors.New("broker unreachable")
	for _, how := range []string{"write", "ack", "refusal", "panic"} {
		j := &fake.Journal{}
		dead := fake.NewDestination(j, "dlq")
		switch how {
		case "write":
			dead.OnWrite = func(context.Context, []opencdc.Record) error { return broken }
		case "panic":
			dead.OnWrite = func(context.Context, []opencdc.Record) error { panic(broken) }
		case "refusal":
			dead.Refuse["2"] = broken
		case "ack":
			dead.OnWrite = func(context.Context, []opencdc.Record) error { dead.Pending = nil; return nil }
		}
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2")), fake.Through("p", fake.ByPosition(fake.Answers{"2": fake.Fail})), fake.To(fake.NewDestination(j, "out"))), fake.Queue(dead))
		var e fake.Ending
		synctest.Test(t, func(t *testing.T) { e = <-fake.Start(t.Context(), w) })
		err := e.Err
		if how == "panic" {
			e.WantPanic(t, broken)
			err, _ = e.Panic.(error)
		}
		fake.WantError(t, err, fake.ErrTest, `task "p"`, `record "2"`)
		var from *funnel.TaskError
		if !errors.As(err, &from) || from.TaskID != "p" {
			t.Errorf("%s: the error is of %v", how, from)
		}
		switch how {
		case "ack":
			fake.WantError(t, err, funnel.ErrAcksStopped)
		default:
			fake.WantError(t, err, broken)
		}
		if how != "panic" && !funnel.IsFatalError(err) {
			t.Errorf("%s: error is not fatal: %v", how, err)
		}
	}
}

// A queue that fails because the worker's context has ended would not fail again.
func TestDLQ_contextEnds(t *testing.T) {
	j := &fake.Journal{}
	ctx, cancel := context.WithCancel(t.Context())
	dead := fake.NewDestination(j, "dlq")
	dead.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { cancel(); return ctx.Err() }
	err := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.Through("p", fake.Each(fake.Fail)), fake.To(fake.NewDestination(j, "out"))), fake.Queue(dead)).Do(ctx)
	fake.WantError(t, err, context.Canceled)
	fake.WantError(t, err, fake.ErrTest)
	fake.WantFatal(t, err, false)
}

// Once a nack was refused, all are, until the queue is opened again.
func TestDLQ_frozenWindow(t *testing.T) {
	j := &fake.Journal{}
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j)), fake.To(fake.NewDestination(j, "out"))), fake.Window(fake.NewDestination(j, "dlq"), 2, 1))
	ctx := t.Context()
	nack := func(p string) error { return w.Nack(ctx, fake.NackedBatch(p), "task") }
	fake.WantNoError(t, nack("1"))
	refused := nack("2")
	fake.WantError(t, refused, funnel.ErrNackThreshold, `"2"`, "more than 1", "last 2")
	fake.WantError(t, refused, fake.ErrTest, `task "task"`)
	fake.WantFatal(t, refused, true)
	fake.WantNoError(t, w.Ack(ctx, funnel.NewBatch(fake.Records("3", "4", "5"))))
	fake.WantError(t, nack("6"), funnel.ErrNackThreshold)
	fake.WantNoError(t, w.DLQ.Open(ctx))
	fake.WantNoError(t, nack("7"))
	j.Want(t, "dlq ack", "dlq 1", "ack 1", "ack 3 4 5", "dlq 7", "ack 7")
}

// Called again after a part has failed, Nack dead-letters and acks only what is
// left, counts no record twice, and is refused with the same error.
func TestWorker_nackAgain(t *testing.T) {
	j := &fake.Journal{}
	dead, source := fake.NewDestination(j, "dlq"), fake.SourceOf(j)
	dlq := fake.Window(dead, 10, 3)
	w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(fake.NewDestination(j, "out"))), dlq)
	ctx := t.Context()
	b := fake.NackedBatch("0", "1", "2")
	dead.Refuse["1"] = fake.ErrTest
	fake.WantError(t, w.Nack(ctx, b, "task"), fake.ErrTest, `"1"`)
	source.OnAck = func(context.Context, []opencdc.Position) error { return fake.ErrTest }
	delete(dead.Refuse, "1")
	fake.WantError(t, w.Nack(ctx, b, "task"), fake.ErrTest)
	source.OnAck = nil
	fake.WantNoError(t, w.Nack(ctx, b, "task"))
	fake.WantNoError(t, w.Nack(ctx, b, "task"))
	j.Want(t, "dlq ack", "dlq 0 1 2", "ack 0", "dlq 1", "ack 1 2", "ack 1 2")

	// Three have counted, so the next one is one too many.
	other := fake.NackedBatch("3", "4")
	err := w.Nack(ctx, other, "task")
	fake.WantError(t, err, funnel.ErrNackThreshold, `"3"`)
	if again := w.Nack(ctx, other, "task"); again != err {
		t.Errorf("another error: %v", again)
	}
	j.Want(t, "dlq", "dlq 0 1 2", "dlq 1")
}

// A queue that fails and a window that refuses a later record are both known.
func TestDLQ_failureAndRefusal(t *testing.T) {
	j := &fake.Journal{}
	dead := fake.NewDestination(j, "dlq")
	broken := errors.New("broker unreachable")
	dead.OnWrite = func(context.Context, []opencdc.Record) error { return broken }
	dlq := fake.Window(dead, 10, 1)
	err := fake.Run(t, dlq, fake.From(fake.SourceOf(j, "1 2")), fake.Through("p", fake.Each(fake.Fail)), fake.To(fake.NewDestination(j, "out")))
	fake.WantError(t, err, broken, `"1"`)
	fake.WantError(t, err, funnel.ErrNackThreshold, `"2"`)
	j.Want(t, "dlq ack", "dlq 1")
}

// What goes to the queue is logged, however much it is: the first record at once,
// then at most a line a second, which says how many there were since.
func TestDLQ_log(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		logger := log.New(zerolog.New(&out).Level(zerolog.WarnLevel))
		j := &fake.Journal{}
		dead := fake.NewDestination(j, "dlq")
		dlq := funnel.NewDLQ("dlq", dead, logger, nil, 0, 0)
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j)), fake.To(fake.NewDestination(j, "out"))), dlq)
		nack := func(positions ...string) {
			t.Helper()
			fake.WantNoError(t, w.Nack(t.Context(), fake.NackedBatch(positions...), "task "+positions[0]))
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
		j := &fake.Journal{}
		dead := fake.NewDestination(j, "dlq")
		panics := true
		dead.OnAck = func(context.Context) ([]connector.DestinationAck, error) {
			if len(dead.Pending) == 0 || !panics || where == "metrics" {
				acks := dead.Pending
				dead.Pending = nil
				return acks, nil
			}
			if len(dead.Pending) < 3 {
				panic(fake.ErrTest)
			}
			acks := dead.Pending[:1]
			dead.Pending = dead.Pending[1:]
			return acks, nil
		}
		metrics := observing(func() {
			if panics && where == "metrics" {
				panic(fake.ErrTest)
			}
		})
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j)), fake.To(fake.NewDestination(j, "out"))), funnel.NewDLQ("dlq", dead, log.Nop(), metrics, 0, 0))
		b := fake.NackedBatch("0", "1", "2")
		p, ok := fake.PanicOf(func() { _ = w.Nack(t.Context(), b, "task") }).(*funnel.PanicError)
		if !ok || p.Value != fake.ErrTest || !strings.Contains(p.Err.Error(), `task "task"`) {
			t.Errorf("%s: Nack panicked with %v", where, p)
		}
		panics = false
		fake.WantNoError(t, w.Nack(t.Context(), b, "task"))
		if where == "ack" {
			j.Want(t, "dlq ack", "dlq 0 1 2", "dlq 1 2", "ack 0 1 2")
		} else {
			j.Want(t, "dlq ack", "dlq 0 1 2", "ack 0 1 2")
		}
	}
}

// observing is metrics that call a function.
type observing func()

func (o observing) Observe([]opencdc.Record, time.Time) { o() }

// The window counts each record at the first call, whatever fails then. A refusal
// that is known is in the panic of a queue.
func TestWorker_windowCountsAtTheFirstCall(t *testing.T) {
	j := &fake.Journal{}
	source, dead := fake.SourceOf(j), fake.NewDestination(j, "dlq")
	w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(fake.NewDestination(j, "out"))), fake.Window(dead, 2, 1))
	ctx := t.Context()
	fake.WantNoError(t, w.Nack(ctx, fake.NackedBatch("1"), "task"))
	source.OnAck = func(context.Context, []opencdc.Position) error { return fake.ErrTest }
	fake.WantError(t, w.Ack(ctx, funnel.NewBatch(fake.Records("2"))), fake.ErrTest)
	source.OnAck = nil
	fake.WantNoError(t, w.Nack(ctx, fake.NackedBatch("3"), "task")) // the window holds 2 and 3

	dead.OnWrite = func(context.Context, []opencdc.Record) error { panic(fake.ErrTest) }
	w = fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(fake.NewDestination(j, "out"))), fake.Window(dead, 9, 1))
	p, ok := fake.PanicOf(func() { _ = w.Nack(ctx, fake.NackedBatch("4", "5"), "task") }).(*funnel.PanicError)
	if !ok || !errors.Is(p.Err, funnel.ErrNackThreshold) {
		t.Errorf("Nack panicked with %v", p)
	}
}
