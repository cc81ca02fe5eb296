package funnel

import (
	"context"
	"errors"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector"
)

// NewChannelDestination returns a destination that sends each record to a channel. It is for
// programs that consume records themselves. A record is confirmed, and so acked to the
// source, as soon as the channel has taken it. An unbuffered channel has then handed it to
// a receiver. A buffered channel may hold it, even if nobody ever receives it.
//
// While the channel is full, Write blocks, until its context ends or the destination is
// torn down. Then Write fails with an error that says how many records were sent. None of
// its records is acked, so those that were sent are sent again after a restart. After
// Teardown, Write returns an error until the destination is opened again.
//
// Receivers may keep the records, but must not modify the data in them, which other
// branches share. The destination never closes the channel. The host may close it once the
// worker is closed; a Write to a closed channel panics. If the channel is nil, [NewWorker],
// Open and Write return an error.
//
// ID returns "", and Errors a nil channel. Teardown may be called during Write. Besides
// the send, a record costs a few nanoseconds for its ack.
func NewChannelDestination(records chan<- opencdc.Record) Destination {
	return &channelDestination{records: records}
}

type channelDestination struct {
	anonymous
	records  chan<- opencdc.Record
	acks     writeAcks
	lifetime lifetime
}

func (d *channelDestination) validate() error {
	if d.records == nil {
		return errors.New("the channel of the destination is nil")
	}
	return nil
}

func (d *channelDestination) Open(context.Context) error {
	d.acks.reset()
	d.lifetime.begin()
	return d.validate()
}

func (d *channelDestination) Write(ctx context.Context, records []opencdc.Record) error {
	d.acks.reset()
	if err := d.validate(); err != nil {
		return err
	}
	ctx, err := d.lifetime.context(ctx)
	if err != nil {
		return err
	}
	if sent := d.send(ctx, records); sent < len(records) {
		err := contextError(ctx)
		if context.Cause(ctx) == errTornDown {
			err = errTornDown
		}
		return fmt.Errorf("the channel has taken %d of %d records: %w", sent, len(records), err)
	}
	d.acks.add(records, nil)
	return nil
}

// send sends the records, and returns how many were sent before the context ended.
func (d *channelDestination) send(ctx context.Context, records []opencdc.Record) int {
	if ctx.Err() != nil {
		return 0
	}
	for i := range records {
		select {
		case d.records <- records[i]:
			continue
		default: // the channel is full; waiting for several events costs more
		}
		select {
		case d.records <- records[i]:
		case <-ctx.Done():
			return i
		}
	}
	return len(records)
}

func (d *channelDestination) Ack(context.Context) ([]connector.DestinationAck, error) {
	return d.acks.take(), nil
}

func (d *channelDestination) Teardown(context.Context) error {
	d.lifetime.end()
	return nil
}
