package funnel_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// received returns what is in the channel.
func received(records <-chan opencdc.Record) []opencdc.Record {
	var recs []opencdc.Record
	for {
		select {
		case rec := <-records:
			recs = append(recs, rec)
		default:
			return recs
		}
	}
}

// A worker sends each record, and acks it once the channel has taken it.
func TestChannelDestination_worker(t *testing.T) {
	for _, size := range []int{0, 1, 100} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			records := make(chan opencdc.Record, size)
			d := funnel.NewChannelDestination(records)
			out := fake.Node(funnel.NewDestinationTask("out", d, log.Nop(), nil))
			w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2 3", "4")), out), nil)
			fake.WantNoError(t, w.Open(t.Context()))
			done := fake.Start(t.Context(), w)
			synctest.Wait()
			if size == 1 {
				j.Want(t, "ack") // the channel is full
			}
			var got []string
			for range 4 {
				rec := <-records
				got = append(got, string(rec.Payload.After.Bytes()))
			}
			(<-done).Want(t, nil)
			fake.WantNoError(t, w.Close(t.Context()))
			fake.WantLines(t, got, "1", "2", "3", "4")
			j.Want(t, "ack", "ack 1 2 3", "ack 4")
			close(records) // by the host; the destination has not done it
		})
	}
}

// When the context ends or the destination is torn down while the channel is full, Write
// says how many records were sent.
func TestChannelDestination_unblocks(t *testing.T) {
	for name, tt := range map[string]struct {
		unblock func(d funnel.Destination, cancel context.CancelCauseFunc)
		words   string
	}{
		"context":  {func(_ funnel.Destination, cancel context.CancelCauseFunc) { cancel(fake.ErrTest) }, "context canceled"},
		"teardown": {func(d funnel.Destination, _ context.CancelCauseFunc) { _ = d.Teardown(context.Background()) }, "torn down"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				records := make(chan opencdc.Record, 2)
				d := funnel.NewChannelDestination(records)
				fake.WantNoError(t, d.Open(t.Context()))
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				done := fake.Call(func() error { return d.Write(ctx, fake.Numbered(4)) })
				synctest.Wait()
				<-records
				synctest.Wait()
				tt.unblock(d, cancel)
				err := (<-done).Err
				fake.WantError(t, err, nil, "3 of 4 records", tt.words)
				for _, target := range []error{context.Canceled, fake.ErrTest} {
					if errors.Is(err, target) != (name == "context") {
						t.Errorf("error %q wraps %q: %t", err, target, name != "context")
					}
				}
				if acks, err := d.Ack(ctx); len(acks) > 0 || err != nil {
					t.Errorf("Ack: %v, %v", acks, err)
				}
				fake.WantLines(t, fake.Positions(received(records)), "1", "2")

				// Nothing more is sent, even if there is room.
				fake.WantError(t, d.Write(ctx, fake.Numbered(1)), nil, tt.words)
				fake.WantLines(t, fake.Positions(received(records)))

				fake.WantNoError(t, d.Open(t.Context()))
				fake.WantNoError(t, d.Write(t.Context(), fake.Numbered(2)))
				acks, err := d.Ack(t.Context())
				if err != nil || len(acks) != 2 || string(acks[1].Position) != "1" || acks[1].Error != nil {
					t.Errorf("acks after Open: %v, %v", acks, err)
				}
			})
		})
	}
}

// A nil channel is an error of NewWorker that names the task, of Open and of Write.
func TestChannelDestination_nil(t *testing.T) {
	d := funnel.NewChannelDestination(nil)
	out := fake.Node(funnel.NewDestinationTask("out", d, log.Nop(), nil))
	_, err := funnel.NewWorker(fake.Chain(fake.From(fake.SourceOf(&fake.Journal{})), out), nil, log.Nop(), nil)
	fake.WantError(t, err, nil, "channel", "nil")
	fake.WantTask(t, err, "out")
	fake.WantError(t, d.Open(t.Context()), nil, "channel")
	fake.WantError(t, d.Write(t.Context(), fake.Numbered(1)), nil, "channel")
}
