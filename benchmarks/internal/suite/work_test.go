package suite_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/benchmarks/internal/fake"
	"github.com/conduitio/funnel/benchmarks/internal/measure"
	"github.com/conduitio/funnel/benchmarks/internal/suite"
)

// batches is how often the work of a case is done.
const batches = 3

// amounts are how much of a batch is written and how much is dead.
type amounts struct{ written, dead int }

// wantAmounts returns the amounts of a case.
func wantAmounts(c *suite.Case) amounts {
	switch c.Case {
	case "linear", "single acks", "destinations, batch 1", "metrics, raw", "metrics, structured",
		"prometheus, raw", "prometheus, structured", "observer", "stats", "traces", "traces, sampled out",
		"everything, raw", "lanes, no wait":
		return amounts{written: c.X}
	case "processors, batch 1":
		return amounts{written: 1}
	case "processors":
		return amounts{written: 1_000}
	case "filter":
		return amounts{written: c.X / 2}
	case "split":
		return amounts{written: 2 * c.X}
	case "nacks", "nacks, whole batches":
		return amounts{written: 1_000, dead: 10 * c.X}
	case "processor nacks", "processor nacks, whole batches":
		return amounts{written: 1_000 - 10*c.X, dead: 10 * c.X}
	case "destinations":
		return amounts{written: c.X * 1_000}
	case "over a sink, batch 1":
		return amounts{written: c.X}
	default:
		return amounts{}
	}
}

// Both series of a case do the same work: they write the same records to every
// destination and to the dead-letter queue, and ack all that they have read, in
// order. And it is the work that the case says.
func TestCases_sameWork(t *testing.T) {
	for _, c := range suite.Cases() {
		if c.Spec.Records() > 10_000 {
			continue // nothing but more of the same
		}
		t.Run(c.Title, func(t *testing.T) {
			base, subject := work(t, &c, c.Base), work(t, &c, c.Subject)
			for name, r := range map[string]*recorded{c.Base: base, c.Subject: subject} {
				if !slices.Equal(r.source.read, prepared(&c)) {
					t.Errorf("%s: %d records were read, which are not those that the source was made of", name, len(r.source.read))
				}
				if !slices.Equal(r.source.acked, r.source.read) {
					t.Errorf("%s: %d records were acked, which are not the %d that were read", name, len(r.source.acked), len(r.source.read))
				}
				if got, want := r.amounts(), wantAmounts(&c); got != want {
					t.Errorf("%s: got %+v, want %+v", name, got, want)
				}
			}
			for i := range base.destinations {
				mustEqual(t, subject.destinations[i].written, base.destinations[i].written)
			}
			if c.Spec.HasDLQ {
				mustEqual(t, withoutTime(t, subject.dlq.written), withoutTime(t, base.dlq.written))
			}
		})
	}
}

// prepared returns the positions of what is to be read.
func prepared(c *suite.Case) []string {
	var positions []string
	for _, record := range fake.Records(c.Spec.Records(), c.Spec.Payload) {
		positions = append(positions, string(record.Position))
	}
	return slices.Repeat(positions, batches)
}

func (r *recorded) amounts() (a amounts) {
	for _, d := range r.destinations {
		a.written += len(d.written) / batches
	}
	if r.dlq != nil {
		a.dead = len(r.dlq.written) / batches
	}
	return a
}

// work does the work of a case in the way of a series.
func work(t *testing.T, c *suite.Case, series string) *recorded {
	t.Helper()
	gate := fake.NewGate()
	p := c.Spec.Build(gate)
	r := record(p)
	s, err := measure.Start(t.Context(), series, gate, suite.Runner(series, p))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(batches - 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	return r
}

func mustEqual(t *testing.T, got, want []opencdc.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d records, want %d", len(got), len(want))
	}
	for i := range got {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("record %d is %v, want %v", i, got[i], want[i])
		}
	}
}

// withoutTime returns the dead letters without the time at which they were made.
func withoutTime(t *testing.T, letters []opencdc.Record) []opencdc.Record {
	t.Helper()
	letters = slices.Clone(letters)
	for _, letter := range letters {
		if _, err := letter.Metadata.GetCreatedAt(); err != nil {
			t.Errorf("dead letter %q: %v", letter.Position, err)
		}
		delete(letter.Metadata, opencdc.MetadataCreatedAt)
	}
	return letters
}
