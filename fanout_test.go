package funnel_test

import (
	"context"
	"errors"
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
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
)

// A record is split into three before a fan-out, a processor that answers for
// two records at a time makes the pieces reach the fan-out in two sub-batches,
// and one of two destinations nacks one piece.
func TestFanOut_piecesInSubBatches(t *testing.T) {
	j := &fake.Journal{}
	a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
	b.Refuse["2b"] = fake.ErrOf("2b")
	dead := fake.NewDestination(j, "dlq")
	limited := fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		return fake.Each(fake.Pass)(nil, recs[:min(2, len(recs))])
	})
	head := fake.Chain(
		fake.From(fake.SourceOf(j, "1 2 3")),
		fake.Through("split", fake.ByPosition(fake.Answers{"2": fake.Split(3)})),
		fake.Through("limited", limited),
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

// Acks are counted per record, not per batch.
func TestFanOut_outcomes(t *testing.T) {
	for _, tt := range []struct {
		name     string
		before   fake.Answers // a processor before the fan-out
		a, b     fake.Answers // processors on its branches
		refusedA string
		refusedB string
		wantA    []string
		wantB    []string
		want     []string // acks and DLQ
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
			fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, head, fake.Queue(fake.NewDestination(j, "dlq")))))
			j.Want(t, "a", tt.wantA...)
			j.Want(t, "b", tt.wantB...)
			j.Want(t, "ack dlq", tt.want...)
		})
	}
}

// A fan-out within a fan-out, and one directly behind the source.
func TestFanOut_nested(t *testing.T) {
	j := &fake.Journal{}
	a, b, c := fake.NewDestination(j, "a"), fake.NewDestination(j, "b"), fake.NewDestination(j, "c")
	c.Refuse["2"] = fake.ErrOf("2")
	inner := fake.Through("inner", fake.Each(fake.Pass))
	inner.Next = []*funnel.TaskNode{fake.To(b), fake.To(c)}
	first := fake.From(fake.SourceOf(j, "1 2 3", "4"))
	first.Next = []*funnel.TaskNode{fake.To(a), inner}
	fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, fake.Queue(fake.NewDestination(j, "dlq")))))
	for _, name := range []string{"a", "b", "c"} {
		j.Want(t, name, name+" 1 2 3", name+" 4")
	}
	j.Want(t, "ack dlq", "ack 1", "dlq 2", "ack 2", "ack 3", "ack 4")
}

// Only the branch itself sees what is done to a record on it, however deep, and
// a destination that keeps records never sees them change.
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

// The original of a split is isolated, too: what one branch does to data that it
// shares with its pieces does not reach the dead-letter queue from another one.
func TestFanOut_originalIsIsolated(t *testing.T) {
	j := &fake.Journal{}
	shared := fake.Through("split", fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		return sdk.MultiRecord{rec, rec} // the pieces share their maps with the original
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

// A destination at the end of a branch is given the records without a copy.
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

// The cause of a failure is what Do returns, the others are told, and all of
// them are waited for. What both have done before is acked.
func TestFanOut_failure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
		writing := make(chan struct{})
		a.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
			if string(recs[0].Position) == "3" {
				<-writing
				return fake.ErrTest
			}
			return nil
		}
		b.OnWrite = func(ctx context.Context, recs []opencdc.Record) error {
			if string(recs[0].Position) != "3" {
				return nil
			}
			close(writing)
			<-ctx.Done()
			j.Add("told b")
			return ctx.Err()
		}
		retry := fake.Through("retry", fake.ByPosition(fake.Answers{"3": fake.SecondTime(fake.Pass)}))
		retry.Next = []*funnel.TaskNode{fake.To(a), fake.To(b)}
		err := fake.Run(t, fake.Queue(fake.NewDestination(j, "dlq")), fake.From(fake.SourceOf(j, "1 2 3 4")), retry)
		fake.WantError(t, err, fake.ErrTest, `task "a"`)
		if errors.Is(err, context.Canceled) {
			t.Errorf("the error is the cancellation: %v", err)
		}
		j.Want(t, "ack dlq told", "ack 1 2", "told b")
	})
}

