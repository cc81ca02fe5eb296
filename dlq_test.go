package funnel_test

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"
	"github.com/rs/zerolog"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// strictError is an error whose methods panic on a nil pointer.
type strictError struct{ text string }

func (e *strictError) Error() string { return e.text }

func (e *strictError) Unwrap() error { return errors.New(e.text) }

func (e *strictError) Is(error) bool { return e.text == "" }

// explodingError is an error whose method Error panics.
type explodingError struct{}

func (explodingError) Error() string { panic("boom") }

// deadLettersOf returns the dead letters of records that a processor nacks with an
// error.
func deadLettersOf(t *testing.T, err error, recs ...opencdc.Record) []opencdc.Record {
	t.Helper()
	j := &fake.Journal{}
	dead := fake.NewDestination(j, "dlq")
	fake.WantNoError(t, fake.Run(t, fake.Queue(dead), fake.From(fake.NewSource(j, fake.Read{Records: recs})),
		fake.Through("p", fake.Each(fake.FailWith(err))),
		fake.Out(j)))
	if len(dead.Written) != len(recs) {
		t.Fatalf("%d dead letters for %d records", len(dead.Written), len(recs))
	}
	return dead.Written
}

// payloadOf returns the record in a dead letter.
func payloadOf(t *testing.T, letter opencdc.Record) map[string]any {
	t.Helper()
	after, ok := letter.Payload.After.(opencdc.StructuredData)
	if !ok {
		t.Fatalf("the payload is a %T", letter.Payload.After)
	}
	return after
}

// A queue with a window stops the worker if there are too many nacks among the last
// outcomes. Each source record counts once.
func TestDLQ_window(t *testing.T) {
	for _, tt := range []struct {
		name            string
		size, threshold int
		batches         []string
		want            []string
		refused         string // the position that stops the worker
	}{{
		name: "no window", size: 0, threshold: 0,
		batches: []string{"n1 n2 n3"},
		want:    []string{"dlq n1 n2 n3", "ack n1 n2 n3"},
	}, {
		name: "no tolerance", size: 1, threshold: 0,
		batches: []string{"1 n2 3"},
		want:    []string{"out 1", "ack 1"}, refused: "n2",
	}, {
		name: "a part of a run is accepted", size: 10, threshold: 2,
		batches: []string{"1 n2 n3 n4 5"},
		want:    []string{"out 1", "ack 1", "dlq n2 n3", "ack n2 n3"}, refused: "n4",
	}, {
		name: "acks move the window on", size: 3, threshold: 1,
		batches: []string{"n1", "2 3 n4", "5", "n6", "7"},
		want:    []string{"dlq n1", "ack n1", "out 2 3", "ack 2 3", "dlq n4", "ack n4", "out 5", "ack 5"}, refused: "n6",
	}, {
		name: "a threshold as large as the window", size: 2, threshold: 2,
		batches: []string{"n1 n2 n3", "n4"},
		want:    []string{"dlq n1 n2 n3", "ack n1 n2 n3", "dlq n4", "ack n4"},
	}, {
		name: "pieces count as one, and so do branches", size: 4, threshold: 1,
		batches: []string{"n1s", "2s 3s 4s", "n5s", "6", "n7"},
		want: []string{
			"dlq n1s", "ack n1s", "out 2sa 2sb 3sa 3sb 4sa 4sb", "ack 2s 3s 4s",
			"dlq n5s", "ack n5s", "out 6", "ack 6",
		}, refused: "n7",
	}} {
		t.Run(tt.name, func(t *testing.T) {
			j := &fake.Journal{}
			dlq := fake.Window(fake.NewDestination(j, "dlq"), tt.size, tt.threshold)
			splits := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
				if p := rec.Position; p[len(p)-1] == 's' {
					return fake.Pieces(rec, 2)
				}
				return sdk.SingleRecord(rec)
			})
			fails := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
				if rec.Position[0] == 'n' {
					return fake.Fail(rec)
				}
				return sdk.SingleRecord(rec)
			})
			err := fake.Run(t, dlq, fake.From(fake.SourceOf(j, tt.batches...)), fake.Through("splits", splits), fake.Through("fails", fails), fake.Out(j))
			j.Want(t, "out ack dlq", tt.want...)
			if tt.refused == "" {
				fake.WantNoError(t, err)
				return
			}
			fake.WantError(t, err, fake.ErrTest, tt.refused, `"fails"`)
			fake.WantFatal(t, err, (tt.threshold > 0))
			if tt.threshold > 0 {
				fake.WantError(t, err, nil, "at most "+strconv.Itoa(tt.threshold), "last "+strconv.Itoa(tt.size))
			}
		})
	}
}

