package batch

import (
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/reuse"
)

// copyInfo holds what only some copies need. Copies share infos, so an info never
// changes.
type copyInfo struct {
	original *opencdc.Record // the record before its first split, or nil
	err      error           // why it was nacked, or nil
	id       string          // the piece ID, or "" if it has none
}

// CopyInfos are the infos of the copies of a batch, numbered from 1. Those of a branch
// continue the infos from before the fork, which all branches share. The zero value is
// empty.
type CopyInfos struct {
	before *CopyInfos // nil if the copies are on no branch
	first  int        // number of infos before the fork
	own    []copyInfo

	originals []opencdc.Record // the current array of keep

	// left are nacked copies that the results of a processor have taken out and that
	// StepOut has not settled yet.
	left []NackedRecord

	memory     reuse.Buffer[copyInfo]
	leftMemory reuse.Buffer[NackedRecord]
}

// keep stores a copy of a record that an info refers to. The copies are in arrays, each
// twice as large as the one before.
func (n *CopyInfos) keep(rec opencdc.Record) *opencdc.Record {
	if len(n.originals) == cap(n.originals) {
		n.originals = make([]opencdc.Record, 0, max(2*cap(n.originals), 1))
	}
	n.originals = append(n.originals, rec)
	return &n.originals[len(n.originals)-1]
}

// add adds an info and returns its number.
func (n *CopyInfos) add(info copyInfo) int32 {
	n.grow(1)
	n.own = append(n.own, info)
	return int32(n.len())
}

// grow makes room for k more infos.
func (n *CopyInfos) grow(k int) {
	if n.own == nil {
		n.own = n.memory.Take(k)
	}
	n.own = slices.Grow(n.own, k)
}

// leave adds a copy to left.
func (n *CopyInfos) leave(r NackedRecord) {
	if n.left == nil {
		n.left = n.leftMemory.Take(0)
	}
	n.left = append(n.left, r)
}

func (n *CopyInfos) len() int {
	return n.first + len(n.own)
}

// of returns the info of a copy.
func (n *CopyInfos) of(s *copyState) copyInfo {
	if s.info == 0 {
		return copyInfo{}
	}
	i := int(s.info) - 1
	for i < n.first {
		n = n.before
	}
	return n.own[i-n.first]
}

// branchFrom makes the infos, which must be empty, continue before, the infos from before
// a fork. before must not change while the branch is in use.
func (n *CopyInfos) branchFrom(before *CopyInfos) {
	n.before, n.first = before, before.len()
}

// Clear removes the infos and keeps the memory for the next ones.
func (n *CopyInfos) Clear() {
	n.memory.Put(n.own)
	n.leftMemory.Put(n.left)
	n.own, n.originals, n.left = nil, nil, nil
	n.before, n.first = nil, 0
}
