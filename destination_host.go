package funnel

import (
	"context"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/reuse"
)

// HostDestination is a [Destination] whose acks have a type of the host's own. See
// [FromDestination].
type HostDestination[A any] interface {
	ID() string
	Open(context.Context) error
	Write(context.Context, []opencdc.Record) error
	Ack(context.Context) ([]A, error)
	Teardown(context.Context) error
	Errors() <-chan error
}

// FromDestination returns d as a [Destination], for hosts with an ack type of their own
// that has the fields of [connector.DestinationAck]. If d is nil, so is the result.
//
// Every call is passed on to d, which must keep the contract of Destination. The slice
// that Ack returns is reused by the next Ack. Each ack costs a copy of its two fields.
func FromDestination[A ~struct {
	Position opencdc.Position
	Error    error
}](d HostDestination[A]) Destination {
	if isNil(d) {
		return nil
	}
	return &convertedDestination[A]{HostDestination: d}
}

type convertedDestination[A ~struct {
	Position opencdc.Position
	Error    error
}] struct {
	HostDestination[A]

	acks   []connector.DestinationAck // those that were returned last
	memory reuse.Buffer[connector.DestinationAck]
}

func (c *convertedDestination[A]) Ack(ctx context.Context) ([]connector.DestinationAck, error) {
	acks, err := c.HostDestination.Ack(ctx)
	c.memory.Put(c.acks)
	c.acks = c.memory.Take(len(acks))
	for _, ack := range acks {
		c.acks = append(c.acks, connector.DestinationAck(ack))
	}
	return c.acks, err
}
