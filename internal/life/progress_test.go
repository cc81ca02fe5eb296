package life_test

import (
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/life"
)

func TestProgress(t *testing.T) {
	position := opencdc.Position("two")
	p := life.ResumedAt(position, 2)
	position[0] = 'x'
	p.Read(4)
	check := func(record uint64, want, at string) {
		t.Helper()
		err := p.Ack(opencdc.Position("new"), record)
		if want == "" {
			must(t, err)
		} else {
			says(t, err, want)
		}
		if got := string(p.Position()); got != at {
			t.Fatalf("the position is %q, want %q", got, at)
		}
	}
	check(1, "record 1 is acked after record 2", "two")
	check(2, "record 2 is acked after record 2", "two")
	check(5, "record 5 is acked, but only 4 were read", "two")
	check(3, "", "new")
	p.Reopen()
	check(4, "record 4 is acked, but only 3 were read", "new")
	p.Read(4)
	check(4, "", "new")
}

// The zero value begins with the first record.
func TestProgress_zero(t *testing.T) {
	var p life.Progress
	if p.Position() != nil {
		t.Fatalf("the position is %q", p.Position())
	}
	says(t, p.Ack(nil, 0), "record 0 is acked after record 0")
	says(t, p.Ack(nil, 1), "record 1 is acked, but only 0 were read")
	p.Read(1)
	must(t, p.Ack(opencdc.Position("one"), 1))
}
