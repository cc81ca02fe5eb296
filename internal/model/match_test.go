package model

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// The calls of a run, matched one by one with the steps of the model.

// matching goes through the steps of the model with the calls of a run.
type matching struct {
	tree    *taskTree
	run     *trace
	x       *expectation
	choices choices
	books   *books             // of what has happened
	queue   map[string][]*call // calls not yet matched, by who
	last    map[string]*call   // matched last, by who
	short   bool               // Stop has ended the steps at a read
	diff    string
}

// cutRule says where a sequence of steps may end early.
type cutRule int

const (
	cutNowhere cutRule = iota
	cutAnywhere
	cutAtReads // before or after a read
)

// match returns the first difference.
func (m *matching) match() string {
	m.choices, m.books = m.run.choices(m.tree), newBooks(m.tree)
	m.queue, m.last = map[string][]*call{}, map[string]*call{}
	for _, c := range m.run.calls {
		m.queue[c.who] = append(m.queue[c.who], c)
	}
	if m.tree.ahead > 0 {
		delete(m.queue, "read") // see checkAhead
	}
	cut := cutNowhere
	switch {
	case m.tree.fault.cancels():
		cut = cutAnywhere
	case m.tree.fault.stops():
		cut = cutAtReads
	}
	after, whole := m.sequence(m.x.steps, cut, 0, m.x.failed)
	if seen := len(m.run.of("read")); m.tree.ahead > 0 && !m.run.struck && seen < m.x.reads {
		m.differ("the source was read %d times, not %d times", seen, m.x.reads)
	}
	if m.x.missing && whole {
		whole, m.short = false, m.tree.fault.stops()
		if !m.run.struck {
			m.differ("the batches end before the source does")
		}
	}
	endings := m.x.endings
	if m.diff == "" && (m.x.failed || !whole) {
		endings = m.rest(after)
	}
	if m.diff == "" {
		m.leftover()
	}
	if whole && !m.x.endings[0].bad() && !m.run.struck {
		m.stats()
	}
	if m.diff != "" {
		return m.diff
	}
	for _, want := range m.withReads(endings) {
		m.diff = ""
		if m.ending(want, whole); m.diff == "" {
			return ""
		}
	}
	return m.diff
}

func (m *matching) differ(format string, args ...any) {
	if m.diff == "" {
		m.diff = fmt.Sprintf(format, args...)
	}
}

// sequence matches steps that follow each other, all of them after a time. It
// returns the time of the last call, and whether all steps were made. If the steps fail,
// the last of them ends with an error.
func (m *matching) sequence(steps []*expectedCall, cut cutRule, after int, fails bool) (last int, whole bool) {
	last = after
	before := len(m.books.doubts)
	var doubts []event // about the last call
	defer func() { m.books.doubts = append(m.books.doubts, doubts...) }()
	for i, step := range steps {
		switch {
		case m.diff != "":
			return last, false
		case step.isSilent():
			m.books.enter(step.then...)
			continue
		case m.isCut(steps, i, cut):
			return last, false
		}
		m.books.enter(doubts...)
		m.books.goOn(before)
		doubts = nil
		if step.fan != nil {
			var all bool
			last, all = m.fan(step, cut, last)
			if !all {
				return last, false
			}
			m.books.enter(step.then...)
			continue
		}
		if !m.begun(step) {
			m.differ("%s was not given %s", step.who, strings.Join(step.items, " "))
			return last, false
		}
		previous := m.last[step.who]
		c := m.take(step)
		m.last[step.who] = c
		if step.again {
			m.pause(step, previous, c, steps[i-1].who == step.who)
		}
		if n := len(c.items); cut == cutAnywhere && m.isPart(c, step) {
			m.call(&expectedCall{who: "ack", items: step.items[:n]}, c, last)
			m.books.front += n
			return c.end, false
		}
		m.call(step, c, last)
		last = max(last, c.end)
		switch {
		case !c.broken:
		case cut == cutAnywhere:
			return last, false
		case !fails || i < len(steps)-1:
			m.differ("%s was not asked for all acks of %s", step.who, strings.Join(c.items, " "))
		}
		if step.who == "ack" {
			m.books.front += len(step.items)
		}
		if cut == cutAnywhere && slices.ContainsFunc(step.then, func(e event) bool { return e.nack != nil }) {
			doubts = step.then // a nack need not count on a branch that is told to stop
		} else {
			m.books.enter(step.then...)
		}
	}
	return last, true
}

