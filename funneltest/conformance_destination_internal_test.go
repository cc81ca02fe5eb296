package funneltest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
)

// memoryDestination stores records on a goroutine of its own. It acks two at a time.
type memoryDestination struct {
	lifecycle
	writes chan []opencdc.Record
	acks   chan connector.DestinationAck
	stop   context.CancelFunc
	ended  chan struct{}

	storing  sync.Mutex // a loop of an earlier session may still run if there is a fault
	stored   []opencdc.Record
	kept     []opencdc.Record // the slice of a Write, which must not be kept
	recs     []opencdc.Record // the records of the last Write
	unacked  int              // how many of them have no ack
	isHeld   bool             // a single record waits for others
	portions int
	last     connector.DestinationAck
	old      []connector.DestinationAck // acks that were due when it was torn down
}

// destinationConformance is the configuration for destinations with a fault.
func destinationConformance(fault string) DestinationConformance {
	return DestinationConformance{
		New: func(t testing.TB) funnel.Destination { return &memoryDestination{lifecycle: newLifecycle(t, fault)} },
		Refused: func() opencdc.Record {
			return opencdc.Record{Metadata: opencdc.Metadata{"bad": ""}}
		},
		Stored: func(_ testing.TB, d funnel.Destination) []opencdc.Record {
			dest := d.(*memoryDestination)
			if dest.fault == "stores from the slice that it keeps" {
				return dest.kept
			}
			dest.storing.Lock()
			defer dest.storing.Unlock()
			return slices.Clone(dest.stored)
		},
	}
}

func (d *memoryDestination) Open(ctx context.Context) error {
	if err := d.lifecycle.Open(ctx); err != nil {
		return err
	}
	ctx, d.stop = context.WithCancel(context.WithoutCancel(ctx))
	d.writes, d.acks, d.ended = make(chan []opencdc.Record), make(chan connector.DestinationAck), make(chan struct{})
	if d.fault == "acks from the last session" {
		for _, rec := range d.recs[len(d.recs)-d.unacked:] {
			d.old = append(d.old, connector.DestinationAck{Position: slices.Clone(rec.Position)})
		}
	}
	d.recs, d.unacked = nil, 0
	go d.loop(ctx, d.writes, d.acks, d.ended)
	return nil
}

// loop stores records and sends acks until the destination is torn down.
func (d *memoryDestination) loop(
	ctx context.Context,
	writes <-chan []opencdc.Record,
	acks chan<- connector.DestinationAck,
	ended chan<- struct{},
) {
	defer close(ended)
	for {
		var recs []opencdc.Record
		select {
		case recs = <-writes:
		case <-ctx.Done():
			return
		case <-d.release:
			return
		}
		for _, ack := range d.store(recs) {
			if d.fault == "sends acks to nobody" {
				select {
				case acks <- ack:
				case <-d.release:
				}
				continue
			}
			select {
			case acks <- ack:
			case <-ctx.Done():
				return
			case <-d.release:
				return
			}
		}
	}
}

// store stores records and returns their acks.
func (d *memoryDestination) store(recs []opencdc.Record) []connector.DestinationAck {
	d.storing.Lock()
	defer d.storing.Unlock()
	bad := func(rec opencdc.Record) bool { _, ok := rec.Metadata["bad"]; return ok }
	hasBad := slices.ContainsFunc(recs, bad)
	var acks []connector.DestinationAck
	for i, rec := range recs {
		ack := connector.DestinationAck{Position: rec.Position}
		isRefused := bad(rec)
		switch {
		case d.fault == "accepts what is bad":
			isRefused = false
		case d.fault == "refuses the neighbours":
			isRefused = hasBad
		case d.fault == "acks shared positions once" && i > 0 && string(rec.Position) == string(recs[i-1].Position):
			continue
		case d.fault == "takes positions for text" && !utf8.Valid(rec.Position):
			isRefused = true
		}
		switch {
		case isRefused:
			ack.Error = errTest
		case d.fault == "loses a record" && len(d.stored) == 5:
		default:
			stored := rec.Clone()
			if d.fault == "stores another payload" && len(d.stored) == 5 {
				stored.Payload.After = opencdc.RawData("x")
			}
			d.stored = append(d.stored, stored)
		}
		acks = append(acks, ack)
	}
	if len(acks) > 50 {
		switch d.fault {
		case "acks in another order":
			acks[40], acks[41] = acks[41], acks[40]
		case "acks too much":
			acks = append(acks, acks[0])
		case "acks too little":
			acks = acks[1:]
		}
	}
	return acks
}

