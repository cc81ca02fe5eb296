package model

import (
	"cmp"
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
	tree  *taskTree
	run   *trace
	x     *expectation
	queue map[string][]*call // calls not yet matched, by who
	lost  map[int]bool       // slots with a step that was not made
	short bool               // Stop has ended the steps at a read
	diff  string
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
	m.queue, m.lost = map[string][]*call{}, map[int]bool{}
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
	after, whole := m.sequence(m.x.steps, cut, 0)
	if seen := len(m.run.of("read")); m.tree.ahead > 0 && !m.run.struck && seen < m.x.reads {
		m.differ("the source was read %d times, not %d times", seen, m.x.reads)
	}
	if m.x.missing && whole {
		whole, m.short = false, m.tree.fault.stops()
		if !m.run.struck {
			m.differ("the batches end before the source does")
		}
	}
	if m.diff == "" && !whole {
		m.partial(after)
	}
	if m.diff == "" {
		m.leftover()
	}
	if m.diff != "" {
		return m.diff
	}
	for _, want := range m.x.endings {
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
// returns the time of the last call, and whether all steps were made.
func (m *matching) sequence(steps []*expectedCall, cut cutRule, after int) (last int, whole bool) {
	last = after
	for i, step := range steps {
		if m.diff != "" {
			return last, false
		}
		boundary := step.who == "read" || i > 0 && steps[i-1].who == "read"
		if !m.begun(step) && (cut == cutAnywhere || cut == cutAtReads && boundary && m.run.struck) {
			m.lose(steps[i:])
			m.short = cut == cutAtReads
			return last, false
		}
		if step.fan != nil {
			var all bool
			last, all = m.fan(step, cut, last)
			if !all {
				m.lose(steps[i+1:])
				return last, false
			}
			continue
		}
		if !m.begun(step) {
			m.differ("%s was not given %s", step.who, strings.Join(step.items, " "))
			return last, false
		}
		c := m.take(step)
		if cut == cutAnywhere && step.who == "ack" && i > 0 && steps[i-1].who == "dlq" && len(c.items) < len(step.items) {
			// The dead-letter queue did not get to confirm the rest.
			m.call(&expectedCall{who: "ack", items: step.items[:len(c.items)]}, c, last)
			m.lose(steps[i+1:])
			m.lost[step.slots[len(c.items)]] = true
			return c.end, false
		}
		m.call(step, c, last)
		last = max(last, c.end)
		switch {
		case !c.broken:
		case cut == cutAnywhere:
			m.lose(steps[i:])
			return last, false
		case c.who != m.tree.fault.node || i < len(steps)-1 || !m.x.endings[0].bad():
			m.differ("%s was not asked for all acks of %s", step.who, strings.Join(c.items, " "))
		}
	}
	return last, true
}

// begun reports whether there is a call left that a step may begin with.
func (m *matching) begun(step *expectedCall) bool {
	for _, branch := range step.fan {
		if len(branch) > 0 && m.begun(branch[0]) {
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
	last, whole = after, true
	for i, branch := range step.fan {
		within := cut
		if cut == cutAtReads {
			within = cutNowhere
		}
		if step.mayCut(i) {
			within = cutAnywhere
		}
		end, all := m.sequence(branch, within, after)
		last, whole = max(last, end), whole && all
	}
	return last, whole && len(step.faulty) == 0
}

// lose remembers the slots of steps that were not made.
func (m *matching) lose(steps []*expectedCall) {
	for _, step := range steps {
		for _, branch := range step.fan {
			m.lose(branch)
		}
		if step.who != "ack" && step.who != "dlq" {
			for _, slot := range step.slots {
				m.lost[slot] = true
			}
		}
	}
}

// partial checks what a fan-out that failed may still release: slots at the
// front of which nothing was lost.
func (m *matching) partial(after int) {
	next := 0
	for _, c := range m.run.calls {
		if c.who == "ack" && !slices.Contains(m.queue["ack"], c) {
			next += len(c.items)
		}
	}
	rest := slices.Concat(m.queue["ack"], m.queue["dlq"])
	slices.SortFunc(rest, func(a, b *call) int { return cmp.Compare(a.begin, b.begin) })
	m.queue["ack"], m.queue["dlq"] = nil, nil
	sent := map[int]bool{}
	for _, c := range rest {
		if c.begin < after {
			m.differ("%s was given %s before a fan-out had joined", c.who, strings.Join(c.items, " "))
		}
		for i := range c.items {
			slot := next + i
			if m.lost[slot] || m.x.open[slot] {
				m.differ("%s was given record %d, which is not finished", c.who, slot)
				return
			}
			nacks := m.x.nacks[slot]
			switch {
			case c.who == "ack" && len(nacks) > 0 && !sent[slot]:
				m.differ("record %d was acked though it was nacked", slot)
			case c.who == "dlq" && !slices.ContainsFunc(nacks, func(d nackInfo) bool { return d.matches(c.letters[i]) }):
				m.differ("the dead-letter queue was given\n  %s\nbut expected are\n  %v", c.letters[i], nacks)
			}
			sent[slot] = c.who == "dlq"
		}
		if c.who == "ack" {
			next += len(c.items)
		}
	}
	m.partialReason(rest)
}

// partialReason takes the read off the queue that asks why the source has closed, if the
// last call of what was released after the join is an ack that finds it closed.
func (m *matching) partialReason(released []*call) {
	if f := m.tree.fault; f.kind != faultSourceClosed || len(m.run.of("ack")) != f.nth || len(released) == 0 {
		return
	}
	last, reads := released[len(released)-1], m.queue["read"]
	if last.who == "ack" && len(reads) > 0 && reads[0].items[0] == "reason" && reads[0].begin > last.begin {
		m.queue["read"] = reads[1:]
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

// err compares the error that Do returned.
func (m *matching) err(want ending, err error) {
	if want.fails != (err != nil) {
		m.differ("Do returned %v, expected %+v", err, want)
		return
	}
	for _, target := range want.all {
		if !errors.Is(err, target) {
			m.differ("Do returned %q, which is not %q", err, target)
		}
	}
	is := func(target error) bool { return errors.Is(err, target) }
	if len(want.any) > 0 && !slices.ContainsFunc(want.any, is) {
		m.differ("Do returned %q, which is none of %q", err, want.any)
	}
	for _, text := range want.says {
		if !strings.Contains(err.Error(), text) {
			m.differ("Do returned %q, which does not say %q", err, text)
		}
	}
	if want.fatal && !funnel.IsFatalError(err) {
		m.differ("Do returned %q, which is not fatal", err)
	}
	if want.fails && !slices.Contains(want.all, context.Canceled) && errors.Is(err, context.Canceled) {
		m.differ("Do returned %q, which is a cancellation", err)
	}
}
