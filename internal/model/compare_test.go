package model

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/conduitio/funnel"
)

// The comparison of a run with what the model expects. It works in two layers.
// The first one looks at the calls alone and holds for every run, however it
// ended: order and number of acks, nothing seen after an ack, order at every
// destination, nothing that was kept changed. The second one goes through the
// model's steps: every call must have been made, with the same records, no call
// beside them, and calls that follow each other in the model must not overlap
// in the run. If the worker reads ahead, how reads become batches is looked at in
// between, see ahead_test.go.

// compare returns the first difference between a run and the model, and
// the model's expectation in words. An empty difference means that the run is
// as it must be.
func compare(t *taskTree, run *trace) (difference, expectation string) {
	if diff := invariants(t, run); diff != "" {
		return diff, expect(t, run).String()
	}
	if t.ahead > 0 {
		if diff := checkAhead(t, run); diff != "" {
			return diff, expect(t, run).String()
		}
	}
	x := expect(t, run)
	m := &matching{tree: t, run: run, x: x}
	if diff := m.match(); diff != "" {
		return diff, x.String()
	}
	return "", ""
}

// invariants checks what holds for every run.
func invariants(t *taskTree, run *trace) string {
	if len(run.wrong) > 0 {
		return strings.Join(run.wrong, "\n")
	}
	for _, k := range run.kept {
		if k.then != k.now {
			return fmt.Sprintf("%s kept %s, which then became %s", k.who, k.then, k.now)
		}
	}
	for id, seen := range run.lives {
		if seen != (life{1, 1}) {
			return fmt.Sprintf("%s was opened %d times and closed %d times", id, seen.opened, seen.closed)
		}
	}
	kinds := map[string]nodeKind{}
	for _, n := range t.nodes() {
		kinds[n.id] = n.kind
	}
	if errors.Is(run.outcome.err, errTorn) {
		return "Do returned the error of a read that was ended by tearing the source down"
	}
	acked, sent := 0, 0
	last := map[string]string{} // lineages, by destination
	for _, c := range run.calls {
		if len(c.items) == 0 {
			return c.who + " was called with nothing"
		}
		if c.who == "ack" {
			for _, position := range c.items {
				if acked == t.records() {
					return fmt.Sprintf("%q was acked after everything", position)
				}
				if want := t.position(acked); position != want {
					return fmt.Sprintf("%q was acked where %q was next", position, want)
				}
				acked++
			}
			continue
		}
		for i, slot := range c.slots {
			if slot < acked {
				return fmt.Sprintf("%s was given %s after its source record was acked", c.who, c.items[i])
			}
			if c.who == "dlq" {
				if slot < sent {
					return fmt.Sprintf("the dead-letter queue was given %s after a later record", c.items[i])
				}
				sent = slot + 1
				if t.whole {
					continue // acked records may be before it and between
				}
				if i > 0 && slot != c.slots[i-1]+1 {
					return fmt.Sprintf("the dead-letter queue was given %s with records between that are not acked", c.items[i])
				}
				if i == 0 && slot != acked {
					return fmt.Sprintf("the dead-letter queue was given %s while %d was next", c.items[i], acked)
				}
			}
			if kind, ok := kinds[c.who]; ok && kind == kindDestination {
				id := lineage(c.items[i])
				if before, ok := last[c.who]; ok && compareLineage(before, id) >= 0 {
					return fmt.Sprintf("%s was given %s after %s", c.who, c.items[i], before)
				}
				last[c.who] = id
			}
		}
	}
	return ""
}

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
	var doubts []event // of the last call
	defer func() { m.books.doubts = append(m.books.doubts, doubts...) }()
	for i, step := range steps {
		if m.diff != "" {
			return last, false
		}
		if step.isSilent() {
			m.books.enter(step.then...)
			continue
		}
		boundary := step.who == "read" || i > 0 && steps[i-1].who == "read"
		isCut := !m.begun(step) && (cut == cutAnywhere || cut == cutAtReads && boundary && m.run.struck)
		if isCut || cut == cutAnywhere && m.isOther(step) {
			m.short = boundary && m.tree.fault.stops()
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
			doubts = step.then // a nack need not count if the branch has been told to stop
		} else {
			m.books.enter(step.then...)
		}
	}
	return last, true
}

