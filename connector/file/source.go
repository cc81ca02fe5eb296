package file

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/life"
	"github.com/conduitio/funnel/internal/place"
)

var _ funnel.Source = (*Source)(nil)

// Source reads records from files. It implements [funnel.Source], and Ack may be called
// during Read. [NewSource] makes one.
type Source struct {
	path   string
	format Format
	config *sourceConfig
	life   *life.Life

	mu       sync.Mutex
	progress life.Progress
	stats    SourceStats
	lag      lag
}

// NewSource returns a source of the records in the files at path: a file, a directory, or a
// pattern as in [filepath.Match] (without **). In a directory, it reads the regular files,
// but not those in subdirectories. Files whose names begin with a dot are left out, unless
// the pattern names the dot. Symbolic links are followed.
//
// The source resumes after the record with the position from, or begins with the first record
// if from is empty. NewSource returns an error if an argument or option is invalid, or if
// from is not the position of a source of this format.
func NewSource(path string, format Format, from opencdc.Position, opts ...SourceOption) (*Source, error) {
	if err := place.Check(path); err != nil {
		return nil, fmt.Errorf("file source: %w", err)
	}
	config, err := newSourceConfig(format, opts)
	if err != nil {
		return nil, fmt.Errorf("file source: %w", err)
	}
	s := &Source{path: path, format: format, config: config, life: life.New("file source")}
	if len(from) > 0 {
		state, err := s.parse(from)
		if err != nil {
			return nil, fmt.Errorf("file source: %w", err)
		}
		s.progress = life.ResumedAt(from, state.record)
	}
	return s, nil
}

// parse returns what a position says, if it is one of this source.
func (s *Source) parse(p opencdc.Position) (readState, error) {
	if len(p) == 0 {
		return readState{format: s.format}, nil
	}
	state, err := parsePosition(p)
	if err == nil && state.format != s.format {
		err = fmt.Errorf("the position is one of a source of %v, not of %v", state.format, s.format)
	}
	return state, err
}

// ID returns the path.
func (s *Source) ID() string { return s.path }

// Open finds the files. It reads those that were read before up to where reading continues,
// to check them. The source resumes after the last acked record.
//
// Without [WithFollow], a path without a file is an error. A directory or a pattern without
// files is an empty source.
func (s *Source) Open(ctx context.Context) error {
	return s.life.Open(ctx, s.open)
}

// open opens a session that resumes after the last acked record.
func (s *Source) open(ctx context.Context) (life.Session, error) {
	at, err := place.Find(s.path, ".")
	if err != nil {
		return nil, fmt.Errorf("file source: %w", err)
	}
	state, err := s.resume()
	if err != nil {
		return nil, fmt.Errorf("file source: %w", err)
	}
	session := newSession(s.config, s.format, at, state, s.publish)
	if err := session.open(ctx); err != nil {
		return nil, fmt.Errorf("file source: %w", errors.Join(err, session.Close()))
	}
	return session, nil
}

// resume goes back to the last acked record, and returns what its position says.
func (s *Source) resume() (readState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state, err := s.parse(s.progress.Position())
	s.progress.Reopen()
	s.stats = SourceStats{BytesAcked: state.bytes}
	s.lag = lag{start: state.bytes}
	return state, err
}

// Read returns the next records as soon as there are some. Without [WithFollow], it returns
// [io.EOF] once all files were read. After an error, Read returns the same error until the
// source is opened again.
func (s *Source) Read(ctx context.Context) ([]opencdc.Record, error) {
	return s.life.Read(ctx)
}

// Ack remembers the last position, so that the source resumes after it when it is opened
// again. If that is not the position of a record that Read has returned, or if it was acked
// before, Ack returns an error and remembers nothing. The other positions are not checked.
func (s *Source) Ack(_ context.Context, positions []opencdc.Position) error {
	if len(positions) == 0 {
		return nil
	}
	last := positions[len(positions)-1]
	_, tail, err := parseTail(last)
	if err != nil {
		return fmt.Errorf("file source: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.progress.Ack(last, tail.record); err != nil {
		return fmt.Errorf("file source: %w", err)
	}
	s.stats.BytesAcked = tail.bytes
	s.updateLag()
	return nil
}

// Teardown ends a pending Read, and closes all files.
func (s *Source) Teardown(ctx context.Context) error { return s.life.Teardown(ctx) }

// Errors returns nil: the methods return all errors.
func (s *Source) Errors() <-chan error { return nil }
