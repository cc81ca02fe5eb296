package funnel_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// lastLetter returns the last letter of a record's position.
func lastLetter(rec opencdc.Record) string { return string(rec.Position[len(rec.Position)-1:]) }

// routeTo returns the node of a task "route" that routes by the last letter. The name of
// each case is the ID of the first task of its branch.
func routeTo(branches ...*funnel.TaskNode) *funnel.TaskNode {
	return funnel.NewRouteTask("route", lastLetter, casesOf(branches...)...).Node()
}

// casesOf returns the cases that have the IDs of the first tasks as names.
func casesOf(branches ...*funnel.TaskNode) (cases []funnel.Case) {
	for _, branch := range branches {
		cases = append(cases, funnel.Case{Name: branch.Task.ID(), Node: branch})
	}
	return cases
}

// to returns the node of a destination.
func to(j *fake.Journal, name string) *funnel.TaskNode { return fake.To(fake.NewDestination(j, name)) }

// A record goes down one branch and is acked when it is done there. If it was split, it is
// acked once, when all its pieces are done, and dead-lettered once if one was nacked.
func TestRouteTask(t *testing.T) {
	for _, tt := range []struct {
		name       string
		batch      string
		hasDefault bool
		before     fake.Answers // a processor before the route
		pa         fake.Answers // a processor on the first branch
		refused    string       // by the destinations
		a, b, c    string       // what they get; c is the default
		want       []string     // acks and dead letters
	}{{
		name: "each record has a branch", batch: "1a 2b 3b 4a", a: "1a 4a", b: "2b 3b", want: []string{"ack 1a 2b 3b 4a"},
	}, {
		name: "all records have the same one", batch: "1b 2b", b: "1b 2b", want: []string{"ack 1b 2b"},
	}, {
		name: "default", hasDefault: true, batch: "1x 2a 3c 4b", a: "2a", b: "4b", c: "1x 3c", want: []string{"ack 1x 2a 3c 4b"},
	}, {
		name: "no route", batch: "1a 2x 3b 4x", a: "1a", b: "3b",
		want: []string{"ack 1a", "dlq 2x", "ack 2x", "ack 3b", "dlq 4x", "ack 4x"},
	}, {
		name: "no route for any", batch: "1x 2x", want: []string{"dlq 1x 2x", "ack 1x 2x"},
	}, {
		name: "filtered before", before: fake.Answers{"2b": fake.Filter, "3a": fake.Filter}, batch: "1a 2b 3a 4b", a: "1a", b: "4b",
		want: []string{"ack 1a 2b 3a 4b"},
	}, {
		name: "all filtered before", before: fake.Answers{"1a": fake.Filter}, batch: "1a", want: []string{"ack 1a"},
	}, {
		name: "filtered on a branch", pa: fake.Answers{"1a": fake.Filter}, batch: "1a 2b", b: "2b", want: []string{"ack 1a 2b"},
	}, {
		name: "refused on both branches", refused: "1a 4b", batch: "1a 2b 3a 4b", a: "1a 3a", b: "2b 4b",
		want: []string{"dlq 1a", "ack 1a", "ack 2b 3a", "dlq 4b", "ack 4b"},
	}, {
		name: "pieces on different branches", before: fake.Answers{"1": fake.Split(3)}, hasDefault: true, batch: "1 2b", a: "1a", b: "1b 2b", c: "1c",
		want: []string{"ack 1 2b"},
	}, {
		name: "a piece is refused", before: fake.Answers{"2": fake.Split(2)}, refused: "2b", batch: "1b 2 3a", a: "2a 3a", b: "1b 2b",
		want: []string{"ack 1b", "dlq 2", "ack 2", "ack 3a"},
	}, {
		name: "no route for a piece", before: fake.Answers{"2": fake.Split(3)}, batch: "1b 2 3a", a: "3a", b: "1b",
		want: []string{"ack 1b", "dlq 2", "ack 2", "ack 3a"},
	}, {
		name: "pieces on one branch are siblings", before: fake.Answers{"x": fake.Split(2), "xa": fake.Split(2)}, pa: fake.Answers{"xa": fake.Fail}, batch: "x 1a", a: "1a", b: "xb",
		want: []string{"dlq x", "ack x", "ack 1a"},
	}, {
		name: "split and retried on a branch", pa: fake.Answers{"1a": fake.SecondTime(fake.Split(2))}, batch: "1a 2b 3a", a: "1aa 1ab 3a", b: "2b",
		want: []string{"ack 1a 2b 3a"},
	}} {
		for _, whole := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, whole batches: %t", tt.name, whole), func(t *testing.T) {
				fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
					j := &fake.Journal{}
					var outs []*funnel.TaskNode
					for _, name := range []string{"a", "b", "c"} {
						d := fake.NewDestination(j, name)
						for _, p := range strings.Fields(tt.refused) {
							d.Refuse[p] = fake.ErrOf(p)
						}
						outs = append(outs, fake.To(d))
					}
					cases := casesOf(outs[:2]...)
					cases[0].Node = fake.Chain(fake.Through("pa", fake.ByPosition(tt.pa)), outs[0])
					if tt.hasDefault {
						cases = append(cases, funnel.Default(outs[2]))
					}
					if whole {
						opts = append(opts, funnel.WithWholeBatches())
					}
					first := fake.Chain(fake.From(fake.SourceOf(j, tt.batch)), fake.Through("p", fake.ByPosition(tt.before)),
						funnel.NewRouteTask("route", lastLetter, cases...).Node())
					w := fake.NewWorker(t, first, fake.DLQ(j), opts...)
					fake.WantNoError(t, fake.RunWorker(t, w))
					for name, want := range map[string]string{"a": tt.a, "b": tt.b, "c": tt.c, "ack": tt.batch} {
						if got := j.Given(name); got != want {
							t.Errorf("%s: %q, want %q", name, got, want)
						}
					}
					if !whole {
						j.Want(t, "ack dlq", tt.want...)
					}
				})
			})
		}
	}
}

