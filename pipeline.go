package funnel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector"
)

// Pipeline describes a pipeline, or a part of one such as a branch, in the order in which
// records pass through it:
//
//	funnel.From("orders", orders).
//		Through("valid", funnel.Filter(isValid)).
//		Fork(
//			funnel.To("table", table),
//			funnel.Through("items", funnel.Split(items)).To("index", index),
//		).
//		DeadLetters("refused", refused, 100, 10).
//		Run(ctx)
//
// [From], [Through], [To], [Step] and [Route] begin a description. The methods add to it
// and return it. If anything is wrong with it, [Pipeline.Worker] and [Pipeline.Run] return
// an error. A Pipeline makes nodes and tasks that a host can also make by hand, see
// [TaskNode] and [NewWorker].
//
// A method changes the description itself, so to use a part in several ways, write a
// function that returns it. What is added to another description is copied, but the
// sources, processors and destinations in it are the same. None of them may be in two
// places, or in two workers at the same time, unless it allows that, as a processor made by
// [Filter] or [Map] of a pure function does. A Pipeline is not safe for concurrent use.
type Pipeline struct {
	first  *stop
	last   *stop         // the stop that the next step follows; nil after a fork, a route or a sink
	err    error         // the first mistake
	source func() Source // nil if the description has none

	whole settings
}

// stop describes a node.
type stop struct {
	task       func(s *settings, next []*TaskNode) Task
	next       []*stop
	sink       *Sink
	bestEffort bool
	id         string
	mustGoOn   bool // no path may end here
}

// From begins a pipeline with a source.
func From(id string, s Source) *Pipeline {
	p := &Pipeline{source: func() Source { return s }}
	return p.step(&stop{id: id, mustGoOn: true, task: func(set *settings, _ []*TaskNode) Task {
		return NewSourceTask(id, s, set.log(), set.connector(id, connector.TypeSource))
	}})
}

// Through begins a part of a pipeline with a processor.
func Through(id string, processor Processor) *Pipeline {
	return new(Pipeline).Through(id, processor)
}

// To begins a part of a pipeline with a destination.
func To(id string, d Destination) *Pipeline { return new(Pipeline).To(id, d) }

// Step begins a pipeline, or a part of one, with any task.
func Step(task Task) *Pipeline { return new(Pipeline).Step(task) }

// Route begins a part of a pipeline with a route, see [Pipeline.Route].
func Route(id string, route func(opencdc.Record) string, branches ...Branch) *Pipeline {
	return new(Pipeline).Route(id, route, branches...)
}

// Through adds a processor.
func (p *Pipeline) Through(id string, processor Processor) *Pipeline {
	return p.step(&stop{id: id, mustGoOn: true, task: func(set *settings, _ []*TaskNode) Task {
		var m ProcessorMetrics
		if set.metrics != nil {
			m = set.metrics.Processor(set.name, id)
		}
		return NewProcessorTask(id, processor, set.log(), m)
	}})
}

// To adds a destination. The next step gets the records that the destination has acked, so
// two destinations in a row write one after the other. In a [Pipeline.Fork] they write at
// the same time.
func (p *Pipeline) To(id string, d Destination) *Pipeline {
	return p.step(&stop{task: func(set *settings, _ []*TaskNode) Task {
		return NewDestinationTask(id, set.wrap(id, d), set.log(), set.connector(id, connector.TypeDestination))
	}})
}

// Step adds any task, such as a [NewRateLimitTask].
func (p *Pipeline) Step(task Task) *Pipeline {
	if first, ok := task.(sourced); ok && p.first == nil && !isNil(task) {
		p.source = first.GetSource
	}
	return p.step(&stop{task: func(*settings, []*TaskNode) Task { return task }})
}

// Then adds a part. If the part has settings for the whole pipeline, the pipeline takes
// them over; it must have none of its own.
func (p *Pipeline) Then(part *Pipeline) *Pipeline {
	if part != nil && part.whole.isSet && !p.whole.isSet {
		rest := *part
		p.whole, rest.whole = part.whole.clone(), settings{}
		part = &rest
	}
	if part != nil && p.first == nil {
		p.source = part.source
	}
	if added := p.branch(part, "the part that Then adds"); added != nil {
		p.step(added.first)
		p.last = added.last
	}
	return p
}

// Fork sends each record down all branches, at the same time. It ends the description.
func (p *Pipeline) Fork(branches ...*Pipeline) *Pipeline {
	at := p.fork("a fork")
	for i, b := range branches {
		if added := p.branch(b, fmt.Sprintf("branch %d of the fork", i)); added != nil && at != nil {
			at.next = append(at.next, added.first)
		}
	}
	if len(branches) == 0 {
		p.fail(errors.New("a fork has no branches"))
	}
	return p
}

// Branch is a branch of [Pipeline.Route].
type Branch struct {
	name        string
	isOtherwise bool
	part        *Pipeline
}

// When is the branch of the records for which the route function returns name.
func When(name string, part *Pipeline) Branch { return Branch{name: name, part: part} }

// Otherwise is the branch of the records that have no other branch.
func Otherwise(part *Pipeline) Branch { return Branch{isOtherwise: true, part: part} }

