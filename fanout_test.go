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
)

// A record is split into three before a fan-out, a processor that answers for
// two records at a time makes the pieces reach the fan-out in two sub-batches,
// and one of two destinations nacks one piece.
func TestFanOut_piecesInSubBatches(t *testing.T) {
	j := &journal{}
	a, b := newDestination(j, "a"), newDestination(j, "b")
	b.refuse["2b"] = errFor("2b")
	dead := newDestination(j, "dlq")
	limited := fakeProcessor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		return each(single)(nil, recs[:min(2, len(recs))])
	})
	head := chain(
		from(batchesOf(j, "1 2 3")),
		through("split", byPosition(does{"2": split(3)})),
		through("limited", limited),
	)
	if err := head.AppendToEnd(to(a), to(b)); err != nil {
		t.Fatal(err)
	}
	wantNoError(t, runWorker(t, newWorker(t, head, queue(dead))))

	j.want(t, []string{"a"}, "a 1 2a", "a 2b 2c", "a 3")
	j.want(t, []string{"b"}, "b 1 2a", "b 2b 2c", "b 3")
	j.want(t, []string{"ack", "dlq"}, "ack 1", "dlq 2", "ack 2", "ack 3")
	if id, _ := dead.written[0].Metadata.GetConduitDLQNackNodeID(); id != "b" {
		t.Errorf("the DLQ record names task %q", id)
	}
	if cause, _ := dead.written[0].Metadata.GetConduitDLQNackError(); cause != errFor("2b").Error() {
		t.Errorf("the DLQ record has the error %q", cause)
	}
}

// Acks are counted per record, not per batch.
func TestFanOut_outcomes(t *testing.T) {
	for _, tt := range []struct {
		name     string
		before   does // a processor before the fan-out
		a, b     does // processors on its branches
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
		b:    does{"2": fail}, wantA: []string{"a 1 2 3"}, wantB: []string{"b 1", "b 3"},
		want: []string{"ack 1", "dlq 2", "ack 2", "ack 3"},
	}, {
		name: "a nack on both branches is one",
		a:    does{"2": fail}, refusedB: "2", wantA: []string{"a 1", "a 3"}, wantB: []string{"b 1 2 3"},
		want: []string{"ack 1", "dlq 2", "ack 2", "ack 3"},
	}, {
		name: "nacks of different records on different branches",
		a:    does{"1": fail}, refusedB: "3", wantA: []string{"a 2 3"}, wantB: []string{"b 1 2 3"},
		want: []string{"dlq 1", "ack 1", "ack 2", "dlq 3", "ack 3"},
	}, {
		name: "filtered on one branch, delivered on the other",
		a:    does{"1": filter, "2": filter, "3": filter}, wantB: []string{"b 1 2 3"},
		want: []string{"ack 1 2 3"},
	}, {
		name: "filtered before the fan-out", before: does{"2": filter},
		wantA: []string{"a 1 3"}, wantB: []string{"b 1 3"}, want: []string{"ack 1 2 3"},
	}, {
		name: "nacked before the fan-out", before: does{"2": fail},
		wantA: []string{"a 1", "a 3"}, wantB: []string{"b 1", "b 3"}, want: []string{"ack 1", "dlq 2", "ack 2", "ack 3"},
	}, {
		name: "split on one branch", a: does{"2": split(2)},
		wantA: []string{"a 1 2a 2b 3"}, wantB: []string{"b 1 2 3"}, want: []string{"ack 1 2 3"},
	}, {
		name: "split before and on a branch, a piece of a piece is nacked", before: does{"2": split(2)}, a: does{"2b": split(2)}, refusedA: "2bb",
		wantA: []string{"a 1 2a 2ba 2bb 3"}, wantB: []string{"b 1 2a 2b 3"}, want: []string{"ack 1", "dlq 2", "ack 2", "ack 3"},
	}} {
		t.Run(tt.name, func(t *testing.T) {
			j := &journal{}
			a, b := newDestination(j, "a"), newDestination(j, "b")
			for _, p := range strings.Fields(tt.refusedA) {
				a.refuse[p] = errFor(p)
			}
			for _, p := range strings.Fields(tt.refusedB) {
				b.refuse[p] = errFor(p)
			}
			head := chain(from(batchesOf(j, "1 2 3")), through("before", byPosition(tt.before)))
			err := head.AppendToEnd(
				chain(through("pa", byPosition(tt.a)), to(a)),
				chain(through("pb", byPosition(tt.b)), to(b)),
			)
			if err != nil {
				t.Fatal(err)
			}
			wantNoError(t, runWorker(t, newWorker(t, head, queue(newDestination(j, "dlq")))))
			j.want(t, []string{"a"}, tt.wantA...)
			j.want(t, []string{"b"}, tt.wantB...)
			j.want(t, []string{"ack", "dlq"}, tt.want...)
		})
	}
}

