package funnel

import (
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/batch"
)

//go:generate go run golang.org/x/tools/cmd/stringer@v0.38.0 -type RecordFlag -linecomment

// RecordFlag is what a task has decided about a record.
type RecordFlag int

// The flags of a record. A record is acked unless a task says otherwise.
const (
	RecordFlagAck    RecordFlag = iota // ack
	RecordFlagNack                     // nack
	RecordFlagRetry                    // retry
	RecordFlagFilter                   // filter
)

// RecordStatus holds the status of a record in a batch. The flag indicates the
// status of the record, and the error is set if the record was nacked.
type RecordStatus struct {
	Flag  RecordFlag
	Error error
}

// Batch represents a batch of records that are processed together. It keeps
// track of the status of each record in the batch, and provides methods to
// update the status of records.
//
// All indices point into the current result of [Batch.ActiveRecords]. So filtering or
// splitting a record shifts the indices of the records after it, which does not matter
// to a task that marks records from last to first. In either direction a mark is O(1);
// random access is O(n) once records were filtered or split.
//
// A method panics, and changes nothing, if an index or a range is out of bounds or if
// more than one end index is given.
//
// A Batch is not safe for concurrent use, and a [Task] must not keep it after Do
// returns.
type Batch struct {
	copies batch.Copies
}

// NewBatch returns a batch of records whose status is ack. The batch owns the slice. It
// has a ledger of its own: [Worker.Ack] and [Worker.Nack] settle its records at once.
func NewBatch(records []opencdc.Record) *Batch {
	b := &Batch{}
	b.copies.Fill(records, batch.Positions(records))
	return b
}

// ActiveRecords returns the records that are not filtered.
//
// The batch owns the slice. A task may change the data in the records; it puts changed
// records into the batch with SetRecords.
//
// The slice shows the batch as it is at the time of the call. A task that goes through
// the slice in either direction may edit the batch where it has been: the records ahead
// do not change. This holds until the task calls ActiveRecords again after an edit.
// Only the slice of its first call stays readable until the task returns.
//
// A call costs nothing if the batch was not edited since the last one. Otherwise it
// moves the records on one side of the edit, or all of them if the array has to grow.
func (b *Batch) ActiveRecords() []opencdc.Record {
	return b.copies.Records()
}

// Status returns the status of active record i. Its Error is the error that the record
// was nacked with, which may be nil.
func (b *Batch) Status(i int) RecordStatus {
	b.checkRange("Status", i, i+1)
	flag, err := b.copies.Status(i)
	return RecordStatus{Flag: RecordFlag(flag), Error: err}
}

// HasActiveRecords returns true if the batch has any records that are not
// filtered out.
func (b *Batch) HasActiveRecords() bool {
	return b.copies.Len() > 0
}

// Ack marks the record at index i as acked. If a second index is provided, all
// records between i (included) and j (excluded) are marked as acked. If
// multiple indices are provided, the method panics. Records are marked as acked
// by default, so this method is only useful when reprocessing records marked to
// be retried.
//
// Note that the indices i and j point to the slice returned by ActiveRecords.
// If the slice contains filtered records, the filtered records are skipped and
// not marked as acked.
func (b *Batch) Ack(i int, j ...int) {
	b.copies.Mark(i, b.end("Ack", i, j), batch.FlagAck)
}

// Filter marks the record at index i as filtered out. If a second index is
// provided, all records between i (included) and j (excluded) are marked as
// filtered. If multiple indices are provided, the method panics. Once a record
// is filtered, it is kept in the batch as to not split the batch into multiple
// batches. It's not returned in the active records and its status can't be
// changed anymore, however, it is included when acking the batch.
//
// Note that the indices i and j point to the slice returned by ActiveRecords.
// If the slice contains filtered records, the filtered records are skipped and
// not marked again.
func (b *Batch) Filter(i int, j ...int) {
	b.copies.TakeOut(i, b.end("Filter", i, j), batch.FlagFilter)
}

