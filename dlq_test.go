package funnel_test

import (
	"context"
	"errors"
	"reflect"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
)

func wantMetadata(t *testing.T, rec opencdc.Record, taskID, cause string) {
	t.Helper()
	id, _ := rec.Metadata.GetConduitDLQNackNodeID()
	err, _ := rec.Metadata.GetConduitDLQNackError()
	if id != taskID || err != cause && err != "the record was "+cause {
		t.Errorf("record %q was nacked by %q with %q, want %q with %q", rec.Position, id, err, taskID, cause)
	}
}

func TestDLQ_record(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		dead := newDestination(j, "dlq")
		recs := []opencdc.Record{{
			Position:  opencdc.Position("1"),
			Operation: opencdc.OperationUpdate,
			Metadata:  opencdc.Metadata{"k": "v"},
			Key:       opencdc.RawData("key"),
			Payload: opencdc.Change{
				Before: opencdc.StructuredData{"a": 1},
				After:  opencdc.StructuredData{"a": 2},
			},
		}, {
			Position: opencdc.Position("2"),
		}}
		recs[0].Metadata.SetConduitSourceConnectorID("the connector")
		failing := each(func(rec opencdc.Record) sdk.ProcessedRecord {
			if string(rec.Position) == "2" {
				return sdk.ErrorRecord{}
			}
			rec.Metadata["k"] = "changed" // the version that failed
			return sdk.ErrorRecord{Error: errTest}
		})
		wantNoError(t, run(t, queue(dead), from(newSource(j, fakeRead{recs: recs})), through("p", failing), to(newDestination(j, "out"))))

		want := opencdc.Record{
			Position:  opencdc.Position("1"),
			Operation: opencdc.OperationCreate,
			Metadata:  opencdc.Metadata{},
			Payload: opencdc.Change{After: opencdc.StructuredData{
				"position":  []byte("1"),
				"operation": "update",
				"metadata":  map[string]any{"k": "changed", opencdc.MetadataConduitSourceConnectorID: "the connector"},
				"key":       []byte("key"),
				"payload": map[string]any{
					"before": map[string]any{"a": 1},
					"after":  map[string]any{"a": 2},
				},
			}},
		}
		want.Metadata.SetCreatedAt(time.Now())
		want.Metadata.SetConduitSourceConnectorID("the connector")
		want.Metadata.SetConduitDLQNackError(errTest.Error())
		want.Metadata.SetConduitDLQNackNodeID("p")
		if !reflect.DeepEqual(dead.written[0], want) {
			t.Errorf("the record in the queue is\n%v\nwant\n%v", dead.written[0], want)
		}
		wantMetadata(t, dead.written[1], "p", "nacked without an error")
		if id, _ := dead.written[1].Metadata.GetConduitSourceConnectorID(); id != "source" {
			t.Errorf("the source connector's ID is %q", id)
		}
	})
}

// A window of the last outcomes, one for each source record, stops the worker.
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
			j := &journal{}
			dlq := funnel.NewDLQ("dlq", newDestination(j, "dlq"), log.Nop(), nil, tt.size, tt.threshold)
			splits := each(func(rec opencdc.Record) sdk.ProcessedRecord {
				if p := rec.Position; p[len(p)-1] == 's' {
					return splitInto(rec, 2)
				}
				return sdk.SingleRecord(rec)
			})
			fails := each(func(rec opencdc.Record) sdk.ProcessedRecord {
				if rec.Position[0] == 'n' {
					return fail(rec)
				}
				return sdk.SingleRecord(rec)
			})
			err := run(t, dlq, from(batchesOf(j, tt.batches...)), through("splits", splits), through("fails", fails), to(newDestination(j, "out")))
			j.want(t, []string{"out", "ack", "dlq"}, tt.want...)
			if tt.refused == "" {
				wantNoError(t, err)
				return
			}
			wantError(t, err, errTest, tt.refused, `"fails"`)
			if funnel.IsFatalError(err) != (tt.threshold > 0) {
				t.Errorf("fatal: %v, threshold: %d", funnel.IsFatalError(err), tt.threshold)
			}
			if tt.threshold > 0 {
				wantError(t, err, nil, "more than "+strconv.Itoa(tt.threshold), "last "+strconv.Itoa(tt.size))
			}
		})
	}
}

// Without a queue, a nack stops the worker with the record's error.
func TestDLQ_none(t *testing.T) {
	j := &journal{}
	err := run(t, nil, from(batchesOf(j, "1 2 3")), through("p", byPosition(does{"2": fail})), to(newDestination(j, "out")))
	wantError(t, err, errFor("2").(interface{ Unwrap() error }).Unwrap(), `"p"`, `"2"`)
	if funnel.IsFatalError(err) {
		t.Errorf("error is fatal: %v", err)
	}
	j.want(t, []string{"out", "ack"}, "out 1", "ack 1")
}