// Each branch gets its records in the order of the source, whatever the others do.
func TestRouteTask_order(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, source := &fake.Journal{}, fake.NewSource(&fake.Journal{})
		rnd := rand.New(rand.NewPCG(1, 1))
		var want [3][]string
		for i := 0; i < 300; {
			var positions []string
			for range 1 + rnd.IntN(20) {
				branch := rnd.IntN(3)
				positions = append(positions, fmt.Sprint(i, string(rune('a'+branch))))
				want[branch] = append(want[branch], positions[len(positions)-1])
				i++
			}
			source.Reads = append(source.Reads, fake.Read{Records: fake.Records(positions...)})
		}
		limited := fake.Chain(fake.Through("b", fake.AtMost(2)), to(j, "B"))
		route := routeTo(to(j, "a"), limited, fake.To(fake.SlowDestination(j, "c", 1)))
		fake.WantNoError(t, fake.Run(t, nil, fake.From(source), route))
		for i, name := range []string{"a", "B", "c"} {
			if got := j.Given(name); got != strings.Join(want[i], " ") {
				t.Errorf("%s: %s, want %s", name, got, want[i])
			}
		}
	})
}

// Branches work at the same time.
func TestRouteTask_together(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // one that waits for ever ends the test
		meet := fake.Meeting(3)
		var branches []*funnel.TaskNode
		for _, id := range []string{"a", "b", "c"} {
			branches = append(branches, fake.Custom(id, func(context.Context, *funnel.Batch) error { meet(); return nil }))
		}
		fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(&fake.Journal{}, "1a 2b 3c")), routeTo(branches...)))
	})
}

