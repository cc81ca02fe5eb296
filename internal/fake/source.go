package fake

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
)

// Read is what a read of a [Source] returns.
type Read struct {
	Records []opencdc.Record
	Err     error
}

// Source returns its reads in order, then io.EOF. An endless one instead blocks
// then, until it is torn down.
type Source struct {
	*Journal
	Reads   []Read
	Endless bool

	OnOpen     func(context.Context) error
	OnRead     func(context.Context) ([]opencdc.Record, error)
	OnAck      func(context.Context, []opencdc.Position) error
	OnTeardown func(context.Context) error

	TornDown chan struct{} // closed by the first teardown that succeeds
	Reading  chan struct{} // gets a value when Block begins to wait

	once sync.Once
}

// NewSource returns a source of these reads.
func NewSource(j *Journal, reads ...Read) *Source {
	return &Source{Journal: j, Reads: reads, TornDown: make(chan struct{}), Reading: make(chan struct{}, 1)}
}

// SourceOf returns a source of one batch per argument: the positions of its
// records, separated by spaces.
func SourceOf(j *Journal, batches ...string) *Source {
	s := NewSource(j)
	for _, b := range batches {
		s.Reads = append(s.Reads, Read{Records: Records(strings.Fields(b)...)})
	}
	return s
}

// SteadySource returns a source of n single records, 1, 2, ..., which take the given
// time each to read.
func SteadySource(j *Journal, n int, each time.Duration) *Source {
	s := NewSource(j)
	i := 0
	s.OnRead = func(context.Context) ([]opencdc.Record, error) {
		if i == n {
			return nil, io.EOF
		}
		time.Sleep(each)
		i++
		return Records(strconv.Itoa(i)), nil
	}
	return s
}

// ID panics: the engine never asks a source for its ID.
func (s *Source) ID() string { panic("the engine asked a source for its ID") }

// Errors panics: the engine never asks a source for its errors.
func (s *Source) Errors() <-chan error { panic("the engine asked a source for its errors") }

// Open adds "open source" to the journal.
func (s *Source) Open(ctx context.Context) error {
	s.Add("open source")
	if s.OnOpen != nil {
		return s.OnOpen(ctx)
	}
	return nil
}

// Read returns the next one of the reads.
func (s *Source) Read(ctx context.Context) ([]opencdc.Record, error) {
	if s.OnRead != nil {
		return s.OnRead(ctx)
	}
	if len(s.Reads) > 0 {
		r := s.Reads[0]
		s.Reads = s.Reads[1:]
		return r.Records, r.Err
	}
	if !s.Endless {
		return nil, io.EOF
	}
	return nil, s.Block(ctx)
}

// Block waits for the teardown, or for the end of the context.
func (s *Source) Block(ctx context.Context) error {
	s.Reading <- struct{}{}
	select {
	case <-s.TornDown:
		return errors.New("the source was torn down")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ack adds "ack" and the positions to the journal.
func (s *Source) Ack(ctx context.Context, positions []opencdc.Position) error {
	words := []string{"ack"}
	for _, p := range positions {
		words = append(words, string(p))
	}
	s.Add(words...)
	if s.OnAck != nil {
		return s.OnAck(ctx, positions)
	}
	return nil
}

// Teardown adds "teardown source" to the journal.
func (s *Source) Teardown(ctx context.Context) error {
	s.Add("teardown source")
	if s.OnTeardown != nil {
		if err := s.OnTeardown(ctx); err != nil {
			return err
		}
	}
	s.once.Do(func() { close(s.TornDown) })
	return nil
}

// StrictSource is a Source that fails the test if calls overlap that must not. Ack
// and Teardown may overlap with Read, but not with each other, and no call may
// overlap with another of its kind.
type StrictSource struct {
	*Source
	T                        testing.TB
	reading, acking, tearing atomic.Bool
}

func (s *StrictSource) enter(call string, busy *atomic.Bool, others ...*atomic.Bool) {
	if busy.Swap(true) {
		s.T.Errorf("%s was called beside itself", call)
	}
	for _, other := range others {
		if other.Load() {
			s.T.Errorf("%s was called beside another call", call)
		}
	}
}

// Read calls Read of the Source.
func (s *StrictSource) Read(ctx context.Context) ([]opencdc.Record, error) {
	s.enter("Read", &s.reading)
	defer s.reading.Store(false)
	return s.Source.Read(ctx)
}

// Ack calls Ack of the Source.
func (s *StrictSource) Ack(ctx context.Context, positions []opencdc.Position) error {
	s.enter("Ack", &s.acking, &s.tearing)
	defer s.acking.Store(false)
	return s.Source.Ack(ctx, positions)
}

// Teardown calls Teardown of the Source.
func (s *StrictSource) Teardown(ctx context.Context) error {
	s.enter("Teardown", &s.tearing, &s.acking)
	defer s.tearing.Store(false)
	return s.Source.Teardown(ctx)
}
