package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
)

// Each chunk holds as many records as the limit allows. The records are acked together.
func TestLimitedDestination_chunks(t *testing.T) {
	for _, tt := range []struct {
		limit funnel.WriteLimit
		sizes string // of the records 0, 1, ...
		want  string // the chunks
	}{
		{funnel.WriteLimit{}, "1 1 1 1", "0 1 2 3"},
		{funnel.WriteLimit{Records: -1, Bytes: -1}, "1 1 1 1", "0 1 2 3"},
		{funnel.WriteLimit{Records: 1}, "1 1 1 1", "0|1|2|3"},
		{funnel.WriteLimit{Records: 2}, "9 0 9 9", "0 1|2 3"},
		{funnel.WriteLimit{Records: 3, Bytes: -1}, "9 0 9 9", "0 1 2|3"},
		{funnel.WriteLimit{Records: 4}, "1 1 1 1", "0 1 2 3"},
		{funnel.WriteLimit{Records: 5}, "1 1 1 1", "0 1 2 3"},
		{funnel.WriteLimit{Bytes: 1}, "1 1 1 1", "0|1|2|3"},
		{funnel.WriteLimit{Bytes: 3}, "1 1 1 1", "0 1 2|3"},
		{funnel.WriteLimit{Bytes: 4, Records: -1}, "1 1 1 1", "0 1 2 3"},
		{funnel.WriteLimit{Bytes: 5}, "3 2 3 3 5 1", "0 1|2|3|4|5"},
		{funnel.WriteLimit{Bytes: 5}, "9 9 1 9 4 1 9", "0|1|2|3|4 5|6"},
		{funnel.WriteLimit{Bytes: 5}, "0 0 5 0 0 6 0 6", "0 1 2 3 4|5|6|7"},
		{funnel.WriteLimit{Bytes: 5}, "6", "0"},
		{funnel.WriteLimit{Bytes: 5, Records: 2}, "1 1 1 5 0 0 6 4", "0 1|2|3 4|5|6|7"},
		{funnel.WriteLimit{Bytes: 1 << 62, Records: 2}, "1 1 1", "0 1|2"},
	} {
		j := &fake.Journal{}
		sizes := strings.Fields(tt.sizes)
		recs := fake.Numbered(len(sizes))
		for i := range recs {
			n, _ := strconv.Atoi(sizes[i])
			recs[i].Payload.After = opencdc.RawData(strings.Repeat("x", n))
		}
		d := funnel.NewLimitedDestination(fake.NewDestination(j, "out"), tt.limit)
		fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.NewSource(j, fake.Read{Records: recs})), intoTask(d)))
		var chunks []string
		for _, line := range j.Lines("out") {
			chunks = append(chunks, strings.TrimPrefix(line, "out "))
		}
		if got := strings.Join(chunks, "|"); got != tt.want {
			t.Errorf("%+v, sizes %s: written %s, want %s", tt.limit, tt.sizes, got, tt.want)
		}
		if n := len(j.Lines("ack")); n != 1 {
			t.Errorf("%+v: the records were acked in %d calls", tt.limit, n)
		}
	}
}

// counted is data that counts how often it is asked for its bytes.
type counted struct {
	opencdc.Data
	asked *int
}

func (c counted) Bytes() []byte { *c.asked++; return []byte("12345") }

// The size of a record is the size of its key and payload, as in the metrics. Each record
// is measured at most once.
func TestLimitedDestination_sizes(t *testing.T) {
	asked := 0
	recs := []opencdc.Record{
		{Key: opencdc.RawData("key"), Metadata: opencdc.Metadata{"much": "metadata"}},                            // 3
		{Payload: opencdc.Change{Before: opencdc.RawData("before"), After: opencdc.StructuredData{"a": "bcde"}}}, // 6 + 12
		{Payload: opencdc.Change{After: counted{asked: &asked}}},                                                 // 5
		{Payload: opencdc.Change{After: counted{asked: &asked}}},                                                 // 5
		{Payload: opencdc.Change{After: counted{asked: &asked}}},                                                 // 5
	}
	for i := range recs {
		recs[i].Position = opencdc.Position(strconv.Itoa(i))
	}
	sizes := &histogram{}
	funnel.NewConnectorMetricsFrom(nil, sizes).Observe(recs, started)
	if got := fmt.Sprint(sizes.observed); got != "[3 18 5 5 5]" {
		t.Errorf("the metrics observe the sizes %s", got)
	}
	for limit, want := range map[funnel.WriteLimit][]string{
		{Bytes: 20}:             {"out 0", "out 1", "out 2 3 4"},
		{Bytes: 21}:             {"out 0 1", "out 2 3 4"},
		{Bytes: 25}:             {"out 0 1", "out 2 3 4"},
		{Bytes: 26}:             {"out 0 1 2", "out 3 4"},
		{Bytes: 26, Records: 2}: {"out 0 1", "out 2 3", "out 4"},
		{Bytes: 36}:             {"out 0 1 2 3 4"},
		{Records: 4}:            {"out 0 1 2 3", "out 4"},
	} {
		asked = 0
		j := &fake.Journal{}
		d := funnel.NewLimitedDestination(fake.NewDestination(j, "out"), limit)
		fake.WantNoError(t, d.Write(t.Context(), recs))
		_, err := askForAcks(t.Context(), d, len(recs))
		fake.WantNoError(t, err)
		j.Want(t, "out", want...)
		if wantAsked := 3 * min(limit.Bytes, 1); asked != wantAsked {
			t.Errorf("%+v: sizes were looked at %d times, want %d", limit, asked, wantAsked)
		}
	}
}