// A fan-out within a fan-out, and one directly behind the source.
func TestFanOut_nested(t *testing.T) {
	j := &journal{}
	a, b, c := newDestination(j, "a"), newDestination(j, "b"), newDestination(j, "c")
	c.refuse["2"] = errFor("2")
	inner := through("inner", each(single))
	inner.Next = []*funnel.TaskNode{to(b), to(c)}
	first := from(batchesOf(j, "1 2 3", "4"))
	first.Next = []*funnel.TaskNode{to(a), inner}
	wantNoError(t, runWorker(t, newWorker(t, first, queue(newDestination(j, "dlq")))))
	for _, name := range []string{"a", "b", "c"} {
		j.want(t, []string{name}, name+" 1 2 3", name+" 4")
	}
	j.want(t, []string{"ack", "dlq"}, "ack 1", "dlq 2", "ack 2", "ack 3", "ack 4")
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
	scribble := each(func(rec opencdc.Record) sdk.ProcessedRecord {
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
	kept := func(t *testing.T, d *fakeDestination) {
		t.Helper()
		if !reflect.DeepEqual(d.written, []opencdc.Record{read()}) {
			t.Errorf("destination %s holds %v", d.name, d.written)
		}
	}
	j := &journal{}
	outs := make([]*fakeDestination, 6)
	for i := range outs {
		outs[i] = newDestination(j, string(rune('a'+i)))
	}
	for _, tt := range []struct {
		name     string
		branches func(outs []*fakeDestination) []*funnel.TaskNode
		clean    []int // which destinations must see the records as they were read
	}{{
		name: "a branch that reads and one that writes",
		branches: func(outs []*fakeDestination) []*funnel.TaskNode {
			return []*funnel.TaskNode{chain(through("p", scribble), to(outs[1])), to(outs[0])}
		},
		clean: []int{0},
	}, {
		name: "branches that write",
		branches: func(outs []*fakeDestination) []*funnel.TaskNode {
			return []*funnel.TaskNode{
				chain(through("p", scribble), to(outs[1])),
				chain(through("q", each(single)), to(outs[0])),
				chain(through("r", scribble), to(outs[2])),
			}
		},
		clean: []int{0},
	}, {
		name: "a processor behind a destination",
		branches: func(outs []*fakeDestination) []*funnel.TaskNode {
			return []*funnel.TaskNode{chain(to(outs[0]), through("p", scribble), to(outs[1]))}
		},
		clean: []int{0},
	}, {
		name: "a fan-out behind a destination, within a fan-out",
		branches: func(outs []*fakeDestination) []*funnel.TaskNode {
			d := to(outs[0])
			d.Next = []*funnel.TaskNode{
				chain(through("p", scribble), to(outs[1])),
				chain(through("q", scribble), to(outs[2])),
				to(outs[3]),
			}
			return []*funnel.TaskNode{d, chain(through("r", scribble), to(outs[4])), to(outs[5])}
		},
		clean: []int{0, 3, 5},
	}} {
		t.Run(tt.name, func(t *testing.T) {
			for _, d := range outs {
				d.written = nil
			}
			first := from(newSource(j, fakeRead{recs: []opencdc.Record{read()}}))
			first.Next = tt.branches(outs)
			wantNoError(t, runWorker(t, newWorker(t, first, nil)))
			for _, i := range tt.clean {
				kept(t, outs[i])
			}
		})
	}
}

// The original of a split is isolated, too: what one branch does to data that it
// shares with its pieces does not reach the dead-letter queue from another one.
func TestFanOut_originalIsIsolated(t *testing.T) {
	j := &journal{}
	shared := through("split", each(func(rec opencdc.Record) sdk.ProcessedRecord {
		return sdk.MultiRecord{rec, rec} // the pieces share their maps with the original
	}))
	wrote := make(chan struct{})
	scribble := each(func(rec opencdc.Record) sdk.ProcessedRecord {
		rec.Metadata["id"] = "changed"
		return sdk.SingleRecord(rec)
	})
	a := newDestination(j, "a")
	a.write = func(context.Context, []opencdc.Record) error { close(wrote); return nil }
	waits := each(func(rec opencdc.Record) sdk.ProcessedRecord {
		<-wrote
		return fail(rec)
	})
	for _, swap := range []bool{false, true} {
		wrote = make(chan struct{})
		dead := newDestination(j, "dlq")
		shared.Next = []*funnel.TaskNode{
			chain(through("scribble", scribble), to(a)),
			chain(through("fail", waits), to(newDestination(j, "b"))),
		}
		if swap {
			slices.Reverse(shared.Next)
		}
		wantNoError(t, run(t, queue(dead), from(batchesOf(j, "1")), shared))
		failed := dead.written[0].Payload.After.(opencdc.StructuredData)
		if got := failed["metadata"].(map[string]any)["id"]; got != "1" {
			t.Errorf("the record in the queue has the id %v", got)
		}
	}
}

// A destination at the end of a branch is given the records without a copy.
func TestFanOut_readersShareTheRecords(t *testing.T) {
	j := &journal{}
	source := batchesOf(j, "1 2")
	want := &source.reads[0].recs[0]
	outs := []*fakeDestination{newDestination(j, "a"), newDestination(j, "b")}
	var mu sync.Mutex
	var got []*opencdc.Record
	first := from(source)
	for _, d := range outs {
		d.write = func(_ context.Context, recs []opencdc.Record) error {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, &recs[0])
			return nil
		}
		first.Next = append(first.Next, to(d))
	}
	wantNoError(t, runWorker(t, newWorker(t, first, nil)))
	if len(got) != 2 || got[0] != want || got[1] != want {
		t.Errorf("the destinations were given %v, the source has returned %v", got, want)
	}
}

// The cause of a failure is what Do returns, the others are told, and all of
// them are waited for. What both have done before is acked.
func TestFanOut_failure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		a, b := newDestination(j, "a"), newDestination(j, "b")
		writing := make(chan struct{})
		a.write = func(_ context.Context, recs []opencdc.Record) error {
			if string(recs[0].Position) == "3" {
				<-writing
				return errTest
			}
			return nil
		}
		b.write = func(ctx context.Context, recs []opencdc.Record) error {
			if string(recs[0].Position) != "3" {
				return nil
			}
			close(writing)
			<-ctx.Done()
			j.add("told b")
			return ctx.Err()
		}
		retry := through("retry", byPosition(does{"3": once(single)}))
		retry.Next = []*funnel.TaskNode{to(a), to(b)}
		err := run(t, queue(newDestination(j, "dlq")), from(batchesOf(j, "1 2 3 4")), retry)
		wantError(t, err, errTest, `task "a"`)
		if errors.Is(err, context.Canceled) {
			t.Errorf("the error is the cancellation: %v", err)
		}
		j.want(t, []string{"ack", "dlq", "told"}, "ack 1 2", "told b")
	})
}

