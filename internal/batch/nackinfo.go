package batch

import (
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/reuse"
)

// nackInfo is what has to be known of a copy if it is nacked. Copies share infos, so
// an info never changes.
type nackInfo struct {
	original *opencdc.Record // what the record was before its first split, or nil
	err      error           // why it was nacked, or nil
}

// NackInfos are the infos of the copies of a batch, numbered from 1 on. Those of a
// branch begin with what there was before the branches, which all of them share. The
// zero value is empty.
type NackInfos struct {
	before *NackInfos // nil if the copies are on no branch
	first  int        // how many there were before
	own    []nackInfo

	originals []opencdc.Record // the array that keep copies into

	memory reuse.Buffer[nackInfo]
}

// keep copies a record, so that an info may refer to it. The copies lie in arrays,
// each twice as large as the one before.
func (n *NackInfos) keep(rec opencdc.Record) *opencdc.Record {
	if len(n.originals) == cap(n.originals) {
		n.originals = make([]opencdc.Record, 0, max(2*cap(n.originals), 1))
	}
	n.originals = append(n.originals, rec)
	return &n.originals[len(n.originals)-1]
}

// add adds an info and returns its number.
func (n *NackInfos) add(info nackInfo) int32 {
	n.grow(1)
	n.own = append(n.own, info)
	return int32(n.len())
}

// grow makes room for k more infos.
func (n *NackInfos) grow(k int) {
	if n.own == nil {
		n.own = n.memory.Take(k)
	}
	n.own = slices.Grow(n.own, k)
}

func (n *NackInfos) len() int {
	return n.first + len(n.own)
}

// of returns the info of a copy.
func (n *NackInfos) of(s *copyState) nackInfo {
	if s.info == 0 {
		return nackInfo{}
	}
	i := int(s.info) - 1
	for i < n.first {
		n = n.before
	}
	return n.own[i-n.first]
}

// follow makes the infos, which are empty, those of a branch. The infos from before
// it must not change as long as the branch is in use.
func (n *NackInfos) follow(before *NackInfos) {
	n.before, n.first = before, before.len()
}

// Clear removes the infos. The memory is kept for the next ones.
func (n *NackInfos) Clear() {
	n.memory.Put(n.own)
	n.own, n.originals = nil, nil
	n.before, n.first = nil, 0
}