// NewWorker says what is wrong with a route. A sink does, too.
func TestRouteTask_invalid(t *testing.T) {
	j := &fake.Journal{}
	a, b := func() *funnel.TaskNode { return to(j, "a") }, func() *funnel.TaskNode { return to(j, "b") }
	route := func(cases ...funnel.Case) *funnel.TaskNode {
		return funnel.NewRouteTask("route", lastLetter, cases...).Node()
	}
	changed := func(change func(node *funnel.TaskNode)) *funnel.TaskNode {
		node := route(casesOf(a(), b())...)
		change(node)
		return node
	}
	node := a()
	var nilRoute *funnel.RouteTask
	for words, node := range map[string]*funnel.TaskNode{
		`task "route": the route function is nil`:         funnel.NewRouteTask("route", nil, casesOf(a())...).Node(),
		`task "route": the route has no cases`:            route(),
		`task "route": the node of case "x" is nil`:       route(funnel.Case{Name: "a", Node: a()}, funnel.Case{Name: "x"}),
		`task "route": the node of the default is nil`:    route(funnel.Case{Name: "a", Node: a()}, funnel.Default(nil)),
		`has case "x" more than once`:                     route(funnel.Case{Name: "x", Node: a()}, funnel.Case{Name: "x", Node: b()}),
		`has case "" more than once`:                      route(funnel.Case{Node: a()}, funnel.Case{Node: b()}),
		`has case "` + strings.Repeat("x", 64) + `"... (`: route(funnel.Case{Name: strings.Repeat("x", 99), Node: a()}, funnel.Case{Name: strings.Repeat("x", 99), Node: b()}),
		`the route has more than one default`:             route(funnel.Default(a()), funnel.Default(b())),
		`task ID "a" occurs more than once`:               route(funnel.Case{Name: "x", Node: node}, funnel.Default(node)),
		`32768 cases, more than 32767`:                    route(slices.Repeat(casesOf(a()), 32768)...),
		`nothing comes after the processor task "p"`:      route(funnel.Default(fake.Through("p", fake.Each(fake.Pass)))),
		`all branches after task "route" are best effort`: route(casesOf(bestEffort(a()), bestEffort(b()))...),
		`a single task after task "route" cannot be best`: route(casesOf(bestEffort(a()))...),
		`task node has no task`:                           fake.Node(nilRoute, a()),

		`of its cases, in order`:                          changed(func(n *funnel.TaskNode) { slices.Reverse(n.Next) }),
		`next nodes of a route must be those`:             changed(func(n *funnel.TaskNode) { n.Next = n.Next[:1] }),
		`task "route": the next nodes of a route`:         changed(func(n *funnel.TaskNode) { n.Next = append(n.Next, to(j, "c")) }),
		`take them from its method Node`:                  changed(func(n *funnel.TaskNode) { n.Next = nil }),
		`must be those of its cases`:                      changed(func(n *funnel.TaskNode) { n.Next[1] = nil }),
		`next nodes of a route must be those of its case`: fake.Node(embeddingRoute{funnel.NewRouteTask("route", lastLetter, casesOf(a(), b())...)}, a(), b()),
		`task "route": the route has no case`:             fake.Node(embeddingRoute{funnel.NewRouteTask("route", lastLetter)}),
	} {
		_, err := funnel.NewWorker(fake.Chain(fake.From(fake.SourceOf(j)), node), nil, log.Nop(), nil)
		fake.WantError(t, err, nil, words)
		_, err = funnel.NewSink(node)
		fake.WantError(t, err, nil, words)
	}
	if _, err := funnel.NewWorker(route(casesOf(a(), b())...), nil, log.Nop(), nil); err == nil {
		t.Error("a route may come first")
	}
	fake.WantError(t, route(casesOf(a(), b())...).AppendToEnd(to(j, "c")), nil, `"route": it has 2 next tasks`)
}

