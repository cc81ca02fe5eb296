package model

import (
	"context"
	"slices"
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
	tree    *taskTree
	letters map[int]deadLetter     // what the run has sent to the dead-letter queue, by slot
	sizes   map[string]map[int]int // of the run's calls "ack" and "dlq", by first slot
	ends    []int                  // where the run's batches end, nil if each read is one
	reads   int                    // so far
	reason  bool                   // the run has asked the source why it has closed

	out        []int // copies not yet settled, by slot
	front, end int   // the slots read and not yet released
	due        bool  // a late release is to be done
	steps      *[]*expectedCall
	first      map[int][]nackInfo // candidates for the first nack, by slot
	depth      int                // in how many fan-outs the walk is
	attempts   map[string]int     // by task and lineage
	calls      map[string]int     // by node
	window     []bool             // the last outcomes, true is a nack
}

// expect works out what must come out of a tree. Where the contract leaves a choice, the
// run has made it.
func expect(t *taskTree, run *trace) *expectation {
	x := &expectation{open: map[int]bool{}, ends: run.ends}
	s := &simulation{
		tree:    t,
		letters: run.letters(), sizes: run.sizes(), ends: run.ends,
		reason:   t.ahead == 0 || slices.ContainsFunc(run.of("read"), func(c *call) bool { return c.items[0] == "reason" }),
		out:      make([]int, t.records()),
		steps:    &x.steps,
		first:    map[int][]nackInfo{},
		attempts: map[string]int{},
		calls:    map[string]int{},
	}
	x.endings = s.try(func() { x.missing = !s.run() })
	if x.endings == nil {
		x.endings = []ending{{}}
	}
	x.reads = s.reads
	for slot, out := range s.out {
		if out > 0 || slot >= s.end {
			x.open[slot] = true
		}
	}
	x.nacks = s.first
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

// emitCall adds a call of a task or of Read, before which a late release is done.
func (s *simulation) emitCall(step *expectedCall) {
	s.releaseDue()
	s.emit(step)
}

// strikes counts a call of something and reports whether the fault happens at it.
func (s *simulation) strikes(node string, kinds ...faultKind) bool {
	key := node
	if node == "" {
		key = faultNames[kinds[0]]
	}
	s.calls[key]++
	f := s.tree.fault
	return f.node == node && slices.Contains(kinds, f.kind) && f.nth == s.calls[key]
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
			s.out[slot] = 1
			batch = append(batch, recordCopy{slot: slot, form: s.tree.form(slot)})
		}
		switch {
		case len(batch) == 0:
		case s.ends == nil || slices.Contains(s.ends, read.to):
			s.end = read.to
			s.next(s.tree.first, batch)
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
	if s.strikes("", faultRead, faultReadCanceled, faultNoPosition, faultReadPanic) {
		switch s.tree.fault.kind {
		case faultReadPanic:
			s.stop(ending{panics: testPanic})
		case faultRead:
			s.fail(ending{all: []error{errRead}})
		case faultReadCanceled:
			s.fail(ending{all: []error{context.Canceled}})
		case faultNoPosition:
			if read.from < read.to {
				s.fail(ending{fatal: true})
			}
		}
	}
}

// walk gives a batch to a node and passes on what it makes of it. Idle counts
// the rounds without an answer in a row.
func (s *simulation) walk(n *node, in []recordCopy, idle int) {
	out, called, answered := s.do(n, in)
	switch {
	case answered:
		idle = 0
	case called:
		idle++
	}
	if idle >= 16 {
		s.fail(ending{fatal: true, says: []string{n.id}})
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
			s.walk(n, run, idle)
		}
	}
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
		s.walk(n.next[0], batch, 0)
	default:
		s.fan(n.next, batch)
	}
}

// fan gives a batch to several nodes at the same time.
func (s *simulation) fan(heads []*node, batch []recordCopy) {
	for _, c := range batch {
		s.out[c.slot] += len(heads) - 1
	}
	step := &expectedCall{fan: make([][]*expectedCall, len(heads))}
	if slices.ContainsFunc(batch, func(c recordCopy) bool { return !c.filtered }) {
		s.releaseDue()
	}
	s.emit(step)
	steps, first := s.steps, s.first
	joined := map[int][]nackInfo{}
	var endings []ending
	s.depth++
	for i, head := range heads {
		s.steps, s.first = &step.fan[i], map[int][]nackInfo{}
		if e := s.try(func() { s.walk(head, slices.Clone(batch), 0) }); e != nil {
			endings, step.faulty = append(endings, e...), append(step.faulty, i)
		}
		for slot, nacks := range s.first {
			joined[slot] = append(joined[slot], nacks...)
		}
	}
	s.depth--
	s.steps, s.first = steps, first
	for slot, nacks := range joined {
		if len(s.first[slot]) == 0 {
			s.first[slot] = nacks
		}
	}
	if endings != nil {
		s.stop(endings...)
	}
	if !slices.ContainsFunc(step.fan, func(branch []*expectedCall) bool { return len(branch) > 0 }) {
		*s.steps = (*s.steps)[:len(*s.steps)-1] // all was filtered, so there are no calls
	}
	s.release()
}

