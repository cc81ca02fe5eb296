package funnel

import (
	"fmt"
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/gap"
)

//go:generate go run golang.org/x/tools/cmd/stringer@v0.38.0 -type RecordFlag -linecomment

// RecordFlag says what a task has decided about a record.
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
// All indices point into what [Batch.ActiveRecords] returns at that moment. So
// filtering or splitting a record moves the indices of those behind it; a task
// that marks records from the last to the first need not care. Going through
// the records in either direction makes each mark cost about the same, however
// large the batch is; jumping to and fro does not, once records were filtered
// or split.
//
// An index or a range that is out of bounds, or more than one end index, makes
// a method panic before anything is changed.
//
// A Batch must not be used by several goroutines at a time. Like any batch that
// a [Task] is given, it must not be kept after the call.
type Batch struct {
	origin *origin // what the records come from

	// recs holds the active records, and tracks a track for each copy, the
	// filtered ones included, with the gap at the same place.
	recs   gap.Slice[opencdc.Record]
	tracks gap.Slice[track]

	// There are no tracks before they are needed. As long as no task has marked,
	// filtered or split a record, record i is the copy of source record first+i. If
	// a processor has filtered or split some then, and nothing else, source record
	// first+i has become pieces[i] records, and was before[i] if these are several.
	// The pieces of a source record count as one copy in the ledger until there are
	// tracks.
	first  int
	pieces []int32
	before []opencdc.Record

	counts [4]int // how many tracks have each flag; not kept for RecordFlagAck
	marked int    // no active record from this index on is nacked or to be retried; there may be none before it either
	split  bool   // some are pieces

	// rest are records behind those above that are all to be retried. Marking
	// them this way costs nothing per record.
	rest *Batch

	pieceBuffer []opencdc.Record // for the pieces that a task hands over
	isHandedOut bool             // the task that has the batch has called ActiveRecords

	held    bool // others hold the records: who writes to them copies them first
	settled bool // every copy was settled, nothing is left to be done

	notes *notes // what the tracks refer to, those of all batches that this one is divided into
	shelf *shelf // buffers to be used again, if this is a batch as it was read
}

// track says where a copy of a source record comes from and what has become of
// it. There may be one for each record, so it holds no pointers.
type track struct {
	slot int32 // the slot of the source record
	note int32 // the number of a note, 0 for none
	flag RecordFlag
}

// NewBatch returns a batch of records whose status is ack. The slice belongs to
// the batch from then on. The batch has a ledger of its own: given to
// [Worker.Ack] or [Worker.Nack], its records are settled at once.
func NewBatch(records []opencdc.Record) *Batch {
	b := &Batch{}
	b.fill(records)
	return b
}

// fill puts the records that were read into an empty batch.
func (b *Batch) fill(records []opencdc.Record) {
	if b.origin == nil {
		b.comeFrom(&origin{})
	}
	positions := make([]opencdc.Position, len(records))
	for i := range records {
		p := records[i].Position
		if len(p) < cap(p) { // see clip
			p = slices.Clip(p)
			records[i].Position = p
		}
		positions[i] = p
	}
	b.hold(records, positions)
}

// clip cuts the capacity of each position to its length: appending to one position
// must not write into another that lies behind it or shares its memory.
func clip(records []opencdc.Record) {
	for i := range records {
		if p := records[i].Position; len(p) < cap(p) {
			records[i].Position = slices.Clip(p)
		}
	}
}

// comeFrom makes an empty batch one of an origin.
func (b *Batch) comeFrom(o *origin) {
	b.origin, b.notes = o, &o.notes
}

// hold puts the records that were read into an empty batch. The positions are
// theirs.
func (b *Batch) hold(records []opencdc.Record, positions []opencdc.Position) {
	b.recs = gap.Of(records)
	b.origin.positions = positions
	b.origin.ledger.Reset(len(records))
}

