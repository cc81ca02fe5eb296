package funneltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
)

const (
	conformManyRecords  = 100
	conformMaxEmptyAcks = 5 // consecutive calls of Ack that return no acks
)

// conformDestination checks destinations.
type conformDestination struct{ DestinationConformance }

func (d conformDestination) acksOneRecord(r *conformRun) { d.checkAcks(r, d.open(r), d.records(0, 1)) }

func (d conformDestination) acksManyRecords(r *conformRun) {
	d.checkAcks(r, d.open(r), d.records(0, conformManyRecords))
}

func (d conformDestination) acksSeveralWrites(r *conformRun) {
	dest := d.open(r)
	begin := 0
	for _, n := range []int{2, 5, 1, 3} {
		d.checkAcks(r, dest, d.records(begin, begin+n))
		begin += n
	}
}

func (d conformDestination) acksSharedPositions(r *conformRun) {
	recs := d.records(0, 5)
	for i := range recs[1:4] {
		recs[i+1].Position = recs[1].Position
	}
	d.checkAcks(r, d.open(r), recs)
}

func (d conformDestination) acksAnyPosition(r *conformRun) {
	recs := d.records(0, 4)
	for i, p := range []string{"\x00", "\xff\xfe line\r\n", " ", strings.Repeat("\x80", 5_000)} {
		recs[i].Position = opencdc.Position(p)
	}
	d.checkAcks(r, d.open(r), recs)
}

func (d conformDestination) recordsAreLeftAlone(r *conformRun) {
	const n, spare = 10, 3
	dest := d.open(r)
	recs := append(make([]opencdc.Record, 0, n+spare), d.records(0, n)...)
	conformMarkSlice(recs[n:])
	clones := r.clone(recs)
	d.deliver(r, dest, recs)
	r.mustTearDown(dest)
	for i := range recs {
		if diff := conformDiff(recs[i], clones[i]); diff != "" {
			r.note("record %s, element %d of the slice, was changed: %s", conformQuote(clones[i].Position), i, diff)
		}
	}
	if slices.ContainsFunc(recs[:n+spare][n:], conformIsUnmarked) {
		r.note("the destination has written past the end of the slice, into its spare capacity")
	}
}

func (d conformDestination) sliceIsNotKept(r *conformRun) {
	dest := d.open(r)
	recs := d.records(0, 10)
	want := slices.Clone(recs)
	d.mustWrite(r, dest, recs)
	conformMarkSlice(recs)
	for i, ack := range d.collect(r, dest, len(recs))[:len(recs)] {
		if string(ack.Position) == conformMark {
			r.fail("the slice was overwritten after Write, and ack %d shows this: it is not that of %s", i, conformQuote(want[i].Position))
		}
	}
	if d.Stored != nil {
		for i, rec := range d.Stored(r.t, dest) {
			if conformIsMarked(rec) {
				r.fail("the slice was overwritten after Write, and the stored record %d shows this: %s", i, conformDiff(rec, want[min(i, len(want)-1)]))
			}
		}
	}
	r.mustTearDown(dest)
	if slices.ContainsFunc(recs, conformIsUnmarked) {
		r.note("the destination has written to the slice after Write had returned")
	}
}

func (d conformDestination) storesWhatItAcks(r *conformRun) {
	dest := d.open(r)
	var want []opencdc.Record
	for _, n := range []int{1, 3, 6} {
		recs := d.records(len(want), len(want)+n)
		want = append(want, r.clone(recs)...)
		for _, ack := range d.deliver(r, dest, recs) {
			if ack.Error != nil {
				r.fail("record %s was refused: %v", conformQuote(ack.Position), ack.Error)
			}
		}
		d.checkStored(r, dest, want)
	}
}