// isOther reports whether the run has released something else than a step does.
func (m *matching) isOther(step *expectedCall) bool {
	if step.who != "ack" && step.who != "dlq" {
		return false
	}
	c := m.queue[step.who][0]
	return !slices.Equal(c.items, step.items) && !m.isPart(c, step)
}

// isPart reports whether a call is a part of an ack, because the dead-letter queue did not
// get to confirm the next record.
func (m *matching) isPart(c *call, step *expectedCall) bool {
	n := len(c.items)
	return step.who == "ack" && n < len(step.items) && m.last["dlq"] != nil &&
		m.last["dlq"].end < c.begin && m.books.isNacked(step.slots[n])
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
func (m *matching) take(step *expectedCall) (c *call) {
	defer func() { m.last[step.who] = c }()
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
			m.books.enter(forgive(step.given, changes[i])...)
			doubts[i] = nil
		case isSpoiled: // by its own error, or cut short before
			doubts[i] = forgive(step.given, changes[i])
			for k := range doubts[i] {
				doubts[i][k].stays = true
			}
		case step.forgiven[i] && !isDone[i]:
			doubts[i] = forgive(step.given, changes[i])
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

// leftover finds calls that the model does not know.
func (m *matching) leftover() {
	for _, c := range m.run.calls {
		if slices.Contains(m.queue[c.who], c) {
			m.differ("%s was given %s, which is not expected", c.who, strings.Join(c.items, " "))
		}
	}
}

// withReads returns also how Do may end if the source is read ahead and has panicked
// meanwhile.
func (m *matching) withReads(endings []ending) []ending {
	all := slices.Clone(endings)
	if f := m.tree.fault; m.tree.ahead > 0 && f.kind == faultReadPanic && len(m.run.of("read")) >= f.nth {
		for _, e := range endings {
			all = append(all, ending{panics: testPanic, all: e.all, anyOf: e.anyOf})
		}
	}
	return all
}

// ending compares how Do ended with one of the ways in which it may.
func (m *matching) ending(want ending, whole bool) {
	got := m.run.outcome
	err := got.err
	switch {
	case got.hung:
		m.differ("Do did not return")
	case want.exits:
		if err == nil && got.panicked == nil && !got.exited {
			m.differ("Do returned nil though a goroutine has exited")
		}
		return
	case want.panics != nil:
		if got.panicked != want.panics && !strings.Contains(fmt.Sprint(got.panicked), fmt.Sprint(want.panics)) {
			m.differ("Do %s, it should have panicked with %v", got, want.panics)
		}
		known, _ := got.panicked.(error)
		m.errs(want, known)
		return
	case got.panicked != nil || got.exited:
		m.differ("Do %s", got)
		return
	}
	if m.tree.fault.cancels() && m.run.struck {
		if errors.Is(err, context.Canceled) {
			return
		}
		if m.tree.fault.kind == faultCancelAt && m.tree.blocks() && err == nil {
			m.differ("Do returned nil though nothing but the context can have ended it")
		}
		if !whole && !want.fails && !m.tree.fault.stops() {
			m.differ("Do %s though the context ended", got)
		}
	}
	if m.short {
		want = ending{}
	}
	m.err(want, err)
}

// errs checks that an error is those that it must be.
func (m *matching) errs(want ending, err error) {
	for _, target := range want.all {
		if !errors.Is(err, target) {
			m.differ("Do ended with %q, which is not %q", err, target)
		}
	}
	is := func(target error) bool { return errors.Is(err, target) }
	for _, targets := range want.anyOf {
		if !slices.ContainsFunc(targets, is) {
			m.differ("Do ended with %q, which is none of %q", err, targets)
		}
	}
}

// err compares the error that Do returned.
func (m *matching) err(want ending, err error) {
	if want.fails != (err != nil) {
		m.differ("Do returned %v, expected %+v", err, want)
		return
	}
	m.errs(want, err)
	for _, text := range want.says {
		if !strings.Contains(err.Error(), text) {
			m.differ("Do returned %q, which does not say %q", err, text)
		}
	}
	if want.fatal && !funnel.IsFatalError(err) {
		m.differ("Do returned %q, which is not fatal", err)
	}
	if want.fails && m.tree.fault.kind != faultReadCanceled && errors.Is(err, context.Canceled) {
		m.differ("Do returned %q, which is a cancellation", err)
	}
}