// Route sends each record down one branch, see [NewRouteTask]. It ends the description.
func (p *Pipeline) Route(id string, route func(opencdc.Record) string, branches ...Branch) *Pipeline {
	branches = slices.Clone(branches)
	at := &stop{id: id, task: func(_ *settings, next []*TaskNode) Task {
		cases := make([]Case, len(next))
		for i, node := range next {
			cases[i] = Case{Name: branches[i].name, Node: node, isDefault: branches[i].isOtherwise}
		}
		return NewRouteTask(id, route, cases...)
	}}
	p.step(at)
	for _, b := range branches {
		name := quote(b.name)
		if b.isOtherwise {
			name = "Otherwise"
		}
		if added := p.branch(b.part, fmt.Sprintf("branch %s of the route %s", name, quote(id))); added != nil {
			at.next = append(at.next, added.first)
		}
	}
	p.last = nil
	return p
}

// Into ends the description in a [Sink], which other workers share.
func (p *Pipeline) Into(sink *Sink) *Pipeline {
	switch at := p.fork("a sink"); {
	case at == nil:
	case sink == nil:
		p.fail(errors.New("a sink is nil"))
	default:
		at.sink = sink
	}
	return p
}

// BestEffort makes this part best effort when it is added as a branch, see
// [TaskNode.BestEffort].
func (p *Pipeline) BestEffort() *Pipeline {
	if p.first == nil {
		return p.fail(errors.New("nothing is best effort"))
	}
	p.first.bestEffort = true
	return p
}

// Complete completes the paths that end at a source or processor, which is not allowed. For
// each of them it calls part with the ID of the last task, and adds the result to the path.
// If the result is nil, nothing is added.
func (p *Pipeline) Complete(part func(last string) *Pipeline) *Pipeline {
	switch {
	case part == nil:
		return p.fail(errors.New("the function that completes paths is nil"))
	case p.first == nil:
		return p
	}
	p.first.complete(func(s *stop) {
		if added := part(s.id); added != nil {
			if added = p.branch(added, "the part that Complete adds"); added != nil {
				s.next = append(s.next, added.first)
			}
		}
	})
	p.last = nil
	return p
}

func (s *stop) complete(add func(*stop)) {
	for _, next := range s.next {
		next.complete(add)
	}
	if s.mustGoOn && len(s.next) == 0 && s.sink == nil {
		add(s)
	}
}

// HasSource returns true if the description begins with a source.
func (p *Pipeline) HasSource() bool { return p.source != nil }

// HasDeadLetters returns the ID of the dead-letter queue, and whether there is one.
func (p *Pipeline) HasDeadLetters() (id string, ok bool) {
	return p.whole.queueID, p.whole.queue != nil
}

// Worker returns a worker for the pipeline. It returns the first mistake in the
// description, or the error of [NewWorker]. Each call makes new tasks with the same
// sources, processors and destinations.
func (p *Pipeline) Worker() (*Worker, error) {
	switch {
	case p.first == nil && p.err == nil:
		return nil, errors.New("invalid pipeline: it is empty")
	case p.err != nil:
		err := fmt.Errorf("invalid pipeline: %w", p.err)
		if p.source != nil {
			neverRuns(p.source(), err)
		}
		return nil, err
	}
	var dlq *DLQ
	if p.whole.queue != nil {
		dlq = p.whole.queue(&p.whole)
	}
	return NewWorker(p.first.node(&p.whole), dlq, p.whole.log(), p.whole.timer, p.whole.options...)
}

// Run makes a worker and runs it, see [Worker.Run].
func (p *Pipeline) Run(ctx context.Context) error {
	w, err := p.Worker()
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

// node makes the node and those after it.
func (s *stop) node(set *settings) *TaskNode {
	n := &TaskNode{BestEffort: s.bestEffort}
	for _, next := range s.next {
		n.Next = append(n.Next, next.node(set))
	}
	n.Task = s.task(set, n.Next)
	if s.sink != nil {
		n.Next = s.sink.roots
	}
	return n
}

// clone copies the stop and those after it. It also returns the copy of last.
func (s *stop) clone(last *stop) (_, copyOfLast *stop) {
	c := *s
	if s == last {
		copyOfLast = &c
	}
	c.next = nil
	for _, next := range s.next {
		n, l := next.clone(last)
		c.next = append(c.next, n)
		if l != nil {
			copyOfLast = l
		}
	}
	return &c, copyOfLast
}

// fail records a mistake.
func (p *Pipeline) fail(err error) *Pipeline {
	if p.err == nil {
		p.err = err
	}
	return p
}

// step adds a stop to the end.
func (p *Pipeline) step(s *stop) *Pipeline {
	switch {
	case p.first == nil:
		p.first = s
	case p.last == nil:
		return p.fail(errors.New("something follows a fork, a route or a sink: add it to each of the branches"))
	default:
		p.last.next = append(p.last.next, s)
	}
	p.last = s
	return p
}

// fork ends the description, and returns the stop that the branches follow.
func (p *Pipeline) fork(what string) *stop {
	at := p.last
	if at == nil {
		p.fail(fmt.Errorf("%s follows nothing or another fork, route or sink: it must follow a single task", what))
	}
	p.last = nil
	return at
}

// branch returns a copy of a part that is to be added, or nil if it is invalid.
func (p *Pipeline) branch(part *Pipeline, name string) *Pipeline {
	switch {
	case part == nil || part.first == nil && part.err == nil:
		p.fail(fmt.Errorf("%s is empty", name))
	case part.err != nil:
		p.fail(part.err)
	case part.whole.isSet:
		p.fail(fmt.Errorf("%s has a dead-letter queue or other settings, which belong to the whole pipeline", name))
	default:
		added := &Pipeline{}
		added.first, added.last = part.first.clone(part.last)
		return added
	}
	return nil
}
