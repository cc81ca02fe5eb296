package batch

import (
	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/gap"
)

// Retain adds k copies to the ledger for each of these copies. It returns the ledger's
// error.
func (c *Copies) Retain(k int) error {
	return c.eachRun(func(from, to, copies int) error {
		return c.source.Ledger.Retain(from, to, copies*k)
	})
}

// Settle settles each copy, once, however often it is called. It returns the ledger's
// error.
func (c *Copies) Settle() error {
	if c.isSettled {
		return nil
	}
	c.isSettled = true
	if from, to, ok := c.singleCopies(); ok {
		return c.source.Ledger.Settle(from, to, 1)
	}
	return c.eachRun(c.source.Ledger.Settle)
}

// MarkDelivered marks the source records of the active copies that are not marked otherwise
// as delivered, unless the copies were settled before.
func (c *Copies) MarkDelivered() {
	if c.isSettled {
		return
	}
	c.rejoin()
	s := c.source
	s.deliveredLock.Lock()
	defer s.deliveredLock.Unlock()
	if len(s.delivered) == 0 {
		s.delivered = make([]bool, len(s.Positions))
	}
	switch {
	case c.states.Len() > 0:
		for _, state := range c.states.All() {
			if state.flag == FlagAck {
				s.delivered[state.slot] = true
			}
		}
	case c.pieces != nil:
		for i, n := range c.pieces {
			if n > 0 {
				s.delivered[c.first+i] = true
			}
		}
	default:
		for i := range c.records.Len() {
			s.delivered[c.first+i] = true
		}
	}
}

// SettleMarked settles each copy, once. Copies that are marked as nacked, and their
// sibling pieces, are settled as nacked by the task or, if they are forgiven, as done; the
// others as done. It returns the ledger's error.
func (c *Copies) SettleMarked(taskID string) error {
	if c.isSettled {
		return nil
	}
	if err := c.settleLeft(taskID); err != nil {
		return err
	}
	if c.isForgiven || !c.HasNacks() {
		return c.Settle()
	}
	c.isSettled = true
	c.rejoin()
	c.NackSiblings()
	records, states := c.records.All(), c.states.All()
	for len(states) > 0 {
		done, active := 0, 0 // the copies before the next nacked one
		for ; done < len(states) && states[done].flag != FlagNack; done++ {
			if states[done].flag.isActive() {
				active++
			}
		}
		if err := c.settleDone(states[:done]); err != nil || done == len(states) {
			return err
		}
		s := &states[done]
		if err := c.source.Ledger.Nack(int(s.slot), c.nackedRecord(s, &records[active], taskID)); err != nil {
			return err
		}
		records, states = records[active+1:], states[done+1:]
	}
	return nil
}

// settleDone settles copies as done.
func (c *Copies) settleDone(states []copyState) error {
	if !c.hasPieces {
		return eachDistinct(states, c.source.Ledger.Settle)
	}
	done := runs{ledger: &c.source.Ledger, isSettle: true}
	for i := range states {
		done.add(int(states[i].slot), 1)
	}
	return done.flush()
}

// StepOut takes the copies that are marked as nacked, and their sibling pieces, out of
// these Copies and settles them as nacked by the task or, if they are forgiven, as done.
// It returns the ledger's error.
func (c *Copies) StepOut(taskID string) error {
	if err := c.settleLeft(taskID); err != nil {
		return err
	}
	if !c.HasNacks() {
		return nil
	}
	c.NackSiblings()
	records, states := c.records.All(), c.states.All()
	active, kept, next := records[:0], states[:0], 0
	for i := range states {
		s := &states[i]
		if s.flag.isActive() {
			next++
		}
		switch {
		case s.flag == FlagNack:
			if err := c.settleNacked(c.nackedRecord(s, &records[next-1], taskID)); err != nil {
				return err
			}
			continue
		case s.flag.isActive():
			active = append(active, records[next-1])
		}
		kept = append(kept, *s)
	}
	c.records, c.states = gap.Of(active), gap.Of(kept)
	c.counts[FlagNack], c.marksEnd, c.hasGaps = 0, 0, true
	if c.counts[FlagRetry] > 0 {
		c.marksEnd = len(active)
	}
	return nil
}

// settleLeft settles the copies that the results of a processor have taken out.
func (c *Copies) settleLeft(taskID string) error {
	left := c.infos.left
	c.infos.left = left[:0]
	c.counts[FlagNack] -= len(left)
	for i := range left {
		left[i].TaskID = taskID
		if err := c.settleNacked(left[i]); err != nil {
			return err
		}
	}
	return nil
}

// settleNacked settles a nacked copy as nacked or, if it is forgiven, as done.
func (c *Copies) settleNacked(r NackedRecord) error {
	if c.isForgiven {
		return c.source.Ledger.Settle(r.slot, r.slot+1, 1)
	}
	return c.source.Ledger.Nack(r.slot, r)
}

// SettleNacked settles each copy, once: active copies as nacked by the task, filtered
// ones as done. Forgiven copies are all settled as done. It returns the ledger's error.
func (c *Copies) SettleNacked(taskID string) error {
	if c.isSettled {
		return nil
	}
	if c.isForgiven {
		return c.Settle()
	}
	c.isSettled = true
	c.rejoin()
	c.NackSiblings()
	return c.eachCopy(func(s *copyState, record *opencdc.Record) error {
		slot := int(s.slot)
		if record == nil {
			return c.source.Ledger.Settle(slot, slot+1, 1)
		}
		return c.source.Ledger.Nack(slot, c.nackedRecord(s, record, taskID))
	})
}

// NackedRecords returns a NackedRecord for each source record with an active copy, as
// if the task had nacked all active copies. sources[i] is the number of source records
// before nacked[i]; the last element of sources is the number of all.
func (c *Copies) NackedRecords(taskID string) (nacked []*NackedRecord, sources []int) {
	slot, n := int32(-1), 0 // the last source record, and how many there were so far
	last := int32(-1)       // the last one in nacked
	c.rejoin()
	c.NackSiblings()
	_ = c.eachCopy(func(s *copyState, record *opencdc.Record) error {
		if s.slot != slot {
			slot = s.slot
			n++
		}
		if record != nil && last != slot {
			last = slot
			r := c.nackedRecord(s, record, taskID)
			nacked = append(nacked, &r)
			sources = append(sources, n-1)
		}
		return nil
	})
	return nacked, append(sources, n)
}

// nackedRecord returns the NackedRecord of a copy that the task nacks.
func (c *Copies) nackedRecord(s *copyState, record *opencdc.Record, taskID string) NackedRecord {
	info, version := c.infos.of(s), AsGiven
	switch {
	case len(c.source.asRead) > 0:
		record, version = &c.source.asRead[s.slot], AsRead
	case info.original != nil:
		record, version = info.original, BeforeSplit
	}
	r := NackedRecord{Record: *record, Version: version, Err: info.err, TaskID: taskID, slot: int(s.slot)}
	clipPosition(&r.Record) // a task may have changed an original in place
	r.Position = r.Record.Position
	if len(r.Position) == 0 {
		r.Position = c.source.Positions[s.slot]
	}
	return r
}
