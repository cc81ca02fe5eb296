package funnel_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics/noop"
)

// NewWorker says what is wrong with a pipeline or a queue.
func TestNewWorker_invalid(t *testing.T) {
	j := &fake.Journal{}
	out := func() *funnel.TaskNode { return fake.Out(j) }
	source := func() *funnel.TaskNode { return fake.From(fake.SourceOf(j)) }
	cycle := source()
	cycle.Next = []*funnel.TaskNode{fake.Through("p", fake.Each(fake.Pass))}
	cycle.Next[0].Next = []*funnel.TaskNode{cycle.Next[0]}
	twice := source()
	both := out()
	twice.Next = []*funnel.TaskNode{both, both}
	for _, tt := range []struct {
		name  string
		first *funnel.TaskNode
		dlq   *funnel.DLQ
		words []string
	}{
		{"a nil first node", nil, nil, []string{"first", "nil"}},
		{"a first node without a task", &funnel.TaskNode{}, nil, []string{"no task"}},
		{"a node without a task", fake.Chain(source(), &funnel.TaskNode{}), nil, []string{"no task"}},
		{"a node with a nil task", fake.Chain(source(), fake.Node((*funnel.ProcessorTask)(nil))), nil, []string{"no task"}},
		{"a nil next node", &funnel.TaskNode{Task: source().Task, Next: []*funnel.TaskNode{out(), nil}}, nil, []string{"nil", "1", `"source"`}},
		{"a cycle", cycle, nil, []string{"cycle", `"p"`}},
		{"an ID twice", fake.Chain(source(), fake.Through("x", fake.Each(fake.Pass)), fake.Through("x", fake.Each(fake.Pass)), out()), nil, []string{`"x"`, "more than once"}},
		{"an ID on two branches", &funnel.TaskNode{Task: source().Task, Next: []*funnel.TaskNode{out(), out()}}, nil, []string{`"out"`, "more than once"}},
		{"a node twice", twice, nil, []string{`"out"`, "more than once"}},
		{"a first task without a source", fake.Chain(fake.Through("p", fake.Each(fake.Pass)), out()), nil, []string{`"p"`, "GetSource"}},
		{"a nil source", fake.Chain(fake.From(nil), out()), nil, []string{`"source"`, "nil"}},
		{"a nil source pointer", fake.Chain(fake.From((*fake.Source)(nil)), out()), nil, []string{`"source"`, "nil"}},
		{"a second source", fake.Chain(source(), fake.Node(funnel.NewSourceTask("second", fake.SourceOf(j), log.Nop(), nil))), nil, []string{`"second"`, "first"}},
		{"a nil processor", fake.Chain(source(), fake.Through("p", nil), out()), nil, []string{`"p"`, "nil"}},
		{"a nil destination", fake.Chain(source(), fake.Node(funnel.NewDestinationTask("d", nil, log.Nop(), nil))), nil, []string{`"d"`, "nil"}},
		{"a DLQ that was not made", fake.Chain(source(), out()), &funnel.DLQ{}, []string{"dead-letter queue", "NewDLQ"}},
		{"a DLQ without a destination", fake.Chain(source(), out()), funnel.NewDLQ("q", nil, log.Nop(), nil, 1, 0), []string{`"q"`, "nil"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, err := funnel.NewWorker(tt.first, tt.dlq, log.Nop(), noop.Timer{})
			if w != nil {
				t.Error("there is a worker")
			}
			fake.WantError(t, err, nil, tt.words...)
		})
	}
}

// NewWorker refuses a path that ends at a source or processor, and names the task there.
func TestNewWorker_ends(t *testing.T) {
	j := &fake.Journal{}
	out := func() *funnel.TaskNode { return fake.Out(j) }
	p := func(id string) *funnel.TaskNode { return fake.Through(id, fake.Each(fake.Pass)) }
	branches := func(next ...*funnel.TaskNode) *funnel.TaskNode {
		return fake.Fork(fake.From(fake.SourceOf(j)), next...)
	}
	for _, tt := range []struct {
		name  string
		first *funnel.TaskNode
		end   string // "" if the worker is to be made
	}{
		{"a source alone", fake.From(fake.SourceOf(j)), "source"},
		{"a processor", fake.Chain(fake.From(fake.SourceOf(j)), p("p")), "p"},
		{"two processors", fake.Chain(fake.From(fake.SourceOf(j)), p("p"), p("q")), "q"},
		{"a processor beside a destination", branches(out(), p("p")), "p"},
		{"a processor behind a destination", fake.Chain(fake.From(fake.SourceOf(j)), out(), p("p")), "p"},
		{"a processor further down", branches(out(), fake.Chain(p("p"), fake.Node(p("q").Task, p("r"), fake.Custom("end", nil)))), "r"},
		{"a task of the host's own", fake.Chain(fake.From(fake.SourceOf(j)), fake.Custom("own", nil)), ""},
		{"a first task of the host's own", fake.FromThen(fake.SourceOf(j), nil), ""},
		{"a destination", fake.Chain(fake.From(fake.SourceOf(j)), p("p"), out()), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, err := funnel.NewWorker(tt.first, nil, log.Nop(), nil)
			switch {
			case tt.end == "":
				fake.WantNoError(t, err)
			case w != nil:
				t.Error("there is a worker")
			default:
				fake.WantError(t, err, nil, fmt.Sprintf("%q", tt.end))
			}
		})
	}
}