// isAsRead returns true if nobody has marked records of a batch that was read.
func (b *Batch) isAsRead() bool {
	return b.tracks.Len() == 0 && b.pieces == nil && b.rest == nil && !b.settled
}

// hasCopies returns true if there are records in the batch, active or filtered,
// not counting its rest.
func (b *Batch) hasCopies() bool {
	return b.recs.Len() > 0 || b.tracks.Len() > 0 || len(b.pieces) > 0
}

// ActiveRecords returns the records that are not filtered.
//
// The slice belongs to the batch, and shows it as it was when ActiveRecords was
// called. A task that goes through it from one end to the other, in either
// direction, may change the batch where it has been: the records ahead of it stay
// as they were. That ends with the task's next call of ActiveRecords after a
// change; only the slice of its first call stays readable until the task returns.
// A task may change what the records hold, and puts changed records into the batch
// with SetRecords.
//
// A call costs nothing if the batch has not changed since the last one. Otherwise
// it moves the records on one side of the change, and all of them where the array
// has to grow.
func (b *Batch) ActiveRecords() []opencdc.Record {
	b.join()
	recs := b.recs.All()
	if !b.isHandedOut {
		b.isHandedOut = true
		b.recs.Pin()
	}
	return recs
}

// beginTask is called before a task gets the batch, endTask after it has returned.
func (b *Batch) beginTask() { b.isHandedOut = false }

func (b *Batch) endTask(task Task) {
	b.recs.Unpin()
	switch task.(type) {
	case *ProcessorTask, *DestinationTask: // which leave positions without room
	default:
		if b.isHandedOut {
			clip(b.recs.All()) // it may have changed them in place
		}
	}
}

// Status returns the status of active record i. Its error is what the record was
// nacked with, which may be nil.
func (b *Batch) Status(i int) RecordStatus {
	b.checkRange("Status", i, i+1)
	switch {
	case i >= b.recs.Len():
		return RecordStatus{Flag: RecordFlagRetry} // in the rest
	case b.tracks.Len() == 0:
		return RecordStatus{}
	}
	t := b.at(i)
	status := RecordStatus{Flag: t.flag}
	if t.flag == RecordFlagNack {
		status.Error = b.notes.of(t).err
	}
	return status
}

// HasActiveRecords returns true if the batch has any records that are not
// filtered out.
func (b *Batch) HasActiveRecords() bool {
	return b.active() > 0
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
	b.markRange("Ack", i, j, RecordFlagAck)
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
	end := b.bounds("Filter", i, j)
	b.reach(end)
	b.touch()
	for range end - i {
		b.seek(i)
		b.drop()
	}
}

// Nack marks the record at index i as nacked. If multiple errors are provided,
// they are assigned to the records starting at index i.
//
// A nil error counts as none: what goes to the dead-letter queue says so.
//
// Note that the indices point to the slice returned by ActiveRecords. If the
// slice contains filtered records, the filtered records are skipped and not
// marked as nacked.
func (b *Batch) Nack(i int, errs ...error) {
	end := i + max(len(errs), 1)
	b.checkRange("Nack", i, end)
	b.reach(end)
	b.touch()
	b.marked = max(b.marked, end)
	for k := i; k < end; k++ {
		var err error
		if len(errs) > 0 {
			err = errs[k-i]
		}
		b.nack(b.at(k), err)
	}
}

// Retry marks the record at index i to be retried. If a second index is
// provided, all records between i (included) and j (excluded) are marked to be
// retried. If multiple indices are provided, the method panics.
//
// Note that the indices i and j point to the slice returned by ActiveRecords.
// If the slice contains filtered records, the filtered records are skipped and
// not marked to be retried.
func (b *Batch) Retry(i int, j ...int) {
	end := b.bounds("Retry", i, j)
	if len(j) == 1 && i < end && end == b.active() && b.rest == nil && i >= b.marked {
		b.cut(i)
		return
	}
	b.markRange("Retry", i, j, RecordFlagRetry)
}