// A failed write is fatal, and what was confirmed before is acked.
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
		name: "the write fails", write: errTest,
	}, {
		name: "an ack fails",
		acks: func(call int) ([]connector.DestinationAck, error) {
			if call == 1 {
				return []connector.DestinationAck{ack("1"), ack("2")}, nil
			}
			return nil, errTest
		},
		want: []string{"ack 1 2"},
	}, {
		name: "a record is refused",
		acks: func(int) ([]connector.DestinationAck, error) {
			return []connector.DestinationAck{ack("1"), {Position: opencdc.Position("2"), Error: errTest}, ack("3")}, nil
		},
		want: []string{"ack 1"}, words: []string{`"2"`},
	}, {
		name: "two records are refused, the first one counts",
		acks: func(int) ([]connector.DestinationAck, error) {
			return []connector.DestinationAck{ack("1"), {Position: opencdc.Position("2"), Error: errTest}, {Position: opencdc.Position("3"), Error: errors.New("other")}}, nil
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
				j := &journal{}
				dead := newDestination(j, "queue")
				dead.write = func(context.Context, []opencdc.Record) error { return tt.write }
				calls := 0
				dead.acks = func(context.Context) ([]connector.DestinationAck, error) { calls++; return tt.acks(calls) }
				p := byPosition(does{"1": fail, "2": fail, "3": fail})
				err := run(t, queue(dead), from(batchesOf(j, "1 2 3 4")), through("p", p), to(newDestination(j, "out")))
				wantError(t, err, nil, append(tt.words, `"queue"`)...)
				if !funnel.IsFatalError(err) {
					t.Errorf("error is not fatal: %v", err)
				}
				j.want(t, []string{"queue", "ack", "out"}, append([]string{"queue 1 2 3"}, tt.want...)...)
			})
		})
	}
}

// Both the queue and the source fail: both errors are there.
func TestDLQ_writeAndAckFail(t *testing.T) {
	j := &journal{}
	dead, source := newDestination(j, "queue"), batchesOf(j, "1 2")
	dead.refuse["2"] = errTest
	other := errors.New("another error")
	source.ack = func(context.Context, []opencdc.Position) error { return other }
	err := run(t, queue(dead), from(source), through("p", each(fail)), to(newDestination(j, "out")))
	wantError(t, err, errTest)
	wantError(t, err, other)
}

// Nacks of different tasks go to the queue in writes of their own.
func TestDLQ_runsPerTask(t *testing.T) {
	j := &journal{}
	a, b := newDestination(j, "a"), newDestination(j, "b")
	a.refuse["1"], a.refuse["2"], b.refuse["3"] = errTest, errTest, errTest
	first := from(batchesOf(j, "1 2 3"))
	first.Next = []*funnel.TaskNode{to(a), to(b)}
	wantNoError(t, runWorker(t, newWorker(t, first, queue(newDestination(j, "dlq")))))
	j.want(t, []string{"dlq", "ack"}, "dlq 1 2", "ack 1 2", "dlq 3", "ack 3")
}

// Used by itself, the queue counts source records.
func TestDLQ_direct(t *testing.T) {
	j := &journal{}
	dead := newDestination(j, "dlq")
	dlq := funnel.NewDLQ("dlq", dead, log.Nop(), nil, 6, 2)
	ctx := t.Context()
	if dlq.ID() != "dlq" {
		t.Errorf("ID: %q", dlq.ID())
	}
	wantNoError(t, dlq.Open(ctx))

	b := funnel.NewBatch(records("1", "2", "3", "4", "5"))
	b.Filter(1)
	b.SplitRecord(1, records("3a", "3b"))
	b.Nack(1, nil, errFor("3b"))
	b.Nack(3, errFor("4"))
	n, err := dlq.Nack(ctx, b, "task")
	if n != 3 {
		t.Errorf("%d records were accepted, want 3", n)
	}
	wantError(t, err, errTest, `"4"`)
	wantMetadata(t, dead.written[0], "task", "nacked without an error")
	j.want(t, []string{"dlq"}, "dlq 1 3")

	dlq.Ack(ctx, b) // five more outcomes
	n, err = dlq.Nack(ctx, funnel.NewBatch(records("6")), "task")
	if n != 0 {
		t.Errorf("%d records were accepted after one was refused", n)
	}
	wantError(t, err, funnel.ErrNackThreshold, `"6"`)
	wantNoError(t, dlq.Close(ctx))
	wantNoError(t, dlq.Open(ctx))
	n, err = dlq.Nack(ctx, funnel.NewBatch(records("6", "7", "8")), "task")
	if n != 2 {
		t.Errorf("%d records were accepted, want 2", n)
	}
	wantError(t, err, nil, `"8"`)
	wantNoError(t, dlq.Close(ctx))
	j.want(t, nil, "open dlq", "dlq 1 3", "teardown dlq", "open dlq", "dlq 6 7", "teardown dlq")

	if n, err := dlq.Nack(ctx, funnel.NewBatch(nil), "task"); n != 0 || err != nil {
		t.Errorf("nothing was nacked: %d, %v", n, err)
	}
	dlq.Ack(ctx, &funnel.Batch{})
}
