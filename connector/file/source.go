package file

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

// Source reads records from files. It implements [funnel.Source], and Ack may be called
// during Read. [NewSource] makes one.
type Source struct {
	path   string
	format Format
	config *sourceConfig
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

// NewSource returns a source of the records in the files at path: a file, a directory, or a
// pattern as in [filepath.Match] (without **). In a directory, it reads the regular files,
// but not those in subdirectories. Files whose names begin with a dot are left out, unless
// the pattern names the dot. Symbolic links are followed.
//
// The source resumes after the record with the position from, or begins with the first record
// if from is empty. NewSource returns an error if an argument or option is invalid, or if
// from is not the position of a source of this format.
func NewSource(path string, format Format, from opencdc.Position, opts ...SourceOption) (*Source, error) {
	if err := checkPath(path); err != nil {
		return nil, fmt.Errorf("file source: %w", err)
	}
	config, err := newSourceConfig(format, opts)
	if err != nil {
		return nil, fmt.Errorf("file source: %w", err)
	}
	s := &Source{path: path, format: format, config: config, busy: make(chan struct{}, 1)}
	if len(from) > 0 {
		if _, err := s.parse(from); err != nil {
			return nil, fmt.Errorf("file source: %w", err)
		}
		s.acked = append(opencdc.Position(nil), from...)
		_, s.from, _ = parseTail(s.acked)
		s.read = s.from.record
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

// errTornDown is the error of calls after Teardown.
var errTornDown = errors.New("the file source was torn down")

var errNotOpen = errors.New("the file source is not open")

// Open finds the files. It reads those that were read before up to where reading continues,
// to check them. The source resumes after the last acked record.
//
// Without [WithFollow], a path without a file is an error. A directory or a pattern without
// files is an empty source.
func (s *Source) Open(ctx context.Context) error {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if s.session != nil {
		return errors.New("the file source is open already")
	}
	at, err := newPlace(s.path)
	if err != nil {
		return fmt.Errorf("file source: %w", err)
	}
	s.mu.Lock()
	s.isTorn = false
	s.read = s.from.record
	s.stats = SourceStats{BytesAcked: s.from.bytes}
	acked := s.acked
	s.mu.Unlock()
	state, err := s.parse(acked)
	if err != nil {
		return fmt.Errorf("file source: %w", err)
	}
	session := newSession(s.config, s.format, at, state, s.publish)
	if err := session.open(ctx); err != nil {
		return fmt.Errorf("file source: %w", errors.Join(err, session.close()))
	}
	s.session = session
	return nil
}

// Read returns the next records as soon as there are some. Without [WithFollow], it returns
// [io.EOF] once all files were read. After an error, Read returns the same error until the
// source is opened again.
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
	if err != nil && err != io.EOF && !errors.Is(err, errTornDown) && ctx.Err() == nil {
		err = fmt.Errorf("file source: %w", err)
	}
	return records, err
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
	switch {
	case tail.record <= s.from.record:
		return fmt.Errorf("file source: record %d is acked after record %d", tail.record, s.from.record)
	case tail.record > s.read:
		return fmt.Errorf("file source: record %d is acked, but only %d were read", tail.record, s.read)
	}
	s.acked, s.from = last, tail
	s.stats.BytesAcked = tail.bytes
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
			return fmt.Errorf("a call of the file source is still pending: %w", err)
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

// Errors returns nil: the methods return all errors.
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
