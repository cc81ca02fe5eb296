package funnel_test

import (
	"context"
	"fmt"
	"math/big"
	"reflect"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// A source record is acked once, when all branches are done with it, and
// dead-lettered once if any of them nacks it.
func TestFanOut_outcomes(t *testing.T) {
	for _, tt := range []struct {
		name     string
		before   fake.Answers // a processor before the fan-out
		a, b     fake.Answers // processors on its branches
		refusedA string
		refusedB string
		wantA    []string
		wantB    []string
		want     []string // acks and dead letters
	}{{
		name:  "all is delivered twice and acked once",
		wantA: []string{"a 1 2 3"}, wantB: []string{"b 1 2 3"},
		want: []string{"ack 1 2 3"},
	}, {
		name: "a nack on one branch is enough",
		b:    fake.Answers{"2": fake.Fail}, wantA: []string{"a 1 2 3"}, wantB: []string{"b 1", "b 3"},
		want: []string{"ack 1", "dlq 2", "ack 2", "ack 3"},
	}, {
		name: "a nack on both branches is one",
		a:    fake.Answers{"2": fake.Fail}, refusedB: "2", wantA: []string{"a 1", "a 3"}, wantB: []string{"b 1 2 3"},
		want: []string{"ack 1", "dlq 2", "ack 2", "ack 3"},
	}, {
		name: "nacks of different records on different branches",
		a:    fake.Answers{"1": fake.Fail}, refusedB: "3", wantA: []string{"a 2 3"}, wantB: []string{"b 1 2 3"},
		want: []string{"dlq 1", "ack 1", "ack 2", "dlq 3", "ack 3"},
	}, {
		name: "filtered on one branch, delivered on the other",
		a:    fake.Answers{"1": fake.Filter, "2": fake.Filter, "3": fake.Filter}, wantB: []string{"b 1 2 3"},
		want: []string{"ack 1 2 3"},
	}, {
		name: "filtered before the fan-out", before: fake.Answers{"2": fake.Filter},
		wantA: []string{"a 1 3"}, wantB: []string{"b 1 3"}, want: []string{"ack 1 2 3"},
	}, {
		name: "nacked before the fan-out", before: fake.Answers{"2": fake.Fail},
		wantA: []string{"a 1", "a 3"}, wantB: []string{"b 1", "b 3"}, want: []string{"ack 1", "dlq 2", "ack 2", "ack 3"},
	}, {
		name: "split on one branch", a: fake.Answers{"2": fake.Split(2)},
		wantA: []string{"a 1 2a 2b 3"}, wantB: []string{"b 1 2 3"}, want: []string{"ack 1 2 3"},
	}, {
		name: "split before and on a branch, a piece of a piece is nacked", before: fake.Answers{"2": fake.Split(2)}, a: fake.Answers{"2b": fake.Split(2)}, refusedA: "2bb",
		wantA: []string{"a 1 2a 2ba 2bb 3"}, wantB: []string{"b 1 2a 2b 3"}, want: []string{"ack 1", "dlq 2", "ack 2", "ack 3"},
	}} {
		t.Run(tt.name, func(t *testing.T) {
			j := &fake.Journal{}
			a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
			for _, p := range strings.Fields(tt.refusedA) {
				a.Refuse[p] = fake.ErrOf(p)
			}
			for _, p := range strings.Fields(tt.refusedB) {
				b.Refuse[p] = fake.ErrOf(p)
			}
			head := fake.Chain(fake.From(fake.SourceOf(j, "1 2 3")), fake.Through("before", fake.ByPosition(tt.before)))
			err := head.AppendToEnd(
				fake.Chain(fake.Through("pa", fake.ByPosition(tt.a)), fake.To(a)),
				fake.Chain(fake.Through("pb", fake.ByPosition(tt.b)), fake.To(b)),
			)
			if err != nil {
				t.Fatal(err)
			}
			fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, head, fake.DLQ(j))))
			j.Want(t, "a", tt.wantA...)
			j.Want(t, "b", tt.wantB...)
			j.Want(t, "ack dlq", tt.want...)
		})
	}
}