// What is finished on all branches when one of them fails is acked.
func TestFanOut_failureReleasesWhatIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		a, b := newDestination(j, "a"), newDestination(j, "b")
		b.refuse["2"] = errFor("2")
		delivered := make(chan struct{})
		b.acks = func(context.Context) ([]connector.DestinationAck, error) {
			defer close(delivered)
			return b.pending, nil
		}
		later := through("later", byPosition(does{"3": once(single)}))
		later.Next = []*funnel.TaskNode{to(a)}
		a.write = func(_ context.Context, recs []opencdc.Record) error {
			if string(recs[0].Position) == "3" {
				<-delivered
				return errTest
			}
			return nil
		}
		first := from(batchesOf(j, "1 2 3"))
		first.Next = []*funnel.TaskNode{later, to(b)}
		err := runWorker(t, newWorker(t, first, queue(newDestination(j, "dlq"))))
		wantError(t, err, errTest)
		j.want(t, []string{"ack", "dlq"}, "ack 1", "dlq 2", "ack 2")
	})
}

// Errors of several branches that do not follow from each other are all in the
// error.
func TestFanOut_twoFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		a, b := newDestination(j, "a"), newDestination(j, "b")
		other := errors.New("another error")
		writing := make(chan struct{})
		a.write = func(context.Context, []opencdc.Record) error { <-writing; return errTest }
		b.write = func(ctx context.Context, _ []opencdc.Record) error {
			close(writing)
			<-ctx.Done()
			return funnel.FatalError(other)
		}
		first := from(batchesOf(j, "1"))
		first.Next = []*funnel.TaskNode{to(a), to(b)}
		err := runWorker(t, newWorker(t, first, nil))
		wantError(t, err, errTest)
		wantError(t, err, other)
		if !funnel.IsFatalError(err) {
			t.Errorf("the error is not fatal: %v", err)
		}
	})
}

