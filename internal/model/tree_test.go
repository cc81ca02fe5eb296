package model

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conduitio/funnel"
)

// The pipelines, drawn from a seed. A tree says everything
// that has an influence on what comes out: the tasks and what each of them
// does to which record, what the source returns, how the dead-letter queue is
// set up, the options of the worker, and at most one fault, besides one on a
// best-effort branch.

// sourceRead is one answer of the source: records from (included) to (excluded).
type sourceRead struct {
	from, to int
	eof      bool
}

// queueSetup is the set-up of the dead-letter queue.
type queueSetup struct {
	none            bool // there is no queue
	size, threshold int
	chunk, lull     int // as for a destination
}

// window returns the state of the queue's window after the first slots.
func (q queueSetup) window(slots int, isNacked func(slot int) bool) funnel.NackWindow {
	if q.none {
		return funnel.NackWindow{}
	}
	w := funnel.NackWindow{Size: q.size, Threshold: q.threshold}
	if q.threshold == 0 || q.threshold >= q.size {
		return w
	}
	for slot := max(0, slots-q.size); slot < slots; slot++ {
		if isNacked(slot) {
			w.Nacks++
		}
	}
	return w
}

// metricsKind is what the tasks report to.
type metricsKind int

const (
	metricsNil metricsKind = iota
	metricsNoOp
	metricsRead // metrics that read the records
)

// taskTree is one pipeline and all that happens to it.
type taskTree struct {
	seed  uint64
	first *node
	// reads are the answers of the source. If none of them says EOF, the read
	// after the last one blocks until the source is torn down.
	reads []sourceRead
	queue queueSetup
	// whole keeps batches whole.
	whole bool
	retry funnel.RetryPolicy
	// pieceIDs gives pieces IDs. With ownIDs the source puts something of its own there.
	pieceIDs, ownIDs bool
	// asRead makes dead letters hold the records as they were read.
	asRead bool
	// drains lets a stop wait for what was read ahead.
	drains bool
	// checks lets the engine check whether the parts keep to what is theirs.
	checks bool
	fault  fault
	// aside is a second fault, on a best-effort branch.
	aside fault
	wait  waitingWrite
	// ahead is the number of records that are read ahead, 0 for none.
	ahead int
	// balks is the number of teardowns of the source that fail, one after the other.
	balks int
	// deaf lets the read that blocks ignore the end of its context. It needs
	// read-ahead: otherwise nobody but Stop could end it.
	deaf bool
	// crowd stops the worker with Stop and Close at the same time.
	crowd bool
	// closes stops the worker with Close instead of Stop.
	closes bool
	// twins gives two neighbours at a time the same position.
	twins   bool
	metrics metricsKind
	// stopAfter calls Stop, and closeAgain calls Close a second time, at the end.
	stopAfter, closeAgain bool
}

// records returns the number of records of the source.
func (t *taskTree) records() int {
	if len(t.reads) == 0 {
		return 0
	}
	return t.reads[len(t.reads)-1].to
}

// blocks reports whether the read after the last one blocks.
func (t *taskTree) blocks() bool {
	return !slices.ContainsFunc(t.reads, func(read sourceRead) bool { return read.eof })
}

// position returns the position of a source record.
func (t *taskTree) position(slot int) string {
	if t.twins {
		slot /= 2
	}
	return "pos" + strconv.Itoa(slot)
}

// form returns the form in which a source record is read.
func (t *taskTree) form(slot int) form {
	f := form{id: strconv.Itoa(slot), pos: t.position(slot)}
	if t.ownIDs && slot%3 > 0 {
		f.piece = "own"
	}
	return f
}

// nodes returns all nodes but the source, depth first.
func (t *taskTree) nodes() []*node {
	var all []*node
	var walk func(*node)
	walk = func(n *node) {
		for _, next := range n.next {
			all = append(all, next)
			walk(next)
		}
	}
	walk(t.first)
	return all
}

// linear reports whether no node has more than one next.
func (t *taskTree) linear() bool {
	for n := t.first; len(n.next) > 0; n = n.next[0] {
		if len(n.next) > 1 {
			return false
		}
	}
	return true
}

