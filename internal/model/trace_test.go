package model

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/conduitio/funnel"
)

// What a run has shown.

// call is a call that was seen.
type call struct {
	who     string   // as in expectedCall
	items   []string // as in expectedCall
	slots   []int    // as in expectedCall, not for "ack"
	letters []deadLetter
	// begin and end order all calls of a run. A write ends with its last ack.
	begin, end int
	// parts is the number of calls that together are one call of a node that works
	// on parts of a batch, 0 for other nodes.
	parts int
	// at and till are the instants of its begin and end.
	at, till time.Duration
	// broken is set for a write that failed or was not confirmed to its end.
	broken bool
}

// joinParts makes the calls for the parts of a batch one call.
func joinParts(parts []*call) *call {
	parts = slices.SortedFunc(slices.Values(parts), func(a, b *call) int {
		return compareLineage(lineage(a.items[0]), lineage(b.items[0]))
	})
	whole := *parts[0]
	for _, c := range parts[1:] {
		whole.items, whole.slots = slices.Concat(whole.items, c.items), slices.Concat(whole.slots, c.slots)
		whole.begin, whole.end = min(whole.begin, c.begin), max(whole.end, c.end)
		whole.at, whole.till = min(whole.at, c.at), max(whole.till, c.till)
	}
	return &whole
}

// outcome is how Do ended.
type outcome struct {
	err      error
	panicked any
	exited   bool // by runtime.Goexit
	hung     bool
}

// String shows the outcome.
func (o outcome) String() string {
	switch {
	case o.hung:
		return "did not return"
	case o.panicked != nil:
		return fmt.Sprintf("panicked with %v", o.panicked)
	case o.exited:
		return "exited its goroutine"
	default:
		return fmt.Sprintf("returned %v", o.err)
	}
}

// trace is all that a run has shown.
type trace struct {
	calls   []*call
	outcome outcome
	// struck is set if the context has ended, or Stop was called, before Do has
	// ended, and struckAt is when.
	struck   bool
	struckAt time.Duration
	// ends are the ends of the batches of a run with read-ahead, nil if they are
	// not known: then each read is taken for a batch.
	ends  []int
	wrong []string        // found by the parts themselves
	lives map[string]life // of the parts
	kept  []keptForms     // records that destinations kept
	stats funnel.Stats    // at the end
}

// keptForms is a record when it was written and at the end of the run.
type keptForms struct{ who, then, now string }

// String shows the calls of a run.
func (r *trace) String() string {
	var b strings.Builder
	for _, c := range r.calls {
		fmt.Fprintf(&b, "  %3d-%-3d %-6s %s", c.begin, c.end, c.who, strings.Join(c.items, " "))
		if c.parts > 0 {
			fmt.Fprintf(&b, " (one of %d parts)", c.parts)
		}
		if c.broken {
			b.WriteString(" (not confirmed)")
		}
		for _, l := range c.letters {
			b.WriteString("\n              " + l.String())
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "  Do %s\n", r.outcome)
	return b.String()
}

// letters returns what the run has sent to the dead-letter queue.
func (r *trace) letters() map[int]deadLetter {
	all := map[int]deadLetter{}
	for _, c := range r.calls {
		for i, b := range c.letters {
			all[c.slots[i]] = b
		}
	}
	return all
}

// acked returns the number of positions that were acked.
func (r *trace) acked() int {
	n := 0
	for _, c := range r.calls {
		if c.who == "ack" {
			n += len(c.items)
		}
	}
	return n
}

// reached returns up to which slot records were acked or sent to the dead-letter queue.
func (r *trace) reached() int {
	n := r.acked()
	for slot := range r.letters() {
		n = max(n, slot+1)
	}
	return n
}

// sizes returns how many source records a call to ack or to the dead-letter queue
// was about, by the first of them.
func (r *trace) sizes() map[string]map[int]int {
	acks, nacks := map[int]int{}, map[int]int{}
	acked := 0
	for _, c := range r.calls {
		switch {
		case c.who == "ack":
			acks[acked] = len(c.items)
			acked += len(c.items)
		case c.who == "dlq" && len(c.slots) > 0:
			nacks[c.slots[0]] = len(c.slots)
		}
	}
	return map[string]map[int]int{"ack": acks, "dlq": nacks}
}