// The empty name is one like any other. The default has none, and need not be the last.
func TestRouteTask_emptyName(t *testing.T) {
	j := &fake.Journal{}
	route := funnel.NewRouteTask("route", func(rec opencdc.Record) string { return string(rec.Position[1:]) },
		funnel.Case{Node: to(j, "a")}, funnel.Default(to(j, "b")), funnel.Case{Name: "y", Node: to(j, "c")})
	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2x 3")), route.Node()))
	j.Want(t, "a", "a 1 3")
	j.Want(t, "b", "b 2x")
}

// The route does not see later changes to the slice of its cases.
func TestNewRouteTask_ownCases(t *testing.T) {
	j := &fake.Journal{}
	cases := casesOf(to(j, "a"), to(j, "b"))
	route := funnel.NewRouteTask("route", lastLetter, cases...)
	clear(cases)
	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1a 2b")), route.Node()))
	j.Want(t, "a", "a 1a")
	j.Want(t, "b", "b 2b")
}

// embeddingRoute is a task that embeds a route, and handles some records itself.
type embeddingRoute struct{ *funnel.RouteTask }

func (r embeddingRoute) Do(ctx context.Context, b *funnel.Batch) error {
	for i, rec := range slices.Backward(b.ActiveRecords()) {
		switch {
		case strings.HasPrefix(string(rec.Position), "filter"):
			b.Filter(i)
		case strings.HasPrefix(string(rec.Position), "split"):
			b.SplitRecord(i, fake.Pieces(rec, 2))
		}
	}
	if err := r.RouteTask.Do(ctx, b); err != nil {
		return err
	}
	for i, rec := range slices.Backward(b.ActiveRecords()) {
		switch {
		case strings.HasPrefix(string(rec.Position), "nack"):
			b.Nack(i, fake.ErrTest)
		case strings.HasPrefix(string(rec.Position), "late"):
			b.SplitRecord(i, fake.Records("late x", "late y"))
		}
	}
	return nil
}