// What is finished on all branches when one of them fails is acked.
func TestFanOut_failureReleasesWhatIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
		b.Refuse["2"] = fake.ErrOf("2")
		delivered := make(chan struct{})
		b.OnAck = func(context.Context) ([]connector.DestinationAck, error) {
			defer close(delivered)
			return b.Pending, nil
		}
		later := fake.Through("later", fake.ByPosition(fake.Answers{"3": fake.SecondTime(fake.Pass)}))
		later.Next = []*funnel.TaskNode{fake.To(a)}
		a.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
			if string(recs[0].Position) == "3" {
				<-delivered
				return fake.ErrTest
			}
			return nil
		}
		first := fake.From(fake.SourceOf(j, "1 2 3"))
		first.Next = []*funnel.TaskNode{later, fake.To(b)}
		err := fake.RunWorker(t, fake.NewWorker(t, first, fake.Queue(fake.NewDestination(j, "dlq"))))
		fake.WantError(t, err, fake.ErrTest)
		j.Want(t, "ack dlq", "ack 1", "dlq 2", "ack 2")
	})
}

// Errors of several branches that do not follow from each other are all in the
// error.
func TestFanOut_twoFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
		other := errors.New("another error")
		writing := make(chan struct{})
		a.OnWrite = func(context.Context, []opencdc.Record) error { <-writing; return fake.ErrTest }
		b.OnWrite = func(ctx context.Context, _ []opencdc.Record) error {
			close(writing)
			<-ctx.Done()
			return funnel.FatalError(other)
		}
		first := fake.From(fake.SourceOf(j, "1"))
		first.Next = []*funnel.TaskNode{fake.To(a), fake.To(b)}
		err := fake.RunWorker(t, fake.NewWorker(t, first, nil))
		fake.WantError(t, err, fake.ErrTest)
		fake.WantError(t, err, other)
		fake.WantFatal(t, err, true)
	})
}

// When the context of Do ends, that is what Do returns.
func TestFanOut_contextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		j := &fake.Journal{}
		a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
		a.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { cancel(); <-ctx.Done(); return ctx.Err() }
		b.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { <-ctx.Done(); return ctx.Err() }
		first := fake.From(fake.SourceOf(j, "1"))
		first.Next = []*funnel.TaskNode{fake.To(a), fake.To(b)}
		w := fake.NewWorker(t, first, nil)
		if err := w.Do(ctx); err != context.Canceled {
			t.Errorf("Do: %v", err)
		}
		fake.WantNoError(t, w.Close(t.Context()))
		j.Want(t, "ack teardown", "teardown source")
	})
}

// A panic on a branch reaches the caller of Do after the other branches have
// ended, and the worker can still be stopped and closed.
func TestFanOut_panic(t *testing.T) {
	for _, depth := range []string{"branch", "nested branch"} {
		t.Run(depth, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
				writing := make(chan struct{})
				a.OnWrite = func(context.Context, []opencdc.Record) error { <-writing; panic(fake.ErrTest) }
				b.OnWrite = func(ctx context.Context, _ []opencdc.Record) error {
					close(writing)
					<-ctx.Done()
					j.Add("told b")
					return ctx.Err()
				}
				first := fake.From(fake.SourceOf(j, "1"))
				first.Next = []*funnel.TaskNode{fake.To(a), fake.To(b)}
				if depth == "nested branch" {
					inner := fake.Through("inner", fake.Each(fake.Pass))
					inner.Next = []*funnel.TaskNode{fake.To(a), fake.To(fake.NewDestination(j, "c"))}
					first.Next[0] = inner
				}
				w := fake.NewWorker(t, first, nil)
				fake.WantNoError(t, w.Open(t.Context()))
				func() {
					defer func() {
						p, ok := recover().(*funnel.PanicError)
						if !ok || p.Value != fake.ErrTest || !errors.Is(p, fake.ErrTest) ||
							!strings.Contains(p.Error(), fake.ErrTest.Error()) ||
							!strings.Contains(string(p.Stack), "TestFanOut_panic") {
							t.Errorf("Do panicked with %v", p)
						}
						j.Add("panicked")
					}()
					_ = w.Do(t.Context())
					t.Error("Do has not panicked")
				}()
				fake.WantNoError(t, w.Stop(t.Context()))
				fake.WantNoError(t, w.Close(t.Context()))
				j.Want(t, "ack told panicked", "told b", "panicked")
			})
		})
	}
}

