package funnel

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/typenote"
)

// MetadataDeadLetter is the key in the metadata of a dead letter under which the [DLQ] writes
// two things: which version of the record the letter holds, and the types of values that JSON
// does not carry. [ParseDeadLetter] reads them. The field is a JSON object such as
//
//	{"holds":"given","key":{"id":"int64"},"after":{"at":"time.Time","tags":"[]string"}}
//
// The member "holds" is "read", "given" or "unsplit", see [DeadLetterVersion]. The members
// "metadata", "operation", "key", "before" and "after" hold notes on these parts of the
// record, if there are any. A note is one of these:
//
//   - the type of a value
//   - an object of notes on the members of a map, by key, or on the elements of a slice, by
//     index or range ("2", "5-9")
//   - an array of both, for a container whose type JSON does not carry
//
// JSON carries strings, booleans, null, numbers with a fraction, objects and arrays, so their
// types need no note. For a record of strings, the field takes less than 40 bytes, however
// large the record is.
//
// If a value needs more than its type, that follows the type and a space: nil; an integer
// from 2⁵³ on, which decoders may round; NaN, an infinity or -0; the text of a json.Number;
// the bytes of a string that is not valid UTF-8, as Base64; the length of opencdc.RawData
// inside a map; the offset and the location of a time that is not in UTC.
//
// These are the types that can be restored:
//   - bool, string, all integer types but uintptr, float32, float64, json.Number,
//     time.Time, time.Duration
//   - []byte, opencdc.RawData, opencdc.Position
//   - map[string]any, opencdc.StructuredData, opencdc.Metadata
//   - []T and map[string]T, where T is one of these types or the type any, nested up to four
//     levels deep
//
// A value of another type, or a map with a key that is not valid UTF-8, has a note that
// begins with "!" and says what it is. The member "untyped" takes the place of the notes, and
// gives the reason, if the record has more than a million values or holds itself, or if the
// notes need more than a megabyte or are nested in more than 10,000 levels of JSON, two for a
// container with a type. In both cases, ParseDeadLetter returns an error.
const MetadataDeadLetter = "funnel.dead_letter"

// DeadLetterVersion says which version of a record a dead letter holds.
type DeadLetterVersion int

// The versions of a record.
const (
	// VersionUnknown: the letter does not say, because it was not written by this package.
	VersionUnknown DeadLetterVersion = iota
	// VersionAsRead: as the source returned it, see [WithDeadLettersAsRead].
	VersionAsRead
	// VersionAsGiven: as the task that nacked it was given it. If that task changed it before
	// the nack, in place or by Batch.SetRecords, the changes show.
	VersionAsGiven
	// VersionBeforeSplit: as it was before its first split on the way to the task, because
	// the task nacked a piece of it. If the task that split it, or a later one, changed data
	// in place that the record shares with its pieces, the changes show.
	VersionBeforeSplit
)

var versionTexts = [...]string{
	VersionUnknown:     "in an unknown version",
	VersionAsRead:      "as it was read",
	VersionAsGiven:     "as the task was given it",
	VersionBeforeSplit: "before it was split",
}

// String returns a phrase such as "as it was read".
func (v DeadLetterVersion) String() string {
	if v < 0 || int(v) >= len(versionTexts) {
		return fmt.Sprintf("DeadLetterVersion(%d)", int(v))
	}
	return versionTexts[v]
}

// versionsByName maps the names in the field MetadataDeadLetter to versions.
var versionsByName = map[string]DeadLetterVersion{
	"read":    VersionAsRead,
	"given":   VersionAsGiven,
	"unsplit": VersionBeforeSplit,
}

// DeadLetter is the content of a dead letter, as [ParseDeadLetter] returns it.
type DeadLetter struct {
	// Record is the record that was nacked, with its own position, operation and metadata.
	Record opencdc.Record
	// Version says which version of the record Record is.
	Version DeadLetterVersion
	// TypesKnown is true if the values in Record have the types that they had when the letter
	// was made. It is false if the letter does not have [MetadataDeadLetter]: then the values
	// have the types that the decoder gave them.
	TypesKnown bool

	TaskID   string    // the task that has nacked the record
	Reason   string    // why
	SourceID string    // the connector that the record came from, or ""
	Time     time.Time // when the dead letter was made, or zero if the letter does not say
}