// A task that embeds a route is a route. Pieces of a record that was routed go where it
// goes.
func TestRouteTask_embedded(t *testing.T) {
	for _, opts := range [][]funnel.WorkerOption{nil, {funnel.WithPieceIDs()}, {funnel.WithWholeBatches()}} {
		j := &fake.Journal{}
		b := fake.NewDestination(j, "b")
		route := routeTo(to(j, "a"), fake.To(b))
		route.Task = embeddingRoute{route.Task.(*funnel.RouteTask)}
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1a split filterb 2b nacka late-b 3a")), route), fake.DLQ(j), opts...)
		fake.WantNoError(t, fake.RunWorker(t, w))
		for name, want := range map[string]string{
			"a": "1a splita 3a", "b": "splitb 2b late x late y", "dlq": "nacka", "ack": "1a split filterb 2b nacka late-b 3a",
		} {
			if got := j.Given(name); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
		if id := b.Written[0].Metadata[funnel.MetadataPieceID]; id != map[bool]string{true: "1"}[id != ""] {
			t.Errorf("the piece has the ID %q", id)
		}
	}
}

// A task that calls a route without embedding it would send all records everywhere. The
// worker stops before it does.
func TestRouteTask_wrapped(t *testing.T) {
	for _, embeds := range []bool{false, true} {
		j := &fake.Journal{}
		route := routeTo(to(j, "a"), to(j, "b"))
		inner := route.Task
		route.Task = struct{ funnel.Task }{inner}
		if embeds {
			route.Task = struct{ *funnel.RouteTask }{inner.(*funnel.RouteTask)}
		}
		err := fake.Run(t, fake.DLQ(j), fake.From(fake.SourceOf(j, "1a 2b")), route)
		if embeds {
			fake.WantNoError(t, err)
			j.Want(t, "a ack", "a 1a", "ack 1a 2b")
			continue
		}
		fake.WantError(t, err, nil, "does not embed it")
		fake.WantFatal(t, err, true)
		fake.WantTask(t, err, "route")
		j.Want(t, "a b ack dlq")
	}
}

// unchosen is a route that chooses no branch.
type unchosen struct{ *funnel.RouteTask }

func (unchosen) Do(context.Context, *funnel.Batch) error { return nil }

// A task that embeds a route and chooses no branch sends the records down the first one,
// whatever a route before it has chosen.
func TestRouteTask_noChoice(t *testing.T) {
	j := &fake.Journal{}
	inner := funnel.NewRouteTask("inner", lastLetter, casesOf(to(j, "x"), to(j, "y"))...)
	node := inner.Node()
	node.Task = unchosen{inner}
	outer := funnel.NewRouteTask("outer", lastLetter, funnel.Case{Name: "a", Node: to(j, "a")}, funnel.Case{Name: "b", Node: to(j, "b")}, funnel.Default(node))
	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1a 2y 3b")), outer.Node()))
	j.Want(t, "x y", "x 2y")
}

// A single case is no fan-out: its records go on with the goroutine and context of Do.
func TestRouteTask_singleCase(t *testing.T) {
	j := &fake.Journal{}
	ctx := context.WithValue(t.Context(), fake.ContextKey{}, "that of Do")
	a := fake.NewDestination(j, "a")
	a.OnWrite = func(given context.Context, _ []opencdc.Record) error {
		if given != ctx {
			t.Error("the context is not that of Do")
		}
		return nil
	}
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1a 2x 3a")), routeTo(fake.To(a))), fake.DLQ(j))
	fake.WantNoError(t, w.Do(ctx))
	j.Want(t, "a ack dlq", "a 1a", "ack 1a", "dlq 2x", "ack 2x", "a 3a", "ack 3a")

	j = &fake.Journal{}
	next := fake.Fork(fake.Custom("next", fake.Nothing), to(j, "a"), to(j, "b"))
	one := funnel.NewRouteTask("route", lastLetter, funnel.Default(next)).Node()
	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1x 2y")), one))
	j.Want(t, "a ack", "a 1x 2y", "ack 1x 2y")
	j.Want(t, "b", "b 1x 2y")
}

// After a route, nodes may be appended to the end of a single case only.
func TestRouteTask_appendToEnd(t *testing.T) {
	j := &fake.Journal{}
	node := funnel.NewRouteTask("route", lastLetter, funnel.Default(fake.Through("p", fake.Each(fake.Pass)))).Node()
	fake.WantNoError(t, node.AppendToEnd(to(j, "a")))
	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1x")), node))
	j.Want(t, "a ack", "a 1x", "ack 1x")
}

// A branch without records is not run, and one that has failed gets none.
func TestRouteTask_idleBranches(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		route := routeTo(to(j, "a"), fake.Custom("b", func(context.Context, *funnel.Batch) error { panic("it has no records") }),
			bestEffort(failing(j, "c", 1, func() error { return fake.ErrTest })))
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1a", "2c 3a", "4c 5c", "6a 7c")), route), fake.DLQ(j), opts...)
		fake.WantNoError(t, fake.RunWorker(t, w))
		if a, c, ack := j.Given("a"), j.Lines("c"), j.Given("ack"); a != "1a 3a 6a" || len(c) != 1 || ack != "1a 2c 3a 4c 5c 6a 7c" {
			t.Errorf("a: %s, c: %s, ack: %s", a, c, ack)
		}
		if n := w.Stats().SkippedBranches; n != 1 {
			t.Errorf("%d branches are skipped", n)
		}
		j.Want(t, "dlq")
	})
}

