package funneltest

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/deepcopy"
)

// Source is a source of given records. A test sets its fields before the source is opened,
// and asks it afterwards what was acked. When the source is opened again, it returns the
// records again that were not acked. The methods may be called concurrently.
type Source struct {
	// Batches has the records of each Read. A record without a position gets its number,
	// from 1. After the last batch, Read returns io.EOF.
	Batches [][]opencdc.Record
	// If Blocks is true, Read blocks after the last batch, until the source is torn down or
	// its context ends.
	Blocks bool
	// If Err is not nil, Read returns it after the last batch.
	Err error
	// OpenErr, AckErr and TeardownErr are the errors of Open, Ack and Teardown. If they are
	// not nil, the calls do nothing else.
	OpenErr, AckErr, TeardownErr error

	mu       sync.Mutex
	left     [][]opencdc.Record // the batches that are still to be read; nil before the first call
	torn     chan struct{}      // closed by Teardown
	acked    []opencdc.Position
	opened   int
	tornDown int
}

// NewSource returns a source of one batch.
func NewSource(records ...opencdc.Record) *Source {
	return &Source{Batches: [][]opencdc.Record{records}}
}

// ID returns "source".
func (s *Source) ID() string { return "source" }

// Errors returns nil.
func (s *Source) Errors() <-chan error { return nil }

// Open goes back to the first record that was not acked.
func (s *Source) Open(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.OpenErr != nil {
		return s.OpenErr
	}
	s.opened++
	s.rewind()
	return nil
}

// rewind sets the batches that are to be read. The caller holds the lock.
func (s *Source) rewind() {
	s.torn = make(chan struct{})
	s.left = make([][]opencdc.Record, 0, len(s.Batches))
	n := 0
	for _, batch := range s.Batches {
		batch = slices.Clone(batch)
		for i := range batch {
			if n++; len(batch[i].Position) == 0 {
				batch[i].Position = strconv.AppendInt(nil, int64(n), 10)
			}
		}
		if done := len(s.acked) - (n - len(batch)); done > 0 {
			batch = batch[min(done, len(batch)):]
		}
		if len(batch) > 0 {
			s.left = append(s.left, batch)
		}
	}
}

// Read returns the next batch.
func (s *Source) Read(ctx context.Context) ([]opencdc.Record, error) {
	s.mu.Lock()
	if s.left == nil {
		s.rewind() // it is used without Open
	}
	torn, err, blocks := s.torn, s.Err, s.Blocks
	if isClosed(torn) {
		s.mu.Unlock()
		return nil, errTornDown
	}
	if len(s.left) > 0 {
		defer s.mu.Unlock()
		batch := s.left[0]
		s.left = s.left[1:]
		return clones(batch), nil
	}
	s.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case !blocks:
		return nil, io.EOF
	}
	select {
	case <-torn:
		return nil, errTornDown
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var errTornDown = errors.New("the connector was torn down")

// Ack remembers the positions.
func (s *Source) Ack(_ context.Context, positions []opencdc.Position) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.AckErr != nil {
		return s.AckErr
	}
	s.acked = append(s.acked, positions...)
	return nil
}

// Teardown ends a pending Read.
func (s *Source) Teardown(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.TeardownErr != nil {
		return s.TeardownErr
	}
	s.tornDown++
	if s.left == nil {
		s.rewind()
	}
	if !isClosed(s.torn) {
		close(s.torn)
	}
	return nil
}

// Acked returns the positions that were acked, in order.
func (s *Source) Acked() []opencdc.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.acked)
}

// WantAcked fails the test unless exactly these positions were acked, in this order.
func (s *Source) WantAcked(t testing.TB, positions ...string) {
	t.Helper()
	wantSame(t, "the acked positions", texts(s.Acked()), positions)
}

// IsOpen returns true if the source was opened more often than it was torn down.
func (s *Source) IsOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened > s.tornDown
}

// texts returns positions as text.
func texts(positions []opencdc.Position) []string {
	all := make([]string, len(positions))
	for i, p := range positions {
		all[i] = string(p)
	}
	return all
}

// clones returns copies that share nothing with the records. A record that is nested too
// deeply for that is copied as well as opencdc does.
func clones(records []opencdc.Record) []opencdc.Record {
	all := make([]opencdc.Record, len(records))
	for i, r := range records {
		var err error
		if all[i], err = deepcopy.Record(r); err != nil {
			all[i] = r.Clone()
		}
		all[i].Position = slices.Clone(r.Position)
	}
	return all
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
