package life

import (
	"bytes"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"
)

// Progress is how far a source was read and acked. Records are numbered from 1 on. The zero
// value is the progress of a source that begins with its first record. Only one goroutine may
// use it at a time.
type Progress struct {
	position opencdc.Position // of the last acked record, or nil
	acked    uint64
	read     uint64
}

// ResumedAt returns the progress of a source that resumes after the record with this position
// and number. It keeps a copy of the position.
func ResumedAt(position opencdc.Position, record uint64) Progress {
	return Progress{position: bytes.Clone(position), acked: record, read: record}
}

// Position returns the position of the last acked record, or nil if there is none.
func (p *Progress) Position() opencdc.Position { return p.position }

// Reopen goes back to the last acked record.
func (p *Progress) Reopen() { p.read = p.acked }

// Read says that all records up to the given one were read.
func (p *Progress) Read(record uint64) { p.read = record }

// Pending returns how many records were read and not acked.
func (p *Progress) Pending() uint64 { return p.read - p.acked }

// Ack says that all records up to the given one are acked, and keeps its position, not a copy.
// It returns an error, and changes nothing, if the record was not read or was acked before.
func (p *Progress) Ack(position opencdc.Position, record uint64) error {
	switch {
	case record <= p.acked:
		return fmt.Errorf("record %d is acked after record %d", record, p.acked)
	case record > p.read:
		return fmt.Errorf("record %d is acked, but only %d were read", record, p.read)
	}
	p.position, p.acked = position, record
	return nil
}