// ParseDeadLetter returns the content of a dead letter that a [DLQ] has written. rec is the
// record that the queue's destination got, or the same record after it was stored as JSON and
// decoded again. Dead letters of other engines with the same layout are accepted, too, but
// their types are not known.
//
// The values in the restored record have their original types, even if the decoder made all
// numbers float64, json.Number or int64, and nil, empty and missing values remain distinct,
// even if the encoder wrote nil as empty, but for nil metadata and a nil position, which become
// empty then. A json.Number may have become a string. A pointer to data becomes the data. A
// time loses its monotonic clock reading in JSON, and a time in the local time zone of another
// machine becomes a time at the same offset. If JSON no longer determines a value,
// ParseDeadLetter returns an error and never guesses: for a value of a type that
// [MetadataDeadLetter] does not list, for a value that was edited so that it contradicts its
// note, and for an integer without a note.
//
// If rec is not a dead letter or cannot be restored, the error names the position of rec, and
// the place in it. ParseDeadLetter does not change rec. If the types are known, the result
// shares no mutable data with rec. The time is linear in the size of rec, but data with more
// than a million values is an error. ParseDeadLetter can be called concurrently.
func ParseDeadLetter(rec opencdc.Record) (DeadLetter, error) {
	letter, err := parseDeadLetter(rec)
	if err != nil {
		return DeadLetter{}, fmt.Errorf("dead letter %s: %w", quotePosition(rec.Position), err)
	}
	return letter, nil
}

func parseDeadLetter(rec opencdc.Record) (DeadLetter, error) {
	content, ok := mappableData(rec.Payload.After).(opencdc.StructuredData)
	if !ok {
		return DeadLetter{}, fmt.Errorf("it is no dead letter: the payload (after) is of type %T, not structured data; %w",
			rec.Payload.After, sayMetadata(rec))
	}
	letter := DeadLetter{SourceID: rec.Metadata[opencdc.MetadataConduitSourceConnectorID]}
	var hasReason, hasTask bool
	letter.Reason, hasReason = rec.Metadata[opencdc.MetadataConduitDLQNackError]
	letter.TaskID, hasTask = rec.Metadata[opencdc.MetadataConduitDLQNackNodeID]
	field, hasField := rec.Metadata[MetadataDeadLetter]
	if !hasField && !(hasReason && hasTask) {
		return DeadLetter{}, fmt.Errorf("it is no dead letter: its metadata has neither %s nor both %s and %s; %w",
			MetadataDeadLetter, opencdc.MetadataConduitDLQNackError, opencdc.MetadataConduitDLQNackNodeID, sayMetadata(rec))
	}
	if rec.Metadata[opencdc.MetadataCreatedAt] != "" {
		var err error
		if letter.Time, err = rec.Metadata.GetCreatedAt(); err != nil {
			return DeadLetter{}, fmt.Errorf("its time, %s, is invalid: %w", opencdc.MetadataCreatedAt, typenote.Shorten(err))
		}
	}
	err := letter.restore(content, field, hasField)
	return letter, err
}

// sayMetadata returns what the metadata of a record says, as part of an error. A source that
// could not read a letter says so there.
func sayMetadata(rec opencdc.Record) error {
	return typenote.Shorten(fmt.Errorf("the metadata is %q", map[string]string(rec.Metadata)))
}

// restore restores the record from the payload of the letter and, if there is one, the
// field MetadataDeadLetter.
func (l *DeadLetter) restore(content map[string]any, field string, hasField bool) (err error) {
	if !hasField {
		if l.Record, err = typenote.RestoreUntyped(content); err != nil {
			return fmt.Errorf("the record in it cannot be restored: %w", err)
		}
		return nil
	}
	notes, err := l.readField(field)
	if err != nil {
		return fmt.Errorf("%s is invalid: %w: %s", MetadataDeadLetter, err, quote(field))
	}
	if why, ok := notes["untyped"]; ok {
		return typenote.Shorten(fmt.Errorf("the record in it cannot be restored, since its types were not recorded: %v", why))
	}
	if l.Record, err = typenote.Restore(content, notes); err != nil {
		return fmt.Errorf("the record in it cannot be restored: %w", err)
	}
	l.TypesKnown = true
	return nil
}

// readField reads the version and returns the notes.
func (l *DeadLetter) readField(field string) (notes map[string]any, err error) {
	if err := json.Unmarshal([]byte(field), &notes); err != nil {
		return nil, err
	}
	if notes == nil {
		return nil, errors.New("it is null")
	}
	holds, _ := notes["holds"].(string)
	var ok bool
	if l.Version, ok = versionsByName[holds]; !ok {
		return nil, errors.New("it does not say which version the letter holds")
	}
	delete(notes, "holds")
	return notes, nil
}
