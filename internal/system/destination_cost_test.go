package system_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"weak"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// These tests check what decorators of destinations allocate, and which records they
// hold.

var decorated = map[string]func(funnel.Destination) funnel.Destination{
	"limited": func(d funnel.Destination) funnel.Destination {
		return funnel.NewLimitedDestination(d, funnel.WriteLimit{Records: 7, Bytes: 1000})
	},
	"retrying": func(d funnel.Destination) funnel.Destination {
		return funnel.NewRetryDestination(d, funnel.DestinationRetry{MaxAttempts: 2, MaxPause: 1})
	},
	"of another ack type": func(d funnel.Destination) funnel.Destination {
		return funnel.FromDestination[connector.DestinationAck](d)
	},
}

// deliver writes the records and asks for their acks.
func deliver(ctx context.Context, d funnel.Destination, recs []opencdc.Record) error {
	if err := d.Write(ctx, recs); err != nil {
		return err
	}
	for acked := 0; acked < len(recs); {
		acks, err := d.Ack(ctx)
		if err != nil {
			return err
		}
		acked += len(acks)
	}
	return nil
}

// deliverInTask does the same in a task, which lends the slice until the acks are there.
func deliverInTask(ctx context.Context, d funnel.Destination, recs []opencdc.Record) error {
	return funnel.NewDestinationTask("out", d, log.Nop(), nil).Do(ctx, funnel.NewBatch(recs))
}

// slowAcks is a quietAcks that returns one ack at a time.
type slowAcks struct{ *quietAcks }

func (d slowAcks) Ack(context.Context) ([]connector.DestinationAck, error) { return d.acks[:1], nil }

// After the largest Write, nothing is allocated as long as nothing is refused.
func TestDestination_decoratedAllocations(t *testing.T) {
	for name, decorate := range decorated {
		for _, size := range []int{1, 7, 8, 1000} {
			recs := make([]opencdc.Record, size)
			for i := range recs {
				recs[i].Position = opencdc.Position("p")
				recs[i].Payload.After = opencdc.RawData("data")
			}
			quiet := newQuietAcks(size)
			for _, inner := range []funnel.Destination{quiet, slowAcks{quiet}} {
				d, ctx := decorate(inner), t.Context()
				n := testing.AllocsPerRun(100, func() { fake.WantNoError(t, deliver(ctx, d, recs)) })
				if n > 0 {
					t.Errorf("%s, %d records, around a %T: %v allocations", name, size, inner, n)
				}
			}
		}
	}
}

// holding returns records and what tells whether one is still held.
func holding(n int) (recs []opencdc.Record, held []weak.Pointer[byte]) {
	recs = fake.Numbered(n)
	for i := range recs {
		data := make([]byte, 100)
		recs[i].Payload.After = opencdc.RawData(data)
		held = append(held, weak.Make(&data[0]))
	}
	return recs, held
}

// stillHeld returns the indices of the records that are held.
func stillHeld(held []weak.Pointer[byte]) (indices []int) {
	for range 3 {
		runtime.GC()
	}
	for i := range held {
		if held[i].Value() != nil {
			indices = append(indices, i)
		}
	}
	return indices
}

// When all acks were returned, or the Write has failed, no record is held.
func TestDestination_decoratedForgets(t *testing.T) {
	for name, decorate := range decorated {
		for _, failing := range []string{"", "nowhere", "write 1", "write 2", "ack 1", "ack 2"} {
			for way, deliver := range map[string]func(context.Context, funnel.Destination, []opencdc.Record) error{"": deliver, " in a task": deliverInTask} {
				synctest.Test(t, func(t *testing.T) {
					inner := &refusingDestination{start: 0}
					if failing == "" {
						inner.start = -1 // refuses nothing
					}
					calls, hasFailed := make(map[string]int), false
					fails := func(call string) error {
						if calls[call]++; fmt.Sprint(call, " ", calls[call]) == failing {
							hasFailed = true
							return fake.ErrTest
						}
						return nil
					}
					d := decorate(failingDestination{inner, fails})
					recs, held := holding(20)
					err := deliver(t.Context(), d, recs)
					if (err != nil) != hasFailed || hasFailed != (len(failing) > 0 && failing != "nowhere") && name != "of another ack type" {
						t.Errorf("%s%s, failing at %q: %v", name, way, failing, err)
					}
					if indices := stillHeld(held); len(indices) > 0 {
						t.Errorf("%s%s, failing at %q (%v): the records %v are held", name, way, failing, err, indices)
					}
					runtime.KeepAlive(d)
				})
			}
		}
	}
}

// While records are written again, only these are held.
func TestDestination_decoratedForgetsOthers(t *testing.T) {
	recs, held := holding(20)
	inner := &refusingDestination{start: 0}
	var whileAgain []int
	d := decorated["retrying"](failingDestination{inner, func(call string) error {
		if inner.acks != nil && call == "write" {
			clear(recs)
			whileAgain = stillHeld(held)
		}
		return nil
	}})
	fake.WantNoError(t, deliver(t.Context(), d, recs))
	if !slices.Equal(whileAgain, []int{0, 2, 4, 6, 8, 10, 12, 14, 16, 18}) {
		t.Errorf("while records are written again, these are held: %v", whileAgain)
	}
}

// failingDestination fails where the function says so.
type failingDestination struct {
	funnel.Destination
	fails func(call string) error
}

func (d failingDestination) Write(ctx context.Context, recs []opencdc.Record) error {
	if err := d.fails("write"); err != nil {
		return err
	}
	return d.Destination.Write(ctx, recs)
}

func (d failingDestination) Ack(ctx context.Context) ([]connector.DestinationAck, error) {
	if err := d.fails("ack"); err != nil {
		return nil, err
	}
	return d.Destination.Ack(ctx)
}
