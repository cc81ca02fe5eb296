package funnel_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// A task that splits each record and asks for the active records after each
// split, and one behind it that goes through what it has asked for once, lose
// nothing and handle nothing twice.
func TestBatch_twoTasksSplit(t *testing.T) {
	for _, backward := range []bool{false, true} {
		j := &fake.Journal{}
		first := fake.Custom("first", func(_ context.Context, b *funnel.Batch) error {
			recs := b.ActiveRecords()
			for k := range recs {
				i, at := k, 2*k
				if backward {
					i = len(recs) - 1 - k
					at = i
				}
				b.SplitRecord(at, fake.Pieces(recs[i], 2))
				b.ActiveRecords()
			}
			return nil
		})
		var seen []string
		second := fake.Custom("second", func(_ context.Context, b *funnel.Batch) error {
			at := 0
			for _, rec := range b.ActiveRecords() {
				seen = append(seen, string(rec.Position))
				b.SplitRecord(at, fake.Pieces(rec, 2))
				at += 2
			}
			return nil
		})
		fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3")), first, second, fake.To(fake.NewDestination(j, "out"))))
		if got, want := strings.Join(seen, " "), "1a 1b 2a 2b 3a 3b"; got != want {
			t.Errorf("backward %t: the second task saw %s, want %s", backward, got, want)
		}
		j.Want(t, "out ack", "out 1aa 1ab 1ba 1bb 2aa 2ab 2ba 2bb 3aa 3ab 3ba 3bb", "ack 1 2 3")
	}
}

// Whatever tasks have done to a batch, the next one that goes through its active
// records, in either direction, and edits where it has been, reads each record
// once, also if it asks for them again on the way.
func TestBatch_readWhileEdited(t *testing.T) {
	runs := 5_000
	if testing.Short() {
		runs = 500
	}
	for seed := range runs {
		rnd := rand.New(rand.NewPCG(uint64(seed), 6))
		backward, asks, looks := rnd.IntN(2) == 0, rnd.IntN(2) == 0, rnd.IntN(2) == 0
		// edit does something to a record, and returns how many there are then.
		edit := func(b *funnel.Batch, i int) int {
			rec := b.ActiveRecords()[i]
			switch rnd.IntN(5) {
			case 0:
				b.Filter(i)
				return 0
			case 1:
				n := 2 + rnd.IntN(2)
				b.SplitRecord(i, fake.Pieces(rec, n))
				return n
			case 2:
				b.SetRecords(i, []opencdc.Record{rec})
			}
			if looks { // at another record, or marks it
				switch k := rnd.IntN(len(b.ActiveRecords())); rnd.IntN(4) {
				case 0:
					b.Status(k)
				case 1:
					b.Nack(k, fake.ErrTest)
					b.Ack(k)
				case 2:
					b.Retry(k, len(b.ActiveRecords()))
					b.Ack(0, len(b.ActiveRecords()))
				}
			}
			return 1
		}
		history := func(_ context.Context, b *funnel.Batch) error {
			for range rnd.IntN(12) {
				if n := len(b.ActiveRecords()); n > 0 {
					edit(b, rnd.IntN(n))
				}
			}
			return nil
		}
		var want, got []string
		pass := func(_ context.Context, b *funnel.Batch) error {
			recs := b.ActiveRecords()
			want = fake.Positions(recs)
			at := 0
			for k := range recs {
				i := k
				if backward {
					i = len(recs) - 1 - k
					at = i
				}
				got = append(got, string(recs[i].Position))
				if rnd.IntN(3) > 0 {
					if !asks {
						b.SplitRecord(at, fake.Pieces(recs[i], 2))
						at += 2
						continue
					}
					at += edit(b, at)
					continue
				}
				at++
			}
			if backward {
				slices.Reverse(got)
			}
			return nil
		}
		j := &fake.Journal{}
		err := fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3 4 5")), fake.Custom("history", history), fake.Custom("more", history), fake.Custom("pass", pass), fake.To(fake.NewDestination(j, "out")))
		fake.WantNoError(t, err)
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d, backward %t, asks %t: the pass has read %v, there were %v", seed, backward, asks, got, want)
		}
		j.Want(t, "ack", "ack 1 2 3 4 5")
	}
}

