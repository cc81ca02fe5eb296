package funnel

import (
	"bytes"
	"context"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector"
)

// delivery is one write to a destination, with the acks that it has received.
type delivery struct {
	records   []opencdc.Record
	isWritten bool      // the destination has the records already
	acked     int       // how many of the first records have an ack
	refused   []refusal // the acks with an error, in order
	emptyAcks int       // consecutive calls that returned no acks

	// acks is the slice that the destination has returned, if it held the acks of all
	// records and they were right.
	acks []connector.DestinationAck
}

// refusal is an ack with an error.
type refusal struct {
	index int
	err   error
}

// run writes the records to a destination, unless it has them, and collects their acks.
func (d *delivery) run(ctx context.Context, to Destination) error {
	if !d.isWritten {
		if err := write(ctx, to, d.records); err != nil {
			return fmt.Errorf("failed to write %d records, from %s on: %w", len(d.records), quotePosition(d.records[0].Position), err)
		}
	}
	return d.collectAcks(ctx, to)
}

// collectAcks asks for acks until each record has one. If one is wrong, no ack of the
// delivery counts.
func (d *delivery) collectAcks(ctx context.Context, from Destination) error {
	for d.acked < len(d.records) {
		acks, err := from.Ack(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("failed to get the acks of %d records, %d are acked by the destination, the next one is %s: %w",
				len(d.records), d.acked, quotePosition(d.next()), err)
		case len(acks) == 0:
			if err := d.wait(ctx); err != nil {
				return err
			}
			continue
		case d.acked+len(acks) > len(d.records):
			return d.tooMany(acks)
		}
		d.emptyAcks = 0
		for i := range acks {
			ack := &acks[i]
			if !bytes.Equal(ack.Position, d.next()) {
				return d.mismatch(ack.Position)
			}
			if ack.Error != nil {
				d.refused = append(d.refused, refusal{d.acked, ack.Error})
			}
			d.acked++
		}
		if len(acks) == len(d.records) {
			d.acks = acks
		}
	}
	return nil
}

// appendAcks appends the acks that count.
func (d *delivery) appendAcks(acks []connector.DestinationAck) []connector.DestinationAck {
	refused := d.refused
	for i := range d.acked {
		ack := connector.DestinationAck{Position: d.records[i].Position}
		if len(refused) > 0 && refused[0].index == i {
			ack.Error = refused[0].err
			refused = refused[1:]
		}
		acks = append(acks, ack)
	}
	return acks
}

// next returns the position whose ack is due next.
func (d *delivery) next() opencdc.Position { return d.records[d.acked].Position }

// wait waits until a destination that has returned no acks may be asked again. It
// returns an error if the destination has stopped acking.
func (d *delivery) wait(ctx context.Context) error {
	d.emptyAcks++
	switch d.emptyAcks {
	case 1:
		return nil
	case maxAckCalls:
		return fmt.Errorf("%w: %d of %d records are acked, the next one is %s", ErrAcksStopped, d.acked, len(d.records), quotePosition(d.next()))
	}
	_, err := sleep(ctx, pause(d.emptyAcks-1, minAckPause, maxAckPause), nil)
	return err
}

// tooMany returns the error for more acks than records. No ack of the delivery counts
// then.
func (d *delivery) tooMany(acks []connector.DestinationAck) error {
	given := d.acked + len(acks)
	d.acked = 0
	return fmt.Errorf("%w: the destination was given %d records and has sent more acks, %d, the last one of %s",
		ErrAckMismatch, len(d.records), given, quotePosition(acks[len(acks)-1].Position))
}

// mismatch returns the error for an ack of a position other than the one that is due. No
// ack of the delivery counts then.
func (d *delivery) mismatch(p opencdc.Position) error {
	want := d.next()
	d.acked = 0
	return fmt.Errorf("%w: the destination has acked position %s, expected %s",
		ErrAckMismatch, quotePosition(p), quotePosition(want))
}
