package batch

import (
	"slices"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/ledger"
	"github.com/conduitio/funnel/internal/reuse"
)

// SourceBatch is what one read of the source has returned, or what a batch was made
// of: the source records' positions, and the ledger in which their copies count. All
// Copies that descend from the same read share one.
//
// The zero value has no records. Once several goroutines use it, that is, from
// Ledger.Share on, only the Ledger may be used by them at the same time.
type SourceBatch struct {
	Ledger    ledger.Ledger[NackedRecord]
	Positions []opencdc.Position // as the source gave them
	ReadAt    []time.Time        // when each record was read, or empty if nobody wants to know
	Release   Release

	times        reuse.Buffer[time.Time]
	infos        NackInfos // of the copies that are on no branch
	hasPositions bool      // no position is empty
}

// Release is how far the release of a source batch has come, beyond what the ledger
// knows. This package does not use it: it belongs to whoever releases the records.
type Release struct {
	// CopyPositions is set if an ack may be tried again after it has failed. Then
	// the source gets copies of the positions, since it may change what it is given.
	CopyPositions bool
	// HasFailed is set if releasing records has failed.
	HasFailed bool
	// Admitted is the slot up to which the window of the dead-letter queue knows
	// what has become of the records. If Refusal is set, the window has refused the
	// slot at Admitted with this error.
	Admitted int
	Refusal  error
}

// NackedRecord says why a source record was nacked.
type NackedRecord struct {
	Record   opencdc.Record   // what goes to the dead-letter queue
	Position opencdc.Position // of Record or, if that is empty, of the source record
	Err      error            // what it was nacked with, which may be nil
	TaskID   string           // the task that has nacked it
}

// Reset removes the records. The memory is kept for the next ones.
func (s *SourceBatch) Reset() {
	s.Ledger.Reset(0)
	s.Positions = nil // they belong to the source
	s.times.Put(s.ReadAt)
	s.ReadAt = nil
	s.Release = Release{}
	s.infos.Clear()
	s.hasPositions = false
}

// EmptyPosition returns the index of the first source record with an empty position,
// or -1. It looks at them until it has found none, and not again: the positions of
// records that are done belong to the source.
func (s *SourceBatch) EmptyPosition() int {
	if s.hasPositions {
		return -1
	}
	for i := range s.Positions {
		if len(s.Positions[i]) == 0 {
			return i
		}
	}
	s.hasPositions = true
	return -1
}

// Positions returns the positions of records, and clips them in the records, too: appending to a
// position must not write into another one that lies behind it or shares its memory.
func Positions(records []opencdc.Record) []opencdc.Position {
	positions := make([]opencdc.Position, len(records))
	for i := range records {
		p := records[i].Position
		if len(p) < cap(p) {
			p = slices.Clip(p)
			records[i].Position = p
		}
		positions[i] = p
	}
	return positions
}

// clip cuts the capacity of each position to its length, see Positions.
func clip(records []opencdc.Record) {
	for i := range records {
		if p := records[i].Position; len(p) < cap(p) {
			records[i].Position = slices.Clip(p)
		}
	}
}
