package model

import (
	"context"
	"slices"

	"github.com/conduitio/funnel"
)

// How the model walks a tree.

// stopped carries endings up to where the simulation ends.
type stopped struct{ endings []ending }

// recordCopy is a descendant of a source record.
type recordCopy struct {
	slot     int
	form     form
	original *form // from before the first split, nil if there was none
	filtered bool
	retry    bool
	nack     *nackInfo
}

// state is what a copy counts as when a batch is split by status.
func (c recordCopy) state() int {
	switch {
	case c.nack != nil:
		return 1
	case c.retry:
		return 2
	default:
		return 0
	}
}

// simulation works out an expectation.
type simulation struct {
	tree *taskTree
	choices
	*books

	reads     int     // so far
	due       bool    // a late release is to be done
	releasing bool    // what has stopped the simulation is a release
	refused   *ending // because of a nack that is refused, nil if there is none
	steps     *[]*expectedCall
	depth     int             // in how many fan-outs the walk is
	forgiven  int             // how many of them it has entered by a best-effort branch
	skipped   map[string]bool // the first nodes of best-effort branches that have failed
	isSkipped bool            // one of them was not given a batch
	stats     funnel.Stats    // what was counted
	attempts  map[string]int  // by task and lineage
	calls     map[string]int  // by node
}

func newSimulation(t *taskTree, c choices, b *books, steps *[]*expectedCall) *simulation {
	return &simulation{
		tree: t, choices: c, books: b, steps: steps,
		skipped:  map[string]bool{},
		attempts: map[string]int{},
		calls:    map[string]int{},
	}
}

// choices are what a run has done where the contract leaves a choice.
type choices struct {
	letters map[int]deadLetter     // what went to the dead-letter queue, by slot
	sizes   map[string]map[int]int // of the calls "ack" and "dlq", by first slot
	reached int                    // how many slots were acked or, at their end, only sent
	ends    []int                  // where the batches end, nil if each read is one
	reason  bool                   // the source was asked why it has closed
	// hasPanicked is set if Do has panicked.
	hasPanicked bool
}

// choices returns what the run of a tree has chosen.
func (r *trace) choices(t *taskTree) choices {
	asks := func(c *call) bool { return c.items[0] == "reason" }
	return choices{
		letters: r.letters(), sizes: r.sizes(), reached: r.reached(), ends: r.ends,
		hasPanicked: r.outcome.panicked != nil,
		reason:      t.ahead == 0 || slices.ContainsFunc(r.of("read"), asks),
	}
}

// expect works out what must come out of a tree. Where the contract leaves a choice, the
// run has made it.
func expect(t *taskTree, run *trace) *expectation {
	x := &expectation{ends: run.ends}
	s := newSimulation(t, run.choices(t), newBooks(t), &x.steps)
	x.causes = s.try(func() { x.missing = !s.run() })
	x.endings, x.reads = x.causes, s.reads
	if x.failed = x.causes != nil && !s.releasing; x.failed {
		s.steps = &x.rest
		x.endings = s.releaseRest(x.causes)
	}
	if x.endings == nil {
		x.endings = []ending{{}}
	}
	x.nacks, x.isSkipped, x.stats = s.first, s.isSkipped, s.stats
	x.stats.SkippedBranches = len(s.skipped)
	return x
}

// try returns the endings with which f stops, nil if it does not.
func (s *simulation) try(f func()) (endings []ending) {
	defer func() {
		switch stop := recover().(type) {
		case nil:
		case stopped:
			endings = stop.endings
		default:
			panic(stop)
		}
	}()
	f()
	return nil
}

func (s *simulation) stop(e ...ending) { panic(stopped{e}) }

func (s *simulation) fail(e ending) {
	e.fails = true
	s.stop(e)
}

// emit adds a call.
func (s *simulation) emit(step *expectedCall) { *s.steps = append(*s.steps, step) }

// enter makes an entry in the books, which comes after the last call.
func (s *simulation) enter(e event) {
	s.books.enter(e)
	s.note(e)
}

// note adds events to the last call.
func (s *simulation) note(e ...event) {
	if len(*s.steps) == 0 {
		s.emit(&expectedCall{})
	}
	last := (*s.steps)[len(*s.steps)-1]
	last.then = append(last.then, e...)
}

// emitCall adds a call of a task or of Read, before which a late release is done.
func (s *simulation) emitCall(step *expectedCall) {
	s.releaseDue()
	s.emit(step)
}

// run walks all batches. It returns false if those of the run end before the
// source does.
func (s *simulation) run() bool {
	if s.tree.fault.kind == faultStopFirst {
		return true
	}
	var batch []recordCopy
	for _, read := range s.tree.reads {
		s.read(read)
		for slot := read.from; slot < read.to; slot++ {
			s.enter(event{slot: slot, copies: 1})
			batch = append(batch, recordCopy{slot: slot, form: s.tree.form(slot)})
		}
		switch {
		case len(batch) == 0:
		case s.ends == nil || slices.Contains(s.ends, read.to):
			s.next(s.tree.first, batch)
			s.stats.Batches++
			if s.tree.whole {
				s.releaseWhole()
			}
			batch = nil
		case len(s.ends) == 0 || read.to > s.ends[len(s.ends)-1]:
			s.releaseDue()
			return false
		}
		if read.eof {
			break
		}
	}
	s.releaseDue()
	return true
}

