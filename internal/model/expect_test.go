package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/conduitio/funnel"
)

// The model: what must come out of a tree, worked out without the engine.
//
// It walks each batch of the source through the tree as the contract says, one
// record after the other, with plain values in place of records. What comes
// out are the calls that connectors and tasks must see. Calls on one goroutine
// are a sequence; the branches of a fan-out are sequences beside each other.
//
// The contract leaves a few things open, and there the model follows the run:
//
//   - A record that was nacked on several branches of a fan-out shows the nack that
//     was first in time. The model knows the candidates, and the run's dead-letter
//     queue tells which of them it was.
//   - What is released at the ends of sub-batches that follow each other with no
//     call between may be one call or several.
//   - Which reads have become one batch if they are read ahead (see ahead_test.go).
//   - If a branch is told to stop because another one fails, the nacks of its last call
//     may count or not, and so may what a best-effort branch has left.

// nackInfo is the nack of a copy: who nacked it, why, and what goes to the
// dead-letter queue.
type nackInfo struct {
	task string
	err  error // nil for a nack without an error
	form form

	version funnel.DeadLetterVersion
}

// matches reports whether a record of the dead-letter queue tells of the nack.
func (d nackInfo) matches(b deadLetter) bool {
	if d.task != b.task || d.form.String() != b.form || d.version != b.version {
		return false
	}
	if d.err == nil {
		return b.text != "" && !strings.Contains(b.text, " fails ")
	}
	return strings.Contains(b.text, d.err.Error())
}

// String shows the nack as [deadLetter] does.
func (d nackInfo) String() string {
	text := "an error that says that there is none"
	if d.err != nil {
		text = d.err.Error()
	}
	return deadLetter{form: d.form.String(), task: d.task, text: text, version: d.version}.String()
}

// deadLetter is a record that the dead-letter queue was given.
type deadLetter struct {
	form, task, text string
	version          funnel.DeadLetterVersion
}

// String shows the letter.
func (b deadLetter) String() string {
	return fmt.Sprintf("%s, %v, nacked by %s: %s", b.form, b.version, b.task, b.text)
}

// expectedCall is a call that must be seen, or a fan-out. With neither it only has
// events.
type expectedCall struct {
	who   string   // "read", "ack", "dlq", or a node's ID
	items []string // the forms, the positions for "ack"
	slots []int    // the source records that the call is about, in order
	parts int      // how many calls at the same time make it, 0 for one that is not divided
	// again is set if the node is given again what it has not answered, after so many
	// idle calls without an answer.
	again bool
	idle  int
	// nacks are the nacks that a call to the dead-letter queue tells of.
	nacks []nackInfo
	// then is what happens after the call, and before the next one.
	then []event

	fan      [][]*expectedCall // the branches of a fan-out, else nil
	faulty   []int             // the branches that end with an error which ends the others
	spoiled  []int             // the best-effort branches that end with an error
	forgiven []bool            // by branch, for those that are best effort
	given    []map[int]int     // by branch, the copies that it is given, by slot
}

// isSilent reports whether there is nothing to see.
func (s *expectedCall) isSilent() bool { return s.who == "" && s.fan == nil }

// calls reports whether there are calls in a fan-out.
func (s *expectedCall) calls() bool {
	return slices.ContainsFunc(s.fan, func(branch []*expectedCall) bool {
		return slices.ContainsFunc(branch, func(step *expectedCall) bool { return !step.isSilent() })
	})
}

// fails reports whether a branch of a fan-out ends with an error.
func (s *expectedCall) fails(branch int) bool {
	return slices.Contains(s.faulty, branch) || slices.Contains(s.spoiled, branch)
}

// mayCut reports whether a branch of a fan-out may be cut short because another
// one ends with an error.
func (s *expectedCall) mayCut(branch int) bool {
	return len(s.faulty) > 1 || len(s.faulty) == 1 && s.faulty[0] != branch
}

// expectation is what the model works out.
type expectation struct {
	steps []*expectedCall
	// failed is set if the walk ends with an error, and not a release. Then causes are
	// the endings without what is still released, and rest is what is released if all
	// branches come as far as they can.
	failed bool
	causes []ending
	rest   []*expectedCall
	// endings are how Do may end. There are several if several branches of a
	// fan-out end with an error.
	endings []ending
	missing bool  // the batches of the run lack records that were due
	ends    []int // of the batches, see trace
	reads   int   // how many there must have been
	// isSkipped is set if a best-effort branch is not given a batch.
	isSkipped bool
	// stats are what the worker must have counted, if nothing ends it early.
	stats funnel.Stats
	nacks map[int][]nackInfo // the nacks that could have been first, by slot
}

// String shows the steps of an expectation.
func (x *expectation) String() string {
	var b strings.Builder
	var show func(steps []*expectedCall, indent string)
	show = func(steps []*expectedCall, indent string) {
		for _, step := range steps {
			if step.isSilent() {
				continue
			}
			if step.fan == nil {
				fmt.Fprintf(&b, "%s%-6s %s\n", indent, step.who, strings.Join(step.items, " "))
				for _, nack := range step.nacks {
					fmt.Fprintf(&b, "%s       %s\n", indent, nack)
				}
				continue
			}
			for i, branch := range step.fan {
				note := ""
				if step.fails(i) {
					note = " (ends with an error)"
				}
				fmt.Fprintf(&b, "%sbranch %d%s\n", indent, i, note)
				show(branch, indent+"   ")
			}
		}
	}
	show(slices.Concat(x.steps, x.rest), "  ")
	for _, e := range x.endings {
		fmt.Fprintf(&b, "  Do %+v\n", e)
	}
	return b.String()
}

// waits returns the writes that may wait for the end of their context: those of
// which the model says that another branch of the same fan-out fails beside them.
func (t *taskTree) waits() []waitingWrite {
	destinations := map[string]bool{}
	for _, n := range t.nodes() {
		destinations[n.id] = n.kind == kindDestination
	}
	calls := map[string]int{}
	var all []waitingWrite
	var look func(steps []*expectedCall, cut bool)
	look = func(steps []*expectedCall, cut bool) {
		for _, step := range steps {
			calls[step.who]++
			if cut && destinations[step.who] {
				all = append(all, waitingWrite{node: step.who, nth: calls[step.who]})
			}
			for i, branch := range step.fan {
				look(branch, cut || step.mayCut(i))
			}
		}
	}
	look(expect(t, &trace{}).steps, false)
	return all
}