func (d *memoryDestination) Write(ctx context.Context, recs []opencdc.Record) error {
	if ctx.Err() != nil {
		if d.fault == "writes in spite of the context" {
			<-d.release
		}
		return ctx.Err()
	}
	switch d.fault {
	case "writes to positions":
		recs[0].Position[0] = 'x'
	case "appends to the slice":
		_ = append(recs, opencdc.Record{})
	case "panics without metadata":
		if recs[0].Metadata == nil {
			panic(errTest)
		}
	case "waits for a second record":
		if d.isHeld = len(recs) == 1; d.isHeld {
			return nil
		}
	}
	d.kept = recs
	d.unacked = len(recs)
	d.recs = slices.Clone(recs)
	select {
	case d.writes <- d.recs:
		return nil
	case <-d.release:
		return errTest
	}
}

func (d *memoryDestination) Ack(ctx context.Context) ([]connector.DestinationAck, error) {
	switch {
	case len(d.old) > 0:
		old := d.old
		d.old = nil
		return old, nil
	case d.fault == "refuses when it stops" && ctx.Err() != nil && d.unacked > 0:
		d.unacked = 0
		return []connector.DestinationAck{{Position: d.recs[0].Position, Error: errors.New("stopped")}}, nil
	case d.fault == "acks again when idle" && d.unacked == 0 && d.recs != nil:
		return []connector.DestinationAck{d.last}, nil
	case d.fault == "ignores the context when idle" && d.unacked == 0,
		d.fault == "ignores the context of Ack" && ctx.Err() != nil:
		<-d.release
	case d.fault == "stops acking" && d.unacked == 98:
		return nil, nil
	case d.isHeld:
		<-d.release
	}
	if d.portions++; d.portions%3 == 1 {
		return nil, nil // which is allowed, now and then
	}
	n := min(2, max(d.unacked, 1))
	var acks []connector.DestinationAck
	for range n {
		select {
		case ack := <-d.acks:
			acks = append(acks, ack)
		case <-ctx.Done():
			return acks, ctx.Err()
		}
	}
	begin := len(d.recs) - d.unacked
	d.unacked -= n
	if d.fault == "acks too much" && d.unacked == 0 && len(d.recs) > 50 {
		acks = append(acks, <-d.acks)
	}
	if d.fault == "acks from the slice that it keeps" {
		for i := range acks {
			acks[i].Position = d.kept[begin+i].Position
		}
	}
	if d.fault == "acks the last write again" && begin == 0 && d.last.Position != nil {
		acks = slices.Insert(acks, 0, d.last)
	}
	d.last = acks[len(acks)-1]
	return acks, nil
}

func (d *memoryDestination) Teardown(ctx context.Context) error {
	if err := d.lifecycle.Teardown(ctx); err != nil {
		return err
	}
	d.stop()
	if d.fault != "sends acks to nobody" {
		<-d.ended
	}
	switch {
	case len(d.recs) == 0:
	case d.fault == "writes to the slice at the end":
		d.kept[0] = opencdc.Record{}
	case d.fault == "writes to metadata" && d.recs[0].Metadata != nil:
		d.recs[0].Metadata["written"] = "true"
	}
	return nil
}

// A destination that keeps the contract has no findings, also without what is optional.
func TestDestination_reference(t *testing.T) {
	t.Run("full", func(t *testing.T) {
		c := destinationConformance("")
		c.Timeout = 4 * time.Second
		TestDestination(t, c)
	})
	t.Run("minimal", func(t *testing.T) {
		TestDestination(t, DestinationConformance{New: destinationConformance("").New, Timeout: 4 * time.Second})
	})
}

// Wrong refusals are found in the acks alone, and so are acks that are missing or too many.
func TestDestination_acksAlone(t *testing.T) {
	withoutStored := func(fault string) func() *conformSuite {
		return func() *conformSuite {
			c := destinationConformance(fault)
			c.Stored = nil
			return c.suite()
		}
	}
	for fault, text := range map[string]string{
		"accepts what is bad":    `record "refused", from Refused, was acked without an error`,
		"refuses the neighbours": `record "position 0" was refused along with the bad one, which is "refused": test error`,
	} {
		wantTexts(t, findings(t, withoutStored(fault), "refuses_only_the_bad_record"), text)
	}
	wantTexts(t, findings(t, withoutStored("stops acking"), "acks_many_records"),
		"Ack returned no acks 5 times in a row, after 2 acks for 100 records")
	wantTexts(t, findings(t, withoutStored("acks too much"), "acks_many_records"),
		`100 records were written, and there are more acks, 101; the last one is of "position 0"`)
}