// A branch does not go on to its next task once another one has failed.
func TestFanOut_failureStopsTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
		a.OnWrite = func(context.Context, []opencdc.Record) error { return fake.ErrTest }
		waits := fake.Processor(func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			<-ctx.Done()
			return fake.Each(fake.Pass)(ctx, recs)
		})
		first := fake.From(fake.SourceOf(j, "1"))
		first.Next = []*funnel.TaskNode{fake.To(a), fake.Chain(fake.Through("waits", waits), fake.To(b))}
		fake.WantError(t, fake.RunWorker(t, fake.NewWorker(t, first, nil)), fake.ErrTest)
		j.Want(t, "b ack")
	})
}

// A branch whose goroutine ends has not succeeded.
func TestFanOut_goexit(t *testing.T) {
	for i := range 2 {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
			[]*fake.Destination{a, b}[i].OnWrite = func(context.Context, []opencdc.Record) error { runtime.Goexit(); return nil }
			first := fake.From(fake.SourceOf(j, "1"))
			first.Next = []*funnel.TaskNode{fake.To(a), fake.To(b)}
			err := fake.RunWorker(t, fake.NewWorker(t, first, nil))
			fake.WantError(t, err, nil, "Goexit", []string{`"a"`, `"b"`}[i])
			j.Want(t, "ack")
		})
	}
}

// Nor has one if that happens further down. What ends the goroutine of Do before
// the branches begin ends its caller.
func TestFanOut_goexitAnywhere(t *testing.T) {
	for _, where := range []string{"before", "a", "b", "c", "d"} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			task := func(id string, next ...*funnel.TaskNode) *funnel.TaskNode {
				n := fake.Custom(id, func(context.Context, *funnel.Batch) error {
					if id == where {
						runtime.Goexit()
					}
					return nil
				})
				n.Next = next
				return n
			}
			inner := task("inner", task("c"), task("d"))
			first := fake.Chain(fake.From(fake.SourceOf(j, "1", "2")), task("before", task("a"), inner, task("b")))
			w := fake.NewWorker(t, first, nil)
			if where == "before" {
				if end := <-fake.Start(t.Context(), w); !end.Exited {
					t.Errorf("Do has ended with %+v", end)
				}
				fake.WantNoError(t, w.Close(t.Context()))
			} else {
				fake.WantError(t, fake.RunWorker(t, w), funnel.ErrGoexit, `task "`+where+`": `)
			}
			j.Want(t, "ack")
		})
	}
}

// However two branches end, wherever they are: what is told is the panic, or the
// error that came first.
func TestFanOut_twoEnds(t *testing.T) {
	const places = "abcd" // the first two behind one branch, the others behind another one
	for first := range places {
		for second := range places {
			for _, how := range []string{"error error", "error panic", "error goexit", "panic error", "panic panic",
				"panic goexit", "goexit error", "goexit panic", "goexit goexit"} {
				if first != second {
					synctest.Test(t, func(t *testing.T) {
						checkTwoEnds(t, places[first:first+1], places[second:second+1], strings.Fields(how))
					})
				}
			}
		}
	}
}

