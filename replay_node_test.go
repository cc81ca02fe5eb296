package funnel_test

import (
	"context"
	"reflect"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/funneltest"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// replayFrom makes the first node of a replay from a task.
func replayFrom(letters funnel.Source, first *funnel.TaskNode, taskID string) (*funnel.TaskNode, error) {
	return funnel.NewReplayNode("letters", letters, log.Nop(), nil, first, taskID)
}

// A replay from a task skips the tasks before it, and runs to the ends of the paths after it.
func TestNewReplayNode(t *testing.T) {
	j := &fake.Journal{}
	count := func(name string) fake.Processor {
		return func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			j.AddRecords(name, recs)
			return fake.Each(fake.Pass)(ctx, recs)
		}
	}
	first := fake.From(fake.SourceOf(j))
	a, p, z := fake.Through("a", count("a")), fake.Through("p", count("p")), fake.Through("z", count("z"))
	x, y := fake.NewDestination(j, "x"), fake.NewDestination(j, "y")
	fake.Chain(first, a, p, fake.Fork(z, fake.To(x), fake.To(y)))
	letters := &funneltest.Source{Batches: [][]opencdc.Record{storedLetters(t, richRecord("1"), richRecord("2"))}}
	replay, err := replayFrom(letters, first, "p")
	if err != nil {
		t.Fatal(err)
	}
	fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, replay, nil)))
	j.Want(t, "a p z x", "p line 1 line 2", "z line 1 line 2", "x line 1 line 2")
	j.Want(t, "y", "y line 1 line 2")
	if len(letters.Acked()) != 2 || !reflect.DeepEqual(x.Written[1].Payload, richRecord("2").Payload) {
		t.Errorf("%d letters are acked, written %v", len(letters.Acked()), x.Written)
	}
}

// The source refuses letters that do not hold what the task was given.
func TestNewReplayNode_refusals(t *testing.T) {
	j := &fake.Journal{}
	pipeline := func() *funnel.TaskNode {
		return fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.Through("a", fake.Each(fake.Split(2))),
			fake.Through("p", fake.Each(fake.Fail)), fake.Through("q", fake.Each(fake.Fail)), fake.Out(j))
	}
	lettersOf := func(first *funnel.TaskNode, opts ...funnel.WorkerOption) funnel.Source {
		dead := fake.NewDestination(j, "dlq")
		fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, fake.Queue(dead), opts...)))
		return funneltest.NewSource(dead.Written...)
	}
	unknown := storedLetters(t, richRecord("1"))
	delete(unknown[0].Metadata, funnel.MetadataDeadLetter)
	simple := func() *funnel.TaskNode {
		return fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.Through("p", fake.Each(fake.Fail)), fake.Out(j))
	}
	for _, tt := range []struct {
		letters funnel.Source
		task    string
		want    string
	}{
		{funneltest.NewSource(storedLetters(t, richRecord("1"))...), "q", `it comes from the task "p", not from "q"`},
		{lettersOf(pipeline()), "p", "before it was split, not as the task was given it"},
		{lettersOf(simple(), funnel.WithDeadLettersAsRead()), "p", "as it was read, not as the task was given it"},
		{funneltest.NewSource(unknown...), "p", "in an unknown version, not as the task was given it"},
	} {
		first, err := replayFrom(tt.letters, pipeline(), tt.task)
		if err != nil {
			t.Fatal(err)
		}
		err = fake.RunWorker(t, fake.NewWorker(t, first, fake.DLQ(j)))
		fake.WantError(t, err, nil, tt.want, "cannot be replayed")
		fake.WantFatal(t, err, true)
		fake.WantTask(t, err, "letters")
	}
}

