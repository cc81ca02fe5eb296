package system_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// wantFuzzModel fails the test if the journal differs from what the model expects.
func wantFuzzModel(t *testing.T, m *fuzzModel, j *fake.Journal) {
	t.Helper()
	got, want := j.Lines("first second out dlq ack"), m.lines
	if !slices.Equal(got, want) {
		t.Fatalf("calls %v\ngot:\n  %s\nwant:\n  %s", m.calls, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// FuzzBatch_pipeline does anything to the batches of two tasks in a row, and
// compares what the tasks, the destination, the dead-letter queue and the source
// see with the model.
func FuzzBatch_pipeline(f *testing.F) {
	for _, seed := range fuzzSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(checkPipeline)
}

func checkPipeline(t *testing.T, data []byte) {
	m, batch := newFuzzModel(data)
	m.walk(0, batch)

	j := &fake.Journal{}
	calls := m.calls
	task := func(id string) *funnel.TaskNode {
		return fake.Custom(id, func(_ context.Context, b *funnel.Batch) error {
			j.Add(append([]string{id}, fuzzIDs(b.ActiveRecords())...)...)
			if len(calls) == 0 {
				return errors.New("the task was called once too often")
			}
			ops := calls[0]
			calls = calls[1:]
			for i := range ops {
				if err := ops[i].apply(b); err != nil {
					return err
				}
			}
			return nil
		})
	}
	source := fake.NewSource(j, fake.Read{Records: m.sourceRecords()})
	err := fake.Run(t, m.queue(j), fake.From(source), task("first"), task("second"), fake.To(m.destination(j)))
	if err != nil {
		t.Errorf("Do: %v", err)
	}
	wantFuzzModel(t, m, j)
}

// FuzzBatch_settled does anything to a batch outside of a pipeline, acks or nacks
// it, and compares the outcome with the model.
func FuzzBatch_settled(f *testing.F) {
	for _, seed := range fuzzSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(checkSettled)
}

func checkSettled(t *testing.T, data []byte) {
	m, batch := newFuzzModel(data)
	isNack := m.dice.roll(2) == 0
	j := &fake.Journal{}
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.NewSource(j)), fake.To(m.destination(j))), m.queue(j))
	b := funnel.NewBatch(m.sourceRecords())
	for range 1 + m.dice.roll(30) {
		op := m.op(&batch)
		m.calls = append(m.calls, []fuzzCall{op})
		if err := op.apply(b); err != nil {
			t.Fatalf("calls %v: %v", m.calls, err)
		}
	}
	isMarked := batch.has(funnel.RecordFlagNack) || batch.has(funnel.RecordFlagRetry)
	if !isNack && isMarked {
		if err := w.Ack(t.Context(), b); err == nil {
			t.Fatal("a batch with marks was acked")
		}
		wantFuzzModel(t, m, j)
		isNack = true
	}
	batch.nackSiblings()
	for k := range batch {
		if isNack && batch[k].flag != funnel.RecordFlagFilter {
			m.nack(&batch[k], "outside")
		} else {
			m.copies[batch[k].slot]--
		}
	}
	m.release()
	for range 2 { // the second time does nothing
		if isNack {
			fake.WantNoError(t, w.Nack(t.Context(), b, "outside"))
		} else {
			fake.WantNoError(t, w.Ack(t.Context(), b))
		}
		wantFuzzModel(t, m, j)
	}
}

// TestBatch_random runs the fuzz targets on random bytes.
func TestBatch_random(t *testing.T) {
	n := 3_000
	if testing.Short() {
		n = 300
	}
	rnd := rand.New(rand.NewPCG(13, 14))
	for range n {
		data := make([]byte, rnd.IntN(120))
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		checkPipeline(t, data)
		checkSettled(t, data)
	}
}

// fuzzSeeds have splits of splits, retries of the tail, and nacks of pieces.
var fuzzSeeds = []string{
	"",
	"\x02",
	"\x03\x02\x00\x00\x00\x00",
	"\x04\x06\x05\x00\x01\x00\x03\x02\x00\x00\x00\x02\x03\x01\x02\x01\x01\x02\x00\x00\x02",
	"\x07\x05\x01\x01\x03\x02\x02\x05\x00\x02\x00\x04\x03\x01\x01\x01\x05\x01\x02\x00\x03\x02\x01\x00",
	"\x05\x06\x03\x01\x02\x01\x02\x01\x00\x00\x01\x05\x01\x00\x00\x02\x02\x01\x01\x00\x01\x03\x01\x01\x01",
	"\x07funnel funnel funnel funnel funnel funnel funnel funnel",
	"\x03splitsplitsplitsplit retryretryretry nacknacknack",
	"01234567890123456789012345678901234567890123456789",
	"zyxwvutsrqponmlkjihgfedcbaABCDEFGHIJKLMNOPQRSTUVWXYZ",
}