// When the context of Do ends, that is what Do returns.
func TestFanOut_contextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		j := &journal{}
		a, b := newDestination(j, "a"), newDestination(j, "b")
		a.write = func(ctx context.Context, _ []opencdc.Record) error { cancel(); <-ctx.Done(); return ctx.Err() }
		b.write = func(ctx context.Context, _ []opencdc.Record) error { <-ctx.Done(); return ctx.Err() }
		first := from(batchesOf(j, "1"))
		first.Next = []*funnel.TaskNode{to(a), to(b)}
		w := newWorker(t, first, nil)
		if err := w.Do(ctx); err != context.Canceled {
			t.Errorf("Do: %v", err)
		}
		wantNoError(t, w.Close(t.Context()))
		j.want(t, []string{"ack", "teardown"}, "teardown source")
	})
}

// A panic on a branch reaches the caller of Do after the other branches have
// ended, and the worker can still be stopped and closed.
func TestFanOut_panic(t *testing.T) {
	for _, depth := range []string{"branch", "nested branch"} {
		t.Run(depth, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &journal{}
				a, b := newDestination(j, "a"), newDestination(j, "b")
				writing := make(chan struct{})
				a.write = func(context.Context, []opencdc.Record) error { <-writing; panic(errTest) }
				b.write = func(ctx context.Context, _ []opencdc.Record) error {
					close(writing)
					<-ctx.Done()
					j.add("told b")
					return ctx.Err()
				}
				first := from(batchesOf(j, "1"))
				first.Next = []*funnel.TaskNode{to(a), to(b)}
				if depth == "nested branch" {
					inner := through("inner", each(single))
					inner.Next = []*funnel.TaskNode{to(a), to(newDestination(j, "c"))}
					first.Next[0] = inner
				}
				w := newWorker(t, first, nil)
				wantNoError(t, w.Open(t.Context()))
				func() {
					defer func() {
						p, ok := recover().(*funnel.PanicError)
						if !ok || p.Value != errTest || !errors.Is(p, errTest) ||
							!strings.Contains(p.Error(), errTest.Error()) ||
							!strings.Contains(string(p.Stack), "TestFanOut_panic") {
							t.Errorf("Do panicked with %v", p)
						}
						j.add("panicked")
					}()
					_ = w.Do(t.Context())
					t.Error("Do has not panicked")
				}()
				wantNoError(t, w.Stop(t.Context()))
				wantNoError(t, w.Close(t.Context()))
				j.want(t, []string{"ack", "told", "panicked"}, "told b", "panicked")
			})
		})
	}
}

