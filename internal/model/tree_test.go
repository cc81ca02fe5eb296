package model

import (
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conduitio/funnel"
)

// The pipelines, drawn from a seed. A tree says everything
// that has an influence on what comes out: the tasks and what each of them
// does to which record, what the source returns, how the dead-letter queue is
// set up, and at most one fault.
//
// What a task does to a record is a function of the seed, the task's ID and the
// record's lineage. Only two habits depend on the calls: a task may leave a
// record unanswered for its first few attempts, and it may answer at most so
// many records of a call.

// nodeKind is the kind of a node.
type nodeKind int

const (
	kindSource nodeKind = iota
	kindProcessor
	kindTask // a task that marks its batch itself
	kindDestination
)

// style is how a task changes a record that it passes on.
type style int

const (
	styleUntouched style = iota // returns it as it is
	styleInPlace                // changes it in place, however deep
	styleFresh                  // returns a new one and leaves the old one alone
	styleReplace                // puts a new one into the slice that it was given
	styles
)

// move is what a task does to the positions of the records it passes on.
type move int

const (
	moveNot  move = iota
	moveOwn       // every record gets a new one
	moveSame      // all records get the same one
	moveNone      // no record has one anymore
	moves
)

// node is a task of a tree. Percentages are of the records, or of the
// calls where it says so.
type node struct {
	id   string
	kind nodeKind
	next []*node
	// bestEffort is set for the first node of a best-effort branch.
	bestEffort bool

	filter, fail, split int // percent that are filtered, nacked, split
	hush                int // percent that are left unanswered at first
	hushes              int // for at most so many attempts
	atMost              int // answers at most so many records of a call, 0 for all
	style               style
	move                move
	early               bool // marks a record in place before it splits or nacks it
	workers             int  // kindProcessor: works on so many parts of a batch, 0 if it is not parallel
	backward            bool // kindTask: marks its batch from the end
	doubtful            bool // kindTask: marks all for retry before it answers
	readsOn             bool // kindTask: reads what ActiveRecords has returned while it marks the batch
	wavers              bool // kindTask: marks a record in another way first
	chunk               int  // kindDestination: returns at most so many acks
	lull                int  // kindDestination: percent of answers without an ack
	sleepy              int  // percent of calls that take their time
}

// verdictKind is what a task decides to do with a record.
type verdictKind int

const (
	verdictPass verdictKind = iota
	verdictPassAsOne
	verdictFilter
	verdictFilterAsNone
	verdictSplit
	verdictNack
)

// verdict is what a task does with one record.
type verdict struct {
	kind  verdictKind
	parts int   // verdictSplit: the number of pieces
	err   error // verdictNack: may be nil
	hush  int   // the number of attempts that are not answered
}

// failure is the error of everything that is meant to fail.
type failure struct{ task, id string }

func (e failure) Error() string { return "<" + e.task + " fails " + e.id + ">" }

// hash mixes a seed with names.
func hash(seed uint64, names ...string) uint64 {
	h := fnv.New64a()
	for _, name := range names {
		_, _ = h.Write([]byte(name))
		_, _ = h.Write([]byte{0})
	}
	return h.Sum64() ^ seed*0x9e3779b97f4a7c15
}

// behave returns what the node does with the record of a lineage.
func (n *node) behave(seed uint64, id string) verdict {
	r := rand.New(rand.NewPCG(hash(seed, n.id, id), 1))
	var v verdict
	if r.IntN(100) < n.hush {
		v.hush = 1 + r.IntN(n.hushes)
	}
	at, odd := r.IntN(100), r.IntN(10) == 0
	switch {
	case at < n.filter:
		v.kind = verdictFilter
		if odd || r.IntN(3) == 0 {
			v.kind = verdictFilterAsNone
		}
	case at < n.filter+n.fail:
		v.kind = verdictNack
		if !odd {
			v.err = failure{task: n.id, id: id}
		}
	case at < n.filter+n.fail+n.split && strings.Count(id, "/") < 2:
		v.kind, v.parts = verdictSplit, 2+r.IntN(2)
	case odd:
		v.kind = verdictPassAsOne
	}
	if n.kind == kindDestination {
		v.hush = 0
		if v.kind == verdictNack && v.err == nil {
			v.err = failure{task: n.id, id: id}
		}
	}
	return v
}

// pass returns the form in which a record leaves the node that passes it.
func (n *node) pass(f form) form {
	if n.style == styleUntouched {
		return f
	}
	f.marks += "." + n.id
	return n.moved(f)
}

// moved returns the form with the position that the node gives it.
func (n *node) moved(f form) form {
	switch n.move {
	case moveOwn:
		f.pos = n.id + ":" + f.id
	case moveSame:
		f.pos = n.id + ":same"
	case moveNone:
		f.pos = ""
	}
	return f
}

// piece returns the form of the i-th piece into which a node splits a record.
func (t *taskTree) piece(n *node, f form, i int) form {
	f.id += "/" + strconv.Itoa(i)
	f.marks += "." + n.id
	f.piece = ""
	if t.pieceIDs {
		f = f.withID()
	}
	return n.moved(f)
}

// left returns the form of a record that the node has split or nacked.
func (n *node) left(f form) form {
	if n.early {
		f.marks += ".(" + n.id + ")"
	}
	return f
}

// String shows the node in one line.
func (n *node) String() string {
	var b strings.Builder
	b.WriteString(n.id)
	if n.bestEffort {
		b.WriteString(" (best effort)")
	}
	word := func(format string, v int) {
		if v > 0 {
			fmt.Fprintf(&b, format, v)
		}
	}
	switch n.kind {
	case kindTask:
		b.WriteString(" (custom)")
	case kindDestination:
		fmt.Fprintf(&b, " acks <=%d", n.chunk)
		word(" lull %d%%", n.lull)
	}
	word(" filter %d%%", n.filter)
	word(" nack %d%%", n.fail)
	word(" split %d%%", n.split)
	word(" hush %d%%", n.hush)
	if n.hush > 0 {
		fmt.Fprintf(&b, " <=%d times", n.hushes)
	}
	word(" answers <=%d", n.atMost)
	word(" %d workers", n.workers)
	if n.kind == kindProcessor || n.kind == kindTask {
		b.WriteString([...]string{" untouched", " in-place", " fresh", " replace"}[n.style])
		b.WriteString([...]string{"", " own-position", " same-position", " no-position"}[n.move])
		if n.early {
			b.WriteString(" early")
		}
		if n.backward {
			b.WriteString(" backward")
		}
		if n.doubtful {
			b.WriteString(" doubtful")
		}
		if n.readsOn {
			b.WriteString(" reads-on")
		}
		if n.wavers {
			b.WriteString(" wavers")
		}
	}
	word(" sleepy %d%%", n.sleepy)
	return b.String()
}

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
	fault            fault
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