// settleNacked settles a run of nacked copies.
func (s *simulation) settleNacked(run []recordCopy) {
	for _, c := range run {
		if len(s.first[c.slot]) == 0 {
			s.first[c.slot] = []nackInfo{*c.nack}
		}
		s.out[c.slot]--
	}
	s.release()
}

// settle settles a copy at the end of its branch.
func (s *simulation) settle(c recordCopy) {
	s.out[c.slot]--
}

// nack returns the nack of a slot that counts.
func (s *simulation) nack(slot int) nackInfo {
	for _, nack := range s.first[slot] {
		if actual, ok := s.letters[slot]; ok && nack.matches(actual) {
			return nack
		}
	}
	return s.first[slot][0]
}

// do is a call of the node with the records that are not filtered. It returns
// what became of the batch, and whether there was a call and an answer.
func (s *simulation) do(n *node, in []recordCopy) (out []recordCopy, called, answered bool) {
	step := &expectedCall{who: n.id}
	for _, c := range in {
		if !c.filtered {
			step.slots = append(step.slots, c.slot)
			step.items = append(step.items, c.form.String())
		}
	}
	if len(step.slots) == 0 {
		return in, false, false
	}
	step.parts = min(n.workers, len(step.slots))
	s.emitCall(step)
	s.strike(n)
	mute := s.tree.fault.kind == faultMute && s.tree.fault.node == n.id && s.calls[n.id] >= s.tree.fault.nth

	seen := 0
	nacks := map[int]*nackInfo{}
	for _, c := range in {
		if c.filtered {
			out = append(out, c)
			continue
		}
		seen++
		v := n.behave(s.tree.seed, c.form.id)
		if mute || n.atMost > 0 && seen > n.atMost || s.hushed(n, c.form.id, v) {
			c.retry = true
			out = append(out, c)
			continue
		}
		answered = true
		switch v.kind {
		case verdictPass, verdictPassAsOne:
			if n.kind != kindDestination {
				c.form = n.pass(c.form)
			}
			out = append(out, c)
		case verdictFilter, verdictFilterAsNone:
			c.filtered = true
			out = append(out, c)
		case verdictNack:
			c.form = n.left(c.form)
			c.nack = &nackInfo{task: n.id, err: v.err, form: c.form}
			if c.original != nil {
				c.nack.form = *c.original
			}
			if nacks[c.slot] == nil {
				nacks[c.slot] = c.nack
			}
			out = append(out, c)
		case verdictSplit:
			s.out[c.slot] += v.parts - 1
			left := n.left(c.form)
			for i := range v.parts {
				piece := c
				piece.form = n.piece(left, i)
				if piece.original == nil {
					piece.original = &left
				}
				out = append(out, piece)
			}
		}
	}
	for i := range out {
		c := &out[i]
		if nack := nacks[c.slot]; nack != nil && !c.filtered {
			c.nack, c.retry = nack, false
		}
	}
	return out, true, answered
}

// hushed counts an attempt at a record and reports whether it is not answered.
func (s *simulation) hushed(n *node, id string, v verdict) bool {
	if v.hush == 0 {
		return false
	}
	key := n.id + " " + id
	s.attempts[key]++
	return s.attempts[key] <= v.hush
}

// strike stops if the fault of the tree is one that a call of the node ends with.
func (s *simulation) strike(n *node) {
	if !s.strikes(n.id, faultWrite, faultAck, faultAckWrong, faultAckMany, faultAckStop,
		faultNothing, faultTooMany, faultAlien, faultTask, faultPanic, faultGoexit) {
		return
	}
	switch s.tree.fault.kind {
	case faultWrite, faultAck, faultTask:
		s.fail(ending{all: []error{errTask}})
	case faultAckWrong, faultAckMany, faultAckStop:
		s.fail(ending{})
	case faultNothing, faultTooMany, faultAlien:
		s.fail(ending{says: []string{n.id}})
	case faultPanic:
		s.stop(ending{panics: testPanic})
	case faultGoexit:
		s.stop(ending{exits: true})
	}
}
