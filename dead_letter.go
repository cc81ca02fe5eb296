package funnel

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/typenote"
)

// MetadataDeadLetter is the key in the metadata of a dead letter under which the [DLQ]
// writes which version of the record the letter holds, and the types of its values that
// JSON does not carry. [ParseDeadLetter] reads it. It is a JSON object such as
//
//	{"holds":"given","key":{"id":"int64"},"after":{"at":"time.Time","tags":"[]string"}}
//
// The member holds is "read", "given" or "unsplit", see [DeadLetterVersion]. The members
// metadata, operation, key, before and after hold notes, if there are any. A note is the
// type of a value, or an object of notes on the members of a map, by key, or on the
// elements of a slice, by index or range ("2", "5-9"), or an array of both. JSON carries
// strings, booleans, null, numbers with a fraction, objects and arrays. They have no note,
// so for a record of strings the field has less than 40 bytes, whatever its size.
//
// After the type and a space stands what else the value needs: nil; an integer from 2⁵³ on,
// which decoders may round; NaN, an infinity or -0; the text of a json.Number; the bytes of
// a string that is not valid UTF-8, as Base64; the length of opencdc.RawData inside a map;
// the offset and the location of a time that is not in UTC.
//
// These are the types that can be restored:
//   - bool, string, all integers and floats that have a width of their own, int and uint,
//     json.Number, time.Time, time.Duration
//   - []byte, opencdc.RawData, opencdc.Position
//   - map[string]any, opencdc.StructuredData, opencdc.Metadata
//   - []T and map[string]T, where T is any of these types or any itself, up to four of them
//     in each other
//
// A value of another type, or a map with a key that is not valid UTF-8, has a note that
// begins with "!" and names it. In place of the notes, the member untyped says why there are
// none: the record has more than a million values, or needs more than a megabyte of notes.
// ParseDeadLetter then returns an error.
const MetadataDeadLetter = "funnel.dead_letter"

// DeadLetterVersion says which version of a record a dead letter holds.
type DeadLetterVersion int

// The versions of a record.
const (
	// VersionUnknown: the letter does not say, since it was not written by this package.
	VersionUnknown DeadLetterVersion = iota
	// VersionAsRead: as the source returned it, see [WithDeadLettersAsRead].
	VersionAsRead
	// VersionAsGiven: as the task that nacked it was given it. If the task has changed it in
	// place before, the changes show.
	VersionAsGiven
	// VersionBeforeSplit: as it was before it was split for the first time on the way to the
	// task, since a piece of it was nacked. If the task that has split it, or a later one, has
	// changed data in place that the record shares with its pieces, the changes show.
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

// versionsByName has the versions by what stands under MetadataDeadLetter.
var versionsByName = map[string]DeadLetterVersion{
	"read":    VersionAsRead,
	"given":   VersionAsGiven,
	"unsplit": VersionBeforeSplit,
}

// DeadLetter is what [ParseDeadLetter] finds in a record of a dead-letter queue.
type DeadLetter struct {
	// Record is the record that was nacked, with the position, operation and metadata that it
	// had.
	Record opencdc.Record
	// Version says which version of the record that is.
	Version DeadLetterVersion
	// TypesKnown is true if the values in Record have the types that they had when they were
	// nacked. It is false if the letter does not have [MetadataDeadLetter]. Then values have
	// the types that their decoder has given them.
	TypesKnown bool

	TaskID   string    // the task that has nacked the record
	Reason   string    // why
	SourceID string    // the connector that the record came from, or ""
	Time     time.Time // when the dead letter was made, or zero if it does not say
}

// ParseDeadLetter returns the dead letter that a [DLQ] has written as rec: rec may be the
// record that the queue's destination got, or what a decoder has made of it after it was
// stored as JSON. Letters of other engines with the same layout will do, too, but their
// types are not known.
//
// The values in the restored record have the types that they had, with nil, empty and
// missing ones told apart, even if the decoder has made all numbers float64, json.Number or
// int64. A pointer to data becomes the data. A time loses its monotonic clock reading in
// JSON, and one in the local time zone of another machine becomes a time at the same offset.
// A value that its JSON no longer determines is an error, never a guess: one of a type that
// is not in the list of [MetadataDeadLetter], one that was edited so that it contradicts its
// note, or an integer without a type.
//
// ParseDeadLetter returns an error that names the position of rec, and the place in it, if
// rec is no dead letter or cannot be restored. It does not change rec. If the types are
// known, the result shares nothing with rec that can be changed. The time is linear in the
// size of rec, but data with more than a million values is an error. It may be called
// concurrently.
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
		return DeadLetter{}, fmt.Errorf("it is no dead letter: the payload (after) is of type %T, not structured data", rec.Payload.After)
	}
	letter := DeadLetter{SourceID: rec.Metadata[opencdc.MetadataConduitSourceConnectorID]}
	var hasReason, hasTask bool
	letter.Reason, hasReason = rec.Metadata[opencdc.MetadataConduitDLQNackError]
	letter.TaskID, hasTask = rec.Metadata[opencdc.MetadataConduitDLQNackNodeID]
	field, hasField := rec.Metadata[MetadataDeadLetter]
	if !hasField && !(hasReason && hasTask) {
		return DeadLetter{}, fmt.Errorf("it is no dead letter: its metadata have neither %s nor both %s and %s",
			MetadataDeadLetter, opencdc.MetadataConduitDLQNackError, opencdc.MetadataConduitDLQNackNodeID)
	}
	if rec.Metadata[opencdc.MetadataCreatedAt] != "" {
		var err error
		if letter.Time, err = rec.Metadata.GetCreatedAt(); err != nil {
			return DeadLetter{}, fmt.Errorf("its time, %s, is invalid: %w", opencdc.MetadataCreatedAt, err)
		}
	}
	err := letter.restore(content, field, hasField)
	return letter, err
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
		return fmt.Errorf("the record in it cannot be restored, since its types were not recorded: %v", why)
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