// read is a call of Read that returns.
func (s *simulation) read(read sourceRead) {
	if s.tree.ahead == 0 {
		s.emitCall(&expectedCall{who: "read", items: s.tree.readItems(read)})
	}
	s.reads++
	switch s.strikes("", faultRead, faultReadCanceled, faultNoPosition, faultReadPanic) {
	case faultReadPanic:
		s.stop(ending{panics: testPanic})
	case faultRead:
		s.fail(ending{all: []error{errRead}})
	case faultReadCanceled:
		s.fail(ending{all: []error{context.Canceled}})
	case faultNoPosition:
		if read.from < read.to {
			s.fail(ending{fatal: true, all: []error{funnel.ErrEmptyPosition}})
		}
	}
}

// walk gives a batch to a node and passes on what it makes of it. Idle counts
// the rounds without an answer in a row.
func (s *simulation) walk(n *node, in []recordCopy, idle int, again bool) {
	out, called, answered := s.do(n, in, idle, again)
	switch {
	case answered:
		idle = 0
	case called:
		idle++
	}
	if limit := s.tree.limit(); limit > 0 && idle >= limit {
		s.fail(ending{fatal: true, all: []error{funnel.ErrNoProgress}, says: []string{n.id}})
	}
	if s.tree.whole {
		out = s.stepOut(out)
	}
	for len(out) > 0 {
		size := 1
		for size < len(out) && out[size].state() == out[0].state() {
			size++
		}
		run := out[:size:size]
		out = out[size:]
		switch run[0].state() {
		case 0:
			s.next(n, run)
		case 1:
			s.settleNacked(run)
		case 2:
			for i := range run {
				run[i].retry = false
			}
			s.walk(n, run, idle, true)
		}
	}
}

// stepOut settles the nacked copies of a batch that stays whole, and returns the others.
func (s *simulation) stepOut(batch []recordCopy) (others []recordCopy) {
	for _, c := range batch {
		if c.nack != nil {
			s.settle(c)
		} else {
			others = append(others, c)
		}
	}
	return others
}

// next gives a batch to the nodes behind a node.
func (s *simulation) next(n *node, batch []recordCopy) {
	switch len(n.next) {
	case 0:
		for _, c := range batch {
			s.settle(c)
		}
		s.release()
	case 1:
		s.walk(n.next[0], batch, 0, false)
	default:
		if n.kind == kindRoute && slices.ContainsFunc(batch, func(c recordCopy) bool { return !c.filtered }) {
			s.route(n, batch)
		} else {
			s.fan(n.next, batch)
		}
	}
}

// fan gives a batch to several nodes at the same time.
func (s *simulation) fan(heads []*node, batch []recordCopy) {
	all := len(heads)
	heads = slices.DeleteFunc(slices.Clone(heads), func(head *node) bool { return s.skipped[head.id] })
	s.isSkipped = s.isSkipped || len(heads) < all
	if len(heads) > 1 {
		for slot, copies := range copiesOf(batch) {
			s.enter(event{slot: slot, copies: copies * (len(heads) - 1)})
		}
	}
	if slices.ContainsFunc(batch, func(c recordCopy) bool { return !c.filtered }) {
		s.releaseDue()
	}
	s.join(heads, slices.Repeat([][]recordCopy{batch}, len(heads)))
}

// join gives batches to nodes at the same time, and waits for them.
func (s *simulation) join(heads []*node, batches [][]recordCopy) {
	step := &expectedCall{fan: make([][]*expectedCall, len(heads))}
	for _, batch := range batches {
		step.given = append(step.given, copiesOf(batch))
	}
	s.emit(step)
	steps := s.steps
	endings := make([][]ending, len(heads))
	s.depth++
	changes := s.branches(len(heads), func(i int) {
		s.steps = &step.fan[i]
		endings[i] = s.branch(heads[i], slices.Clone(batches[i]))
	})
	s.depth--
	s.steps = steps
	var causes []ending
	for i, head := range heads {
		step.forgiven = append(step.forgiven, head.bestEffort)
		switch {
		case endings[i] == nil:
		case head.bestEffort && !s.panics(endings[i]):
			step.spoiled = append(step.spoiled, i)
			s.skipped[head.id] = true
			s.books.enter(forgive(step.given[i], changes[i])...)
		default:
			step.faulty = append(step.faulty, i)
			causes = append(causes, endings[i]...)
		}
	}
	if causes != nil {
		s.stop(causes...)
	}
	if !step.calls() { // all was filtered
		*s.steps = (*s.steps)[:len(*s.steps)-1]
		for _, branch := range step.fan {
			for _, silent := range branch {
				s.note(silent.then...)
			}
		}
	}
	s.release()
}

// panics reports whether a branch panics that ends in one of some ways.
func (s *simulation) panics(endings []ending) bool {
	isPanic := func(e ending) bool { return e.panics != nil }
	if s.hasPanicked {
		return slices.ContainsFunc(endings, isPanic)
	}
	return !slices.ContainsFunc(endings, func(e ending) bool { return !isPanic(e) })
}

// branch gives a batch to a branch and returns the endings with which it stops, nil if
// it does not.
func (s *simulation) branch(head *node, batch []recordCopy) []ending {
	if head.bestEffort {
		s.forgiven++
		defer func() { s.forgiven-- }()
	}
	return s.try(func() { s.walk(head, batch, 0, false) })
}

// settleNacked settles a run of nacked copies.
func (s *simulation) settleNacked(run []recordCopy) {
	for _, c := range run {
		s.settle(c)
	}
	s.release()
}

// settle settles a copy that was nacked or is at the end of its branch.
func (s *simulation) settle(c recordCopy) {
	s.enter(event{slot: c.slot, copies: -1, nack: c.nack, isForgiven: s.forgiven > 0})
}