// The pieces of a split record may reach the branches in several sub-batches. If
// one branch nacks one piece, the record is dead-lettered once.
func TestFanOut_piecesInSubBatches(t *testing.T) {
	j := &fake.Journal{}
	a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
	b.Refuse["2b"] = fake.ErrOf("2b")
	dead := fake.NewDestination(j, "dlq")
	head := fake.Chain(
		fake.From(fake.SourceOf(j, "1 2 3")),
		fake.Through("split", fake.ByPosition(fake.Answers{"2": fake.Split(3)})),
		fake.Through("limited", fake.AtMost(2)),
	)
	if err := head.AppendToEnd(fake.To(a), fake.To(b)); err != nil {
		t.Fatal(err)
	}
	fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, head, fake.Queue(dead))))

	j.Want(t, "a", "a 1 2a", "a 2b 2c", "a 3")
	j.Want(t, "b", "b 1 2a", "b 2b 2c", "b 3")
	j.Want(t, "ack dlq", "ack 1", "dlq 2", "ack 2", "ack 3")
	if id, _ := dead.Written[0].Metadata.GetConduitDLQNackNodeID(); id != "b" {
		t.Errorf("the DLQ record names task %q", id)
	}
	if cause, _ := dead.Written[0].Metadata.GetConduitDLQNackError(); cause != fake.ErrOf("2b").Error() {
		t.Errorf("the DLQ record has the error %q", cause)
	}
}

// The first task may fork, and so may tasks on branches.
func TestFanOut_nested(t *testing.T) {
	j := &fake.Journal{}
	a, b, c := fake.NewDestination(j, "a"), fake.NewDestination(j, "b"), fake.NewDestination(j, "c")
	c.Refuse["2"] = fake.ErrOf("2")
	inner := fake.Fork(fake.Through("inner", fake.Each(fake.Pass)), fake.To(b), fake.To(c))
	first := fake.Fork(fake.From(fake.SourceOf(j, "1 2 3", "4")), fake.To(a), inner)
	fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, fake.DLQ(j))))
	for _, name := range []string{"a", "b", "c"} {
		j.Want(t, name, name+" 1 2 3", name+" 4")
	}
	j.Want(t, "ack dlq", "ack 1", "dlq 2", "ack 2", "ack 3", "ack 4")
}

// No branch sees what another one does to a record, however deep inside it. The records
// that a destination keeps never change.
func TestFanOut_isolation(t *testing.T) {
	read := func() opencdc.Record {
		return opencdc.Record{
			Position: opencdc.Position("1"),
			Metadata: opencdc.Metadata{"k": "v"},
			Key:      opencdc.RawData("key"),
			Payload: opencdc.Change{
				Before: opencdc.StructuredData{"s": []string{"x"}},
				After: opencdc.StructuredData{
					"m": map[string]any{"l": []any{map[string]any{"deep": 1}}},
					"d": opencdc.StructuredData{"k": []byte("bytes")},
					"n": big.NewInt(7),
				},
			},
		}
	}
	scribble := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		rec.Metadata["k"] = "changed"
		rec.Key.(opencdc.RawData)[0] = 'X'
		rec.Payload.Before.(opencdc.StructuredData)["s"].([]string)[0] = "changed"
		after := rec.Payload.After.(opencdc.StructuredData)
		after["m"].(map[string]any)["l"].([]any)[0].(map[string]any)["deep"] = 2
		after["d"].(opencdc.StructuredData)["k"].([]byte)[0] = 'X'
		after["n"].(*big.Int).SetInt64(8)
		rec.Position = opencdc.Position("changed")
		return sdk.SingleRecord(rec)
	})
	kept := func(t *testing.T, d *fake.Destination) {
		t.Helper()
		if !reflect.DeepEqual(d.Written, []opencdc.Record{read()}) {
			t.Errorf("destination %s holds %v", d.Name, d.Written)
		}
	}
	j := &fake.Journal{}
	outs := make([]*fake.Destination, 6)
	for i := range outs {
		outs[i] = fake.NewDestination(j, string(rune('a'+i)))
	}
	for _, tt := range []struct {
		name     string
		branches func(outs []*fake.Destination) []*funnel.TaskNode
		clean    []int // which destinations must see the records as they were read
	}{{
		name: "a branch that reads and one that writes",
		branches: func(outs []*fake.Destination) []*funnel.TaskNode {
			return []*funnel.TaskNode{fake.Chain(fake.Through("p", scribble), fake.To(outs[1])), fake.To(outs[0])}
		},
		clean: []int{0},
	}, {
		name: "branches that write",
		branches: func(outs []*fake.Destination) []*funnel.TaskNode {
			return []*funnel.TaskNode{
				fake.Chain(fake.Through("p", scribble), fake.To(outs[1])),
				fake.Chain(fake.Through("q", fake.Each(fake.Pass)), fake.To(outs[0])),
				fake.Chain(fake.Through("r", scribble), fake.To(outs[2])),
			}
		},
		clean: []int{0},
	}, {
		name: "a processor behind a destination",
		branches: func(outs []*fake.Destination) []*funnel.TaskNode {
			return []*funnel.TaskNode{fake.Chain(fake.To(outs[0]), fake.Through("p", scribble), fake.To(outs[1]))}
		},
		clean: []int{0},
	}, {
		name: "a fan-out behind a destination, within a fan-out",
		branches: func(outs []*fake.Destination) []*funnel.TaskNode {
			d := fake.To(outs[0])
			d.Next = []*funnel.TaskNode{
				fake.Chain(fake.Through("p", scribble), fake.To(outs[1])),
				fake.Chain(fake.Through("q", scribble), fake.To(outs[2])),
				fake.To(outs[3]),
			}
			return []*funnel.TaskNode{d, fake.Chain(fake.Through("r", scribble), fake.To(outs[4])), fake.To(outs[5])}
		},
		clean: []int{0, 3, 5},
	}} {
		t.Run(tt.name, func(t *testing.T) {
			for _, d := range outs {
				d.Written = nil
			}
			first := fake.From(fake.NewSource(j, fake.Read{Records: []opencdc.Record{read()}}))
			first.Next = tt.branches(outs)
			fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, nil)))
			for _, i := range tt.clean {
				kept(t, outs[i])
			}
		})
	}
}

