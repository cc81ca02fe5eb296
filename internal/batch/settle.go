package batch

import "github.com/conduitio/conduit-commons/opencdc"

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

// SettleNacked settles each copy, once: active copies as nacked by the task, filtered
// ones as done. It returns the ledger's error.
func (c *Copies) SettleNacked(taskID string) error {
	if c.isSettled {
		return nil
	}
	c.isSettled = true
	c.rejoin()
	c.nackSiblings()
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
	c.nackSiblings()
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
	info := c.infos.of(s)
	if info.original != nil {
		record = info.original
	}
	r := NackedRecord{Record: *record, Err: info.err, TaskID: taskID}
	clipPosition(&r.Record) // a task may have changed an original in place
	r.Position = r.Record.Position
	if len(r.Position) == 0 {
		r.Position = c.source.Positions[s.slot]
	}
	return r
}
