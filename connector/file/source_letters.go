package file

import (
	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// NewDeadLetterSource returns a source of the records in the dead letters of a queue that a
// [Destination] has written in the format [Records]. It is a [funnel.NewReplaySource] over a
// [Source] with the option [WithoutWriters]. So a replay never writes into what it reads, and
// a file that a queue has open is not read: stop its pipeline first, or replay the files that
// it has rotated away. (A queue with a template closes files that it does not use. If it needs
// one of them while that is replayed, its Write fails.)
//
// A crash of the machine can tear the last letters of the file. They were never acked, but a
// replay cannot know that, and stops there with an error. Run the pipeline of the queue first:
// it cuts them off when it opens the file.
//
// path, from and opts are those of [NewSource]. versions are those of
// [funnel.NewReplaySource]: the versions of the record that letters may hold, or none for
// all.
func NewDeadLetterSource(path string, from opencdc.Position, versions []funnel.DeadLetterVersion, opts ...SourceOption) (funnel.Source, error) {
	letters, err := NewSource(path, Records, from, append(opts[:len(opts):len(opts)], ofLetters())...)
	if err != nil {
		return nil, err
	}
	return funnel.NewReplaySource(letters, versions...), nil
}
