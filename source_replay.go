package funnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/conduitio/conduit-commons/opencdc"
)

// NewReplaySource returns a source of the records in dead letters, to process them again from
// the start of a pipeline. letters may be any source whose records are dead letters, such as
// one that reads the file of a queue. If letters is nil, so is the result.
//
// Each record is restored (see [ParseDeadLetter]) and gets the position of its letter in
// place of its own. So acks go to letters, and a replay resumes after the last letter that
// was acked. Everything else in the record is as it was when the letter was made. Every
// branch of the pipeline gets the record, even one that has stored it before: delivery is at
// least once.
//
// If versions are given, each letter must hold one of them. Records as they were read
// ([VersionAsRead]) can go through every pipeline that begins at the same source. In any
// other version, a record goes once more through tasks that it has already passed, and these
// must be able to process it again. [NewReplayNode] replays letters from their task on
// instead. If no versions are given, every letter is accepted, even if its types are not
// known.
//
// Nothing is skipped. If a letter cannot be restored, or holds another version, Read returns
// the records before it. From then on, it returns a fatal error that names the position of
// the letter, until the source is opened again. To send such letters to the queue of the
// replay instead, read the letters as they are, and restore them in a processor, whose error
// nacks the letter:
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
// forever. Give it a queue of its own. (NewDeadLetterSource of the module connector/file
// enforces this.)
//
// Open returns a fatal error if letters is a replay source already, or wraps one.
//
// The source keeps the contract of [Source] if letters does. Restoring takes time linear in
// the size of the letter: some microseconds for a row of ten columns.
func NewReplaySource(letters Source, versions ...DeadLetterVersion) Source {
	if isNil(letters) {
		return nil
	}
	return &replaySource{Source: letters, versions: slices.Clone(versions)}
}

// replaySource restores dead letters. One goroutine at a time uses its fields.
type replaySource struct {
	Source
	versions []DeadLetterVersion // the accepted ones, or empty for all
	isOfTask bool                // only letters of the task with taskID are accepted
	taskID   string
	failure  error // why a letter since the last Open cannot be replayed, or nil
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

// Unwrap returns the source, for a host that looks for its further methods.
func (s *replaySource) Unwrap() Source { return s.Source }

func (s *replaySource) Open(ctx context.Context) error {
	s.failure = nil
	if err := s.Source.Open(ctx); err != nil {
		return err
	}
	if isReplaying(s.Source) { // known only now, if the source is made when it is opened
		return FatalError(also(errRestored, func() error { return s.Source.Teardown(ctx) }))
	}
	return nil
}

var errRestored = errors.New("the source of the dead letters is a replay source itself, and restores them already")

// isReplaying returns true if the source is a replay source, or wraps one.
func isReplaying(s Source) bool {
	const limit = 100 // for a wrapper that returns itself
	for range limit {
		if _, ok := s.(*replaySource); ok {
			return true
		}
		wrapper, ok := s.(interface{ Unwrap() Source })
		if !ok {
			return false
		}
		s = wrapper.Unwrap()
	}
	return false
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

// refusal says why a letter is not accepted, or returns "".
func (s *replaySource) refusal(letter *DeadLetter) string {
	if s.isOfTask && letter.TaskID != s.taskID {
		return fmt.Sprintf("it comes from the task %s, not from %s", quote(letter.TaskID), quote(s.taskID))
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
