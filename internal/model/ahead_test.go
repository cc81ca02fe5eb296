package model

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// What must be seen of a worker that reads ahead.
//
// Which reads become one batch depends on time, so the model takes the batches
// from the run: the nodes behind the source are given each of them whole. Given
// the batches, it knows every call, as it does without reading ahead. What time
// has to do with it is checked here, to the instant, since the clock of a bubble
// stands still until all wait:
//
//   - A batch is made of whole reads that follow each other and have ended. It
//     begins as soon as there is one and the batch before is done, and leaves no
//     read behind that had ended before that instant.
//   - A read begins as soon as the one before has ended and fewer records wait
//     than are to be read ahead, and not before.
//   - If the worker drains, no read begins after a stop, and what was read is processed.

// batch is a batch that a run with read-ahead has shown.
type batch struct {
	from, to int           // the source records
	begin    int           // when it was first seen
	at       time.Duration // the same as an instant
}

// checkAhead returns the first thing that is wrong with the reads of a run with
// read-ahead or with how they became batches. It puts the ends of the batches
// into the run.
func checkAhead(t *taskTree, run *trace) string {
	var reads, reasons []*call
	for _, c := range run.calls {
		switch {
		case c.who == "read" && c.items[0] == "reason":
			reasons = append(reasons, c)
		case c.who == "read":
			reads = append(reads, c)
		}
	}
	if diff := checkReads(t, run, reads, len(reasons)); diff != "" {
		return diff
	}
	batches, diff := run.batches(t)
	if diff != "" {
		return diff
	}
	run.ends = []int{}
	for _, b := range batches {
		run.ends = append(run.ends, b.to)
	}
	for i, b := range batches {
		if diff := checkBatch(t, run, reads, i, b); diff != "" {
			return diff
		}
	}
	if t.drains && t.fault.stops() && !t.fault.cancels() && run.struck && run.outcome == (outcome{}) {
		if diff := checkDrained(t, run, reads, batches); diff != "" {
			return diff
		}
	}
	for i := 1; i < len(reads); i++ {
		if run.struck && reads[i].at >= run.struckAt {
			break
		}
		if diff := checkRoom(t, batches, t.reads[i-1], reads[i-1], reads[i]); diff != "" {
			return diff
		}
	}
	return ""
}

// checkDrained checks that no read began after a stop, and that what was read before it,
// or while others were processed, was processed.
func checkDrained(t *taskTree, run *trace, reads []*call, batches []batch) string {
	busy := run.struckAt // until when
	for _, c := range run.calls {
		if c.who != "read" {
			busy = max(busy, c.till)
		}
	}
	read, processed := 0, 0
	for i, c := range reads {
		if c.at > run.struckAt {
			return fmt.Sprintf("the read of %s began after %s, when the worker had been stopped at %s",
				strings.Join(c.items, " "), c.at, run.struckAt)
		}
		if c.till < busy {
			read = t.reads[i].to
		}
	}
	for _, b := range batches {
		processed = b.to
	}
	if processed < read {
		return fmt.Sprintf("only %d of %d records were processed before the worker stopped", processed, read)
	}
	return ""
}

// checkReads checks which reads there were.
func checkReads(t *taskTree, run *trace, reads []*call, reasons int) string {
	ended := false
	for i, c := range reads {
		if ended || i == len(t.reads) || !slices.Equal(c.items, t.readItems(t.reads[i])) {
			return fmt.Sprintf("read %d was %s, which is not expected", i, strings.Join(c.items, " "))
		}
		ended = t.reads[i].eof || t.failsAt(i)
	}
	acks := 0
	for _, c := range run.calls {
		if c.who == "ack" {
			acks++
		}
	}
	isClosed := t.fault.kind == faultSourceClosed && acks >= t.fault.nth
	switch {
	case reasons > 0 && (!isClosed || ended):
		return "the source was read for a reason when there was none"
	case isClosed && !ended && reasons == 0:
		return "the source was not read for the reason why it has closed"
	case reasons > 1 && t.reason() != nil:
		return "the source was read again after it had said why it has closed"
	}
	return ""
}

// failsAt reports whether read i fails.
func (t *taskTree) failsAt(i int) bool {
	if t.fault.nth != i+1 {
		return false
	}
	switch t.fault.kind {
	case faultRead, faultReadCanceled, faultReadPanic:
		return true
	case faultNoPosition:
		return t.reads[i].from < t.reads[i].to
	default:
		return false
	}
}

// batches returns the batches of a run, or what is wrong with them.
func (r *trace) batches(t *taskTree) (all []batch, diff string) {
	for _, head := range t.first.next {
		n, next := 0, 0 // batches and records that the node was given
		for calls := r.of(head.id); len(calls) > 0; {
			c := calls[0]
			if c.parts > 0 {
				c = joinParts(calls[:min(c.parts, len(calls))])
			}
			calls = calls[min(max(c.parts, 1), len(calls)):]
			if c.slots[0] < next {
				continue // it is given some of them again
			}
			for i, slot := range c.slots {
				if slot != next+i {
					return nil, fmt.Sprintf("%s was given %s as a batch, with %d where %d is next", head.id, strings.Join(c.items, " "), slot, next+i)
				}
			}
			b := batch{from: next, to: next + len(c.slots), begin: c.begin, at: c.at}
			next = b.to
			if n == len(all) {
				all = append(all, b)
			}
			if all[n].from != b.from || all[n].to != b.to {
				return nil, fmt.Sprintf("%s was given %s as a batch and others something else", head.id, strings.Join(c.items, " "))
			}
			all[n].begin, all[n].at = min(all[n].begin, b.begin), min(all[n].at, b.at)
			n++
		}
	}
	return all, ""
}