// Without limits, the destination itself is returned.
func TestNewLimitedDestination_noLimit(t *testing.T) {
	d := fake.NewDestination(&fake.Journal{}, "out")
	for _, limit := range []funnel.WriteLimit{{}, {Records: -1}, {Bytes: -1}, {Records: -1, Bytes: -1}} {
		if got := funnel.NewLimitedDestination(d, limit); got != funnel.Destination(d) {
			t.Errorf("%+v: the destination is a %T", limit, got)
		}
	}
}

// Records that fit are passed on in the slice of the caller, and their acks in that of
// the destination.
func TestLimitedDestination_oneChunk(t *testing.T) {
	recs, acks := fake.Numbered(3), fake.Acks("0", "1", "2")
	inner := fake.NewDestination(&fake.Journal{}, "inner")
	inner.OnWrite = func(_ context.Context, got []opencdc.Record) error {
		if &got[0] != &recs[0] || len(got) != len(recs) {
			t.Errorf("other records were written: %v", got)
		}
		return nil
	}
	inner.OnAck = func(context.Context) ([]connector.DestinationAck, error) { return acks, fake.ErrTest }
	d := limitedTo(3)(inner)
	fake.WantNoError(t, d.Write(t.Context(), recs))
	if got, err := d.Ack(t.Context()); &got[0] != &acks[0] || len(got) != 3 || err != fake.ErrTest {
		t.Errorf("Ack: %v, %v", got, err)
	}
	inner.OnWrite = func(context.Context, []opencdc.Record) error { return fake.ErrTest }
	if err := d.Write(t.Context(), recs); err != fake.ErrTest {
		t.Errorf("Write: %v", err)
	}
}

// A chunk is written only after every record of the one before is acked, and each Ack
// returns the acks of one chunk.
func TestLimitedDestination_oneChunkAtATime(t *testing.T) {
	j := &fake.Journal{}
	inner := ackingAtMost(fake.NewDestination(j, "write"), 2)
	inner.Refuse["1"], inner.Refuse["4"] = fake.ErrTest, fake.ErrTest
	ask := inner.OnAck
	inner.OnAck = func(ctx context.Context) ([]connector.DestinationAck, error) { j.Add("ack"); return ask(ctx) }
	d := limitedTo(3)(inner)
	recs := fake.Numbered(8)
	fake.WantNoError(t, d.Write(t.Context(), recs))
	clear(recs) // the slice is the caller's
	j.Want(t, "", "write 0 1 2")
	for _, want := range []struct {
		acks  string
		calls []string
	}{
		{"0 1! 2", []string{"ack", "ack"}},
		{"3 4! 5", []string{"write 3 4 5", "ack", "ack"}},
		{"6 7", []string{"write 6 7", "ack"}},
	} {
		j.Clear()
		acks, err := askForAcks(t.Context(), d, 1)
		fake.WantNoError(t, err)
		fake.WantLines(t, acks, want.acks)
		j.Want(t, "", want.calls...)
	}
	for _, rec := range inner.Written {
		if string(rec.Payload.After.Bytes()) != string(rec.Position) {
			t.Errorf("record %s was written with the payload %s", rec.Position, rec.Payload.After)
		}
	}
}

