package model

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"
)

// The nodes of a tree, and what they do to records.
//
// What a task does to a record is a function of the seed, the task's ID and the
// record's lineage, and so is the way on which a route sends it. Only two habits
// depend on the calls: a task may leave a record unanswered for its first few
// attempts, and it may answer at most so many records of a call.

// nodeKind is the kind of a node.
type nodeKind int

const (
	kindSource nodeKind = iota
	kindProcessor
	kindTask // a task that marks its batch itself
	kindDestination
	kindRoute // each record goes to one of the next nodes
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

	filter, fail, split int // percent that are filtered, nacked (kindRoute: have no case), split
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
	hasDefault          bool // kindRoute: the last of the next nodes is the default
	embeds              bool // kindRoute: it is a task that embeds a RouteTask
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
	case kindRoute:
		b.WriteString(" (route)")
		if n.hasDefault {
			b.WriteString(" has-default")
		}
		if n.embeds {
			b.WriteString(" embedded")
		}
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