// Looking at a record further on, or marking it, moves none that is still to be read.
func TestBatch_lookAhead(t *testing.T) {
	looks := map[string]func(b *funnel.Batch, i int){
		"Status": func(b *funnel.Batch, i int) { b.Status(i) },
		"Nack":   func(b *funnel.Batch, i int) { b.Nack(i, fake.ErrTest); b.Ack(i) },
		"Retry":  func(b *funnel.Batch, i int) { b.Retry(i); b.Ack(i) },
		"rest":   func(b *funnel.Batch, i int) { b.Retry(3, 4); b.Ack(3) },
	}
	for name, look := range looks {
		for _, backward := range []bool{false, true} {
			var seen []string
			task := fake.Custom("task", func(_ context.Context, b *funnel.Batch) error {
				recs := b.ActiveRecords()
				for k := range recs {
					i, ahead := k, 2
					if backward {
						i, ahead = len(recs)-1-k, 0
					}
					seen = append(seen, string(recs[i].Position))
					if k == 0 {
						b.Filter(i)
						look(b, ahead)
					}
				}
				return nil
			})
			j := &fake.Journal{}
			fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3 4 5")), task, fake.To(fake.NewDestination(j, "out"))))
			want := []string{"1", "2", "3", "4", "5"}
			if backward {
				slices.Reverse(want)
			}
			if !slices.Equal(seen, want) {
				t.Errorf("%s, backward %t: the task has read %v", name, backward, seen)
			}
		}
	}
}

// The status of a record is that of the active record at the index, however the
// batch keeps it.
func TestBatch_Status(t *testing.T) {
	b := funnel.NewBatch(fake.Records("1", "2", "3", "4", "5", "6"))
	want := func(flags ...funnel.RecordFlag) {
		t.Helper()
		var got []funnel.RecordFlag
		for i := range b.ActiveRecords() {
			s := b.Status(i)
			got = append(got, s.Flag)
			if (s.Error != nil) != (s.Flag == funnel.RecordFlagNack) {
				t.Errorf("record %d is marked as %s, with the error %v", i, s.Flag, s.Error)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(flags) {
			t.Errorf("the flags are %v, want %v", got, flags)
		}
	}
	const ack, nack, retry = funnel.RecordFlagAck, funnel.RecordFlagNack, funnel.RecordFlagRetry
	want(ack, ack, ack, ack, ack, ack)
	b.Nack(1, fake.ErrOf("2"))
	if s := b.Status(1); s.Flag != nack || s.Error.Error() != fake.ErrOf("2").Error() {
		t.Errorf("the status is %+v", s)
	}
	b.Filter(0)
	want(nack, ack, ack, ack, ack)
	b.Retry(3, 5)
	if s := b.Status(4); s.Flag != retry || s.Error != nil { // before ActiveRecords is called
		t.Errorf("the status is %+v", s)
	}
	want(nack, ack, ack, retry, retry)
	b.Ack(0)
	want(ack, ack, ack, retry, retry)
	for _, i := range []int{-1, 5} {
		if got, ok := fake.PanicOf(func() { b.Status(i) }).(string); !ok || !strings.Contains(got, fmt.Sprint(i)) || !strings.Contains(got, "5") {
			t.Errorf("index %d: panicked with %q", i, got)
		}
	}
}

// Splitting every record, and asking for the active records after each split,
// allocates a few arrays for them, however many there are.
func BenchmarkBatch_splitAndAsk(b *testing.B) {
	for _, n := range []int{2_000, 8_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			recs := fake.Records(make([]string, n)...)
			pieces := fake.Records("a", "b")
			for b.Loop() {
				batch := funnel.NewBatch(slices.Clone(recs))
				for i := range n {
					batch.SplitRecord(2*i, pieces)
					batch.ActiveRecords()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/split")
		})
	}
}