// NewWorker refuses a nil option.
func TestNewWorker_nilOption(t *testing.T) {
	j := &fake.Journal{}
	_, err := funnel.NewWorker(fake.Chain(fake.From(fake.SourceOf(j)), fake.Out(j)), nil, log.Nop(), nil, nil)
	fake.WantError(t, err, nil, "option 0", "nil")
}

// NewWorker refuses to read fewer than 1 record ahead.
func TestWithReadAhead_invalid(t *testing.T) {
	for _, n := range []int{0, -7} {
		j := &fake.Journal{}
		w, err := funnel.NewWorker(fake.Chain(fake.From(fake.SourceOf(j)), fake.Out(j)), nil, log.Nop(), nil, funnel.WithReadAhead(n))
		fake.WantError(t, err, nil, strconv.Itoa(n), "at least 1")
		if w != nil {
			t.Errorf("%d: there is a worker", n)
		}
	}
}

// The exported fields of a worker hold what NewWorker was given.
func TestNewWorker_fields(t *testing.T) {
	j := &fake.Journal{}
	source, dlq := fake.SourceOf(j), fake.DLQ(j)
	first := fake.Chain(fake.From(source), fake.Out(j))
	w := fake.NewWorker(t, first, dlq)
	if w.Source != funnel.Source(source) || w.FirstTask != first || w.DLQ != dlq {
		t.Errorf("the worker has %v, %v, %v", w.Source, w.FirstTask, w.DLQ)
	}
	if !first.IsFirst() || first.Next[0].IsFirst() {
		t.Error("only the first node is first")
	}
}

// NewWorker asks each task for its ID once. Errors then use that ID.
func TestNewWorker_asksForIDsOnce(t *testing.T) {
	j := &fake.Journal{}
	asked := 0
	task := &countingTask{Task: fake.Task{OnDo: fake.Returning(fake.ErrTest)}, asked: &asked}
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.Node(task), fake.Out(j)), nil)
	err := fake.RunWorker(t, w)
	fake.WantError(t, err, fake.ErrTest, `task "own": `)
	if asked != 1 {
		t.Errorf("the task was asked for its ID %d times", asked)
	}
}

// countingTask panics if it is asked for its ID twice.
type countingTask struct {
	fake.Task
	asked *int
}

func (t *countingTask) ID() string {
	if *t.asked++; *t.asked > 1 {
		panic("the ID was asked for again")
	}
	return "own"
}

// Any number of workers run side by side, in real time.
func TestWorker_many(t *testing.T) {
	var batches, calls []string
	n := 0
	for i := range 100 {
		var batch []string
		for range i % 5 {
			n++
			batch = append(batch, strconv.Itoa(n))
		}
		batches = append(batches, strings.Join(batch, " "))
		if len(batch) > 0 {
			calls = append(calls, "ack "+batches[i])
		}
	}
	want := strings.Join(strings.Fields(strings.Join(batches, " ")), " ")
	var workers sync.WaitGroup
	for i := range 40 {
		ahead := 0
		if i >= 20 {
			ahead = 1 + i*i
		}
		workers.Go(func() {
			j := &fake.Journal{}
			first := fake.Fork(fake.From(fake.SourceOf(j, batches...)), fake.Out(j), fake.To(fake.NewDestination(j, "other")))
			(<-fake.Start(t.Context(), fake.NewWorker(t, first, nil, fake.Ahead(ahead)...))).Want(t, nil)
			j.WantGiven(t, want, "", want)
			if got := j.Given("other"); got != want {
				t.Errorf("other: %s", got)
			}
			if ahead == 0 {
				j.Want(t, "ack", calls...)
			}
		})
	}
	workers.Wait()
}