// Once the queue has refused a nack, it refuses every nack until it is opened again.
func TestDLQ_frozenWindow(t *testing.T) {
	j := &fake.Journal{}
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j)), fake.Out(j)), fake.Window(fake.NewDestination(j, "dlq"), 2, 1))
	ctx := t.Context()
	nack := func(p string) error { return w.Nack(ctx, fake.NackedBatch(p), "task") }
	fake.WantNoError(t, nack("1"))
	refused := nack("2")
	fake.WantError(t, refused, funnel.ErrNackThreshold, `"2"`, "at most 1", "last 2")
	fake.WantError(t, refused, fake.ErrTest, `task "task"`)
	fake.WantFatal(t, refused, true)
	fake.WantNoError(t, w.Ack(ctx, funnel.NewBatch(fake.Records("3", "4", "5"))))
	fake.WantError(t, nack("6"), funnel.ErrNackThreshold)
	fake.WantNoError(t, w.DLQ.Open(ctx))
	fake.WantNoError(t, nack("7"))
	j.Want(t, "dlq ack", "dlq 1", "ack 1", "ack 3 4 5", "dlq 7", "ack 7")
}

// Without a queue, a nack stops the worker with the error of the record.
func TestDLQ_none(t *testing.T) {
	j := &fake.Journal{}
	err := fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3")), fake.Through("p", fake.ByPosition(fake.Answers{"2": fake.Fail})), fake.Out(j))
	fake.WantError(t, err, fake.ErrOf("2").(interface{ Unwrap() error }).Unwrap(), `"p"`, `"2"`)
	fake.WantFatal(t, err, false)
	j.Want(t, "out ack", "out 1", "ack 1")
}

// If writing to the queue fails, the error is fatal. Records that the queue confirmed
// before are acked.
func TestDLQ_writeFails(t *testing.T) {
	ack := func(position string) connector.DestinationAck {
		return connector.DestinationAck{Position: opencdc.Position(position)}
	}
	for _, tt := range []struct {
		name  string
		write error
		acks  func(call int) ([]connector.DestinationAck, error)
		want  []string
		words []string
	}{{
		name: "the write fails", write: fake.ErrTest,
	}, {
		name: "an ack fails",
		acks: func(call int) ([]connector.DestinationAck, error) {
			if call == 1 {
				return []connector.DestinationAck{ack("1"), ack("2")}, nil
			}
			return nil, fake.ErrTest
		},
		want: []string{"ack 1 2"},
	}, {
		name: "a record is refused",
		acks: func(int) ([]connector.DestinationAck, error) {
			return []connector.DestinationAck{ack("1"), {Position: opencdc.Position("2"), Error: fake.ErrTest}, ack("3")}, nil
		},
		want: []string{"ack 1"}, words: []string{`"2"`},
	}, {
		name: "two records are refused, the first one counts",
		acks: func(int) ([]connector.DestinationAck, error) {
			return []connector.DestinationAck{ack("1"), {Position: opencdc.Position("2"), Error: fake.ErrTest}, {Position: opencdc.Position("3"), Error: errors.New("other")}}, nil
		},
		want: []string{"ack 1"}, words: []string{`"2"`},
	}, {
		name: "a wrong position",
		acks: func(int) ([]connector.DestinationAck, error) {
			return []connector.DestinationAck{ack("1"), ack("3")}, nil
		},
		words: []string{`"3"`, `"2"`},
	}, {
		name: "it stops acking",
		acks: func(call int) ([]connector.DestinationAck, error) {
			if call == 1 {
				return []connector.DestinationAck{ack("1")}, nil
			}
			return nil, nil
		},
		want: []string{"ack 1"}, words: []string{"stopped acking"},
	}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				dead := fake.NewDestination(j, "queue")
				dead.OnWrite = func(context.Context, []opencdc.Record) error { return tt.write }
				calls := 0
				dead.OnAck = func(context.Context) ([]connector.DestinationAck, error) { calls++; return tt.acks(calls) }
				p := fake.ByPosition(fake.Answers{"1": fake.Fail, "2": fake.Fail, "3": fake.Fail})
				err := fake.Run(t, fake.Queue(dead), fake.From(fake.SourceOf(j, "1 2 3 4")), fake.Through("p", p), fake.Out(j))
				fake.WantError(t, err, nil, append(tt.words, `"queue"`)...)
				fake.WantFatal(t, err, true)
				j.Want(t, "queue ack out", append([]string{"queue 1 2 3"}, tt.want...)...)
			})
		})
	}
}

// If the queue fails, and so does the ack of what it confirmed, Do returns both errors.
func TestDLQ_writeAndAckFail(t *testing.T) {
	j := &fake.Journal{}
	dead, source := fake.NewDestination(j, "queue"), fake.SourceOf(j, "1 2")
	dead.Refuse["2"] = fake.ErrTest
	other := errors.New("another error")
	source.OnAck = func(context.Context, []opencdc.Position) error { return other }
	err := fake.Run(t, fake.Queue(dead), fake.From(source), fake.Through("p", fake.Each(fake.Fail)), fake.Out(j))
	fake.WantError(t, err, fake.ErrTest)
	fake.WantError(t, err, other)
}

