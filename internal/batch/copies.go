// Package batch keeps the books of a batch: the source record that each copy comes
// from, and what the tasks have decided about the copy.
//
// A SourceBatch stands for records that were read together. These records, and the
// pieces that they are split into, on each branch, are copies. A Copies value holds
// copies that travel together: all of them at first, fewer once they were divided by
// status. Each copy counts in the ledger of its source batch.
//
// The most common cases cost least. Until a task marks, filters or splits a record,
// nothing is kept per copy. Then, as long as only processors filter or split, four bytes
// are kept for each source record. Anything else gives each copy a state, and so does a
// split if pieces have IDs.
//
// The package does no I/O and does not know tasks. Indices point to the active records.
// The methods do not check them; the caller must.
package batch

import (
	"iter"
	"slices"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/gap"
)

// Flag is what a task has decided about a copy.
type Flag int16

// The flags, in the order of the root package's.
const (
	FlagAck Flag = iota
	FlagNack
	FlagRetry
	FlagFilter

	flags = iota
)

// isActive returns true for copies whose records go on to the next task. The other
// copies are only counted.
func (f Flag) isActive() bool { return f != FlagFilter }

// Copies are the copies of source records that travel together. The zero value holds
// none and has no source batch.
//
// Copies are not safe for concurrent use. If the struct is assigned to another one, only
// that one may be used from then on.
type Copies struct {
	common

	// records holds the active records. states holds a state for each copy, inactive
	// ones included, with the gap at the same place.
	records gap.Slice[opencdc.Record]
	states  gap.Slice[copyState]

	// States are made only when they are needed. Until then record i is the copy of
	// source record first+i. Or, if a processor has filtered or split records and
	// nothing else was done, source record first+i has become pieces[i] records. If
	// these are several, the record was unsplit[i] before, and they count as one copy in
	// the ledger until there are states.
	first   int
	pieces  []int32
	unsplit []opencdc.Record

	counts   [flags]int // number of copies with each flag; right for FlagNack and FlagRetry only
	inactive int        // number of copies that are not active
	marksEnd int        // upper bound: no active record at or after it is nacked or retried

	// unanswered holds further copies, after those above, all of them to be retried.
	// Marking them this way costs nothing per record.
	unanswered *Copies
	spare      *Copies // to be used for the next unanswered copies, or nil

	pieceBuffer []opencdc.Record // for the pieces that a task passes in

	isHandedOut bool // the current task has asked for the records
	hasBranches bool // the current task has called SetBranch
	nacksLeave  bool // nacks in the results of the current task take copies out at once
	isSettled   bool // every copy was settled

	pool *Pool // nil makes new buffers
}

// common is what all parts of divided copies share.
type common struct {
	source *SourceBatch
	infos  *CopyInfos // what the states refer to
	idKey  string     // the metadata key of piece IDs, or "" if pieces have none

	isForgiven  bool // a nack is not the source record's
	hasPieces   bool // some copies are pieces
	hasGaps     bool // the source records of the states are not adjacent
	isUnclipped bool // positions may have spare capacity
	isShared    bool // others hold the records: copy before writing
}

// copyState says where a copy comes from and what has become of it. There may be one
// for each record, so it holds no pointers: the garbage collector would follow them.
type copyState struct {
	slot   int32 // the slot of the source record in the ledger
	info   int32 // the number of its copyInfo, 0 for none
	flag   Flag
	branch int16 // where Router sends it
}

// Attach ties empty Copies to their source batch. pool must be nil unless these Copies
// are to hold all copies of the source batch. idKey is the metadata key of piece IDs, or
// "" if pieces get none.
func (c *Copies) Attach(s *SourceBatch, pool *Pool, idKey string) {
	c.source, c.infos, c.pool, c.idKey = s, &s.infos, pool, idKey
}

// Fill puts the records of a read and their positions into empty Copies, which own the
// slices from then on. Without a source batch, the Copies get one of their own.
func (c *Copies) Fill(records []opencdc.Record, positions []opencdc.Position) {
	if c.source == nil {
		c.Attach(&SourceBatch{}, nil, "")
	}
	c.records = gap.Of(records)
	c.source.Positions = positions
	c.source.Ledger.Reset(len(records))
}

// Source returns the source batch, or nil if there is none.
func (c *Copies) Source() *SourceBatch { return c.source }

// Len returns the number of active records.
func (c *Copies) Len() int {
	n := c.records.Len()
	if c.unanswered != nil {
		n += c.unanswered.Len()
	}
	return n
}

