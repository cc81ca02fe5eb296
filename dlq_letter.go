package funnel

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/batch"
	"github.com/conduitio/funnel/internal/deepcopy"
	"github.com/conduitio/funnel/internal/typenote"
)

// A dead letter is the record that is written to the dead-letter queue for a nacked record. A
// destination that can store the nacked record can store its dead letter: what the engine
// adds is valid, and the record's own values keep their types and bytes.

// letterWriter makes dead letters.
type letterWriter struct {
	buffer []byte // for notes
}

// keptBuffer is the size up to which a letterWriter keeps its buffer.
const keptBuffer = 1 << 14

// deadLetters returns the dead letters of nacked records, up to the first record that
// is nested too deeply, and an error for that one.
func (w *letterWriter) deadLetters(now time.Time, nacked []*batch.NackedRecord, sourceID string) ([]opencdc.Record, error) {
	letters := make([]opencdc.Record, len(nacked))
	for i, n := range nacked {
		if err := deepcopy.CheckDepth(&n.Record); err != nil {
			return letters[:i], fmt.Errorf("record %s cannot be made a dead letter: %w", quotePosition(n.Position), err)
		}
		letters[i] = w.deadLetter(now, n, sourceID)
	}
	return letters, nil
}

// deadLetter returns the dead letter of a nacked record.
func (w *letterWriter) deadLetter(now time.Time, n *batch.NackedRecord, sourceID string) opencdc.Record {
	if id := n.Record.Metadata[opencdc.MetadataConduitSourceConnectorID]; id != "" {
		sourceID = id
	}
	metadata := opencdc.Metadata{}
	metadata.SetCreatedAt(now)
	if sourceID != "" {
		metadata.SetConduitSourceConnectorID(validText(sourceID))
	}
	metadata.SetConduitDLQNackError(validText(causeText(n)))
	metadata.SetConduitDLQNackNodeID(validText(n.TaskID))
	metadata[MetadataDeadLetter] = w.notes(n)
	return opencdc.Record{
		Position:  n.Position,
		Operation: opencdc.OperationCreate,
		Metadata:  metadata,
		Payload:   opencdc.Change{After: opencdc.StructuredData(mappable(n.Record).Map())},
	}
}

// notes returns the field MetadataDeadLetter of the dead letter of a nacked record.
func (w *letterWriter) notes(n *batch.NackedRecord) string {
	begin := letterBegins[n.Version]
	notes, err := typenote.Append(append(w.buffer[:0], begin...), &n.Record)
	if w.buffer = notes; cap(notes) > keptBuffer {
		w.buffer = nil
	}
	switch {
	case err != nil:
		return begin + `,"untyped":"` + err.Error() + `"}`
	case len(notes) == len(begin):
		return lettersWithoutNotes[n.Version]
	default:
		return string(append(notes, '}'))
	}
}

// The beginning of the field MetadataDeadLetter, and the whole field of a record without
// notes.
var (
	letterBegins = [...]string{
		batch.AsGiven:     `{"holds":"given"`,
		batch.BeforeSplit: `{"holds":"unsplit"`,
		batch.AsRead:      `{"holds":"read"`,
	}
	lettersWithoutNotes = [...]string{
		batch.AsGiven:     `{"holds":"given"}`,
		batch.BeforeSplit: `{"holds":"unsplit"}`,
		batch.AsRead:      `{"holds":"read"}`,
	}
)

// nackError returns the error that stops the worker if a nack of the record is not
// accepted.
func nackError(n *batch.NackedRecord) error {
	return taskError(n.TaskID, fmt.Errorf("record %s was nacked: %w", quotePosition(n.Position), cause(n)))
}

// cause returns why a record was nacked. It is never nil.
func cause(n *batch.NackedRecord) error {
	if isNil(n.Err) {
		return errNoCause
	}
	return n.Err
}

// causeText returns the text of the cause, even if its method Error panics.
func causeText(n *batch.NackedRecord) string { return errorText(cause(n)) }

// validText replaces invalid UTF-8.
func validText(s string) string {
	return strings.ToValidUTF8(s, string(utf8.RuneError))
}

// mappable returns the record in a form that its method Map can handle: with data
// instead of pointers to data, and with an operation.
func mappable(r opencdc.Record) opencdc.Record {
	if r.Operation == 0 {
		r.Operation = opencdc.OperationCreate
	}
	r.Key = mappableData(r.Key)
	r.Payload.Before = mappableData(r.Payload.Before)
	r.Payload.After = mappableData(r.Payload.After)
	return r
}

func mappableData(d opencdc.Data) opencdc.Data {
	switch d := d.(type) {
	case nil, opencdc.RawData, opencdc.StructuredData:
		return d
	case *opencdc.RawData:
		if d != nil {
			return *d
		}
	case *opencdc.StructuredData:
		if d != nil {
			return *d
		}
	}
	return nil
}