func (d conformDestination) refusesOnlyTheBadRecord(r *conformRun) {
	dest := d.open(r)
	recs := d.records(0, 4)
	bad := d.Refused()
	if len(bad.Position) == 0 {
		bad.Position = opencdc.Position("refused")
	}
	recs[1] = bad
	good := r.clone(slices.Concat(recs[:1], recs[2:]))
	for i, ack := range d.deliver(r, dest, recs) {
		switch {
		case i == 1 && ack.Error == nil:
			r.note("record %s, from Refused, was acked without an error", conformQuote(bad.Position))
		case i != 1 && ack.Error != nil:
			r.note("record %s was refused along with the bad one, which is %s: %v", conformQuote(recs[i].Position), conformQuote(bad.Position), ack.Error)
		}
	}
	if d.Stored != nil && len(r.findings) == 0 {
		d.checkStored(r, dest, good)
	}
}

func (d conformDestination) oddRecordsDoNoHarm(r *conformRun) {
	for _, odd := range conformOddRecords() {
		dest := d.open(r)
		var err error
		r.call("Write of a record "+odd.what, func(ctx context.Context) { err = dest.Write(ctx, []opencdc.Record{odd.Record}) })
		for acks, i := 0, 0; err == nil && acks == 0 && i < conformMaxEmptyAcks; i++ {
			r.call("Ack of a record "+odd.what, func(ctx context.Context) {
				var got []connector.DestinationAck
				got, err = dest.Ack(ctx)
				acks = len(got)
			})
		}
		r.mustTearDown(dest)
	}
}

func (d conformDestination) callsReturnWhenTheirContextEnds(r *conformRun) {
	dest, recs := d.open(r), d.records(0, 3)
	r.call("Write, whose context has ended,", func(ctx context.Context) { _ = dest.Write(conformEnded(ctx), recs) })
	r.mustTearDown(dest)

	dest, recs = d.open(r), d.records(0, 3)
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	write := r.start("Write, whose context has ended meanwhile,", func(context.Context) { _ = dest.Write(ctx, recs) })
	cancel()
	r.wait(write)
	r.mustTearDown(dest)

	dest = d.open(r)
	d.mustWrite(r, dest, d.records(0, 3))
	r.call("Ack, whose context has ended,", func(ctx context.Context) { _, _ = dest.Ack(conformEnded(ctx)) })
}

func (d conformDestination) endedContextIsNoRefusal(r *conformRun) {
	for _, writeEnds := range []bool{true, false} {
		dest := d.open(r)
		ctx := r.ctx
		if writeEnds {
			ctx = conformEnded(r.ctx)
		}
		recs := d.records(0, 3)
		var err error
		r.call("Write", func(context.Context) { err = dest.Write(ctx, recs) })
		for got := 0; err == nil && got < len(recs); {
			var acks []connector.DestinationAck
			r.call("Ack, whose context has ended,", func(ctx context.Context) { acks, err = dest.Ack(conformEnded(ctx)) })
			if len(acks) == 0 {
				break
			}
			for _, ack := range acks {
				if ack.Error != nil && !errors.Is(ack.Error, context.Canceled) {
					r.note("record %s was refused after the context had ended, with an error that is not context.Canceled: %v", conformQuote(ack.Position), ack.Error)
				}
			}
			got += len(acks)
		}
		r.mustTearDown(dest)
	}
}

func (d conformDestination) idleAckReturns(r *conformRun) {
	for _, n := range []int{0, 3} {
		dest := d.open(r)
		if n > 0 {
			d.deliver(r, dest, d.records(0, n))
		}
		ctx, cancel := context.WithCancel(r.ctx)
		defer cancel()
		var acks []connector.DestinationAck
		what := fmt.Sprintf("Ack, after %d records were written and acked,", n)
		ack := r.start(what, func(context.Context) { acks, _ = dest.Ack(ctx) })
		conformEndsBefore(ack, time.After(r.quiet()))
		cancel()
		r.wait(ack)
		if len(acks) > 0 {
			r.fail("%s returned %d acks, the first one of %s", what, len(acks), conformQuote(acks[0].Position))
		}
	}
}

// use writes records and collects their acks.
func (d conformDestination) use(r *conformRun, c conformConnector) {
	recs := d.records(0, 3)
	for _, ack := range d.deliver(r, c.(funnel.Destination), recs) {
		if !slices.ContainsFunc(recs, func(rec opencdc.Record) bool { return bytes.Equal(rec.Position, ack.Position) }) {
			r.fail("Ack returned an ack of %s, which was not written since the destination was opened", conformQuote(ack.Position))
		}
	}
}

