package batch

import (
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/deepcopy"
	"github.com/conduitio/funnel/internal/gap"
)

// Fork makes fork hold the same copies, for a branch. infos are those of the branch and
// must be empty. The two share the records but not the flags. The caller must have
// retained the copies of the fork with Retain.
func (c *Copies) Fork(fork *Copies, infos *CopyInfos) {
	infos.branchFrom(c.infos)
	records, states := c.records.All(), c.states.All()
	*fork = *c
	fork.infos, fork.pool, fork.pieceBuffer, fork.spare = infos, nil, nil, nil
	fork.records, fork.states = gap.Of(records), gap.Of(slices.Clone(states))
}

// Unshare replaces the records by deep copies that nobody else holds. If a record
// cannot be copied, it returns the record's position and the reason.
func (c *Copies) Unshare() (opencdc.Position, error) {
	c.isShared = false
	if c.pieces != nil {
		c.ensureStates() // to find the originals
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

// unshareOriginals copies the originals of split records.
func (c *Copies) unshareOriginals() (opencdc.Position, error) {
	// The pieces of a record are adjacent, and have the same original.
	var from, to struct {
		original *opencdc.Record
		info     int32
	}
	for i := range c.states.All() {
		s := c.states.At(i)
		info := c.infos.of(s)
		if info.original == nil {
			continue
		}
		if info.original != from.original {
			original, err := deepcopy.Record(*info.original)
			if err != nil {
				return info.original.Position, err
			}
			from.original, to.original = info.original, c.infos.keep(original)
		}
		if s.info != from.info {
			info.original = to.original
			from.info, to.info = s.info, c.infos.add(info)
		}
		s.info = to.info
	}
	return nil, nil
}