// IsEmpty returns true if there are no copies, not even inactive ones.
func (c *Copies) IsEmpty() bool { return !c.hasCopies() && c.unanswered == nil }

// hasCopies returns true if there are copies other than the unanswered ones.
func (c *Copies) hasCopies() bool {
	return c.records.Len() > 0 || c.states.Len() > 0 || len(c.pieces) > 0
}

// IsUnmarked returns true if no copy is nacked or to be retried, so that all go on
// together.
func (c *Copies) IsUnmarked() bool {
	return c.counts[FlagNack] == 0 && c.counts[FlagRetry] == 0 && c.unanswered == nil
}

// IsAsRead returns true if the copies are the records as they were read: none was
// marked, filtered, split or settled.
func (c *Copies) IsAsRead() bool {
	return c.isUnedited() && c.unanswered == nil && !c.isSettled && c.records.Len() == len(c.source.Positions)
}

// isUnedited returns true if record i is the copy of source record first+i.
func (c *Copies) isUnedited() bool { return c.states.Len() == 0 && c.pieces == nil }

// HasNacks returns true if there are nacked copies.
func (c *Copies) HasNacks() bool { return c.counts[FlagNack] > 0 }

// Marks returns how many copies are nacked, and how many are to be retried.
func (c *Copies) Marks() (nacked, retried int) {
	nacked, retried = c.counts[FlagNack], c.counts[FlagRetry]
	if c.unanswered != nil {
		retried += c.unanswered.Len()
	}
	return nacked, retried
}

// Inactive returns the number of filtered copies.
func (c *Copies) Inactive() int {
	n := c.inactive
	if c.unanswered != nil {
		n += c.unanswered.inactive
	}
	return n
}

// IsUnanswered reports whether a task has answered for no record. Inactive is the count
// before the call of the task.
func (c *Copies) IsUnanswered(inactive int) bool {
	nacked, retried := c.Marks()
	return nacked == 0 && retried == c.Len() && c.Inactive() == inactive
}

// Status returns the flag of an active record and, if it was nacked, the error.
func (c *Copies) Status(i int) (Flag, error) {
	switch {
	case i >= c.records.Len():
		return FlagRetry, nil // unanswered
	case c.states.Len() == 0:
		return FlagAck, nil
	}
	s := c.state(i)
	if s.flag != FlagNack {
		return s.flag, nil
	}
	return s.flag, c.infos.of(s).err
}

// Left returns the number of nacked copies that the results of a processor have taken out
// and that StepOut has not settled yet.
func (c *Copies) Left() int { return len(c.infos.left) }

// NackErrors iterates over the errors of the nacked copies, which may be nil.
func (c *Copies) NackErrors() iter.Seq[error] {
	return func(yield func(error) bool) {
		for i := range c.states.Len() {
			if s := c.states.At(i); s.flag == FlagNack && !yield(c.infos.of(s).err) {
				return
			}
		}
		for i := range c.infos.left {
			if !yield(c.infos.left[i].Err) {
				return
			}
		}
	}
}

// Records returns the active records, which may be changed in place. The slice shows
// them as they are at the time of the call: a reader that goes through it, in either
// direction, may edit the copies where it has been. This holds until Records is called
// again after an edit. Only the first slice that a task gets after BeginTask stays
// readable until EndTask.
//
// A call costs nothing if there was no edit since the last one.
func (c *Copies) Records() []opencdc.Record {
	c.rejoin()
	records := c.records.All()
	if !c.isHandedOut {
		c.isHandedOut = true
		c.records.Pin()
	}
	return records
}

// BeginTask is called before a task gets the copies. If nacksLeave is true, Apply takes
// nacked copies out at once where it can, which saves StepOut the work of moving the
// others together.
func (c *Copies) BeginTask(nacksLeave bool) {
	c.isHandedOut, c.nacksLeave, c.hasBranches = false, nacksLeave, false
	c.records.Unpin()
}

// EndTask is called after a task has had the copies. A task that is not trusted may
// have changed positions in place, so EndTask clips them. The positions of unanswered
// records are clipped only when the records are answered: clipping them in each round
// would cost too much.
func (c *Copies) EndTask(isTrusted bool) {
	c.records.Unpin()
	c.nacksLeave = false
	if c.isHandedOut && !isTrusted {
		c.isUnclipped = true
	}
	if !c.isUnclipped {
		return
	}
	clip(c.records.All())
	c.isUnclipped = false
	if c.unanswered != nil {
		c.unanswered.isUnclipped = true
	}
}

