package batch

import (
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/gap"
)

// Editing copies.
//
// Filtering takes a record out of the slice of active records, and splitting puts
// records into it. The slice has a gap at the last edit, so that editing each record of
// a large batch takes linear time. The states have their gap at the same place, so the
// gap leads from an active record to its state, however many inactive ones lie between.
// Until something is filtered or split, both gaps are empty and only mark a place.

// Mark gives the active records [i, end) a flag, FlagAck or FlagRetry.
func (c *Copies) Mark(i, end int, flag Flag) {
	c.rejoinBefore(end)
	if flag == FlagAck && c.states.Len() == 0 {
		return // they are acked already
	}
	c.ensureStates()
	c.marksEnd = max(c.marksEnd, end)
	for k := i; k < end; k++ {
		c.mark(c.state(k), flag)
	}
}

// RetryFrom marks the active records from i on to be retried.
func (c *Copies) RetryFrom(i int) {
	switch end := c.Len(); {
	case i == end:
	case c.unanswered == nil && i >= c.marksEnd:
		c.cutUnanswered(i)
	default:
		c.Mark(i, end, FlagRetry)
	}
}

// TakeOut gives the active records [i, end) a flag that makes them inactive, such as
// FlagFilter.
func (c *Copies) TakeOut(i, end int, flag Flag) {
	c.rejoinBefore(end)
	c.ensureStates()
	for range end - i {
		c.seek(i)
		c.takeOutNext(flag)
	}
}

// Nack marks the active records from i on as nacked, one for each error, which may be
// nil. Without errors, it marks record i.
func (c *Copies) Nack(i int, errs ...error) {
	end := i + max(len(errs), 1)
	c.rejoinBefore(end)
	c.ensureStates()
	c.marksEnd = max(c.marksEnd, end)
	for k := i; k < end; k++ {
		var err error
		if len(errs) > 0 {
			err = errs[k-i]
		}
		c.nack(c.state(k), err)
	}
}

// Set replaces the active records from i on with copies of records. Their status does
// not change.
func (c *Copies) Set(i int, records []opencdc.Record) {
	end := i + len(records)
	c.rejoinBefore(end)
	c.records.Set(i, records)
	for k := i; k < end; k++ {
		clipPosition(c.records.At(k))
	}
}

// Split replaces active record i with at least two pieces, which are copied.
func (c *Copies) Split(i int, pieces []opencdc.Record) {
	c.rejoinBefore(i + 1)
	c.ensureStates()
	c.pieceBuffer = append(c.pieceBuffer[:0], pieces...) // the pieces may be records of this batch, which are about to move
	clip(c.pieceBuffer)
	c.seek(i)
	c.splitNext(c.pieceBuffer)
}

// mark changes the flag of an active copy and the counts.
func (c *Copies) mark(s *copyState, flag Flag) {
	if s.flag == FlagNack {
		c.forgetError(s)
	}
	c.counts[s.flag]--
	c.counts[flag]++
	if !flag.isActive() {
		c.inactive++
	}
	s.flag = flag
}

// forgetError removes the error that a copy was nacked with.
func (c *Copies) forgetError(s *copyState) {
	switch info := c.infos.of(s); {
	case info.err == nil:
	case info.original == nil:
		s.info = 0
	default:
		info.err = nil
		s.info = c.infos.add(info)
	}
}

// nack marks an active copy as nacked, with an error that may be nil.
func (c *Copies) nack(s *copyState, err error) {
	c.mark(s, FlagNack)
	if err != nil {
		info := c.infos.of(s)
		info.err = err
		s.info = c.infos.add(info)
	}
}

// ensureStates gives each copy a state.
func (c *Copies) ensureStates() {
	n := c.records.Len()
	switch {
	case c.states.Len() > 0:
		return
	case c.pieces != nil:
		c.expand()
		return
	case n == 0:
		return
	}
	states := c.pool.takeStates(n)[:n]
	for i := range states {
		states[i] = copyState{slot: int32(c.first + i)}
	}
	c.states = gap.Of(states) // both gaps are at the start
}