// of returns the calls of somebody.
func (r *trace) of(who string) []*call {
	return slices.DeleteFunc(slices.Clone(r.calls), func(c *call) bool { return c.who != who })
}

// checkBatch checks that batch i holds what it has to and begins when it has to.
func checkBatch(t *taskTree, run *trace, reads []*call, i int, b batch) string {
	var begin time.Duration // when it should
	for _, c := range run.calls {
		if c.who != "read" && c.begin < b.begin {
			begin = max(begin, c.till)
		}
	}
	first, isWhole := true, false
	for k, c := range reads {
		read := t.reads[k]
		if read.from == read.to || read.to <= b.from || t.failsAt(k) {
			continue
		}
		if first {
			begin, first = max(begin, c.till), false
		}
		switch {
		case read.to <= b.to && c.end > b.begin:
			return fmt.Sprintf("batch %d holds records of a read that had not ended", i)
		case read.to > b.to && c.till < b.at:
			return fmt.Sprintf("batch %d ends with record %d, but others had been read when it began", i, b.to-1)
		}
		isWhole = isWhole || read.to == b.to
	}
	switch {
	case !isWhole:
		return fmt.Sprintf("batch %d ends with record %d, in the middle of a read", i, b.to-1)
	case begin != b.at:
		return fmt.Sprintf("batch %d began after %s, not after %s", i, b.at, begin)
	}
	return ""
}

// checkRoom checks that a read began when there was room for what it reads. Before is
// what the source has returned then, by the call last.
func checkRoom(t *taskTree, batches []batch, before sourceRead, last, c *call) string {
	waits := func(at time.Duration) int { // how many records wait
		n := before.to
		for _, b := range batches {
			if b.at <= at {
				n = before.to - b.to
			}
		}
		return n
	}
	if n := waits(c.at); n >= t.ahead {
		return fmt.Sprintf("the source was read for %s while %d records were waiting", strings.Join(c.items, " "), n)
	}
	begin := last.till
	if waits(begin) >= t.ahead {
		for _, b := range batches {
			if b.at > begin && before.to-b.to < t.ahead {
				begin = b.at
				break
			}
		}
	}
	if t.drains && t.fault.kind == faultStopShort && begin < c.at {
		return "" // it had to wait while somebody tried to stop the worker
	}
	if begin != c.at && before.from < before.to { // there is a pause after an empty read
		return fmt.Sprintf("the read of %s began after %s, not after %s", strings.Join(c.items, " "), c.at, begin)
	}
	return ""
}

// TestSameAsSequential runs trees that come to their end with and without reading
// ahead and with whole batches, and compares what has happened to each record.
func TestSameAsSequential(t *testing.T) {
	trees := uint64(300)
	if testing.Short() {
		trees = 30
	}
	merged := 0
	for seed := uint64(1); seed <= trees; seed++ {
		tree := draw(seed)
		tree.fault, tree.aside, tree.wait = fault{}, fault{}, waitingWrite{}
		tree.queue = queueSetup{chunk: 2}
		tree.first.calmAll(tree, false)
		tree.ahead, tree.deaf, tree.whole, tree.drains = 0, false, false, false
		want := play(t, tree)
		for _, variant := range []struct {
			ahead int
			whole bool
		}{{ahead: 1}, {ahead: 50}, {whole: true}, {ahead: 50, whole: true}} {
			tree.ahead, tree.whole, tree.drains = variant.ahead, variant.whole, false
			run := play(t, tree)
			if diff, x := compare(tree, run); diff != "" {
				t.Fatalf("%s\n%s\nrun:\n%s\nexpected:\n%s", diff, tree, run, x)
			}
			if got, want := run.outline(tree), want.outline(tree); got != want {
				t.Fatalf("with %+v:\n%s\nwithout:\n%s\n%s\nrun:\n%s", variant, got, want, tree, run)
			}
			for _, read := range tree.reads {
				if read.from < read.to && !slices.Contains(run.ends, read.to) {
					merged++
				}
			}
		}
	}
	if merged < int(trees)/4 {
		t.Errorf("only %d reads have become a batch together with others", merged)
	}
}

// calmAll lets no node from n on give no answer for so long that the worker gives up,
// and none nack pieces: whether the others of a record are nacked with one depends
// on which are in the same call.
func (n *node) calmAll(t *taskTree, hasSplit bool) {
	n.calm(t.limit())
	if hasSplit {
		n.fail = 0
	}
	for _, next := range n.next {
		next.calmAll(t, hasSplit || n.split > 0)
	}
}

// calm lets a node give an answer before the worker gives up.
func (n *node) calm(limit int) {
	if limit > 0 {
		n.hushes = min(n.hushes, limit-1)
	}
	if n.hushes == 0 {
		n.hush = 0
	}
}

// outline tells what a run has acked, dead-lettered and written where, in order,
// and how it has ended, but not in which calls.
func (r *trace) outline(t *taskTree) string {
	var b strings.Builder
	for _, who := range append([]*node{{id: "ack"}, {id: "dlq"}}, t.nodes()...) {
		fmt.Fprintf(&b, "%s:", who.id)
		for _, c := range r.of(who.id) {
			for i, item := range c.items {
				switch {
				case who.id == "dlq" && !t.linear(): // which nack was first depends on time
					fmt.Fprintf(&b, " %d", c.slots[i])
				case who.id == "dlq":
					fmt.Fprintf(&b, " %s;", c.letters[i])
				case who.id == "ack" || who.kind == kindDestination:
					b.WriteString(" " + item)
				}
			}
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "Do %s\n", r.outcome)
	return b.String()
}