// isCut reports whether the steps end before the i-th of them.
func (m *matching) isCut(steps []*expectedCall, i int, cut cutRule) bool {
	step := steps[i]
	isAtRead := step.who == "read" || i > 0 && steps[i-1].who == "read"
	switch {
	case cut == cutNowhere:
		return false
	case cut == cutAtReads && (m.begun(step) || !isAtRead || !m.run.struck):
		return false
	case cut == cutAnywhere && m.begun(step) && !m.isOther(steps[i:]):
		return false
	}
	m.short = isAtRead && m.tree.fault.stops()
	return true
}

// isOther reports whether the run has released something else than the next step does,
// together with the ack that follows it if it is a call to the dead-letter queue.
func (m *matching) isOther(steps []*expectedCall) bool {
	step := steps[0]
	if step.who != "ack" && step.who != "dlq" {
		return false
	}
	c := m.queue[step.who][0]
	if !slices.Equal(c.items, step.items) {
		return !m.isPart(c, step)
	}
	return step.who == "dlq" && len(steps) > 1 && m.begun(steps[1]) && m.isOther(steps[1:])
}

// isPart reports whether a call is a part of an ack, because the dead-letter queue did not
// get to confirm the next record.
func (m *matching) isPart(c *call, step *expectedCall) bool {
	n := len(c.items)
	return step.who == "ack" && n < len(step.items) && m.books.isNacked(step.slots[n])
}

// pause compares the time since the call before, of the same node, with the pause that
// has to be there. Other calls may be between, unless they follow each other.
func (m *matching) pause(step *expectedCall, before, c *call, isNext bool) {
	got, want := c.at-before.till, m.tree.pause(step.idle)
	if got < want || isNext && got > want {
		m.differ("%s was given %s after a pause of %s, not %s", step.who, strings.Join(c.items, " "), got, want)
	}
}

// begun reports whether there is a call left that a step may begin with.
func (m *matching) begun(step *expectedCall) bool {
	for _, branch := range step.fan {
		i := slices.IndexFunc(branch, func(step *expectedCall) bool { return !step.isSilent() })
		if i >= 0 && m.begun(branch[i]) {
			return true
		}
	}
	return len(m.queue[step.who]) > 0
}

// take takes the call off the queue that a step begins with. The calls for the
// parts of a batch become one.
func (m *matching) take(step *expectedCall) *call {
	queue := m.queue[step.who]
	n := min(max(step.parts, 1), len(queue))
	parts := slices.Clone(queue[:n])
	m.queue[step.who] = queue[n:]
	if step.parts == 0 {
		return parts[0]
	}
	least, most := len(step.items), 0
	for _, c := range parts {
		if c.parts != step.parts {
			m.differ("%s was given %d parts at the same time, not %d, with %s",
				step.who, c.parts, step.parts, strings.Join(c.items, " "))
		}
		least, most = min(least, len(c.items)), max(most, len(c.items))
	}
	if most-least > 1 {
		m.differ("%s was given parts of %d to %d records of %s", step.who, least, most, strings.Join(step.items, " "))
	}
	return joinParts(parts)
}

// call compares a call with a step.
func (m *matching) call(step *expectedCall, c *call, after int) {
	if !slices.Equal(c.items, step.items) {
		m.differ("%s was given\n  %s\nnot\n  %s", step.who, strings.Join(c.items, " "), strings.Join(step.items, " "))
		return
	}
	if c.begin < after {
		m.differ("%s was given %s at %d, before %d, when what comes before it had ended",
			step.who, strings.Join(c.items, " "), c.begin, after)
	}
	for i, nack := range step.nacks {
		if !nack.matches(c.letters[i]) {
			m.differ("the dead-letter queue was given\n  %s\nnot\n  %s", c.letters[i], nack)
		}
	}
}