// expand replaces c.pieces with a state for each copy, and counts the copies in the
// ledger.
func (c *Copies) expand() {
	states := c.pool.takeStates(c.records.Len() + c.inactive)
	retained := runs{ledger: &c.source.Ledger}
	for i, n := range c.pieces {
		s := copyState{slot: int32(c.first + i)}
		switch {
		case n == 0:
			s.flag = FlagFilter
		case n > 1:
			s.info = c.infos.add(copyInfo{original: &c.unsplit[i]})
			retained.add(c.first+i, int(n)-1)
		}
		for range max(n, 1) {
			states = append(states, s)
		}
	}
	_ = retained.flush() // if a record is settled already, settling its pieces returns the error
	c.states = gap.Of(states)
	c.pieces, c.unsplit = nil, nil
}

// state returns the state of active record i.
func (c *Copies) state(i int) *copyState {
	if c.inactive == 0 {
		return c.states.At(i)
	}
	c.seek(i)
	return c.states.Next()
}

// seek moves the gaps so that active record i and its state are the first ones after
// them.
func (c *Copies) seek(i int) {
	for c.records.Before() > i {
		if c.states.Last().flag.isActive() {
			c.records.StepBack()
		}
		c.states.StepBack()
	}
	for c.records.Before() < i || !c.states.Next().flag.isActive() {
		if c.states.Next().flag.isActive() {
			c.records.Step()
		}
		c.states.Step()
	}
}

// takeOutNext takes out the record after the gap.
func (c *Copies) takeOutNext(flag Flag) {
	c.mark(c.states.Next(), flag)
	c.states.Step()
	c.records.Drop()
}

// splitNext replaces the record after the gap with pieces. It may write IDs into pieces.
func (c *Copies) splitNext(pieces []opencdc.Record) {
	s := *c.states.Next()
	if info := c.infos.of(&s); info.original == nil {
		info.original = c.infos.keep(*c.records.Next())
		s.info = c.infos.add(info)
	}
	c.beginSplit(&s, len(pieces))
	retained := runs{ledger: &c.source.Ledger}
	retained.add(int(s.slot), len(pieces)-1)
	_ = retained.flush() // see expand
	c.states.Drop()
	for k := range pieces {
		piece := s
		if c.idKey != "" {
			c.identify(&piece, &pieces[k], k)
		}
		c.states.Put(piece)
	}
	c.records.Drop()
	c.records.Put(pieces...)
}

// beginSplit prepares the state of a copy for its n pieces. Pieces of a nacked copy are
// nacked. Splitting a copy that was to be retried is an answer, so its pieces are
// acked.
func (c *Copies) beginSplit(s *copyState, n int) {
	if s.flag == FlagRetry {
		c.mark(s, FlagAck)
	}
	c.counts[s.flag] += n - 1
	c.marksEnd += n - 1
	c.hasPieces = true
}

// cutUnanswered cuts off the copies from active record i on and makes them the
// unanswered ones. There must be none yet, and no marks from i on.
func (c *Copies) cutUnanswered(i int) {
	if c.pieces != nil {
		c.ensureStates()
	}
	cut := c.spare
	if cut == nil {
		cut = &Copies{}
	}
	cut.common, cut.first = c.common, 0
	if c.states.Len() > 0 {
		c.seek(i)
		cut.records, cut.states = gap.Of(c.records.Cut()), gap.Of(c.states.Cut())
		cut.inactive = cut.states.Len() - cut.records.Len()
		c.inactive -= cut.inactive
	} else {
		records := c.records.All()
		c.records, cut.records = gap.Of(records[:i]), gap.Of(records[i:])
		cut.first = c.first + i
	}
	c.unanswered, c.spare = cut, nil
}

// rejoinBefore rejoins the unanswered copies if an active record before end is among them.
func (c *Copies) rejoinBefore(end int) {
	if c.unanswered != nil && end > c.records.Len() {
		c.rejoin()
	}
}

// rejoin puts the unanswered copies back and marks each one to be retried.
func (c *Copies) rejoin() {
	tail := c.unanswered
	if tail == nil {
		return
	}
	c.unanswered = nil
	c.ensureStates()
	tail.ensureStates()
	n := c.states.Len()
	// A task may still be reading the array that holds the records.
	records := make([]opencdc.Record, 0, c.records.Len()+tail.records.Len())
	c.records = gap.Of(tail.records.AppendTo(c.records.AppendTo(records)))
	c.states = gap.Of(slices.Concat(c.states.All(), tail.states.All()))
	c.inactive += tail.inactive
	c.isUnclipped = c.isUnclipped || tail.isUnclipped
	c.marksEnd = c.records.Len()
	for i := n; i < c.states.Len(); i++ {
		if s := c.states.At(i); s.flag.isActive() {
			c.mark(s, FlagRetry)
		}
	}
}