// Nacks on a best-effort branch are forgiven, those on the others are not, even of pieces
// of the same record.
func TestRouteTask_bestEffort(t *testing.T) {
	j := &fake.Journal{}
	a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
	for _, p := range []string{"1a", "1b", "2a", "3b"} {
		a.Refuse[p], b.Refuse[p] = fake.ErrOf(p), fake.ErrOf(p)
	}
	split := fake.Through("p", fake.ByPosition(fake.Answers{"1": fake.Split(2), "4": fake.Split(2)}))
	fake.WantNoError(t, fake.Run(t, fake.QueueWithErrors(j), fake.From(fake.SourceOf(j, "1 2a 3b 4")), split, routeTo(bestEffort(fake.To(a)), fake.To(b))))
	j.Want(t, "ack dlq", "dlq 1:"+fake.ErrOf("1b").Error(), "ack 1", "ack 2a", "dlq 3b:"+fake.ErrOf("3b").Error(), "ack 3b", "ack 4")
}

// No branch gets copies of its records, even if it changes them.
func TestRouteTask_notCopied(t *testing.T) {
	j, read := &fake.Journal{}, fake.Records("1a", "2b", "3c")
	var branches []*funnel.TaskNode
	for i, id := range []string{"a", "b", "c"} {
		branches = append(branches, fake.Chain(fake.Through(id, fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
			if !holdsSame(rec, read[i]) {
				t.Errorf("record %s was copied", rec.Position)
			}
			return sdk.SingleRecord(rec)
		})), to(j, strings.ToUpper(id))))
	}
	source := fake.NewSource(j, fake.Read{Records: slices.Clone(read)})
	fake.WantNoError(t, fake.Run(t, nil, fake.From(source), routeTo(branches...)))
}

// holdsSame returns true if the records have the same metadata in memory.
func holdsSame(a, b opencdc.Record) bool {
	return reflect.ValueOf(a.Metadata).Pointer() == reflect.ValueOf(b.Metadata).Pointer()
}

// Records that a destination before the route may keep are copied on those branches alone
// that may change them.
func TestRouteTask_keptBefore(t *testing.T) {
	for _, embeds := range []bool{false, true} {
		j := &fake.Journal{}
		kept, a, b := fake.NewDestination(j, "kept"), fake.NewDestination(j, "a"), fake.NewDestination(j, "B")
		change := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
			rec.Metadata["id"] = "changed"
			return sdk.SingleRecord(rec)
		})
		route := routeTo(fake.To(a), fake.Chain(fake.Through("b", change), fake.To(b)))
		if embeds { // what it does with the records is not known
			route.Task = struct{ *funnel.RouteTask }{route.Task.(*funnel.RouteTask)}
		}
		fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1a 2b 3b 4a")), fake.To(kept), route))
		for _, rec := range kept.Written {
			if id := rec.Metadata["id"]; id != string(rec.Position) {
				t.Errorf("record %s is %s now", rec.Position, id)
			}
		}
		if b.Written[0].Metadata["id"] != "changed" || b.Written[1].Metadata["id"] != "changed" {
			t.Errorf("the branch wrote %v", b.Written)
		}
		if isShared := holdsSame(kept.Written[0], a.Written[0]); isShared == embeds {
			t.Errorf("embedded %t: the branch that only writes shares records: %t", embeds, isShared)
		}
	}
}

// The checks of ownership find nothing wrong with routes, and still find faults on their
// branches.
func TestRouteTask_ownershipChecks(t *testing.T) {
	j := &fake.Journal{}
	b := fake.NewDestination(j, "b")
	b.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
		if string(recs[0].Position) == "6b" {
			recs[0].Metadata["id"] = "changed"
		}
		return nil
	}
	var faults []error
	first := fake.Chain(fake.From(fake.SourceOf(j, "1a 2b 3a", "4b 5x", "6b")), to(j, "kept"),
		routeTo(fake.Chain(fake.Through("a", fake.Each(fake.Pass)), to(j, "A")), fake.To(b)))
	w := fake.NewWorker(t, first, fake.DLQ(j), funnel.WithOwnershipChecks(func(err error) { faults = append(faults, err) }))
	fake.WantNoError(t, fake.RunWorker(t, w))
	j.Want(t, "A dlq", "A 1a 3a", "dlq 5x")
	j.Want(t, "b", "b 2b", "b 4b", "b 6b")
	if len(faults) == 0 || slices.ContainsFunc(faults, func(err error) bool { return !strings.Contains(err.Error(), `"b"`) }) {
		t.Errorf("found: %v", faults)
	}
}

