package funnel

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/conduitio/conduit-commons/opencdc"
)

// NewReplaySource returns a source of the records that the dead letters of another source
// hold, to process them again from the start of a pipeline. letters may be any source whose
// records are dead letters, such as one that reads the file of a queue. If letters is nil,
// so is the result.
//
// Each letter is restored, see [ParseDeadLetter], and passed on with the position of the
// letter in its source, which replaces the position of the record. So acks go to letters,
// and a replay resumes where the acks of the last one ended. Everything else in the record
// is as it was when the letter was made. Every branch of the pipeline gets the record, also
// those that had stored it before: delivery is at least once.
//
// If versions are given, the letters must hold one of them. A letter that holds the record
// as it was read ([VersionAsRead]) can go through any pipeline that began at the same
// source. One that holds it as a later task was given it, or before a split, goes through
// the tasks before that once more: they must not mind. [NewReplayNode] replays letters from
// their task on. If no versions are given, any will do, and so will letters whose types are
// not known.
//
// Nothing is skipped: if a letter cannot be restored, or holds another version, Read returns
// the records before it, and then a fatal error that names its position, at each call. To
// send such letters to the queue of the replay instead, read letters as they are, and
// restore them in a processor, whose error nacks the letter:
//
//	restore := funnel.Map(func(rec opencdc.Record) (opencdc.Record, error) {
//		letter, err := funnel.ParseDeadLetter(rec)
//		if err != nil {
//			return rec, err
//		}
//		letter.Record.Position = rec.Position
//		return letter.Record, nil
//	})
//
// A replay must not write into what it reads, or a record that fails again would go round
// forever: give it a queue of its own. (NewDeadLetterSource of the module connector/file
// makes sure of that.)
//
// The source keeps the contract of [Source] as letters does. Restoring takes time linear in
// the size of the letter, some microseconds for a row of ten columns.
func NewReplaySource(letters Source, versions ...DeadLetterVersion) Source {
	if isNil(letters) {
		return nil
	}
	return &replaySource{Source: letters, versions: slices.Clone(versions)}
}

// replaySource restores dead letters. One goroutine at a time uses its fields.
type replaySource struct {
	Source
	versions []DeadLetterVersion // that are accepted, or empty for all
	isOfTask bool                // only letters of the task with taskID are accepted
	taskID   string
	failure  error // of a letter that was read since the last Open, or nil
}

func (s *replaySource) validate() error {
	for _, v := range s.versions {
		if v < 0 || int(v) >= len(versionTexts) {
			return fmt.Errorf("the replay source accepts an unknown version of records: %v", v)
		}
	}
	return validate(s.Source)
}

func (s *replaySource) inside() Source { return s.Source }

func (s *replaySource) Open(ctx context.Context) error {
	s.failure = nil
	return s.Source.Open(ctx)
}

func (s *replaySource) Read(ctx context.Context) ([]opencdc.Record, error) {
	if s.failure != nil {
		return nil, s.failure
	}
	records, err := s.Source.Read(ctx)
	if err != nil && err != io.EOF {
		return nil, err
	}
	for i := range records {
		restored, failure := s.restore(records[i])
		if failure != nil {
			s.failure = FatalError(failure)
			if i == 0 {
				return nil, s.failure
			}
			return records[:i:i], nil
		}
		records[i] = restored
	}
	return records, err
}

// restore returns the record that a letter holds, with the position of the letter.
func (s *replaySource) restore(rec opencdc.Record) (opencdc.Record, error) {
	letter, err := ParseDeadLetter(rec)
	if err != nil {
		return opencdc.Record{}, fmt.Errorf("cannot be replayed: %w", err)
	}
	if why := s.refusal(&letter); why != "" {
		return opencdc.Record{}, fmt.Errorf("cannot be replayed: dead letter %s: %s", quotePosition(rec.Position), why)
	}
	letter.Record.Position = rec.Position
	return letter.Record, nil
}

// refusal says why the letter is not one of those that are replayed, or returns "".
func (s *replaySource) refusal(letter *DeadLetter) string {
	if s.isOfTask && letter.TaskID != s.taskID {
		return fmt.Sprintf("it is of the task %s, not of %s", quote(letter.TaskID), quote(s.taskID))
	}
	if len(s.versions) == 0 || slices.Contains(s.versions, letter.Version) {
		return ""
	}
	accepted := make([]string, len(s.versions))
	for i, v := range s.versions {
		accepted[i] = v.String()
	}
	return fmt.Sprintf("it holds the record %v, not %s", letter.Version, strings.Join(accepted, " or "))
}
