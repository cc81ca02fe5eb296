package model

import (
	"errors"
	"fmt"
	"strings"
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