// A branch does not go on to its next task once another one has failed.
func TestFanOut_failureStopsTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		a, b := newDestination(j, "a"), newDestination(j, "b")
		a.write = func(context.Context, []opencdc.Record) error { return errTest }
		waits := fakeProcessor(func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			<-ctx.Done()
			return each(single)(ctx, recs)
		})
		first := from(batchesOf(j, "1"))
		first.Next = []*funnel.TaskNode{to(a), chain(through("waits", waits), to(b))}
		wantError(t, runWorker(t, newWorker(t, first, nil)), errTest)
		j.want(t, []string{"b", "ack"})
	})
}

// A branch whose goroutine ends has not succeeded.
func TestFanOut_goexit(t *testing.T) {
	for i := range 2 {
		synctest.Test(t, func(t *testing.T) {
			j := &journal{}
			a, b := newDestination(j, "a"), newDestination(j, "b")
			[]*fakeDestination{a, b}[i].write = func(context.Context, []opencdc.Record) error { runtime.Goexit(); return nil }
			first := from(batchesOf(j, "1"))
			first.Next = []*funnel.TaskNode{to(a), to(b)}
			err := runWorker(t, newWorker(t, first, nil))
			wantError(t, err, nil, "Goexit", []string{`"a"`, `"b"`}[i])
			j.want(t, []string{"ack"})
		})
	}
}

