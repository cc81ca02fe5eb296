package funnel_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
)

// hostAck is the ack of a host.
type hostAck struct {
	Position opencdc.Position
	Error    error
}

// hosted is a destination whose acks are of the host's type.
type hosted struct {
	*fake.Destination
	acks []hostAck
	err  error
}

func (d *hosted) Ack(ctx context.Context) ([]hostAck, error) {
	acks, _ := d.Destination.Ack(ctx)
	d.acks = d.acks[:0]
	for _, ack := range acks {
		d.acks = append(d.acks, hostAck(ack))
	}
	return d.acks, d.err
}

// A worker uses it like any other destination.
func TestFromDestination(t *testing.T) {
	j := &fake.Journal{}
	out := &hosted{Destination: fake.NewDestination(j, "out")}
	out.Refuse["2"] = fake.ErrTest
	dead := fake.NewDestination(j, "dlq")
	fake.WantNoError(t, fake.Run(t, fake.Queue(dead), fake.From(fake.SourceOf(j, "1 2 3", "4")), intoTask(funnel.FromDestination(out))))
	j.Want(t, "out dlq ack", "out 1 2 3", "ack 1", "dlq 2", "ack 2", "ack 3", "out 4", "ack 4")
	fake.WantNack(t, dead.Written[0], "out", fake.ErrTest.Error())
}

// Positions, errors and the error of Ack are passed on as they are.
func TestFromDestination_acks(t *testing.T) {
	inner := &hosted{Destination: fake.NewDestination(&fake.Journal{}, "inner"), err: fake.ErrTest}
	d := funnel.FromDestination(inner)
	refusal := errors.New("refused")
	for _, want := range [][]connector.DestinationAck{
		{{Position: opencdc.Position("1")}, {Position: opencdc.Position("2"), Error: refusal}, {}},
		nil,
		{{Position: opencdc.Position("3")}},
	} {
		inner.Pending = want
		acks, err := d.Ack(t.Context())
		if !slices.EqualFunc(acks, want, func(a, b connector.DestinationAck) bool {
			return string(a.Position) == string(b.Position) && a.Error == b.Error
		}) || err != fake.ErrTest {
			t.Errorf("Ack has returned %v, %v, want %v", acks, err, want)
		}
	}
}

// A nil destination of a host is nil.
func TestFromDestination_nil(t *testing.T) {
	var none *hosted
	if d := funnel.FromDestination[hostAck](nil); d != nil {
		t.Errorf("nil has become %v", d)
	}
	if d := funnel.FromDestination(none); d != nil {
		t.Errorf("a nil pointer has become %v", d)
	}
}

// Once the slice is as large as the largest result, Ack allocates nothing.
func TestFromDestination_allocations(t *testing.T) {
	inner := &quietHosted{acks: make([]hostAck, 1000)}
	d := funnel.FromDestination(inner)
	ctx := t.Context()
	n := testing.AllocsPerRun(100, func() {
		if acks, err := d.Ack(ctx); len(acks) != 1000 || err != nil {
			t.Error("Ack does not return 1,000 acks")
		}
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// quietHosted allocates nothing.
type quietHosted struct {
	funnel.HostDestination[hostAck]
	acks []hostAck
}

func (d *quietHosted) Ack(context.Context) ([]hostAck, error) { return d.acks, nil }
