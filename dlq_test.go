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
	"github.com/conduitio/funnel/internal/fake"
)

func TestDLQ_record(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		dead := fake.NewDestination(j, "dlq")
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
		failing := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
			if string(rec.Position) == "2" {
				return sdk.ErrorRecord{}
			}
			rec.Metadata["k"] = "changed" // the version that failed
			return sdk.ErrorRecord{Error: fake.ErrTest}
		})
		fake.WantNoError(t, fake.Run(t, fake.Queue(dead), fake.From(fake.NewSource(j, fake.Read{Records: recs})), fake.Through("p", failing), fake.To(fake.NewDestination(j, "out"))))

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
		want.Metadata.SetConduitDLQNackError(fake.ErrTest.Error())
		want.Metadata.SetConduitDLQNackNodeID("p")
		if !reflect.DeepEqual(dead.Written[0], want) {
			t.Errorf("the record in the queue is\n%v\nwant\n%v", dead.Written[0], want)
		}
		fake.WantNack(t, dead.Written[1], "p", "nacked without an error")
		if id, _ := dead.Written[1].Metadata.GetConduitSourceConnectorID(); id != "source" {
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
			err := fake.Run(t, dlq, fake.From(fake.SourceOf(j, tt.batches...)), fake.Through("splits", splits), fake.Through("fails", fails), fake.To(fake.NewDestination(j, "out")))
			j.Want(t, "out ack dlq", tt.want...)
			if tt.refused == "" {
				fake.WantNoError(t, err)
				return
			}
			fake.WantError(t, err, fake.ErrTest, tt.refused, `"fails"`)
			fake.WantFatal(t, err, (tt.threshold > 0))
			if tt.threshold > 0 {
				fake.WantError(t, err, nil, "more than "+strconv.Itoa(tt.threshold), "last "+strconv.Itoa(tt.size))
			}
		})
	}
}

// Without a queue, a nack stops the worker with the record's error.
func TestDLQ_none(t *testing.T) {
	j := &fake.Journal{}
	err := fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3")), fake.Through("p", fake.ByPosition(fake.Answers{"2": fake.Fail})), fake.To(fake.NewDestination(j, "out")))
	fake.WantError(t, err, fake.ErrOf("2").(interface{ Unwrap() error }).Unwrap(), `"p"`, `"2"`)
	fake.WantFatal(t, err, false)
	j.Want(t, "out ack", "out 1", "ack 1")
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
				err := fake.Run(t, fake.Queue(dead), fake.From(fake.SourceOf(j, "1 2 3 4")), fake.Through("p", p), fake.To(fake.NewDestination(j, "out")))
				fake.WantError(t, err, nil, append(tt.words, `"queue"`)...)
				fake.WantFatal(t, err, true)
				j.Want(t, "queue ack out", append([]string{"queue 1 2 3"}, tt.want...)...)
			})
		})
	}
}

// Both the queue and the source fail: both errors are there.
func TestDLQ_writeAndAckFail(t *testing.T) {
	j := &fake.Journal{}
	dead, source := fake.NewDestination(j, "queue"), fake.SourceOf(j, "1 2")
	dead.Refuse["2"] = fake.ErrTest
	other := errors.New("another error")
	source.OnAck = func(context.Context, []opencdc.Position) error { return other }
	err := fake.Run(t, fake.Queue(dead), fake.From(source), fake.Through("p", fake.Each(fake.Fail)), fake.To(fake.NewDestination(j, "out")))
	fake.WantError(t, err, fake.ErrTest)
	fake.WantError(t, err, other)
}

// Nacks of different tasks go to the queue in writes of their own.
func TestDLQ_runsPerTask(t *testing.T) {
	j := &fake.Journal{}
	a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
	a.Refuse["1"], a.Refuse["2"], b.Refuse["3"] = fake.ErrTest, fake.ErrTest, fake.ErrTest
	first := fake.From(fake.SourceOf(j, "1 2 3"))
	first.Next = []*funnel.TaskNode{fake.To(a), fake.To(b)}
	fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, fake.Queue(fake.NewDestination(j, "dlq")))))
	j.Want(t, "dlq ack", "dlq 1 2", "ack 1 2", "dlq 3", "ack 3")
}

// Used by itself, the queue counts source records.
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