// A replay that would leave something out is an error when it is made.
func TestNewReplayNode_errors(t *testing.T) {
	j := &fake.Journal{}
	from := func() *funnel.TaskNode { return fake.From(fake.SourceOf(j)) }
	through := func(id string) *funnel.TaskNode { return fake.Through(id, fake.Each(fake.Pass)) }
	to := func(id string) *funnel.TaskNode { return fake.To(fake.NewDestination(j, id)) }
	bestEffort := func(n *funnel.TaskNode) *funnel.TaskNode { n.BestEffort = true; return n }
	route := func(nodes ...*funnel.TaskNode) *funnel.TaskNode {
		var cases []funnel.Case
		for _, n := range nodes {
			cases = append(cases, funnel.Case{Name: n.Task.ID(), Node: n})
		}
		return funnel.NewRouteTask("route", func(opencdc.Record) string { return "" }, cases...).Node()
	}
	sinkRoot := to("in sink")
	_, err := funnel.NewSink(sinkRoot)
	fake.WantNoError(t, err)
	letters := funneltest.NewSource()
	for name, tt := range map[string]struct {
		letters funnel.Source
		first   *funnel.TaskNode
		task    string
		want    string
	}{
		"no letters":        {nil, fake.Chain(from(), to("x")), "x", "source of dead letters is nil"},
		"nil letters":       {(*fake.Source)(nil), fake.Chain(from(), to("x")), "x", "source of dead letters is nil"},
		"no node":           {letters, nil, "x", "first task node is nil"},
		"unknown":           {letters, fake.Chain(from(), to("x")), "y", "no such task"},
		"source":            {letters, fake.Chain(from(), to("x")), "source", "it is the source task"},
		"no source":         {letters, fake.Chain(through("p"), to("x")), "x", `"p" is no source task`},
		"invalid":           {letters, fake.Chain(from(), through("p")), "p", "invalid pipeline"},
		"fork before":       {letters, fake.Fork(from(), to("x"), to("y")), "y", `forks after task "source"`},
		"fork long before":  {letters, fake.Chain(from(), fake.Fork(through("p"), to("x"), fake.Chain(through("q"), to("y")))), "y", `forks after task "p"`},
		"fork right after":  {letters, fake.Chain(from(), fake.Fork(through("p"), to("x"), to("y"))), "p", `forks after task "p"`},
		"route":             {letters, fake.Chain(from(), route(to("x"), to("y"))), "route", `"route" is a route`},
		"after a route":     {letters, fake.Chain(from(), route(to("x"), to("y"))), "y", `"route" is a route`},
		"route of one case": {letters, fake.Chain(from(), route(to("x"))), "x", `"route" is a route`},
		"best effort":       {letters, fake.Fork(from(), to("x"), bestEffort(to("y"))), "y", "best effort"},
		"sink":              {letters, fake.Fork(from(), sinkRoot), "in sink", "belongs to a sink"},
		"bad ID":            {letters, fake.Chain(from(), through("\xff"), to("x")), "\xff", "UTF-8"},
	} {
		node, err := replayFrom(tt.letters, tt.first, tt.task)
		fake.WantError(t, err, nil, tt.want, "cannot replay from task")
		if node != nil {
			t.Errorf("%s: there is a node", name)
		}
	}
	// A path that forks further on, or leads into a sink, is fine.
	for name, tt := range map[string]struct {
		first *funnel.TaskNode
		task  string
	}{
		"fork later":      {fake.Chain(from(), through("p"), fake.Fork(through("q"), to("x"), bestEffort(to("y")))), "p"},
		"last":            {fake.Chain(from(), through("p"), to("x")), "x"},
		"sink later":      {fake.Chain(from(), fake.Fork(through("p"), sinkRoot)), "p"},
		"route later":     {fake.Chain(from(), through("p"), route(to("x"), to("y"))), "p"},
		"right at source": {fake.Chain(from(), to("x")), "x"},
	} {
		node, err := replayFrom(letters, tt.first, tt.task)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if node.Next[0].Task.ID() != tt.task || len(node.Next) != 1 {
			t.Errorf("%s: the replay goes on with %s", name, node.Next[0].Task.ID())
		}
		fake.NewWorker(t, node, nil)
	}
}
