package parquet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

var _ funnel.Source = (*Source)(nil)

// Source reads records from Parquet files. It implements [funnel.Source]. Ack may be called
// during Read.
type Source struct {
	path   string
	config *config
	busy   chan struct{} // holds a value while Open, Read or Teardown uses the session

	session *session // nil if the source is not open; guarded by busy

	mu     sync.Mutex
	isTorn bool
	cancel context.CancelCauseFunc // ends a pending Open or Read, or nil
	acked  opencdc.Position        // the position to begin at, or nil
	from   positionTail            // what it says
	read   uint64                  // the number of the last record that Read has returned
	stats  SourceStats
}

// NewSource returns a source of the rows in the Parquet files at path, which is a file, a
// directory, or a pattern as in [path/filepath.Match] (without **). Of a directory it reads
// the regular files, not those in directories below. Files whose names begin with a dot or
// an underscore are left out, unless the pattern begins with the same character. Symbolic
// links are followed.
//
// The source resumes after the record with the position from, or begins with the first
// record if from is empty. NewSource returns an error if an argument or an option is
// invalid, or if from is not a position of a source of this package.
func NewSource(path string, from opencdc.Position, opts ...Option) (*Source, error) {
	if err := checkPath(path); err != nil {
		return nil, fmt.Errorf("parquet source: %w", err)
	}
	config, err := newConfig(opts)
	if err != nil {
		return nil, fmt.Errorf("parquet source: %w", err)
	}
	s := &Source{path: path, config: config, busy: make(chan struct{}, 1)}
	if len(from) > 0 {
		if _, err := parsePosition(from); err != nil {
			return nil, fmt.Errorf("parquet source: %w", err)
		}
		s.acked = append(opencdc.Position(nil), from...)
		_, s.from, _ = parseTail(s.acked)
		s.read = s.from.record
	}
	return s, nil
}

// ID returns the path.
func (s *Source) ID() string { return s.path }

// errTornDown is the error of calls after Teardown.
var errTornDown = errors.New("the parquet source was torn down")

var errNotOpen = errors.New("the parquet source is not open")

// Open finds the files, and reads the footer and up to 16 KiB of each. It resumes after the
// last acked record.
//
// It returns an error if a file that is still to be read has a column of a type that the
// source does not know. A file that is damaged is an error of Read, after the rows of the
// files before it. A path that leads to no file is an error. A directory or a pattern
// without files is an empty source.
func (s *Source) Open(ctx context.Context) error {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if s.session != nil {
		return errors.New("the parquet source is open already")
	}
	s.mu.Lock()
	s.isTorn = false
	s.read = s.from.record
	s.stats = SourceStats{RowsAcked: s.from.record}
	acked := s.acked
	s.mu.Unlock()
	var state readState
	if len(acked) > 0 {
		if state, err = parsePosition(acked); err != nil {
			return fmt.Errorf("parquet source: %w", err)
		}
	}
	session := newSession(s.config, state, s.publish)
	if err := session.open(ctx, s.path); err != nil {
		if ended(ctx) != nil {
			return err
		}
		return fmt.Errorf("parquet source: %w", err)
	}
	s.session = session
	return nil
}

// Read returns the next records, and [io.EOF] when all files were read. After an error Read
// returns the same error again, until the source is opened anew.
func (s *Source) Read(ctx context.Context) ([]opencdc.Record, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	s.mu.Lock()
	isTorn := s.isTorn
	s.mu.Unlock()
	switch {
	case isTorn:
		return nil, errTornDown
	case s.session == nil:
		return nil, errNotOpen
	}
	records, err := s.session.read(ctx)
	if err != nil && err != io.EOF && ended(ctx) == nil {
		err = fmt.Errorf("parquet source: %w", err)
	}
	return records, err
}

// Ack remembers the last position, at which the source resumes when it is opened again. It
// returns an error, and remembers nothing, if that is not the position of a record that
// Read has returned, or if it was acked before. The others are not looked at.
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
	switch {
	case tail.record <= s.from.record:
		return fmt.Errorf("parquet source: record %d is acked after record %d", tail.record, s.from.record)
	case tail.record > s.read:
		return fmt.Errorf("parquet source: record %d is acked, but only %d were read", tail.record, s.read)
	}
	s.acked, s.from = last, tail
	s.stats.RowsAcked = tail.record
	return nil
}

// Teardown ends a pending Read, and closes all files.
func (s *Source) Teardown(ctx context.Context) error {
	s.mu.Lock()
	s.isTorn = true
	if s.cancel != nil {
		s.cancel(errTornDown)
	}
	s.mu.Unlock()
	select { // also if the context has ended
	case s.busy <- struct{}{}:
	default:
		if err := s.enter(ctx); err != nil {
			return fmt.Errorf("a call of the parquet source is still pending: %w", err)
		}
	}
	defer s.leave()
	if s.session == nil {
		return nil
	}
	session := s.session
	s.session = nil
	return session.close()
}

// Errors returns nil: all errors are returned by the calls.
func (s *Source) Errors() <-chan error { return nil }

// begin enters, and returns a context that ends with ctx and at Teardown. The caller calls
// end afterwards.
func (s *Source) begin(ctx context.Context) (inner context.Context, end func(), err error) {
	if err := s.enter(ctx); err != nil {
		return nil, nil, err
	}
	inner, cancel := context.WithCancelCause(ctx)
	s.mu.Lock()
	s.cancel = cancel
	s.mu.Unlock()
	return inner, func() {
		s.mu.Lock()
		s.cancel = nil
		s.mu.Unlock()
		cancel(nil)
		s.leave()
	}, nil
}

// enter waits until no other call uses the session.
func (s *Source) enter(ctx context.Context) error {
	select {
	case s.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}

func (s *Source) leave() { <-s.busy }

// ended returns the error of a context that has ended, together with its cause, or
// errTornDown.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	switch {
	case err == nil:
		return nil
	case cause == errTornDown, cause == err:
		return cause
	default:
		return fmt.Errorf("%w: %w", err, cause)
	}
}