// SetRecords replaces the records in the batch starting at index i with the
// provided records. If recs contains n records, indices i to i+n-1 are
// replaced. Their status stays as it is. The records are copied into the batch,
// the slice stays the caller's.
func (b *Batch) SetRecords(i int, recs []opencdc.Record) {
	end := i + len(recs)
	b.checkRange("SetRecords", i, end)
	b.reach(end)
	b.recs.Set(i, recs)
	for k := i; k < end; k++ {
		rec := b.recs.At(k)
		rec.Position = slices.Clip(rec.Position)
	}
}

// SplitRecord replaces the record at index i with the provided records, its
// pieces, which take its place in their order. The source record is acked once
// all of them are done. If one of them is nacked, what goes to the dead-letter
// queue is the record that is replaced here, so a piece must not share maps
// with it that a later task may change. If that record is a piece itself, the
// record from before its first split goes there.
//
// The pieces of a record that was marked as nacked are nacked, any others are
// acked unless they are marked again. A single record replaces the record like
// SetRecords, and with no records the record is filtered. The pieces are copied
// into the batch, the slice stays the caller's.
func (b *Batch) SplitRecord(i int, recs []opencdc.Record) {
	b.checkRange("SplitRecord", i, i+1)
	switch len(recs) {
	case 0:
		b.Filter(i)
	case 1:
		b.SetRecords(i, recs)
	default:
		b.reach(i + 1)
		b.touch()
		b.pieceBuffer = append(b.pieceBuffer[:0], recs...) // recs may be records of this batch, which move
		clip(b.pieceBuffer)
		b.seek(i)
		b.divide(b.pieceBuffer)
	}
}

// active returns how many records are not filtered.
func (b *Batch) active() int {
	n := b.recs.Len()
	if b.rest != nil {
		n += b.rest.active()
	}
	return n
}

// bounds returns the end of the range that i and j describe.
func (b *Batch) bounds(method string, i int, j []int) int {
	switch len(j) {
	case 0:
		b.checkRange(method, i, i+1)
		return i + 1
	case 1:
		b.checkRange(method, i, j[0])
		return j[0]
	default:
		panic(fmt.Sprintf("funnel: Batch.%s: %d end indices given for index %d, at most one is allowed (length %d)",
			method, len(j), i, b.active()))
	}
}

func (b *Batch) checkRange(method string, i, end int) {
	if n := b.active(); i < 0 || end < i || end > n {
		if end == i+1 {
			panic(fmt.Sprintf("funnel: Batch.%s: index %d out of range with length %d", method, i, n))
		}
		panic(fmt.Sprintf("funnel: Batch.%s: range [%d:%d] out of range with length %d", method, i, end, n))
	}
}

// markRange gives the records of a range a status.
func (b *Batch) markRange(method string, i int, j []int, flag RecordFlag) {
	end := b.bounds(method, i, j)
	b.reach(end)
	if flag == RecordFlagAck && b.tracks.Len() == 0 {
		return // as they are
	}
	b.touch()
	b.marked = max(b.marked, end)
	for k := i; k < end; k++ {
		b.mark(b.at(k), flag)
	}
}

// mark changes the status of a copy that is not filtered, and keeps count.
func (b *Batch) mark(t *track, flag RecordFlag) {
	if t.flag == RecordFlagNack {
		b.forget(t)
	}
	b.counts[t.flag]--
	b.counts[flag]++
	t.flag = flag
}

// forget makes the track one without the error that the copy was nacked with.
func (b *Batch) forget(t *track) {
	if n := b.notes.of(t); n.err != nil {
		t.note = b.notes.add(note{original: n.original})
	}
}

// nack marks a copy that is not filtered as nacked, with an error that may be
// nil.
func (b *Batch) nack(t *track, err error) {
	b.mark(t, RecordFlagNack)
	if err != nil {
		t.note = b.notes.add(note{original: b.notes.of(t).original, err: err})
	}
}
