package fake

import (
	"context"
	"io"
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"
)

// Source returns the same records over and over, as often as its gate allows.
//
// The reader owns the slice and may change it. If it does, the source restores the
// slice, which is not measured.
type Source struct {
	gate     *Gate
	prepared []opencdc.Record
	handed   []opencdc.Record // the records that readers get, in portions
	sizes    []int            // sizes of the portions, in turn
	restores bool
	reads    int
	begin    int // start of the next portion
}

// NewSource returns a source of batches of these sizes, in turn, which together hold
// the records once.
func NewSource(gate *Gate, records []opencdc.Record, sizes []int, restores bool) *Source {
	return &Source{
		gate:     gate,
		prepared: records,
		handed:   slices.Clone(records),
		sizes:    sizes,
		restores: restores,
	}
}

// ID returns the name of the fake.
func (s *Source) ID() string { return "fake source" }

// Open does nothing.
func (s *Source) Open(context.Context) error { return nil }

// Read returns the next batch, or [io.EOF] once the gate is closed.
func (s *Source) Read(context.Context) ([]opencdc.Record, error) {
	if !s.gate.pass() {
		return nil, io.EOF
	}
	begin, end := s.begin, s.begin+s.sizes[s.reads]
	s.begin = end
	if s.reads++; s.reads == len(s.sizes) {
		s.reads, s.begin = 0, 0
	}
	if s.restores {
		s.gate.unmeasured(func() { copy(s.handed[begin:end], s.prepared[begin:end]) })
	}
	return s.handed[begin:end:end], nil
}

// Ack does nothing.
func (s *Source) Ack(context.Context, []opencdc.Position) error { return nil }

// Teardown does nothing.
func (s *Source) Teardown(context.Context) error { return nil }

// Errors returns nil.
func (s *Source) Errors() <-chan error { return nil }