// The original of a split record is isolated, too: if one branch changes data that the
// pieces share with the original, a dead letter from another branch does not show the
// change.
func TestFanOut_originalIsIsolated(t *testing.T) {
	j := &fake.Journal{}
	shared := fake.Through("split", fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		return sdk.MultiRecord{rec, rec} // the pieces share maps with the original
	}))
	wrote := make(chan struct{})
	scribble := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		rec.Metadata["id"] = "changed"
		return sdk.SingleRecord(rec)
	})
	a := fake.NewDestination(j, "a")
	a.OnWrite = func(context.Context, []opencdc.Record) error { close(wrote); return nil }
	waits := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		<-wrote
		return fake.Fail(rec)
	})
	for _, swap := range []bool{false, true} {
		wrote = make(chan struct{})
		dead := fake.NewDestination(j, "dlq")
		shared.Next = []*funnel.TaskNode{
			fake.Chain(fake.Through("scribble", scribble), fake.To(a)),
			fake.Chain(fake.Through("fail", waits), fake.To(fake.NewDestination(j, "b"))),
		}
		if swap {
			slices.Reverse(shared.Next)
		}
		fake.WantNoError(t, fake.Run(t, fake.Queue(dead), fake.From(fake.SourceOf(j, "1")), shared))
		failed := dead.Written[0].Payload.After.(opencdc.StructuredData)
		if got := failed["metadata"].(map[string]any)["id"]; got != "1" {
			t.Errorf("the record in the queue has the id %v", got)
		}
	}
}

// Destinations at the ends of branches get the same records, not copies.
func TestFanOut_readersShareTheRecords(t *testing.T) {
	j := &fake.Journal{}
	source := fake.SourceOf(j, "1 2")
	want := &source.Reads[0].Records[0]
	outs := []*fake.Destination{fake.NewDestination(j, "a"), fake.NewDestination(j, "b")}
	var mu sync.Mutex
	var got []*opencdc.Record
	first := fake.From(source)
	for _, d := range outs {
		d.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, &recs[0])
			return nil
		}
		first.Next = append(first.Next, fake.To(d))
	}
	fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, nil)))
	if len(got) != 2 || got[0] != want || got[1] != want {
		t.Errorf("the destinations were given %v, the source has returned %v", got, want)
	}
}

// If no branch only reads, the last one gets the records themselves, the others copies.
func TestFanOut_lastWriterKeepsTheRecords(t *testing.T) {
	source := fake.SourceOf(&fake.Journal{}, "1")
	want := source.Reads[0].Records[0].Metadata
	var mu sync.Mutex
	original := map[string]bool{} // whether the branch got the map that the source returned
	look := func(name string) *funnel.TaskNode {
		return fake.Custom(name, func(_ context.Context, b *funnel.Batch) error {
			mu.Lock()
			defer mu.Unlock()
			got := b.ActiveRecords()[0].Metadata
			original[name] = reflect.ValueOf(got).Pointer() == reflect.ValueOf(want).Pointer()
			return nil
		})
	}
	first := fake.Fork(fake.From(source), look("a"), look("b"))
	fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, nil)))
	if original["a"] || !original["b"] {
		t.Errorf("got the original: %v, want it on the last branch only", original)
	}
}

