package system_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// A processor that answers for one record per call is called once per record. That
// costs neither stack nor more time per round.
func TestWalk_manyRounds(t *testing.T) {
	const n = 200_000
	j := &fake.Journal{}
	source := fake.NewSource(j)
	recs := make([]opencdc.Record, n)
	for i := range recs {
		recs[i] = opencdc.Record{Position: opencdc.Position("p")}
	}
	source.Reads = []fake.Read{{Records: recs}}
	calls := 0
	depth := 0
	one := fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		calls++
		if calls == 10 {
			depth = stackDepth()
		} else if calls == 100 && stackDepth() != depth {
			t.Errorf("the stack has %d frames in call 10 and %d in call 100", depth, stackDepth())
		}
		if len(recs) != n-calls+1 {
			t.Fatalf("call %d got %d records", calls, len(recs))
		}
		return []sdk.ProcessedRecord{sdk.FilterRecord{}}
	})
	fake.WantNoError(t, fake.Run(t, nil, fake.From(source), fake.Through("one", one), fake.Out(j)))
	if calls != n {
		t.Errorf("%d calls, want %d", calls, n)
	}
}

func stackDepth() int {
	return runtime.Callers(0, make([]uintptr, 10_000))
}

// A custom task may retry the tail of its batch, round after round.
func TestWalk_customRetryOfTheTail(t *testing.T) {
	const n = 100_000
	j := &fake.Journal{}
	recs := make([]opencdc.Record, n)
	for i := range recs {
		recs[i].Position = opencdc.Position("p")
	}
	calls := 0
	tail := fake.Custom("tail", func(_ context.Context, b *funnel.Batch) error {
		left := len(b.ActiveRecords())
		if calls++; calls%2 == 0 {
			b.Nack(0, fake.ErrTest)
		}
		if left > 1 {
			b.Retry(1, left)
		}
		if calls%2 == 1 {
			b.Filter(0)
		}
		return nil
	})
	dead := fake.NewDestination(j, "dlq")
	dead.OnWrite = func(context.Context, []opencdc.Record) error { dead.Written = nil; return nil }
	fake.WantNoError(t, fake.Run(t, fake.Queue(dead), fake.From(fake.NewSource(j, fake.Read{Records: recs})), tail, fake.Out(j)))
	if calls != n {
		t.Errorf("%d calls, want %d", calls, n)
	}
}
