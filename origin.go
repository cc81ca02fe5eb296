package funnel

import (
	"fmt"
	"slices"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/ledger"
	"github.com/conduitio/funnel/internal/reuse"
)

// What the batches that come from one read share: the source records, their
// ledger, and why records were nacked.

// note is what has to be known of a copy if it is nacked. Tracks share notes, so
// they never change.
type note struct {
	original *opencdc.Record // what the record was before its first split, or nil
	err      error           // why it was nacked, or nil
}

// notes are numbered from 1 on. On a branch those come first that there were
// before it, which the branches share; it adds to them notes of its own.
type notes struct {
	before *notes // nil if they are on no branch
	first  int    // how many there were before
	own    []note

	originals []opencdc.Record // the array that keep copies into

	memory reuse.Buffer[note]
}

// keep copies a record, so that notes may refer to the copy. The copies lie in
// arrays, each twice as large as the one before.
func (n *notes) keep(rec opencdc.Record) *opencdc.Record {
	if len(n.originals) == cap(n.originals) {
		n.originals = make([]opencdc.Record, 0, max(2*cap(n.originals), 1))
	}
	n.originals = append(n.originals, rec)
	return &n.originals[len(n.originals)-1]
}

// add adds a note and returns its number.
func (n *notes) add(note note) int32 {
	n.grow(1)
	n.own = append(n.own, note)
	return int32(n.len())
}

// grow makes room for k more notes.
func (n *notes) grow(k int) {
	if n.own == nil {
		n.own = n.memory.Take(k)
	}
	n.own = slices.Grow(n.own, k)
}

func (n *notes) len() int {
	return n.first + len(n.own)
}

// of returns the note of a track.
func (n *notes) of(t *track) note {
	if t.note == 0 {
		return note{}
	}
	i := int(t.note) - 1
	for i < n.first {
		n = n.before
	}
	return n.own[i-n.first]
}

// begin prepares the notes of a branch, which are empty, for a batch whose notes
// so far are those before.
func (n *notes) begin(before *notes) {
	n.before, n.first = before, before.len()
}

// clear empties the notes.
func (n *notes) clear() {
	n.memory.Put(n.own)
	n.own, n.originals = nil, nil
	n.before, n.first = nil, 0
}

// origin is what a batch shares with the batches that it is split into: the
// source records that they come from.
type origin struct {
	ledger    ledger.Ledger[failure]
	positions []opencdc.Position // of the source records, as the source gave them
	readAt    []time.Time        // when they were read, if a timer wants to know
	times     reuse.Buffer[time.Time]
	notes     notes // of batches that are on no branch
	isChecked bool  // each record has a position

	// isRepeatable is set if acks that fail may be tried again, so that the source
	// gets copies of the positions, and hasFailed if releasing records has failed.
	// Who holds Worker.releasing, or has joined the branches, may use them.
	isRepeatable, hasFailed bool
	// The window of the dead-letter queue has admitted all nacked slots below
	// admitted. If there is a refusal, it has refused the slot at admitted.
	admitted int
	refusal  error
}

// reset makes the origin one of no records.
func (o *origin) reset() {
	o.ledger.Reset(0)
	o.positions = nil // they belong to the source
	o.times.Put(o.readAt)
	o.readAt = nil
	o.notes.clear()
	o.isChecked = false
	o.isRepeatable, o.hasFailed = false, false
	o.admitted, o.refusal = 0, nil
}

// checkPositions returns an error if a source record has no position: acking it
// would wipe the place at which the source goes on.
func (o *origin) checkPositions() error {
	if o.isChecked {
		return nil // and those of records that are done belong to the source
	}
	for i := range o.positions {
		if len(o.positions[i]) == 0 {
			return FatalError(fmt.Errorf("%w: record %d of a batch of %d has none", ErrEmptyPosition, i, len(o.positions)))
		}
	}
	o.isChecked = true
	return nil
}

// failure is why a source record was nacked.
type failure struct {
	record   opencdc.Record   // what goes to the dead-letter queue
	position opencdc.Position // of the record or, if that is empty, of the source record
	err      error
	taskID   string
}
