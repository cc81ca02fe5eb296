package parquet

import (
	"context"
	"fmt"
	"sync"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/life"
	"github.com/conduitio/funnel/internal/place"
)

var _ funnel.Source = (*Source)(nil)

// Source reads records from Parquet files. It implements [funnel.Source]. Ack may be called
// during Read.
type Source struct {
	path   string
	config *config
	life   *life.Life

	mu       sync.Mutex
	progress life.Progress
	stats    SourceStats
}

// NewSource returns a source of the rows in the Parquet files at path, which is a file, a
// directory, or a pattern as in [path/filepath.Match] (without **). In a directory, it reads
// the regular files, but not those in directories below. Files whose names begin with a dot
// or an underscore are left out, unless the last part of the pattern begins with the same
// character. Symbolic links are followed.
//
// The source makes a checksum of each file before it reads the last row, so that only a file
// with the same bytes counts as a copy and is left out. That takes about 30 ms for 100 MB in
// memory, and 12 bytes in each position for each finished file.
//
// The source resumes after the record with the position from, or begins with the first
// record if from is empty. NewSource returns an error if an argument or an option is
// invalid, or if from is not a position of a source of this package.
func NewSource(path string, from opencdc.Position, opts ...Option) (*Source, error) {
	if err := place.Check(path); err != nil {
		return nil, fmt.Errorf("parquet source: %w", err)
	}
	config, err := newConfig(opts)
	if err != nil {
		return nil, fmt.Errorf("parquet source: %w", err)
	}
	s := &Source{path: path, config: config, life: life.New("parquet source")}
	if len(from) > 0 {
		state, err := parsePosition(from)
		if err != nil {
			return nil, fmt.Errorf("parquet source: %w", err)
		}
		s.progress = life.ResumedAt(from, state.record)
	}
	return s, nil
}

// ID returns the path.
func (s *Source) ID() string { return s.path }

// Open finds the files, and resumes after the last acked record. It reads the footer and up
// to 16 KiB of each file. It reads the whole file if that may be a copy of a finished one, or
// if several files look like the one to continue in.
//
// It returns an error if a file has a column of a type that the source does not know, or if
// there is nothing at the path. A directory or a pattern without files is an empty source. A
// damaged file is an error of Read, after the rows of the files before it.
func (s *Source) Open(ctx context.Context) error {
	return s.life.Open(ctx, s.open)
}

// open opens a session that resumes after the last acked record.
func (s *Source) open(ctx context.Context) (life.Session, error) {
	state, err := s.resume()
	if err != nil {
		return nil, fmt.Errorf("parquet source: %w", err)
	}
	session := newSession(s.config, state, s.publish)
	if err := session.open(ctx, s.path); err != nil {
		if life.Ended(ctx) != nil {
			return nil, err
		}
		return nil, fmt.Errorf("parquet source: %w", err)
	}
	return session, nil
}

// resume goes back to the last acked record, and returns the state in its position.
func (s *Source) resume() (state readState, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if acked := s.progress.Position(); len(acked) > 0 {
		state, err = parsePosition(acked)
	}
	s.progress.Reopen()
	s.stats = SourceStats{RowsAcked: state.record}
	return state, err
}

// Read returns the next records, and [io.EOF] when all files were read. After an error, it
// returns the same error until the source is opened again. If only its context has ended, the
// next Read continues where it stopped.
func (s *Source) Read(ctx context.Context) ([]opencdc.Record, error) {
	return s.life.Read(ctx)
}

// Ack remembers the last of the positions; the source resumes after it when it is opened
// again. Ack ignores the other positions. It returns an error, and remembers nothing, if Read
// has returned no record with the last position, or if that was acked before.
func (s *Source) Ack(_ context.Context, positions []opencdc.Position) error {
	if len(positions) == 0 {
		return nil
	}
	last := positions[len(positions)-1]
	_, tail, err := parseTail(last)
	if err != nil {
		return fmt.Errorf("parquet source: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.progress.Ack(last, tail.record); err != nil {
		return fmt.Errorf("parquet source: %w", err)
	}
	s.stats.RowsAcked = tail.record
	return nil
}

// Teardown ends a pending Read, and closes all files.
func (s *Source) Teardown(ctx context.Context) error { return s.life.Teardown(ctx) }

// Errors returns nil: the methods return all errors.
func (s *Source) Errors() <-chan error { return nil }
