package funnel_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// named returns a node whose task has the ID.
func named(id string, next ...*funnel.TaskNode) *funnel.TaskNode {
	return fake.Node(&fake.Task{Name: id}, next...)
}

// shapeOf returns the nodes and their next nodes, by the IDs of their tasks.
func shapeOf(nodes ...*funnel.TaskNode) string {
	var shape []string
	id := func(n *funnel.TaskNode) string {
		switch {
		case n == nil:
			return "nil"
		case n.Task == nil:
			return "?"
		default:
			return n.Task.ID()
		}
	}
	for _, n := range nodes {
		for n := range n.TaskNodes() {
			var next []string
			for _, to := range n.Next {
				next = append(next, id(to))
			}
			shape = append(shape, id(n)+"->"+strings.Join(next, ","))
		}
	}
	return strings.Join(shape, " ")
}

// wantShape fails the test if the shape of the nodes is not want.
func wantShape(t *testing.T, want string, nodes ...*funnel.TaskNode) {
	t.Helper()
	if got := shapeOf(nodes...); got != want {
		t.Errorf("the nodes are %q, want %q", got, want)
	}
}

// AppendToEnd appends after the last node of a list, whichever node it is called on.
func TestTaskNode_AppendToEnd(t *testing.T) {
	a := named("a")
	fake.WantNoError(t, a.AppendToEnd())
	wantShape(t, "a->", a)
	fake.WantNoError(t, a.AppendToEnd(named("b")))
	wantShape(t, "a->b b->", a)
	fake.WantNoError(t, a.AppendToEnd(named("c", named("d"))))
	wantShape(t, "a->b b->c c->d d->", a)
	fake.WantNoError(t, a.Next[0].AppendToEnd(named("e"))) // from the middle
	wantShape(t, "a->b b->c c->d d->e e->", a)
	fake.WantNoError(t, a.AppendToEnd(named("f"), named("g", named("h"))))
	wantShape(t, "a->b b->c c->d d->e e->f,g f-> g->h h->", a)
}

// AppendToEnd does not keep the caller's slice.
func TestTaskNode_AppendToEnd_slice(t *testing.T) {
	a, next := named("a"), []*funnel.TaskNode{named("b"), named("c")}
	fake.WantNoError(t, a.AppendToEnd(next...))
	next[0] = nil
	wantShape(t, "a->b,c b-> c->", a)
}

// AppendToEnd refuses nodes with which the list would not be a tree, and then changes
// nothing.
func TestTaskNode_AppendToEnd_errors(t *testing.T) {
	cycle := named("a", named("b", named("c")))
	cycle.Next[0].Next[0].Next = []*funnel.TaskNode{cycle.Next[0]}
	self := named("a")
	self.Next = []*funnel.TaskNode{self}
	list := named("a", named("b", named("c")))
	branched := named("a", named("b", named("c"), named("d")))
	twice := named("x")
	shared := named("z")
	for _, c := range []struct {
		name  string
		first *funnel.TaskNode
		next  []*funnel.TaskNode
		words []string
	}{
		{"nil", nil, []*funnel.TaskNode{named("x")}, []string{"nil"}},
		{"fan-out", branched, []*funnel.TaskNode{named("x")}, []string{`"b"`, "2 next tasks"}},
		{"fan-out, nothing to append", branched, nil, []string{`"b"`, "2 next tasks"}},
		{"a nil node in the list", named("a", nil), []*funnel.TaskNode{named("x")}, []string{"nil task node"}},
		{"a cycle in the list", cycle, []*funnel.TaskNode{named("x")}, []string{"cycle"}},
		{"a node that is its own next", self, []*funnel.TaskNode{named("x")}, []string{"cycle"}},
		{"nil next", named("a"), []*funnel.TaskNode{nil}, []string{"next task node 0", "nil"}},
		{"nil next after others", list, []*funnel.TaskNode{named("x"), nil}, []string{"next task node 1", "nil"}},
		{"itself", list, []*funnel.TaskNode{list}, []string{"next task node 0", `"a"`, "already"}},
		{"the end", list, []*funnel.TaskNode{named("x"), list.Next[0].Next[0]}, []string{"next task node 1", `"c"`, "already"}},
		{"one that leads to the list", list, []*funnel.TaskNode{named("x", list.Next[0])}, []string{"next task node 0", `"b"`, "already"}},
		{"the same one twice", list, []*funnel.TaskNode{twice, twice}, []string{"next task node 1", `"x"`, "already"}},
		{
			"two that lead to the same one", list,
			[]*funnel.TaskNode{named("x", shared), named("y", shared)}, []string{"next task node 1", `"z"`, "already"},
		},
		{"a node without a task", fake.Node(nil), []*funnel.TaskNode{fake.Node(nil), nil}, []string{"next task node 1", "nil"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := append([]*funnel.TaskNode{c.first}, c.next...)
			before := shapeOf(all...)
			fake.WantError(t, c.first.AppendToEnd(c.next...), nil, c.words...)
			wantShape(t, before, all...)
		})
	}
	noTask := fake.Node(nil)
	fake.WantError(t, noTask.AppendToEnd(noTask), nil, `""`, "already")
}

