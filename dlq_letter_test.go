package funnel_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/conduitio/conduit-commons/opencdc"
	opencdcv1 "github.com/conduitio/conduit-commons/proto/opencdc/v1"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// A dead letter holds the failed version of the record, the error, and the IDs of
// the task and the source.
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
			rec.Metadata["k"] = "changed" // so this is the version that failed
			return sdk.ErrorRecord{Error: fake.ErrTest}
		})
		fake.WantNoError(t, fake.Run(t, fake.Queue(dead), fake.From(fake.NewSource(j, fake.Read{Records: recs})), fake.Through("p", failing), fake.Out(j)))

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
		want.Metadata[funnel.MetadataDeadLetter] = `{"holds":"given","before":{"a":"int"},"after":{"a":"int"}}`
		if !reflect.DeepEqual(dead.Written[0], want) {
			t.Errorf("the record in the queue is\n%v\nwant\n%v", dead.Written[0], want)
		}
		fake.WantNack(t, dead.Written[1], "p", "nacked without an error")
		if id, _ := dead.Written[1].Metadata.GetConduitSourceConnectorID(); id != "source" {
			t.Errorf("the source connector's ID is %q", id)
		}
	})
}

// A dead letter holds everything that the record holds, even behind pointers, and can
// be encoded wherever the record can.
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

// The IDs in a dead letter are valid UTF-8, whatever the host has chosen.
func TestDLQ_idsAreValid(t *testing.T) {
	j := &fake.Journal{}
	dead := fake.NewDestination(j, "dlq")
	source := fake.Node(funnel.NewSourceTask("source\xff", fake.SourceOf(j, "1"), log.Nop(), nil))
	fake.WantNoError(t, fake.Run(t, fake.Queue(dead), source, fake.Through("p\xfe", fake.Each(fake.Fail)), fake.Out(j)))
	got, err := dead.Written[0].Metadata.GetConduitSourceConnectorID()
	if err != nil || got != "source\uFFFD" {
		t.Errorf("the ID of the source is %q, %v", got, err)
	}
	if got, err = dead.Written[0].Metadata.GetConduitDLQNackNodeID(); err != nil || got != "p\uFFFD" {
		t.Errorf("the ID of the task is %q, %v", got, err)
	}
}

// The text of an error in a dead letter is valid UTF-8, even if the method Error
// panics. A nil pointer counts as no error.
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
		// Without a queue, Do returns the error.
		j := &fake.Journal{}
		err = fake.Run(t, nil, fake.From(fake.SourceOf(j, "1")),
			fake.Through("p", fake.Each(fake.FailWith(tt.err))),
			fake.Out(j))
		fake.WantError(t, err, nil, `task "p"`, `record "1"`)
	}
}

// A dead letter has the position of the source record if a processor removed it.
func TestDLQ_positionOfTheSource(t *testing.T) {
	j := &fake.Journal{}
	dead := fake.NewDestination(j, "dlq")
	away := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord { rec.Position = nil; return sdk.SingleRecord(rec) })
	fake.WantNoError(t, fake.Run(t, fake.Queue(dead), fake.From(fake.SourceOf(j, "1 2")), fake.Through("away", away), fake.Through("p", fake.Each(fake.Fail)), fake.Out(j)))
	j.Want(t, "dlq ack", "dlq 1 2", "ack 1 2")
	if got := payloadOf(t, dead.Written[0])["position"]; len(got.([]byte)) != 0 {
		t.Errorf("the position of the record itself is %q", got)
	}
}
