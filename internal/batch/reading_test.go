package batch

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
)

// reading is a task that goes through what Records has returned, in either direction,
// and edits the copies where it has been.
type reading struct {
	travelling
	read     []opencdc.Record // what Records has returned
	was      []string         // what it held then
	backward bool
	kinds    []opKind // what it does to them
	done     []string

	count int // records read so far
	added int // how many more records there are now in their place
}

// next reads the next record, and checks all records from there on.
func (r *reading) next() error {
	r.count++
	n := len(r.was)
	from, to := r.count-1, n
	if r.backward {
		from, to = 0, n-r.count+1
	}
	if got := namesOf(r.read[from:to]); !slices.Equal(got, r.was[from:to]) {
		return fmt.Errorf("records [%d:%d] are %v, they were %v", from, to, got, r.was[from:to])
	}
	return nil
}

// visited returns the range of the active records where the reader has been.
func (r *reading) visited() (from, to int) {
	if r.backward {
		return len(r.was) - r.count, len(r.was) + r.added
	}
	return 0, r.count + r.added
}

// do does an op to the copies.
func (r *reading) do(o op) {
	n := r.model.len()
	r.done = append(r.done, o.String())
	o.do(r.copies)
	o.model(r.model)
	r.added += r.model.len() - n
}

// readEdits are what a task may do where it has been.
var readEdits = []opKind{opAck, opRetry, opFilter, opNack, opNackErrors, opSet, opSplit, opRetryFrom}

// newReading returns a task that is about to read copies which were edited before. It has
// called Records once if isFirst is set, else a second time after an edit.
func newReading(rnd *rand.Rand, isFirst bool) *reading {
	w := &world{roll: rnd.IntN, number: firstEmpty}
	n := 1 + rnd.IntN(16)
	r := &reading{travelling: travelling{copies: newCopies(n, nil), model: newModel(n)}, backward: rnd.IntN(2) == 0}
	for range 1 + rnd.IntN(3) { // only a few kinds, since each hides some faults
		r.kinds = append(r.kinds, readEdits[rnd.IntN(len(readEdits))])
	}
	edit := func() {
		if n := r.model.len(); n > 0 {
			r.do(w.newOp(n))
		}
	}
	for range max(0, rnd.IntN(12)-6) {
		edit()
	}
	r.copies.BeginTask(false)
	if n := r.model.len(); n > 0 && rnd.IntN(8) == 0 {
		r.do(op{kind: opRetryFrom, i: rnd.IntN(n), end: n})
	}
	r.read = r.copies.Records()
	if !isFirst {
		edit()
		r.read = r.copies.Records()
	}
	r.was, r.added = namesOf(r.read), 0
	return r
}

// newOp returns an edit of some of the records [from, to), mostly of the one read last.
func (r *reading) newOp(rnd *rand.Rand, from, to int) op {
	i := from + rnd.IntN(to-from)
	o := op{kind: r.kinds[rnd.IntN(len(r.kinds))], i: i, end: i + 1 + rnd.IntN(to-i), number: firstEmpty * (2 + len(r.done))}
	if o.kind == opNack {
		o.end = i + 1
	}
	if rnd.IntN(2) == 0 {
		o.i, o.end = to-1, to
		if r.backward {
			o.i, o.end = from, from+1
		}
	}
	if o.kind == opRetryFrom && !r.backward {
		o.i = r.model.len() // the others are still to be read
	}
	return o
}

// A task may read its records and edit those that it has read. The slice from its first
// call of Records stays readable even if the task calls Records again meanwhile.
func TestCopies_readWhileEdited(t *testing.T) {
	passes := 10_000
	if testing.Short() || raceEnabled {
		passes = 3_000
	}
	for seed := range passes {
		rnd := rand.New(rand.NewPCG(uint64(seed), 7))
		isFirst := rnd.IntN(2) == 0
		r := newReading(rnd, isFirst)
		pause := 1 + rnd.IntN(8) // between edits
		fail := func(err error) {
			if err != nil {
				t.Fatalf("seed %d, backward %t, first call %t, %v: %v", seed, r.backward, isFirst, r.done, err)
			}
		}
		for range r.was {
			fail(r.next())
			for range rnd.IntN(4) {
				if from, to := r.visited(); from < to && rnd.IntN(pause) == 0 {
					r.do(r.newOp(rnd, from, to))
				}
				if isFirst && rnd.IntN(2*pause) == 0 {
					r.do(op{kind: opRecords})
				}
				if n := r.model.len(); n > 0 && rnd.IntN(2*pause) == 0 { // a look at another record
					r.do(op{kind: opStatus, i: rnd.IntN(n)})
				}
			}
		}
		r.copies.EndTask(rnd.IntN(2) == 0)
		fail(r.model.compareRecords(r.copies))
	}
}

// A task that reads backward may leave its last records to be retried, edit where it has
// been, and read on.
func TestCopies_readBackwardBeforeUnanswered(t *testing.T) {
	for name, edit := range map[string]func(c *Copies){
		"mark":    func(c *Copies) { c.Mark(8, 9, FlagAck) },
		"records": func(c *Copies) { c.Records() },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCopies(10, nil)
			c.BeginTask(false)
			read := c.Records()
			c.RetryFrom(9)
			c.TakeOut(4, 5, FlagFilter)
			edit(c)
			if got, want := namesOf(read[:4]), numbers(0, 4); !slices.Equal(got, want) {
				t.Errorf("the task reads %v, want %v", got, want)
			}
		})
	}
}

// The same holds for the slice that the second call of Records returned.
func TestCopies_readBackwardBeforeUnansweredAgain(t *testing.T) {
	c := newCopies(10, nil)
	c.BeginTask(false)
	c.Records()
	c.TakeOut(9, 10, FlagFilter)
	read := c.Records()
	c.RetryFrom(8)
	c.TakeOut(3, 4, FlagFilter)
	c.Mark(7, 8, FlagAck)
	if got, want := namesOf(read[:3]), numbers(0, 3); !slices.Equal(got, want) {
		t.Errorf("the task reads %v, want %v", got, want)
	}
}