// HasNext is true for a node with next nodes.
func TestTaskNode_HasNext(t *testing.T) {
	a := named("a", named("b"))
	if !a.HasNext() || a.Next[0].HasNext() || (&funnel.TaskNode{Next: []*funnel.TaskNode{}}).HasNext() {
		t.Error("HasNext is wrong")
	}
}

// IsFirst is true for a node whose task has a source.
func TestTaskNode_IsFirst(t *testing.T) {
	first := fake.From(fake.NewSource(&fake.Journal{}))
	fake.WantNoError(t, first.AppendToEnd(fake.Through("p", fake.Each(fake.Pass)), fake.Out(&fake.Journal{})))
	for n := range first.TaskNodes() {
		if n.IsFirst() != (n == first) {
			t.Errorf("IsFirst of %s is %t", n.Task.ID(), n.IsFirst())
		}
	}
	custom := fake.Node(sourceLikeTask{&fake.Task{Name: "custom"}})
	if !custom.IsFirst() {
		t.Error("a custom task with a source is not first")
	}
	if named("a").IsFirst() || new(funnel.TaskNode).IsFirst() {
		t.Error("a node without a source is first")
	}
	if !fake.Node(funnel.NewSourceTask("s", nil, log.Nop(), nil)).IsFirst() {
		t.Error("a source task without its source is still the first one")
	}
}

// sourceLikeTask is a custom task that has a source.
type sourceLikeTask struct{ *fake.Task }

func (sourceLikeTask) GetSource() funnel.Source { return nil }

// TaskNodes and Tasks meet each node once, depth first, and can be left early.
func TestTaskNode_iteration(t *testing.T) {
	tree := named("a",
		named("b", named("c"), named("d", named("e"))),
		named("f"),
		named("g", named("h")))
	shared := named("x", named("y"))
	diamond := named("a", named("b", shared), shared, named("c", shared))
	cycle := named("a", named("b"), named("c"))
	cycle.Next[0].Next = []*funnel.TaskNode{cycle, cycle.Next[0], cycle.Next[1]}
	gaps := named("a", nil, named("b", nil, nil), nil)
	for _, c := range []struct {
		name  string
		first *funnel.TaskNode
		want  string
	}{
		{"nil", nil, ""},
		{"one", named("a"), "a"},
		{"tree", tree, "a b c d e f g h"},
		{"from the middle", tree.Next[0], "b c d e"},
		{"shared nodes are met once, on the first way", diamond, "a b x y c"},
		{"cycle", cycle, "a b c"},
		{"nil nodes are not met", gaps, "a b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := strings.Fields(c.want)
			nodes := slices.Collect(c.first.TaskNodes())
			var got []string
			for _, n := range nodes {
				got = append(got, n.Task.ID())
			}
			if !slices.Equal(got, want) {
				t.Errorf("TaskNodes are %v, want %v", got, want)
			}
			tasks := slices.Collect(c.first.Tasks())
			for i, task := range tasks {
				if i >= len(nodes) || task != nodes[i].Task {
					t.Errorf("task %d is %v", i, task.ID())
				}
			}
			if len(tasks) != len(nodes) {
				t.Errorf("there are %d tasks in %d nodes", len(tasks), len(nodes))
			}
			for stop := range want { // break early: an iterator that went on would panic
				met := 0
				for n := range c.first.TaskNodes() {
					if met++; n.Task.ID() == want[stop] {
						break
					}
				}
				for task := range c.first.Tasks() {
					if met++; task.ID() == want[stop] {
						break
					}
				}
				if met != 2*(stop+1) {
					t.Errorf("%d nodes and tasks were met before %q, want %d", met, want[stop], 2*(stop+1))
				}
			}
		})
	}
}

// A node without a task is met like any other. Its task is nil.
func TestTaskNode_withoutTask(t *testing.T) {
	n := fake.Node(nil, named("b"))
	if got := len(slices.Collect(n.TaskNodes())); got != 2 {
		t.Errorf("%d nodes, want 2", got)
	}
	if got := slices.Collect(n.Tasks()); len(got) != 2 || got[0] != nil {
		t.Errorf("the tasks are %v", got)
	}
}

// A long list needs no deep stack.
func TestTaskNode_longList(t *testing.T) {
	const n = 100_000
	first := named("0")
	last := first
	for range n - 1 {
		last.Next = []*funnel.TaskNode{named("x")}
		last = last.Next[0]
	}
	fake.WantNoError(t, first.AppendToEnd(named("end")))
	count := 0
	for range first.TaskNodes() {
		count++
	}
	if count != n+1 || last.Next[0].Task.ID() != "end" {
		t.Errorf("%d nodes, want %d", count, n+1)
	}
}