// Nor has one if that happens further down. What ends the goroutine of Do before
// the branches begin ends its caller.
func TestFanOut_goexitAnywhere(t *testing.T) {
	for _, where := range []string{"before", "a", "b", "c", "d"} {
		synctest.Test(t, func(t *testing.T) {
			j := &journal{}
			task := func(id string, next ...*funnel.TaskNode) *funnel.TaskNode {
				n := custom(id, func(context.Context, *funnel.Batch) error {
					if id == where {
						runtime.Goexit()
					}
					return nil
				})
				n.Next = next
				return n
			}
			inner := task("inner", task("c"), task("d"))
			first := chain(from(batchesOf(j, "1", "2")), task("before", task("a"), inner, task("b")))
			w := newWorker(t, first, nil)
			if where == "before" {
				if end := <-start(t.Context(), w); !end.exited {
					t.Errorf("Do has ended with %+v", end)
				}
				wantNoError(t, w.Close(t.Context()))
			} else {
				wantError(t, runWorker(t, w), funnel.ErrGoexit, `task "`+where+`": `)
			}
			j.want(t, []string{"ack"})
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
			panic(errFor(id))
		case "goexit":
			runtime.Goexit()
		}
		return errFor(id)
	}
	started, failed := make(chan struct{}), make(chan struct{})
	batches := 0
	leaf := func(id string) *funnel.TaskNode {
		return custom(id, func(context.Context, *funnel.Batch) error {
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
		n := custom(id, func(context.Context, *funnel.Batch) error { return nil })
		n.Next = next
		return n
	}
	w := newWorker(t, chain(
		from(batchesOf(&journal{}, "1", "2")),
		custom("count", func(context.Context, *funnel.Batch) error { batches++; return nil }),
		fork("fork", fork("left", leaf("a"), leaf("b")), fork("right", leaf("c"), leaf("d"))),
	), nil)
	err, panicked := error(nil), any(nil)
	func() {
		defer func() { panicked = recover() }()
		err = w.Do(t.Context())
	}()
	wantNoError(t, w.Close(t.Context()))
	switch name := fmt.Sprint(first, " ", how[0], ", then ", second, " ", how[1]); {
	case slices.Contains(how, "panic"):
		culprit := first
		if how[0] != "panic" {
			culprit = second
		}
		p, ok := panicked.(*funnel.PanicError)
		if !ok || p.Value.(error).Error() != errFor(culprit).Error() {
			t.Errorf("%s: the panic is %v, the error %v", name, panicked, err)
		}
	case panicked != nil || err == nil:
		t.Errorf("%s: the panic is %v, the error %v", name, panicked, err)
	case how[0] == "goexit":
		wantError(t, err, nil, "Goexit")
	case !strings.HasPrefix(err.Error(), fmt.Sprintf("task %q: %v", first, errFor(first))):
		t.Errorf("%s: the error is %v", name, err)
	}
}

// What is done on all branches is released, whatever happens on one of them, and
// on whichever.
func TestFanOut_releasesAfterFailure(t *testing.T) {
	for _, isLast := range []bool{false, true} {
		for _, end := range []func() error{func() error { return errTest }, func() error { runtime.Goexit(); return nil }} {
			synctest.Test(t, func(t *testing.T) {
				j := &journal{}
				d := newDestination(j, "d")
				p := through("p", each(func(rec opencdc.Record) sdk.ProcessedRecord {
					if string(rec.Position) == "2" {
						return sdk.ErrorRecord{Error: errTest}
					}
					return sdk.SingleRecord(rec)
				}))
				p.Next = []*funnel.TaskNode{custom("q", func(_ context.Context, b *funnel.Batch) error {
					if string(b.ActiveRecords()[0].Position) == "3" {
						synctest.Wait() // for the other branch
						return end()
					}
					return nil
				})}
				first := from(batchesOf(j, "1 2 3"))
				first.Next = []*funnel.TaskNode{p, to(d)}
				if isLast {
					slices.Reverse(first.Next)
				}
				wantError(t, newWorker(t, first, queue(newDestination(j, "dlq"))).Do(t.Context()), nil)
				j.want(t, []string{"ack", "dlq"}, "ack 1", "dlq 2", "ack 2")
			})
		}
	}
}

// What a task nacks because its context has ended, since another branch has failed,
// is not taken for a failed record, also if the context of Do ends then.
func TestFanOut_nacksOfAnEndedContext(t *testing.T) {
	for _, isCanceled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			j := &journal{}
			ofDo, cancel := context.WithCancel(t.Context())
			defer cancel()
			a, b := newDestination(j, "a"), newDestination(j, "b")
			waits := fakeProcessor(func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
				<-ctx.Done()
				if isCanceled {
					cancel()
				}
				return each(func(opencdc.Record) sdk.ProcessedRecord { return sdk.ErrorRecord{Error: ctx.Err()} })(ctx, recs)
			})
			later := through("later", fakeProcessor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
				return []sdk.ProcessedRecord{sdk.SingleRecord(recs[0])} // one at a time
			}))
			later.Next = []*funnel.TaskNode{to(a)}
			a.write = func(_ context.Context, recs []opencdc.Record) error {
				if string(recs[0].Position) == "2" {
					return errTest
				}
				return nil
			}
			first := from(batchesOf(j, "1 2"))
			first.Next = []*funnel.TaskNode{later, chain(through("waits", waits), to(b))}
			wantError(t, newWorker(t, first, queue(newDestination(j, "dlq"))).Do(ofDo), errTest)
			j.want(t, []string{"a", "b", "ack", "dlq"}, "a 1", "a 2")
		})
	}
}