// fan matches the branches of a fan-out.
func (m *matching) fan(step *expectedCall, cut cutRule, after int) (last int, whole bool) {
	n := len(step.fan)
	rules, isDone, doubts := make([]cutRule, n), make([]bool, n), make([][]event, n)
	last = after
	before := m.books.doubts
	changes := m.books.branches(n, func(i int) {
		if cut == cutAnywhere || step.mayCut(i) {
			rules[i] = cutAnywhere
		}
		m.books.doubts = nil
		var end int
		end, isDone[i] = m.sequence(step.fan[i], rules[i], after, step.fails(i))
		doubts[i], last = m.books.doubts, max(last, end)
	})
	m.books.doubts = before
	whole = len(step.faulty) == 0
	for i := range n {
		switch isSpoiled := slices.Contains(step.spoiled, i); {
		case isSpoiled && rules[i] == cutNowhere:
			m.books.enter(forgive(step.given[i], changes[i])...)
			doubts[i] = nil
		case isSpoiled: // by its own error, or cut short before
			doubts[i] = forgive(step.given[i], changes[i])
			for k := range doubts[i] {
				doubts[i][k].stays = true
			}
		case step.forgiven[i] && !isDone[i]:
			doubts[i] = forgive(step.given[i], changes[i])
			whole = false
		default:
			whole = whole && isDone[i]
		}
	}
	m.books.doubts = slices.Concat(m.books.doubts, slices.Concat(doubts...))
	return last, whole
}

// rest matches what is released after the walk has ended early, and returns how Do may
// end then. If it has ended because of the context or a panic, less may be released.
func (m *matching) rest(after int) []ending {
	var steps []*expectedCall
	s := newSimulation(m.tree, m.choices, m.books, &steps)
	for key, who := range map[faultKind]string{faultSourceAck: "ack", faultQueueWrite: "dlq"} {
		s.calls[faultNames[key]] = len(m.run.of(who)) - len(m.queue[who])
	}
	front := m.books.front
	endings := s.releaseRest(m.x.causes)
	m.books.front = front // the steps count again
	cut := cutNowhere
	if m.tree.fault.cancels() && m.run.struck || slices.ContainsFunc(m.x.causes, func(e ending) bool { return !e.fails }) {
		cut = cutAnywhere
	}
	m.sequence(steps, cut, after, false)
	if m.x.failed && !m.short {
		return endings
	}
	return m.x.endings
}

// stats compares what the worker has counted in a run that has come to its end.
func (m *matching) stats() {
	got, want := m.run.stats, m.x.stats
	want.Acked, want.DeadLettered = uint64(m.run.acked()), uint64(len(m.run.letters()))
	if m.x.reads > 0 {
		want.Read = uint64(m.tree.reads[m.x.reads-1].to)
	}
	want.LastAck, want.Tasks = got.LastAck, got.Tasks
	if m.tree.blocks() && got.Read == want.Read+1 { // the last read may return a record when it is ended
		want.Read++
	}
	if want.SkippedBranches > 0 { // what their last calls count is open, and so are branches in them
		want.Filtered, want.Nacked, want.Retried = got.Filtered, got.Nacked, got.Retried
		want.SkippedBranches = min(want.SkippedBranches, max(1, got.SkippedBranches))
	}
	want.Window = m.tree.queue.window(int(want.Acked), m.books.isNacked)
	if m.run.outcome != (outcome{}) { // outcomes may be in it that were not acked
		want.Window.Nacks, want.Window.Refusing = got.Window.Nacks, got.Window.Refusing
	}
	if !reflect.DeepEqual(got, want) {
		m.differ("the worker has counted\n  %+v\nnot\n  %+v", got, want)
	}
}

// leftover finds calls that the model does not know.
func (m *matching) leftover() {
	for _, c := range m.run.calls {
		if slices.Contains(m.queue[c.who], c) {
			m.differ("%s was given %s, which is not expected", c.who, strings.Join(c.items, " "))
		}
	}
}
