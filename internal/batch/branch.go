package batch

import (
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/deepcopy"
	"github.com/conduitio/funnel/internal/gap"
)

// Fork makes fork the same copies on a branch, whose infos, which are empty, are given.
// The two have their records in common, their flags apart. The copies on the branch
// still have to be retained.
func (c *Copies) Fork(fork *Copies, infos *NackInfos) {
	infos.follow(c.infos)
	records, states := c.records.All(), c.states.All()
	*fork = *c
	fork.infos, fork.pool, fork.pieceBuffer = infos, nil, nil
	fork.records, fork.states = gap.Of(records), gap.Of(slices.Clone(states))
}

// Unshare replaces the records by copies of their own, however deep. If a record
// cannot be copied, it returns its position and why.
func (c *Copies) Unshare() (opencdc.Position, error) {
	c.isShared = false
	if c.pieces != nil {
		c.ensureStates() // to find what was split
	}
	records := c.records.All()
	own := make([]opencdc.Record, len(records))
	for i := range records {
		var err error
		if own[i], err = deepcopy.Record(records[i]); err != nil {
			return records[i].Position, err
		}
	}
	c.records = gap.Of(own)
	c.states = gap.Of(c.states.All())
	if c.hasPieces {
		return c.unshareOriginals()
	}
	return nil, nil
}

// unshareOriginals copies what records were before they were split.
func (c *Copies) unshareOriginals() (opencdc.Position, error) {
	var from, to int32 // pieces of a record stand side by side
	for i := range c.states.All() {
		s := c.states.At(i)
		info := c.infos.of(s)
		if info.original == nil {
			continue
		}
		if s.info != from {
			original, err := deepcopy.Record(*info.original)
			if err != nil {
				return info.original.Position, err
			}
			from, to = s.info, c.infos.add(nackInfo{original: c.infos.keep(original), err: info.err})
		}
		s.info = to
	}
	return nil, nil
}