// If a task on a branch ignores that its call of Worker.Ack failed, the ack is tried
// again when the branches are joined.
func TestFanOut_ignoredAckOfATask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		source := fake.SourceOf(j, "1 2")
		calls := 0
		source.OnAck = func(context.Context, []opencdc.Position) error {
			if calls++; calls == 1 {
				return fake.ErrTest
			}
			return nil
		}
		var w *funnel.Worker
		first := fake.From(source)
		first.Next = []*funnel.TaskNode{fake.To(fake.NewDestination(j, "a")), fake.Custom("acks", func(ctx context.Context, b *funnel.Batch) error {
			synctest.Wait() // for the other branch
			_ = w.Ack(ctx, b)
			return nil
		})}
		w = fake.NewWorker(t, first, nil)
		fake.WantNoError(t, fake.RunWorker(t, w))
		j.Want(t, "ack", "ack 1 2", "ack 1 2")
	})
}

// If the task returns that error instead, or Source.Ack ended its goroutine, the ack is
// not tried again.
func TestFanOut_failedAckOfATask(t *testing.T) {
	for _, end := range []func() error{func() error { return fake.ErrTest }, func() error { runtime.Goexit(); return nil }} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			source := fake.SourceOf(j, "1 2")
			source.OnAck = func(context.Context, []opencdc.Position) error { return end() }
			var w *funnel.Worker
			fans := fake.Custom("acks", func(ctx context.Context, b *funnel.Batch) error { return w.Ack(ctx, b) })
			first := fake.From(source)
			first.Next = []*funnel.TaskNode{fake.To(fake.NewDestination(j, "a")), fake.Custom("last", func(context.Context, *funnel.Batch) error {
				synctest.Wait()
				return nil
			})}
			first.Next[1].Next = []*funnel.TaskNode{fans}
			w = fake.NewWorker(t, first, nil)
			fake.WantError(t, fake.RunWorker(t, w), nil)
			j.Want(t, "ack", "ack 1 2")
		})
	}
}

// In a linear pipeline each connector gets the very context of Do. On a branch it gets a
// context derived from that. Acks and dead letters always get the context of Do.
func TestFanOut_contexts(t *testing.T) {
	j := &fake.Journal{}
	ctx := context.WithValue(t.Context(), fake.ContextKey{}, "value")
	check := func(ctx, got context.Context, isSame bool) {
		if (got == ctx) != isSame || got.Value(fake.ContextKey{}) != "value" {
			t.Errorf("a connector was given the context %v", got)
		}
	}
	for _, branches := range []int{1, 2} {
		source := fake.SourceOf(j, "1 2")
		source.OnAck = func(got context.Context, _ []opencdc.Position) error { check(ctx, got, true); return nil }
		dead := fake.NewDestination(j, "dlq")
		dead.OnWrite = func(got context.Context, _ []opencdc.Record) error { check(ctx, got, true); return nil }
		first := fake.From(source)
		for i := range branches {
			d := fake.NewDestination(j, string(rune('a'+i)))
			d.Refuse["1"] = fake.ErrTest
			d.OnWrite = func(got context.Context, _ []opencdc.Record) error { check(ctx, got, branches == 1); return nil }
			first.Next = append(first.Next, fake.To(d))
		}
		w := fake.NewWorker(t, first, fake.Queue(dead))
		fake.WantNoError(t, w.Do(ctx))
	}
}

// A branch gets the same context for each batch. It ends when Do returns.
func TestFanOut_contextLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // fails if a goroutine is left behind
		j := &fake.Journal{}
		a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
		var contexts []context.Context
		a.OnWrite = func(ctx context.Context, _ []opencdc.Record) error {
			for _, c := range append(contexts, ctx) {
				if c != ctx || c.Err() != nil {
					t.Errorf("the context %v (%v) has been replaced by %v", c, c.Err(), ctx)
				}
			}
			contexts = append(contexts, ctx)
			return nil
		}
		first := fake.Fork(fake.From(fake.SourceOf(j, "1", "2", "3")), fake.To(a), fake.To(b))
		fake.WantNoError(t, fake.NewWorker(t, first, nil).Do(t.Context()))
		if len(contexts) != 3 || contexts[0].Err() == nil {
			t.Errorf("the context of %d batches goes on without the worker", len(contexts))
		}
	})
}

// When Do returns, the goroutines of the branches have ended.
func TestFanOut_goroutinesEnd(t *testing.T) {
	for range 50 {
		j := &fake.Journal{}
		first := fake.From(fake.SourceOf(j, "1", "2"))
		for i := range 8 {
			first.Next = append(first.Next, fake.To(fake.NewDestination(j, fmt.Sprint(i))))
		}
		fake.WantNoError(t, fake.NewWorker(t, first, nil).Do(t.Context()))
		var goroutines strings.Builder
		fake.WantNoError(t, pprof.Lookup("goroutine").WriteTo(&goroutines, 1))
		if strings.Contains(goroutines.String(), "conduitio/funnel.(") {
			t.Fatalf("goroutines of the engine are left:\n%s", goroutines.String())
		}
	}
}