// If the destination fails, Ack first returns the acks before the failure, then the error
// in each call, without calling the destination again.
func TestLimitedDestination_failures(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault string // what fails: "write" or "ack", and the number of the call
		acks  func(call int) []connector.DestinationAck
		err   error
		calls []string // what Ack returns before the error
		words []string
	}{
		{name: "the first write", fault: "write 1"},
		{name: "the second write", fault: "write 2", calls: []string{"0 1 2"}, words: []string{"write 3 records", `"3"`}},
		{name: "the last write", fault: "write 3", calls: []string{"0 1 2", "3 4 5"}, words: []string{"write 1 records", `"6"`}},
		{name: "the first ack", fault: "ack 1", words: []string{"3 records", "0 are acked", `"0"`}},
		{name: "in the first chunk", fault: "ack 2", calls: []string{"0 1"}, words: []string{"3 records", "2 are acked", `"2"`}},
		{name: "the second chunk", fault: "ack 3", calls: []string{"0 1 2"}, words: []string{"3 records", "0 are acked", `"3"`}},
		{name: "in the second chunk", fault: "ack 4", calls: []string{"0 1 2", "3 4"}, words: []string{"2 are acked", `"5"`}},
		{name: "the last chunk", fault: "ack 5", calls: []string{"0 1 2", "3 4 5"}, words: []string{"1 records", `"6"`}},
		{
			name: "a wrong position in the first chunk", err: funnel.ErrAckMismatch, words: []string{`"another"`, `"0"`},
			acks: func(int) []connector.DestinationAck { return fake.Acks("another") },
		},
		{
			name: "a wrong position behind right ones", err: funnel.ErrAckMismatch, words: []string{`"another"`, `"5"`},
			acks: func(call int) []connector.DestinationAck {
				return [][]connector.DestinationAck{fake.Acks("0", "1", "2"), fake.Acks("3", "4"), fake.Acks("another")}[call-1]
			},
			calls: []string{"0 1 2"},
		},
		{
			name: "an ack of the next chunk", err: funnel.ErrAckMismatch, words: []string{"3 records", "4", `"3"`},
			acks: func(int) []connector.DestinationAck { return fake.Acks("0", "1", "2", "3") },
		},
		{
			name: "no more acks", err: funnel.ErrAcksStopped, words: []string{"1 of 3", `"4"`},
			acks: func(call int) []connector.DestinationAck {
				return append([][]connector.DestinationAck{fake.Acks("0", "1", "2"), fake.Acks("3")}, make([][]connector.DestinationAck, 9)...)[call-1]
			},
			calls: []string{"0 1 2", "3"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if tt.err == nil {
					tt.err = fake.ErrTest
				}
				j := &fake.Journal{}
				inner := ackingAtMost(fake.NewDestination(j, "write"), 2)
				writes, asks, isHealed := 0, 0, false
				inner.OnWrite = func(context.Context, []opencdc.Record) error {
					if writes++; tt.fault == fmt.Sprint("write ", writes) {
						return fake.ErrTest
					}
					return nil
				}
				ask := inner.OnAck
				inner.OnAck = func(ctx context.Context) ([]connector.DestinationAck, error) {
					asks++
					switch acks, err := ask(ctx); {
					case isHealed:
						return acks, err
					case tt.fault == fmt.Sprint("ack ", asks):
						return nil, fake.ErrTest
					case tt.acks != nil:
						return tt.acks(asks), nil
					default:
						return acks, err
					}
				}
				d := limitedTo(3)(inner)
				err := d.Write(t.Context(), fake.Numbered(7))
				var calls []string
				if err == nil {
					calls, err = askForAcks(t.Context(), d, 7)
				}
				fake.WantError(t, err, tt.err, tt.words...)
				fake.WantLines(t, calls, tt.calls...)
				writesBefore, asksBefore := writes, asks
				for range 2 {
					if acks, again := d.Ack(t.Context()); len(acks) > 0 || !errors.Is(again, err) {
						t.Errorf("Ack then returns %v, %v", acks, again)
					}
				}
				if writes != writesBefore || asks != asksBefore {
					t.Error("the destination was called after the error")
				}

				isHealed = true
				if len(tt.calls)%2 == 1 {
					fake.WantNoError(t, d.Open(t.Context()))
				}
				fake.WantNoError(t, d.Write(t.Context(), fake.Records("a", "b", "c", "d")))
				calls, err = askForAcks(t.Context(), d, 4)
				fake.WantNoError(t, err)
				fake.WantLines(t, calls, "a b c", "d")
			})
		})
	}
}

// After Open nothing is left of an earlier Write.
func TestLimitedDestination_open(t *testing.T) {
	j := &fake.Journal{}
	d := limitedTo(2)(fake.NewDestination(j, "out"))
	fake.WantNoError(t, d.Write(t.Context(), fake.Numbered(5)))
	fake.WantNoError(t, d.Open(t.Context()))
	if acks, err := d.Ack(t.Context()); len(acks) != 2 || err != nil {
		t.Errorf("Ack: %v, %v", acks, err) // what the destination itself returns
	}
	if acks, err := d.Ack(t.Context()); len(acks) != 0 || err != nil {
		t.Errorf("Ack: %v, %v", acks, err)
	}
	j.Want(t, "", "out 0 1", "open out")
}
