package batch

import (
	"maps"
	"strconv"

	"github.com/conduitio/conduit-commons/opencdc"
)

// Piece IDs.
//
// The ID of a piece is its path through the splits: "2" is the third piece of a source
// record, "2.0" the first piece that it was split into in turn. Splits number their
// pieces as they make them, so IDs depend on nothing else. They are kept in the infos,
// since a task may drop the metadata that they are written to.

// IdentifyPieces gives pieces IDs from now on, which are written to their metadata under
// key. If it was called before, it does nothing. The Copies must hold all copies of their
// source batch. Existing pieces are numbered in order, as if each source record had been
// split once.
func (c *Copies) IdentifyPieces(key string) {
	if c.idKey != "" {
		return
	}
	c.rejoin()
	c.idKey = key
	if !c.hasPieces {
		return
	}
	c.ensureStates()
	states := c.states.All()
	for len(states) > 0 {
		n := countPieces(states)
		if c.infos.of(&states[0]).original != nil {
			for k := range n {
				c.setID(&states[k], k)
			}
		}
		states = states[n:]
	}
}

// WritePieceIDs writes the ID of each piece to its metadata, unless it is there. It skips
// records that are to be retried, since writing their IDs in each round would cost too
// much. They get them when they are answered.
func (c *Copies) WritePieceIDs() {
	if c.idKey == "" || !c.hasPieces {
		return
	}
	records, states := c.records.All(), c.states.All()
	for i := range states {
		s := &states[i]
		if !s.flag.isActive() {
			continue
		}
		if id := c.infos.of(s).id; id != "" && s.flag != FlagRetry {
			c.writeID(&records[0], id)
		}
		records = records[1:]
	}
}

// identify gives piece k of a copy its ID. s is still the state of the copy.
func (c *Copies) identify(s *copyState, piece *opencdc.Record, k int) {
	c.writeID(piece, c.setID(s, k))
}

// setID turns the state of a copy into that of its piece k, and returns the ID of the
// piece.
func (c *Copies) setID(s *copyState, k int) string {
	info := c.infos.of(s)
	if info.id != "" {
		info.id += "."
	}
	info.id += strconv.Itoa(k)
	s.info = c.infos.add(info)
	return info.id
}

// writeID writes an ID to the metadata of a record, unless it is there. The record gets
// a map of its own, since others may hold the old one.
func (c *Copies) writeID(r *opencdc.Record, id string) {
	if r.Metadata[c.idKey] == id {
		return
	}
	r.Metadata = maps.Clone(r.Metadata)
	if r.Metadata == nil {
		r.Metadata = opencdc.Metadata{}
	}
	r.Metadata[c.idKey] = id
}