// Stats and observer count what happens on branches of a route as anywhere else.
func TestRouteTask_observed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, r := &fake.Journal{}, &recorder{}
		p := fake.ByPosition(fake.Answers{"1": fake.Split(2), "2b": fake.Filter})
		b := fake.NewDestination(j, "b")
		b.Refuse["4b"] = fake.ErrTest
		first := fake.Chain(fake.From(fake.SourceOf(j, "1 2b 3x 4b", "5b")), fake.Through("p", p), routeTo(to(j, "a"), fake.To(b)))
		w := fake.NewWorker(t, first, fake.DLQ(j), funnel.WithObserver(r), funnel.WithStats())
		fake.WantNoError(t, fake.RunWorker(t, w))
		wantStats(t, w.Stats(), funnel.Stats{Read: 5, Acked: 5, DeadLettered: 2, Filtered: 1, Nacked: 2, Batches: 2})
		count := map[string]int{}
		for _, event := range r.events {
			count[event]++
		}
		for _, want := range []string{
			"begin route 4 batch=1", "done route 4->3 f0 n1 r0 batch=1 task=route", "divided route 3 batch=1",
			"begin a 1 batch=1", "begin b 1 batch=1", "begin route 1 batch=2", "begin b 1 batch=2",
			"end 4 acked 4 dead 2 f1 n2 r0 false batch=1", "end 1 acked 1 dead 0 f0 n0 r0 false batch=2",
		} {
			if n := count[want]; n != 1 && !(n == 2 && want == "begin b 1 batch=1") {
				t.Errorf("%q was seen %d times in %q", want, n, r.events)
			}
		}
	})
}

// Two workers route into a sink. It gets the records of each branch, and a failure inside
// is one of the sink.
func TestRouteTask_intoSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		roots := []*funnel.TaskNode{failing(j, "a", 3, func() error { return fake.ErrTest }), to(j, "b")}
		s := newSink(t, roots...)
		fake.WantNoError(t, s.Open(t.Context()))
		worker := func(k int, cases []funnel.Case, batches ...string) (*funnel.Worker, *fake.Journal) {
			j := &fake.Journal{}
			route := funnel.NewRouteTask("route"+strconv.Itoa(k), lastLetter, cases...)
			return fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, batches...)), route.Node()), fake.DLQ(j)), j
		}
		one, j1 := worker(1, casesOf(roots...), "1a 2b", "3b", "4x 5a")
		two, j2 := worker(2, casesOf(roots...), "6b", "7a 8b", "9a")
		fake.WantNoError(t, fake.RunWorker(t, one))
		fake.WantError(t, fake.RunWorker(t, two), fake.ErrTest)
		if a, b := j.Given("a"), j.Given("b"); a != "1a 5a 7a" || !strings.HasPrefix(b, "2b 3b 6b") {
			t.Errorf("a: %s, b: %s", a, b)
		}
		j1.Want(t, "ack dlq", "ack 1a 2b", "ack 3b", "dlq 4x", "ack 4x", "ack 5a")
		j2.Want(t, "ack dlq", "ack 6b")
		three, _ := worker(3, casesOf(roots...), "1b")
		fake.WantError(t, fake.RunWorker(t, three), funnel.ErrSinkFailed)
		fake.WantNoError(t, s.Close(t.Context()))

		wrong := fake.Chain(fake.From(fake.SourceOf(j)), funnel.NewRouteTask("route", lastLetter, casesOf(roots[0])...).Node())
		_, err := funnel.NewWorker(wrong, nil, log.Nop(), nil)
		fake.WantError(t, err, nil, `"route" must lead to all 2 roots`)
	})
}