func checkTwoEnds(t *testing.T, first, second string, how []string) {
	end := func(id, how string) error {
		switch how {
		case "panic":
			panic(fake.ErrOf(id))
		case "goexit":
			runtime.Goexit()
		}
		return fake.ErrOf(id)
	}
	started, failed := make(chan struct{}), make(chan struct{})
	batches := 0
	leaf := func(id string) *funnel.TaskNode {
		return fake.Custom(id, func(context.Context, *funnel.Batch) error {
			switch {
			case batches == 1:
				return nil
			case id == first:
				<-started
				defer close(failed)
				return end(id, how[0])
			case id == second:
				close(started)
				<-failed
				synctest.Wait() // until everybody else knows
				return end(id, how[1])
			default:
				return nil
			}
		})
	}
	fork := func(id string, next ...*funnel.TaskNode) *funnel.TaskNode {
		n := fake.Custom(id, fake.Nothing)
		n.Next = next
		return n
	}
	w := fake.NewWorker(t, fake.Chain(
		fake.From(fake.SourceOf(&fake.Journal{}, "1", "2")),
		fake.Custom("count", func(context.Context, *funnel.Batch) error { batches++; return nil }),
		fork("fork", fork("left", leaf("a"), leaf("b")), fork("right", leaf("c"), leaf("d"))),
	), nil)
	err, panicked := error(nil), any(nil)
	func() {
		defer func() { panicked = recover() }()
		err = w.Do(t.Context())
	}()
	fake.WantNoError(t, w.Close(t.Context()))
	switch name := fmt.Sprint(first, " ", how[0], ", then ", second, " ", how[1]); {
	case slices.Contains(how, "panic"):
		culprit := first
		if how[0] != "panic" {
			culprit = second
		}
		p, ok := panicked.(*funnel.PanicError)
		if !ok || p.Value.(error).Error() != fake.ErrOf(culprit).Error() {
			t.Errorf("%s: the panic is %v, the error %v", name, panicked, err)
		}
	case panicked != nil || err == nil:
		t.Errorf("%s: the panic is %v, the error %v", name, panicked, err)
	case how[0] == "goexit":
		fake.WantError(t, err, nil, "Goexit")
	case !strings.HasPrefix(err.Error(), fmt.Sprintf("task %q: %v", first, fake.ErrOf(first))):
		t.Errorf("%s: the error is %v", name, err)
	}
}

// What is done on all branches is released, whatever happens on one of them, and
// on whichever.
func TestFanOut_releasesAfterFailure(t *testing.T) {
	for _, isLast := range []bool{false, true} {
		for _, end := range []func() error{func() error { return fake.ErrTest }, func() error { runtime.Goexit(); return nil }} {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				d := fake.NewDestination(j, "d")
				p := fake.Through("p", fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
					if string(rec.Position) == "2" {
						return sdk.ErrorRecord{Error: fake.ErrTest}
					}
					return sdk.SingleRecord(rec)
				}))
				p.Next = []*funnel.TaskNode{fake.Custom("q", func(_ context.Context, b *funnel.Batch) error {
					if string(b.ActiveRecords()[0].Position) == "3" {
						synctest.Wait() // for the other branch
						return end()
					}
					return nil
				})}
				first := fake.From(fake.SourceOf(j, "1 2 3"))
				first.Next = []*funnel.TaskNode{p, fake.To(d)}
				if isLast {
					slices.Reverse(first.Next)
				}
				fake.WantError(t, fake.NewWorker(t, first, fake.Queue(fake.NewDestination(j, "dlq"))).Do(t.Context()), nil)
				j.Want(t, "ack dlq", "ack 1", "dlq 2", "ack 2")
			})
		}
	}
}

// What a task nacks because its context has ended, since another branch has failed,
// is not taken for a failed record, also if the context of Do ends then.
func TestFanOut_nacksOfAnEndedContext(t *testing.T) {
	for _, isCanceled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			ofDo, cancel := context.WithCancel(t.Context())
			defer cancel()
			a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
			waits := fake.Processor(func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
				<-ctx.Done()
				if isCanceled {
					cancel()
				}
				return fake.Each(func(opencdc.Record) sdk.ProcessedRecord { return sdk.ErrorRecord{Error: ctx.Err()} })(ctx, recs)
			})
			later := fake.Through("later", fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
				return []sdk.ProcessedRecord{sdk.SingleRecord(recs[0])} // one at a time
			}))
			later.Next = []*funnel.TaskNode{fake.To(a)}
			a.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
				if string(recs[0].Position) == "2" {
					return fake.ErrTest
				}
				return nil
			}
			first := fake.From(fake.SourceOf(j, "1 2"))
			first.Next = []*funnel.TaskNode{later, fake.Chain(fake.Through("waits", waits), fake.To(b))}
			fake.WantError(t, fake.NewWorker(t, first, fake.Queue(fake.NewDestination(j, "dlq"))).Do(ofDo), fake.ErrTest)
			j.Want(t, "a b ack dlq", "a 1", "a 2")
		})
	}
}