// IsShared returns true if others may hold the records, too. Call Unshare before
// writing to them.
func (c *Copies) IsShared() bool { return c.isShared }

// Share marks the records as held by others.
func (c *Copies) Share() {
	c.isShared = true
	if c.unanswered != nil {
		c.unanswered.isShared = true
	}
}

// Forgive makes the copies, and their forks, count as done where they are nacked.
func (c *Copies) Forgive() { c.isForgiven = true }

// IsSettled returns true if the copies were settled.
func (c *Copies) IsSettled() bool { return c.isSettled }

// SetReadTimes sets when the source records were read: the time in a record's metadata,
// else the time that is already known, else now.
func (c *Copies) SetReadTimes(now time.Time) {
	s := c.source
	if s.ReadTime.IsZero() {
		s.ReadTime = now
	}
	n := len(s.Positions)
	if len(s.ReadAt) != n {
		s.ReadAt = nil
	}
	records := c.Records()
	if !c.isUnedited() {
		c.ensureStates()
	}
	for i := range records {
		if records[i].Metadata[opencdc.MetadataReadAt] == "" {
			continue
		}
		t, err := records[i].Metadata.GetReadAt()
		if err != nil {
			continue
		}
		if s.ReadAt == nil {
			s.ReadAt = s.times.Take(n)[:n]
			for j := range s.ReadAt {
				s.ReadAt[j] = s.ReadTime
			}
		}
		slot := c.first + i
		if c.states.Len() > 0 {
			slot = int(c.state(i).slot)
		}
		s.ReadAt[slot] = t
	}
}

// SourceRecords returns how many source records the copies come from.
func (c *Copies) SourceRecords() int {
	n := 0
	_ = c.eachRun(func(from, to, _ int) error {
		n += to - from
		return nil
	})
	return n
}

// singleCopies returns the source records [from, to) that the copies come from if there
// is known to be one copy of each; otherwise ok is false.
func (c *Copies) singleCopies() (from, to int, ok bool) {
	n := c.states.Len()
	switch {
	case c.unanswered != nil || n > 0 && (c.hasPieces || c.hasGaps):
		return 0, 0, false
	case n > 0:
		first := int(c.states.At(0).slot)
		return first, first + n, true
	case c.pieces != nil:
		return c.first, c.first + len(c.pieces), true
	default:
		return c.first, c.first + c.records.Len(), true
	}
}

// eachRun calls f for each run of adjacent source records that have the same number k
// of copies here. It stops if f fails.
func (c *Copies) eachRun(f func(from, to, k int) error) error {
	c.rejoin()
	if from, to, ok := c.singleCopies(); ok {
		return f(from, to, 1)
	}
	states := c.states.All()
	if !c.hasPieces {
		return eachDistinct(states, f)
	}
	from, to, k := int(states[0].slot), int(states[0].slot), 0
	for i := 0; i < len(states); {
		slot, n := int(states[i].slot), countPieces(states[i:])
		if slot != to || n != k {
			if k > 0 {
				if err := f(from, to, k); err != nil {
					return err
				}
			}
			from, k = slot, n
		}
		to = slot + 1
		i += n
	}
	return f(from, to, k)
}

// eachDistinct is eachRun for states that all have different slots.
func eachDistinct(states []copyState, f func(from, to, k int) error) error {
	for len(states) > 0 {
		from, n := states[0].slot, 1
		for n < len(states) && states[n].slot == from+int32(n) {
			n++
		}
		if err := f(int(from), int(from)+n, 1); err != nil {
			return err
		}
		states = states[n:]
	}
	return nil
}

// countPieces returns how many of the first states belong to the same source record.
func countPieces(states []copyState) int {
	n := 1
	for n < len(states) && states[n].slot == states[0].slot {
		n++
	}
	return n
}

// eachCopy calls f for each copy, with its record or, if the copy is inactive, nil. It
// stops if f fails.
func (c *Copies) eachCopy(f func(s *copyState, record *opencdc.Record) error) error {
	c.rejoin()
	c.ensureStates()
	records := c.records.All()
	for i := range c.states.All() {
		s, record := c.states.At(i), (*opencdc.Record)(nil)
		if s.flag.isActive() {
			record, records = &records[0], records[1:]
		}
		if err := f(s, record); err != nil {
			return err
		}
	}
	return nil
}

// clipPosition clips the position of a record, see Positions.
func clipPosition(r *opencdc.Record) { r.Position = slices.Clip(r.Position) }
