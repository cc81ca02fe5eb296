package batch

import (
	"slices"

	"github.com/conduitio/funnel/internal/gap"
)

// Divide divides the copies, in order, into the longest runs that go on together: those
// that go on to the next task (FlagAck, inactive copies included), those that are
// nacked, and those to be retried, which are unmarked again. If one piece of a record
// was nacked, it first nacks the record's other pieces.
//
// The first run stays in these Copies, and Divide returns its flag. For each other run
// it calls part with the flag of the run, and fills the Copies that part returns, which
// must be empty.
//
// Two runs of FlagAck may be adjacent. The second one then consists of filtered copies
// at the front of the unanswered ones.
func (c *Copies) Divide(part func(Flag) *Copies) (first Flag) {
	c.NackSiblings()
	if n := c.states.Len(); n > 0 && c.unanswered != nil && c.states.At(n-1).flag == FlagRetry {
		c.rejoin() // the last run continues in the unanswered copies
	}
	isFirst := true
	next := func(flag Flag) *Copies {
		if isFirst {
			isFirst, first = false, flag
			return c
		}
		return part(flag)
	}
	tail := c.unanswered
	c.unanswered = nil
	if tail == nil || c.hasCopies() {
		c.divide(FlagAck, next)
	}
	if tail != nil {
		tail.divide(FlagRetry, next)
	}
	return first
}

// divide divides copies without unanswered ones. It fills what next returns for each
// run, which may be c itself for the first one. Records without a mark get the flag
// unmarked.
func (c *Copies) divide(unmarked Flag, next func(Flag) *Copies) {
	if c.IsUnmarked() && (c.inactive == 0 || unmarked == FlagAck) {
		if to := next(unmarked); to != c {
			*to = *c
			*c = Copies{}
			to.spare = c
		}
		return
	}
	flagOf := func(s *copyState) Flag {
		switch {
		case !s.flag.isActive():
			return FlagAck
		case s.flag == FlagAck:
			return unmarked
		default:
			return s.flag
		}
	}
	records, states, common := c.records.All(), c.states.All(), c.common
	for len(states) > 0 {
		flag := flagOf(&states[0])
		active, n := 0, 0
		for ; n < len(states) && flagOf(&states[n]) == flag; n++ {
			if states[n].flag.isActive() {
				active++
			}
			if states[n].flag == FlagRetry {
				states[n].flag = FlagAck
			}
		}
		to := next(flag)
		if to == c {
			*c = Copies{}
		}
		to.common = common
		to.inactive = n - active
		to.records, to.states = gap.Of(records[:active]), gap.Of(states[:n])
		if flag == FlagNack {
			to.counts[FlagNack] = active
			to.marksEnd = active
		}
		records, states = records[active:], states[n:]
	}
}

// NackSiblings nacks the active pieces of each record that has a nacked piece, with the
// error of its first nacked one.
func (c *Copies) NackSiblings() {
	if c.counts[FlagNack] == 0 || !c.hasPieces {
		return
	}
	states := c.states.All()
	for i := 0; i < len(states); {
		n := countPieces(states[i:])
		first := slices.IndexFunc(states[i:i+n], func(s copyState) bool { return s.flag == FlagNack })
		if first < 0 {
			i += n
			continue
		}
		if i+n == len(states) {
			c.takeUnanswered(states[i].slot)
			states = c.states.All()
			n = countPieces(states[i:])
		}
		err := c.infos.of(&states[i+first]).err
		for k := i; k < i+n; k++ {
			if s := &states[k]; s.flag.isActive() && s.flag != FlagNack {
				c.nack(s, err)
			}
		}
		i += n
	}
	c.marksEnd = c.records.Len()
}

// takeUnanswered moves the pieces of a source record from the front of the unanswered
// copies to the end of the others, and then all of them if none is left to be retried.
func (c *Copies) takeUnanswered(slot int32) {
	tail := c.unanswered
	if tail == nil {
		return
	}
	states := tail.states.All()
	if len(states) == 0 || states[0].slot != slot {
		return
	}
	n, active := countPieces(states), 0
	for _, s := range states[:n] {
		if s.flag.isActive() {
			active++
		}
	}
	records := tail.records.All()
	if active == len(records) {
		n = len(states)
	}
	c.records = gap.Of(slices.Concat(c.records.All(), records[:active]))
	c.states = gap.Of(slices.Concat(c.states.All(), states[:n]))
	c.inactive += n - active
	tail.records, tail.states = gap.Of(records[active:]), gap.Of(states[n:])
	tail.inactive -= n - active
	if n == len(states) {
		c.unanswered = nil
	}
}