// Nack marks the record at index i as nacked. If multiple errors are provided,
// they are assigned to the records starting at index i.
//
// If there is no error, or a nil one, the dead letter says so.
//
// Note that the indices point to the slice returned by ActiveRecords. If the
// slice contains filtered records, the filtered records are skipped and not
// marked as nacked.
func (b *Batch) Nack(i int, errs ...error) {
	b.checkRange("Nack", i, i+max(len(errs), 1))
	b.copies.Nack(i, errs...)
}

// Retry marks the record at index i to be retried. If a second index is
// provided, all records between i (included) and j (excluded) are marked to be
// retried. If multiple indices are provided, the method panics.
//
// Note that the indices i and j point to the slice returned by ActiveRecords.
// If the slice contains filtered records, the filtered records are skipped and
// not marked to be retried.
func (b *Batch) Retry(i int, j ...int) {
	if end := b.end("Retry", i, j); len(j) == 1 && end == b.copies.Len() {
		b.copies.RetryFrom(i)
	} else {
		b.copies.Mark(i, end, batch.FlagRetry)
	}
}

// SetRecords replaces the records in the batch starting at index i with the provided
// records. If recs contains n records, indices i to i+n-1 are replaced. Their status
// does not change. The records are copied into the batch; the caller keeps the slice.
func (b *Batch) SetRecords(i int, recs []opencdc.Record) {
	b.checkRange("SetRecords", i, i+len(recs))
	b.copies.Set(i, recs)
}

// SplitRecord replaces the record at index i with the provided records, its pieces, in
// order. The source record is acked once all of them are done.
//
// If a piece is nacked, the record that is replaced here goes to the dead-letter queue
// or, if that record is itself a piece, the record from before its first split. So the
// pieces must not share maps with it that a later task may change.
//
// The pieces of a nacked record are nacked; other pieces are acked unless they are marked
// again. A single record replaces the record like SetRecords, and no records filter it.
// The pieces are copied into the batch; the caller keeps the slice. If the worker has the
// option [WithPieceIDs], they get their IDs at once.
func (b *Batch) SplitRecord(i int, recs []opencdc.Record) {
	b.checkRange("SplitRecord", i, i+1)
	switch len(recs) {
	case 0:
		b.copies.TakeOut(i, i+1, batch.FlagFilter)
	case 1:
		b.copies.Set(i, recs)
	default:
		b.copies.Split(i, recs)
	}
}

// end returns the end of the range that i and j describe. It panics if the range is
// invalid.
func (b *Batch) end(method string, i int, j []int) int {
	switch len(j) {
	case 0:
		b.checkRange(method, i, i+1)
		return i + 1
	case 1:
		b.checkRange(method, i, j[0])
		return j[0]
	default:
		panic(fmt.Sprintf("funnel: Batch.%s: %d end indices given for index %d, at most one is allowed (length %d)",
			method, len(j), i, b.copies.Len()))
	}
}

func (b *Batch) checkRange(method string, i, end int) {
	if n := b.copies.Len(); i < 0 || end < i || end > n {
		if end == i+1 {
			panic(fmt.Sprintf("funnel: Batch.%s: index %d out of range with length %d", method, i, n))
		}
		panic(fmt.Sprintf("funnel: Batch.%s: range [%d:%d] out of range with length %d", method, i, end, n))
	}
}

// checkPositions returns an error if a source record has no position: acking it would
// wipe the position from which the source resumes.
func (b *Batch) checkPositions() error {
	source := b.copies.Source()
	if i := source.EmptyPosition(); i >= 0 {
		return FatalError(fmt.Errorf("%w: record %d of a batch of %d has none", ErrEmptyPosition, i, len(source.Positions)))
	}
	return nil
}

// unshare replaces the records by copies that nobody else holds. It fails if a record
// is nested too deeply to be copied.
func (b *Batch) unshare() error {
	p, err := b.copies.Unshare()
	if err == nil {
		return nil
	}
	return FatalError(fmt.Errorf("record %s cannot be copied: %w", quotePosition(p), err))
}