// An error is not lost among those that tell of the context only.
func TestFanOut_errorBesideCancellations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := errors.New("other error")
		a := custom("a", func(context.Context, *funnel.Batch) error { synctest.Wait(); return errTest })
		c := custom("c", func(ctx context.Context, _ *funnel.Batch) error { <-ctx.Done(); return ctx.Err() })
		d := custom("d", func(ctx context.Context, _ *funnel.Batch) error {
			<-ctx.Done()
			synctest.Wait()
			return funnel.FatalError(other)
		})
		inner := custom("inner", func(context.Context, *funnel.Batch) error { return nil })
		inner.Next = []*funnel.TaskNode{c, d}
		first := from(batchesOf(&journal{}, "1"))
		first.Next = []*funnel.TaskNode{a, inner}
		err := runWorker(t, newWorker(t, first, nil))
		wantError(t, err, errTest)
		wantError(t, err, other)
		if !funnel.IsFatalError(err) {
			t.Errorf("the error is not fatal: %v", err)
		}
	})
}

// invalid is an error that could wrap others, but has none.
type invalid struct{}

func (invalid) Error() string   { return "invalid" }
func (invalid) Unwrap() []error { return nil }

// Nor is an error that wraps nothing taken for one that tells of the context.
func TestFanOut_errorOfNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := from(batchesOf(&journal{}, "1"))
		first.Next = []*funnel.TaskNode{
			custom("a", func(context.Context, *funnel.Batch) error { synctest.Wait(); return errTest }),
			custom("b", func(ctx context.Context, _ *funnel.Batch) error { <-ctx.Done(); return invalid{} }),
		}
		err := runWorker(t, newWorker(t, first, nil))
		wantError(t, err, errTest)
		wantError(t, err, invalid{})
	})
}

// If a task does not care that it could not ack records, that is tried again when
// the branches join.
func TestFanOut_ignoredAckOfATask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		source := batchesOf(j, "1 2")
		calls := 0
		source.ack = func(context.Context, []opencdc.Position) error {
			if calls++; calls == 1 {
				return errTest
			}
			return nil
		}
		var w *funnel.Worker
		first := from(source)
		first.Next = []*funnel.TaskNode{to(newDestination(j, "a")), custom("acks", func(ctx context.Context, b *funnel.Batch) error {
			synctest.Wait() // for the other branch
			_ = w.Ack(ctx, b)
			return nil
		})}
		w = newWorker(t, first, nil)
		wantNoError(t, runWorker(t, w))
		j.want(t, []string{"ack"}, "ack 1 2", "ack 1 2")
	})
}

// A task that replaces its batch by nothing is named.
func TestWorker_batchReplaced(t *testing.T) {
	for branches := 1; branches <= 2; branches++ {
		synctest.Test(t, func(t *testing.T) {
			j := &journal{}
			first := from(batchesOf(j, "1"))
			for i := range branches {
				first.Next = append(first.Next, custom(fmt.Sprint("task", i), func(_ context.Context, b *funnel.Batch) error {
					*b = funnel.Batch{}
					return nil
				}))
			}
			wantError(t, runWorker(t, newWorker(t, first, nil)), nil, `task "task`, "put another batch")
			j.want(t, []string{"ack"})
		})
	}
}

// What a task has tried to ack itself, and failed, is not tried again when the
// branches join.
func TestFanOut_failedAckOfATask(t *testing.T) {
	for _, end := range []func() error{func() error { return errTest }, func() error { runtime.Goexit(); return nil }} {
		synctest.Test(t, func(t *testing.T) {
			j := &journal{}
			source := batchesOf(j, "1 2")
			source.ack = func(context.Context, []opencdc.Position) error { return end() }
			var w *funnel.Worker
			fans := custom("acks", func(ctx context.Context, b *funnel.Batch) error { return w.Ack(ctx, b) })
			first := from(source)
			first.Next = []*funnel.TaskNode{to(newDestination(j, "a")), custom("last", func(context.Context, *funnel.Batch) error {
				synctest.Wait()
				return nil
			})}
			first.Next[1].Next = []*funnel.TaskNode{fans}
			w = newWorker(t, first, nil)
			wantError(t, runWorker(t, w), nil)
			j.want(t, []string{"ack"}, "ack 1 2")
		})
	}
}

