package funnel

import (
	"context"
	"errors"

	"github.com/conduitio/conduit-commons/opencdc"
)

// SourceFunc returns a source that calls read for each Read. It is for sources that need no
// acks: after a restart, read itself decides where to begin.
//
// read keeps the contract of Read in [Source]: it blocks until there are records, it
// returns [io.EOF] when there are no more, and each record needs a position. The context
// of read ends when the context of Read ends or the source is torn down; read must return
// then. As long as Read gets the same context, so does read. So a cursor that read opens
// with its context stays open between calls.
//
// Open and Ack do nothing. After Teardown, Read returns an error until the source is
// opened again. ID returns "", and Errors a nil channel. If read is nil, [NewWorker] and
// Open return an error.
//
// One goroutine at a time calls read. Besides read, a Read costs some tens of
// nanoseconds, and an allocation only if its context differs from that of the last Read.
func SourceFunc(read func(context.Context) ([]opencdc.Record, error)) Source {
	return &sourceFunc{read: read}
}

type sourceFunc struct {
	anonymous
	read     func(context.Context) ([]opencdc.Record, error)
	lifetime lifetime
}

func (s *sourceFunc) validate() error {
	if s.read == nil {
		return errors.New("the read function of the source is nil")
	}
	return nil
}

func (s *sourceFunc) Open(context.Context) error {
	s.lifetime.begin()
	return s.validate()
}

func (s *sourceFunc) Read(ctx context.Context) ([]opencdc.Record, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	ctx, err := s.lifetime.context(ctx)
	if err != nil {
		return nil, err
	}
	return s.read(ctx)
}

func (s *sourceFunc) Ack(context.Context, []opencdc.Position) error { return nil }

func (s *sourceFunc) Teardown(context.Context) error {
	s.lifetime.end()
	return nil
}

// anonymous has the methods of a connector that only a host with many connectors needs.
type anonymous struct{}

// ID returns "".
func (anonymous) ID() string { return "" }

// Errors returns nil: nothing happens in the background.
func (anonymous) Errors() <-chan error { return nil }