// An error is not lost among those that tell of the context only.
func TestFanOut_errorBesideCancellations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := errors.New("other error")
		a := fake.Custom("a", func(context.Context, *funnel.Batch) error { synctest.Wait(); return fake.ErrTest })
		c := fake.Custom("c", func(ctx context.Context, _ *funnel.Batch) error { <-ctx.Done(); return ctx.Err() })
		d := fake.Custom("d", func(ctx context.Context, _ *funnel.Batch) error {
			<-ctx.Done()
			synctest.Wait()
			return funnel.FatalError(other)
		})
		inner := fake.Custom("inner", fake.Nothing)
		inner.Next = []*funnel.TaskNode{c, d}
		first := fake.From(fake.SourceOf(&fake.Journal{}, "1"))
		first.Next = []*funnel.TaskNode{a, inner}
		err := fake.RunWorker(t, fake.NewWorker(t, first, nil))
		fake.WantError(t, err, fake.ErrTest)
		fake.WantError(t, err, other)
		fake.WantFatal(t, err, true)
	})
}

// invalid is an error that could wrap others, but has none.
type invalid struct{}

func (invalid) Error() string { return "invalid" }

func (invalid) Unwrap() []error { return nil }

// Nor is an error that wraps nothing taken for one that tells of the context.
func TestFanOut_errorOfNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := fake.From(fake.SourceOf(&fake.Journal{}, "1"))
		first.Next = []*funnel.TaskNode{
			fake.Custom("a", func(context.Context, *funnel.Batch) error { synctest.Wait(); return fake.ErrTest }),
			fake.Custom("b", func(ctx context.Context, _ *funnel.Batch) error { <-ctx.Done(); return invalid{} }),
		}
		err := fake.RunWorker(t, fake.NewWorker(t, first, nil))
		fake.WantError(t, err, fake.ErrTest)
		fake.WantError(t, err, invalid{})
	})
}

// If a task does not care that it could not ack records, that is tried again when
// the branches join.
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

// A task that replaces its batch by nothing is named.
func TestWorker_batchReplaced(t *testing.T) {
	for branches := 1; branches <= 2; branches++ {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			first := fake.From(fake.SourceOf(j, "1"))
			for i := range branches {
				first.Next = append(first.Next, fake.Custom(fmt.Sprint("task", i), func(_ context.Context, b *funnel.Batch) error {
					*b = funnel.Batch{}
					return nil
				}))
			}
			fake.WantError(t, fake.RunWorker(t, fake.NewWorker(t, first, nil)), nil, `task "task`, "put another batch")
			j.Want(t, "ack")
		})
	}
}

// What a task has tried to ack itself, and failed, is not tried again when the
// branches join.
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

// A panic is one even if there is nothing in it.
func TestFanOut_emptyPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		first := fake.From(fake.SourceOf(j, "1"))
		first.Next = []*funnel.TaskNode{
			fake.Custom("a", func(context.Context, *funnel.Batch) error { panic((*funnel.PanicError)(nil)) }),
			fake.To(fake.NewDestination(j, "b")),
		}
		w := fake.NewWorker(t, first, nil)
		defer func() {
			if p, ok := recover().(*funnel.PanicError); !ok || p == nil {
				t.Errorf("Do has panicked with %v", p)
			}
			fake.WantNoError(t, w.Close(t.Context()))
			j.Want(t, "ack")
		}()
		_ = w.Do(t.Context())
		t.Error("Do has returned")
	})
}

// The branches have the same context for each batch. It ends with the worker.
func TestFanOut_contextLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
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
		first := fake.From(fake.SourceOf(j, "1", "2", "3"))
		first.Next = []*funnel.TaskNode{fake.To(a), fake.To(b)}
		fake.WantNoError(t, fake.NewWorker(t, first, nil).Do(t.Context()))
		if len(contexts) != 3 || contexts[0].Err() == nil {
			t.Errorf("the context of %d batches goes on without the worker", len(contexts))
		}
	})
}

// When Do returns, the goroutines of the branches are gone already.
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
		if strings.Contains(goroutines.String(), "funnel.(*branch)") {
			t.Fatal("goroutines of branches are left")
		}
	}
}

type ctxKey struct{}

// On a linear pipeline each connector is given the context of Do itself. On
// branches it is one that comes from it, but for acks and the DLQ.
func TestFanOut_contexts(t *testing.T) {
	j := &fake.Journal{}
	ctx := context.WithValue(t.Context(), ctxKey{}, "value")
	check := func(ctx, got context.Context, isSame bool) {
		if (got == ctx) != isSame || got.Value(ctxKey{}) != "value" {
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
