package system_test

import (
	"context"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// Positions have no spare capacity, wherever they come from: appending to one
// writes into no other.
func TestWorker_positionsHaveNoRoom(t *testing.T) {
	j := &fake.Journal{}
	buf := []byte("123")
	var recs []opencdc.Record
	for i := range buf {
		recs = append(recs, opencdc.Record{Position: opencdc.Position(buf[i : i+1])})
	}
	appends := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		rec.Position = append(rec.Position, 'x')
		return sdk.SingleRecord(rec)
	})
	roomy := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		p := append(make(opencdc.Position, 0, 64), rec.Position...)
		switch string(p) {
		case "1x":
			rec.Position = p
			return sdk.SingleRecord(rec)
		case "2x":
			a, b := rec.Clone(), rec.Clone()
			a.Position, b.Position = p, p
			return sdk.MultiRecord{a, b}
		default:
			rec.Position = p
			return sdk.MultiRecord{rec}
		}
	})
	set := fake.Custom("set", func(_ context.Context, b *funnel.Batch) error {
		p := append(make(opencdc.Position, 0, 64), 's')
		recs := b.ActiveRecords()
		a, c := recs[0], recs[len(recs)-1]
		a.Position, c.Position = p, p
		middle := recs[1]
		middle.Position = p
		b.SetRecords(0, []opencdc.Record{a, middle})
		b.SplitRecord(len(recs)-1, []opencdc.Record{c, c})
		return nil
	})
	count := counting()
	a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
	last := fake.Fork(fake.Through("count", count), fake.Chain(fake.Through("a+", appends), fake.To(a)), fake.Chain(fake.Through("b+", appends), fake.To(b)))
	s := fake.NewSource(j, fake.Read{Records: recs})
	s.OnAck = func(_ context.Context, positions []opencdc.Position) error {
		for _, p := range positions {
			if cap(p) != len(p) {
				t.Errorf("position %q has room for %d bytes", p, cap(p))
			}
		}
		return nil
	}
	fake.WantNoError(t, fake.Run(t, nil, fake.From(s), fake.Through("x", appends), fake.Through("roomy", roomy), set, last))
	j.Want(t, "ack", "ack 1 2 3")
	for _, name := range []string{"a", "b"} {
		j.Want(t, name, name+" s1x s2x 2x3x s4x s5x")
	}
	if string(buf) != "123" {
		t.Errorf("the source's buffer is %q", buf)
	}
}

// Nor have those that a processor gives to several records.
func TestWorker_positionsOfAProcessorHaveNoRoom(t *testing.T) {
	for _, kind := range []string{"single", "filter", "nack", "multi", "split"} {
		j := &fake.Journal{}
		p := append(make(opencdc.Position, 0, 64), 'p')
		same := fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			results := make([]sdk.ProcessedRecord, len(recs))
			for i, rec := range recs {
				rec.Position = p
				results[i] = sdk.SingleRecord(rec)
			}
			switch kind {
			case "filter":
				results[2] = sdk.FilterRecord{}
			case "nack":
				results[2] = sdk.ErrorRecord{Error: fake.ErrTest}
			case "multi":
				results[2] = sdk.MultiRecord{}
			case "split":
				piece := recs[0]
				piece.Position = p
				results[0], results[1], results[2] = sdk.MultiRecord{piece, piece}, sdk.FilterRecord{}, sdk.FilterRecord{}
			}
			return results
		})
		count := counting()
		fake.WantNoError(t, fake.Run(t, fake.DLQ(j), fake.From(fake.SourceOf(j, "1 2 3")), fake.Through("same", same), fake.Through("count", count), fake.Out(j)))
		want := "out p1 p2"
		if kind == "single" {
			want += " p3"
		}
		j.Want(t, "out", want)
	}
}

// Nor have those that a task sets without a look at the records.
func TestWorker_positionsThatATaskSetsHaveNoRoom(t *testing.T) {
	j := &fake.Journal{}
	p := append(make(opencdc.Position, 0, 64), 'p')
	set := fake.Custom("set", func(_ context.Context, b *funnel.Batch) error {
		b.SetRecords(0, []opencdc.Record{{Position: p}, {Position: p}})
		return nil
	})
	count := counting()
	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2")), set, fake.Through("count", count), fake.Out(j)))
	j.Want(t, "out", "out p1 p2")
}

// counting returns a processor that appends the number of each record, from 1 on, to the
// record's position.
func counting() fake.Processor {
	n := 0
	return fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		n++
		rec.Position = append(rec.Position, byte('0'+n))
		return sdk.SingleRecord(rec)
	})
}