// leave writes other records, and does not collect their acks.
func (d conformDestination) leave(r *conformRun, c conformConnector) {
	d.mustWrite(r, c.(funnel.Destination), d.records(3, 6))
}

// fresh returns a new destination.
func (d conformDestination) fresh(r *conformRun) funnel.Destination {
	dest := d.New(r.t)
	if dest == nil {
		r.fail("New returned nil")
	}
	return dest
}

// open returns a new destination that is open.
func (d conformDestination) open(r *conformRun) funnel.Destination {
	dest := d.fresh(r)
	r.mustOpen(dest)
	return dest
}

// records returns records from begin to end.
func (d conformDestination) records(begin, end int) []opencdc.Record {
	return conformRecords(d.Record, begin, end)
}

// mustWrite writes records.
func (d conformDestination) mustWrite(r *conformRun, dest funnel.Destination, recs []opencdc.Record) {
	var err error
	r.call(fmt.Sprintf("Write of %d records", len(recs)), func(ctx context.Context) { err = dest.Write(ctx, recs) })
	if err != nil {
		r.fail("Write of %d records failed: %v", len(recs), err)
	}
}

// collect calls Ack until there are n acks. It returns more if Ack does.
func (d conformDestination) collect(r *conformRun, dest funnel.Destination, n int) []connector.DestinationAck {
	var acks []connector.DestinationAck
	empty := 0
	for len(acks) < n {
		var err error
		r.call(fmt.Sprintf("Ack after %d acks for %d records", len(acks), n), func(ctx context.Context) {
			got, e := dest.Ack(ctx)
			acks, err = append(acks, got...), e
			if empty++; len(got) > 0 {
				empty = 0
			}
		})
		switch {
		case err != nil:
			r.fail("Ack failed after %d acks for %d records: %v", len(acks), n, err)
		case empty == conformMaxEmptyAcks:
			r.fail("Ack returned no acks %d times in a row, after %d acks for %d records", empty, len(acks), n)
		case empty > 1:
			r.pause(time.Millisecond << (empty - 2))
		}
	}
	return acks
}

// deliver writes records and returns an ack for each.
func (d conformDestination) deliver(r *conformRun, dest funnel.Destination, recs []opencdc.Record) []connector.DestinationAck {
	d.mustWrite(r, dest, recs)
	return d.collect(r, dest, len(recs))[:len(recs)]
}

// checkAcks writes records, and adds findings unless each gets its ack, without an error.
func (d conformDestination) checkAcks(r *conformRun, dest funnel.Destination, recs []opencdc.Record) {
	d.mustWrite(r, dest, recs)
	acks := d.collect(r, dest, len(recs))
	if len(acks) > len(recs) {
		r.fail("%d records were written, and there are more acks, %d; the last one is of %s", len(recs), len(acks), conformQuote(acks[len(acks)-1].Position))
	}
	for i, ack := range acks {
		switch {
		case !bytes.Equal(ack.Position, recs[i].Position):
			r.fail("ack %d of a Write of %d records is of %s, want %s", i, len(recs), conformQuote(ack.Position), conformQuote(recs[i].Position))
		case ack.Error != nil:
			r.fail("record %s was refused: %v", conformQuote(ack.Position), ack.Error)
		}
	}
}

// checkStored adds a finding unless exactly these records have arrived.
func (d conformDestination) checkStored(r *conformRun, dest funnel.Destination, want []opencdc.Record) {
	got := d.Stored(r.t, dest)
	isSame := func(a, b opencdc.Record) bool { return bytes.Equal(a.Position, b.Position) }
	if !slices.EqualFunc(got, want, isSame) {
		r.fail("the stored records and the acked ones differ:\nstored: %s\nacked:  %s",
			conformQuoteAll(conformPositions(got)), conformQuoteAll(conformPositions(want)))
	}
	for i, rec := range got {
		if diff := conformDiffStored(rec, want[i]); diff != "" {
			r.fail("the stored record %s differs from the acked one: %s", conformQuote(rec.Position), diff)
		}
	}
}