// String draws the tree.
func (t *taskTree) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d\nreads:", t.seed)
	for _, read := range t.reads {
		fmt.Fprintf(&b, " %d-%d", read.from, read.to)
		if read.eof {
			b.WriteString(" EOF")
		}
	}
	if t.blocks() {
		b.WriteString(" and blocks")
	}
	if t.twins {
		b.WriteString(", positions in twins")
	}
	if t.ahead > 0 {
		fmt.Fprintf(&b, ", %d ahead", t.ahead)
	}
	if t.balks > 0 {
		fmt.Fprintf(&b, ", fails to be torn down %d times", t.balks)
	}
	if t.deaf {
		b.WriteString(", ignores its context")
	}
	if t.crowd {
		b.WriteString(", stopped and closed at the same time")
	}
	if t.queue.none {
		b.WriteString("\nno DLQ")
	} else {
		fmt.Fprintf(&b, "\nDLQ: window %d, threshold %d, acks <=%d lull %d%%",
			t.queue.size, t.queue.threshold, t.queue.chunk, t.queue.lull)
	}
	if t.whole {
		b.WriteString("\nwhole batches")
	}
	if t.asRead {
		b.WriteString("\ndead letters as read")
	}
	if t.drains {
		b.WriteString("\ndrains")
	}
	if t.checks {
		b.WriteString("\nchecks ownership")
	}
	if t.pieceIDs {
		b.WriteString("\npiece IDs")
	}
	if t.ownIDs {
		b.WriteString("\nIDs of the source")
	}
	if t.retry != (funnel.RetryPolicy{}) {
		fmt.Fprintf(&b, "\nretries: %+v", t.retry)
	}
	for _, f := range []fault{t.fault, t.aside} {
		if f.kind != faultNone {
			fmt.Fprintf(&b, "\nfault: %s %s, call %d", f.node, faultNames[f.kind], f.nth)
		}
	}
	if t.wait.nth > 0 {
		fmt.Fprintf(&b, "\nwaits for its context: %s, call %d", t.wait.node, t.wait.nth)
	}
	b.WriteString("\n")
	var draw func(n *node, indent, branch string)
	draw = func(n *node, indent, branch string) {
		b.WriteString(indent + branch + n.String() + "\n")
		if branch != "" {
			indent += "   "
		}
		for _, next := range n.next {
			if len(n.next) > 1 {
				draw(next, indent, "+- ")
			} else {
				draw(next, indent, "")
			}
		}
	}
	draw(t.first, "  ", "")
	return b.String()
}

// readItems shows an answer of the source.
func (t *taskTree) readItems(read sourceRead) []string {
	item := strconv.Itoa(read.from) + "-" + strconv.Itoa(read.to)
	if read.eof {
		item += " EOF"
	}
	return []string{item}
}

// reason is what Read returns after Ack has returned io.EOF.
func (t *taskTree) reason() error {
	return []error{nil, io.EOF, errRead}[t.seed%3]
}

// queueNacks returns which of n records the dead-letter queue nacks, in order.
func (t *taskTree) queueNacks(n int) (nacked []int) {
	nacked = []int{int(t.seed/4) % n}
	for i := nacked[0] + 1; i < n && t.fault.kind == faultQueueNacks; i++ {
		if hash(t.seed, strconv.Itoa(i))%2 == 0 {
			nacked = append(nacked, i)
		}
	}
	return nacked
}

// limit returns after how many calls in a row without an answer the worker gives up, 0
// if it never does.
func (t *taskTree) limit() int {
	switch calls := t.retry.MaxCalls; {
	case calls < 0:
		return 0
	case calls == 0:
		return 16
	default:
		return calls
	}
}

// pause returns the pause after so many calls in a row without an answer.
func (t *taskTree) pause(idle int) time.Duration {
	if idle == 0 {
		return 0
	}
	shortest, longest := t.retry.MinPause, t.retry.MaxPause
	switch {
	case shortest == 0 && longest == 0:
		shortest, longest = time.Millisecond, time.Second
	case shortest == 0:
		shortest = min(time.Millisecond, longest)
	case longest == 0:
		longest = max(time.Second, shortest)
	}
	for ; idle > 1 && shortest < longest; idle-- {
		shortest *= 2
	}
	return min(shortest, longest)
}

// faultOf returns the fault of a node, or the one in no node for "".
func (t *taskTree) faultOf(node string) fault {
	for _, f := range []fault{t.fault, t.aside} {
		if f.node == node {
			return f
		}
	}
	return fault{}
}

// forgiven returns the nodes on best-effort branches.
func (t *taskTree) forgiven() map[*node]bool {
	all := map[*node]bool{}
	var walk func(n *node, isForgiven bool)
	walk = func(n *node, isForgiven bool) {
		if isForgiven {
			all[n] = true
		}
		for _, next := range n.next {
			walk(next, isForgiven || next.bestEffort)
		}
	}
	walk(t.first, false)
	return all
}
