package funnel_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// positionsOf returns the positions of the records.
func positionsOf(recs []opencdc.Record) (positions []opencdc.Position) {
	for _, rec := range recs {
		positions = append(positions, rec.Position)
	}
	return positions
}

// Reads return up to 1,000 records, the last one together with io.EOF.
func TestSliceSource_reads(t *testing.T) {
	for n, want := range map[int]string{0: "0", 1: "1", 999: "999", 1000: "1000", 1001: "1000 1", 2000: "1000 1000", 2500: "1000 1000 500"} {
		s := funnel.SliceSource(fake.Numbered(n)...)
		var sizes []string
		next := 0
		for {
			recs, err := s.Read(t.Context())
			sizes = append(sizes, fmt.Sprint(len(recs)))
			for _, rec := range recs {
				if string(rec.Position) != fmt.Sprint(next) || string(rec.Payload.After.Bytes()) != fmt.Sprint(next) {
					t.Fatalf("record %d of %d is %v", next, n, rec)
				}
				next++
			}
			if err == io.EOF {
				break
			}
			fake.WantNoError(t, err)
		}
		if got := strings.Join(sizes, " "); got != want || next != n {
			t.Errorf("%d records: the reads return %s, want %s", n, got, want)
		}
		if recs, err := s.Read(t.Context()); len(recs) > 0 || err != io.EOF {
			t.Errorf("after the end: %v, %v", recs, err)
		}
	}
}

// Records without a position get their index. The caller's slice is neither changed nor
// used later.
func TestSliceSource_positions(t *testing.T) {
	recs := []opencdc.Record{{}, {Position: opencdc.Position("x")}, {Position: opencdc.Position{}}}
	s := funnel.SliceSource(recs...)
	if recs[0].Position != nil || len(recs[2].Position) > 0 {
		t.Errorf("the slice of the caller was changed: %v", recs)
	}
	clear(recs)
	got, _ := s.Read(t.Context())
	fake.WantLines(t, fake.Positions(got), "0", "x", "2")
}

// Opened again, the source begins at the first record that was not acked.
func TestSliceSource_opensAtTheFirstUnacked(t *testing.T) {
	s := funnel.SliceSource(fake.Numbered(1500)...)
	ctx := t.Context()
	for _, tt := range []struct{ ack, next int }{{0, 0}, {1, 1}, {998, 999}, {501, 1500}, {0, 1500}} {
		var read []opencdc.Record
		for err := error(nil); err != io.EOF; {
			var recs []opencdc.Record
			if recs, err = s.Read(ctx); err != nil && err != io.EOF {
				t.Fatal(err)
			}
			read = append(read, recs...)
		}
		fake.WantNoError(t, s.Ack(ctx, positionsOf(read[:tt.ack])))
		fake.WantNoError(t, s.Teardown(ctx))
		if _, err := s.Read(ctx); err == nil || err == io.EOF {
			t.Errorf("Read after Teardown: %v", err)
		}
		fake.WantNoError(t, s.Open(ctx))
		recs, _ := s.Read(ctx)
		fake.WantNoError(t, s.Open(ctx))
		if tt.next < 1500 && string(recs[0].Position) != fmt.Sprint(tt.next) || tt.next == 1500 && len(recs) > 0 {
			t.Errorf("%+v: read again: %v", tt, fake.Positions(recs))
		}
	}
}

// An ack of another position than the next one due is an error, and does not count.
func TestSliceSource_wrongAcks(t *testing.T) {
	s := funnel.SliceSource(fake.Records("a", "b", "c")...)
	ctx := t.Context()
	ack := func(positions ...string) error { return s.Ack(ctx, positionsOf(fake.Records(positions...))) }
	fake.WantError(t, ack("a"), nil, `"a"`, "0 records")
	_, _ = s.Read(ctx)
	fake.WantError(t, ack("b"), nil, `"b"`, `"a" is due`, "record 0")
	fake.WantNoError(t, ack("a", "b"))
	fake.WantError(t, ack("b"), nil, `"b"`, `"c" is due`, "record 2")
	fake.WantNoError(t, ack("c"))
	fake.WantError(t, ack("c"), nil, `"c"`, "3 records")
}

// What a processor changes in place shows neither in the caller's records nor in those
// that are read again.
func TestSliceSource_copies(t *testing.T) {
	row := opencdc.StructuredData{"n": map[string]any{"count": 0}}
	recs := []opencdc.Record{{Metadata: opencdc.Metadata{"id": "0"}, Payload: opencdc.Change{After: row}}}
	s := funnel.SliceSource(recs...)
	var counts []int
	change := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		n := rec.Payload.After.(opencdc.StructuredData)["n"].(map[string]any)
		n["count"] = n["count"].(int) + 1
		counts = append(counts, n["count"].(int))
		rec.Metadata["id"] += "!"
		return sdk.SingleRecord(rec)
	})
	for range 2 {
		failing := fake.Custom("fails", fake.Returning(fake.ErrTest))
		err := fake.Run(t, nil, fake.From(s), fake.Through("change", change), failing)
		fake.WantError(t, err, fake.ErrTest)
	}
	if len(counts) != 2 || counts[1] != 1 {
		t.Errorf("the processor saw the counts %v", counts)
	}
	if n := row["n"].(map[string]any)["count"]; n != 0 || recs[0].Metadata["id"] != "0" {
		t.Errorf("the caller's record was changed: %v", recs[0])
	}
}

// A record that is nested too deeply is a fatal error, after the records before it.
func TestSliceSource_tooDeep(t *testing.T) {
	var deep any
	for range 10_001 {
		deep = map[string]any{"": deep}
	}
	recs := fake.Numbered(3)
	recs[2].Key = opencdc.StructuredData{"deep": deep}
	s := funnel.SliceSource(recs...)
	got, err := s.Read(t.Context())
	fake.WantNoError(t, err)
	fake.WantLines(t, fake.Positions(got), "0", "1")
	got, err = s.Read(t.Context())
	fake.WantError(t, err, funnel.ErrTooDeep, `record 2, "2"`)
	fake.WantFatal(t, err, true)
	if len(got) > 0 {
		t.Errorf("read: %v", got)
	}
}

// A worker reads all records once, also with read-ahead. The next one reads those that
// were not acked.
func TestSliceSource_worker(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		s := funnel.SliceSource(fake.Numbered(2500)...)
		out := fake.NewDestination(j, "out")
		writes := 0
		out.OnWrite = func(context.Context, []opencdc.Record) error {
			if writes++; writes == 2 {
				return fake.ErrTest
			}
			return nil
		}
		run := func() error {
			return fake.RunWorker(t, fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(out)), nil, opts...))
		}
		fake.WantError(t, run(), fake.ErrTest)
		first := len(strings.Fields(j.Lines("out")[0])) - 1 // what was acked
		j.Clear()
		fake.WantNoError(t, run())
		if got, want := j.Given("out"), strings.Join(fake.Positions(fake.Numbered(2500)[first:]), " "); got != want {
			t.Errorf("the second worker has written %d bytes of positions, want %d", len(got), len(want))
		}
	})
}