// A panic is one even if there is nothing in it.
func TestFanOut_emptyPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		first := from(batchesOf(j, "1"))
		first.Next = []*funnel.TaskNode{
			custom("a", func(context.Context, *funnel.Batch) error { panic((*funnel.PanicError)(nil)) }),
			to(newDestination(j, "b")),
		}
		w := newWorker(t, first, nil)
		defer func() {
			if p, ok := recover().(*funnel.PanicError); !ok || p == nil {
				t.Errorf("Do has panicked with %v", p)
			}
			wantNoError(t, w.Close(t.Context()))
			j.want(t, []string{"ack"})
		}()
		_ = w.Do(t.Context())
		t.Error("Do has returned")
	})
}

// The branches have the same context for each batch. It ends with the worker.
func TestFanOut_contextLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
		j := &journal{}
		a, b := newDestination(j, "a"), newDestination(j, "b")
		var contexts []context.Context
		a.write = func(ctx context.Context, _ []opencdc.Record) error {
			for _, c := range append(contexts, ctx) {
				if c != ctx || c.Err() != nil {
					t.Errorf("the context %v (%v) has been replaced by %v", c, c.Err(), ctx)
				}
			}
			contexts = append(contexts, ctx)
			return nil
		}
		first := from(batchesOf(j, "1", "2", "3"))
		first.Next = []*funnel.TaskNode{to(a), to(b)}
		wantNoError(t, newWorker(t, first, nil).Do(t.Context()))
		if len(contexts) != 3 || contexts[0].Err() == nil {
			t.Errorf("the context of %d batches goes on without the worker", len(contexts))
		}
	})
}

// When Do returns, the goroutines of the branches are gone already.
func TestFanOut_goroutinesEnd(t *testing.T) {
	for range 50 {
		j := &journal{}
		first := from(batchesOf(j, "1", "2"))
		for i := range 8 {
			first.Next = append(first.Next, to(newDestination(j, fmt.Sprint(i))))
		}
		wantNoError(t, newWorker(t, first, nil).Do(t.Context()))
		var goroutines strings.Builder
		wantNoError(t, pprof.Lookup("goroutine").WriteTo(&goroutines, 1))
		if strings.Contains(goroutines.String(), "funnel.(*branch)") {
			t.Fatal("goroutines of branches are left")
		}
	}
}

type ctxKey struct{}

// On a linear pipeline each connector is given the context of Do itself. On
// branches it is one that comes from it, but for acks and the DLQ.
func TestFanOut_contexts(t *testing.T) {
	j := &journal{}
	ctx := context.WithValue(t.Context(), ctxKey{}, "value")
	check := func(ctx, got context.Context, isSame bool) {
		if (got == ctx) != isSame || got.Value(ctxKey{}) != "value" {
			t.Errorf("a connector was given the context %v", got)
		}
	}
	for _, branches := range []int{1, 2} {
		source := batchesOf(j, "1 2")
		source.ack = func(got context.Context, _ []opencdc.Position) error { check(ctx, got, true); return nil }
		dead := newDestination(j, "dlq")
		dead.write = func(got context.Context, _ []opencdc.Record) error { check(ctx, got, true); return nil }
		first := from(source)
		for i := range branches {
			d := newDestination(j, string(rune('a'+i)))
			d.refuse["1"] = errTest
			d.write = func(got context.Context, _ []opencdc.Record) error { check(ctx, got, branches == 1); return nil }
			first.Next = append(first.Next, to(d))
		}
		w := newWorker(t, first, queue(dead))
		wantNoError(t, w.Do(ctx))
	}
}
