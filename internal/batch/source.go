package batch

import (
	"slices"
	"sync"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/ledger"
	"github.com/conduitio/funnel/internal/reuse"
)

// SourceBatch stands for records that were read together, or that NewBatch was given. It
// holds the positions of these source records, and the ledger in which their copies
// count. All Copies that descend from them share it.
//
// The zero value has no records. After Ledger.Share, several goroutines may use the
// Ledger at the same time, and MarkDelivered and IsDelivered, but nothing else.
type SourceBatch struct {
	Ledger    ledger.Ledger[NackedRecord]
	Positions []opencdc.Position // as the source gave them
	ReadTime  time.Time          // when the records were read; zero if the timer is off
	ReadAt    []time.Time        // when each record was read, or empty if ReadTime says it
	Progress  Progress

	asRead []opencdc.Record // the source records, if KeepRead has kept them

	deliveredLock sync.Mutex
	delivered     []bool // which records MarkDelivered has marked, or empty

	nacked       []int // the result of Finished
	slots        reuse.Buffer[int]
	times        reuse.Buffer[time.Time]
	asReadMemory reuse.Buffer[opencdc.Record]
	infos        CopyInfos // of the copies that are on no branch
	hasPositions bool      // no position is empty
}

// Progress is how far releasing a source batch has come, beyond what the ledger knows.
// It belongs to the code that releases the records; this package does not use it.
type Progress struct {
	// CopyPositions is set if an ack may be tried again after it failed. Then the
	// source gets copies of the positions, since it may change what it is given.
	CopyPositions bool
	// HasFailed is set if releasing records has failed.
	HasFailed bool
	// Admitted is the slot up to which the window of the dead-letter queue knows the
	// outcomes. If Refusal is set, the window has refused the nack of slot Admitted
	// with this error.
	Admitted int
	Refusal  error
}

// NackedRecord is a nacked source record and the reason.
type NackedRecord struct {
	Record   opencdc.Record   // what goes to the dead-letter queue
	Version  Version          // of the record
	Position opencdc.Position // of Record or, if that is empty, of the source record
	Err      error            // the error it was nacked with, which may be nil
	TaskID   string           // the task that nacked it

	slot int // the slot of the source record
}

// IsEmpty returns true if there are no source records.
func (s *SourceBatch) IsEmpty() bool { return len(s.Positions) == 0 }

// Reset removes the records and keeps the memory for the next ones.
func (s *SourceBatch) Reset() {
	s.Ledger.Reset(0)
	s.Positions = nil // they belong to the source
	if s.nacked != nil {
		s.slots.Put(s.nacked)
		s.nacked = s.slots.Take(0)
	}
	s.times.Put(s.ReadAt)
	s.ReadTime, s.ReadAt = time.Time{}, nil
	s.asReadMemory.Put(s.asRead)
	s.asRead = nil
	s.Progress = Progress{}
	s.infos.Clear()
	s.hasPositions = false
	s.delivered = nil
}

// Finished returns the finished source records [from, to) at the front that were not
// released yet, and the nacked ones among them. The slice is valid until the next call.
func (s *SourceBatch) Finished() (from, to int, nacked []int) {
	from, to, s.nacked = s.Ledger.Finished(s.nacked[:0])
	return from, to, s.nacked
}

// IsDelivered returns true if a copy of the source record was marked by MarkDelivered.
func (s *SourceBatch) IsDelivered(slot int) bool {
	s.deliveredLock.Lock()
	defer s.deliveredLock.Unlock()
	return len(s.delivered) > 0 && s.delivered[slot]
}

// EmptyPosition returns the index of the first source record with an empty position, or
// -1. If it has found none, it does not look again: positions of finished records belong
// to the source.
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

// Positions returns the positions of records, clipped, and clips them in the records,
// too. Otherwise appending to a position might overwrite another one that shares its
// memory.
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

// clip clips the position of each record, see Positions.
func clip(records []opencdc.Record) {
	for i := range records {
		if p := records[i].Position; len(p) < cap(p) {
			records[i].Position = slices.Clip(p)
		}
	}
}