// If the queue fails or panics, the error or panic of Do also says which record was to
// go there, and why.
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
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2")), fake.Through("p", fake.ByPosition(fake.Answers{"2": fake.Fail})), fake.Out(j)), fake.Queue(dead))
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

// If the queue fails and its window refuses a later record, the error of Do says
// both.
func TestDLQ_failureAndRefusal(t *testing.T) {
	j := &fake.Journal{}
	dead := fake.NewDestination(j, "dlq")
	broken := errors.New("broker unreachable")
	dead.OnWrite = func(context.Context, []opencdc.Record) error { return broken }
	dlq := fake.Window(dead, 10, 1)
	err := fake.Run(t, dlq, fake.From(fake.SourceOf(j, "1 2")), fake.Through("p", fake.Each(fake.Fail)), fake.Out(j))
	fake.WantError(t, err, broken, `"1"`)
	fake.WantError(t, err, funnel.ErrNackThreshold, `"2"`)
	j.Want(t, "dlq ack", "dlq 1")
}

// If the queue fails because the context of the worker has ended, the error is not
// fatal.
func TestDLQ_contextEnds(t *testing.T) {
	j := &fake.Journal{}
	ctx, cancel := context.WithCancel(t.Context())
	dead := fake.NewDestination(j, "dlq")
	dead.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { cancel(); return ctx.Err() }
	err := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.Through("p", fake.Each(fake.Fail)), fake.Out(j)), fake.Queue(dead)).Do(ctx)
	fake.WantError(t, err, context.Canceled)
	fake.WantError(t, err, fake.ErrTest)
	fake.WantFatal(t, err, false)
}

// Nacks of different tasks go to the queue in separate writes.
func TestDLQ_runsPerTask(t *testing.T) {
	j := &fake.Journal{}
	a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
	a.Refuse["1"], a.Refuse["2"], b.Refuse["3"] = fake.ErrTest, fake.ErrTest, fake.ErrTest
	first := fake.Fork(fake.From(fake.SourceOf(j, "1 2 3")), fake.To(a), fake.To(b))
	fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, fake.DLQ(j))))
	j.Want(t, "dlq ack", "dlq 1 2", "ack 1 2", "dlq 3", "ack 3")
}

// If the host calls the queue, it counts source records, too.
func TestDLQ_direct(t *testing.T) {
	j := &fake.Journal{}
	dead := fake.NewDestination(j, "dlq")
	dlq := fake.Window(dead, 6, 2)
	ctx := t.Context()
	if dlq.ID() != "dlq" {
		t.Errorf("ID: %q", dlq.ID())
	}
	fake.WantNoError(t, dlq.Open(ctx))

	b := funnel.NewBatch(fake.Records("1", "2", "3", "4", "5"))
	b.Filter(1)
	b.SplitRecord(1, fake.Records("3a", "3b"))
	b.Nack(1, nil, fake.ErrOf("3b"))
	b.Nack(3, fake.ErrOf("4"))
	n, err := dlq.Nack(ctx, b, "task")
	if n != 3 {
		t.Errorf("%d records were accepted, want 3", n)
	}
	fake.WantError(t, err, fake.ErrTest, `"4"`)
	fake.WantNack(t, dead.Written[0], "task", "nacked without an error")
	j.Want(t, "dlq", "dlq 1 3")

	dlq.Ack(ctx, b) // five more outcomes
	n, err = dlq.Nack(ctx, funnel.NewBatch(fake.Records("6")), "task")
	if n != 0 {
		t.Errorf("%d records were accepted after one was refused", n)
	}
	fake.WantError(t, err, funnel.ErrNackThreshold, `"6"`)
	fake.WantNoError(t, dlq.Close(ctx))
	fake.WantNoError(t, dlq.Open(ctx))
	n, err = dlq.Nack(ctx, funnel.NewBatch(fake.Records("6", "7", "8")), "task")
	if n != 2 {
		t.Errorf("%d records were accepted, want 2", n)
	}
	fake.WantError(t, err, nil, `"8"`)
	fake.WantNoError(t, dlq.Close(ctx))
	j.Want(t, "", "open dlq", "dlq 1 3", "teardown dlq", "open dlq", "dlq 6 7", "teardown dlq")

	if n, err := dlq.Nack(ctx, funnel.NewBatch(nil), "task"); n != 0 || err != nil {
		t.Errorf("nothing was nacked: %d, %v", n, err)
	}
	dlq.Ack(ctx, &funnel.Batch{})
}

// The queue logs the first record at once, then at most a line per second, with
// the number of records since the last one.
func TestDLQ_log(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		logger := log.New(zerolog.New(&out).Level(zerolog.WarnLevel))
		j := &fake.Journal{}
		dead := fake.NewDestination(j, "dlq")
		dlq := funnel.NewDLQ("dlq", dead, logger, nil, 0, 0)
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j)), fake.Out(j)), dlq)
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