// The decorators of package funnel keep the contract of what they decorate.
func TestDestination_decorated(t *testing.T) {
	newMemory := func(t testing.TB) funnel.Destination { return destinationConformance("").New(t) }
	for name, decorate := range map[string]func(t testing.TB) funnel.Destination{
		"limited": func(t testing.TB) funnel.Destination {
			return funnel.NewLimitedDestination(newMemory(t), funnel.WriteLimit{Records: 3})
		},
		"retry": func(t testing.TB) funnel.Destination {
			return funnel.NewRetryDestination(newMemory(t), funnel.DestinationRetry{})
		},
		"partitioned": func(t testing.TB) funnel.Destination {
			key := func(rec opencdc.Record) string { return rec.Metadata["number"] }
			return funnel.NewPartitionedDestination(2, key, func(int) (funnel.Destination, error) { return newMemory(t), nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			wantFindings(t, func() *conformSuite {
				return DestinationConformance{New: decorate, Refused: destinationConformance("").Refused}.suite()
			})
		})
	}
}

// Each fault is found by the checks that are about it, and by no other.
func TestDestination_faults(t *testing.T) {
	testFaults(t, func(fault string) *conformSuite { return destinationConformance(fault).suite() }, lifecycleFaults(
		brokenConnector{"waits for a second record", []string{"acks_one_record", "acks_several_writes", "stores_what_it_acks", "odd_records_do_no_harm"}},
		brokenConnector{"acks in another order", []string{"acks_many_records"}},
		brokenConnector{"acks too much", []string{"acks_many_records"}},
		brokenConnector{"acks too little", []string{"acks_many_records"}},
		brokenConnector{"stops acking", []string{"acks_many_records"}},
		brokenConnector{"acks the last write again", []string{"acks_several_writes", "stores_what_it_acks"}},
		brokenConnector{"acks shared positions once", []string{"acks_records_that_share_a_position"}},
		brokenConnector{"takes positions for text", []string{"acks_records_with_any_position"}},
		brokenConnector{"writes to metadata", []string{"records_are_left_alone"}},
		brokenConnector{"writes to positions", []string{"records_are_left_alone", "stores_what_it_acks", "refuses_only_the_bad_record"}},
		brokenConnector{"appends to the slice", []string{"records_are_left_alone"}},
		brokenConnector{"acks from the slice that it keeps", []string{"slice_is_not_kept"}},
		brokenConnector{"stores from the slice that it keeps", []string{"slice_is_not_kept", "stores_what_it_acks", "refuses_only_the_bad_record"}},
		brokenConnector{"writes to the slice at the end", []string{"slice_is_not_kept", "records_are_left_alone"}},
		brokenConnector{"loses a record", []string{"stores_what_it_acks"}},
		brokenConnector{"stores another payload", []string{"stores_what_it_acks"}},
		brokenConnector{"accepts what is bad", []string{"refuses_only_the_bad_record"}},
		brokenConnector{"refuses the neighbours", []string{"refuses_only_the_bad_record"}},
		brokenConnector{"panics without metadata", []string{"odd_records_do_no_harm"}},
		brokenConnector{"writes in spite of the context", []string{"calls_return_when_their_context_ends", "ended_context_is_no_refusal"}},
		brokenConnector{"refuses when it stops", []string{"ended_context_is_no_refusal"}},
		brokenConnector{"ignores the context of Ack", []string{"calls_return_when_their_context_ends", "ended_context_is_no_refusal"}},
		brokenConnector{"ignores the context when idle", []string{"idle_ack_returns_when_its_context_ends"}},
		brokenConnector{"acks again when idle", []string{"idle_ack_returns_when_its_context_ends"}},
		brokenConnector{"sends acks to nobody", []string{"leaves_no_goroutines"}},
		brokenConnector{"acks from the last session", []string{"opens_again_after_teardown"}},
	))
}
