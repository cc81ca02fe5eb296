package funnel

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/deepcopy"
	"github.com/conduitio/funnel/internal/gap"
)

// What the walk does with a batch once a task has handled it: divide it by
// status, send it down branches, settle it.

// setReadTimes notes when the source records were read: at the time that they say
// themselves, else when they arrived, if that is known, else now.
func (b *Batch) setReadTimes(now time.Time) {
	readAt := b.origin.readAt
	if n := len(b.origin.positions); len(readAt) != n {
		readAt = b.origin.times.Take(n)[:n]
		for i := range readAt {
			readAt[i] = now
		}
	}
	recs := b.ActiveRecords()
	if !b.isAsRead() {
		b.touch()
	}
	for i := range recs {
		if recs[i].Metadata[opencdc.MetadataReadAt] == "" {
			continue
		}
		slot := b.first + i
		if b.tracks.Len() > 0 {
			slot = int(b.at(i).slot)
		}
		if t, err := recs[i].Metadata.GetReadAt(); err == nil {
			readAt[slot] = t
		}
	}
	b.origin.readAt = readAt
}

// part is a run of records of a batch to which the same happens next: they go on
// (RecordFlagAck), are nacked, or are retried.
type part struct {
	flag  RecordFlag
	batch *Batch
}

// isWhole returns true if the batch goes on as it is.
func (b *Batch) isWhole() bool {
	return b.counts[RecordFlagNack] == 0 && b.counts[RecordFlagRetry] == 0 && b.rest == nil
}

// filteredCopies returns how many copies are filtered.
func (b *Batch) filteredCopies() int {
	n := b.counts[RecordFlagFilter]
	if b.rest != nil {
		n += b.rest.counts[RecordFlagFilter]
	}
	return n
}

// isUnanswered returns true if a task has answered for none of the records, of
// which so many were filtered before.
func (b *Batch) isUnanswered(filtered int) bool {
	unanswered := b.counts[RecordFlagRetry]
	if b.rest != nil {
		unanswered += b.rest.active()
	}
	return unanswered == b.active() && b.filteredCopies() == filtered
}

// nackSiblings nacks the pieces of a split record of which one was nacked, with
// the error of the first one. Filtered pieces stay filtered.
func (b *Batch) nackSiblings() {
	if b.counts[RecordFlagNack] == 0 || !b.split {
		return
	}
	tracks := b.tracks.All()
	for i, j := 0, 0; i < len(tracks); i = j {
		slot, first := tracks[i].slot, -1
		for j = i; j < len(tracks) && tracks[j].slot == slot; j++ {
			if first < 0 && tracks[j].flag == RecordFlagNack {
				first = j
				b.takeFromRest(slot)
				tracks = b.tracks.All()
			}
		}
		if first < 0 {
			continue
		}
		for k := i; k < j; k++ {
			if t := &tracks[k]; t.flag != RecordFlagNack && t.flag != RecordFlagFilter {
				b.nack(t, b.notes.of(&tracks[first]).err)
			}
		}
	}
	b.marked = b.recs.Len()
}

// takeFromRest moves the copies of a source record from the front of the rest
// to the end of the batch.
func (b *Batch) takeFromRest(slot int32) {
	if b.rest == nil {
		return
	}
	tracks, active := b.rest.tracks.All(), 0
	n := 0
	for ; n < len(tracks) && tracks[n].slot == slot; n++ {
		if tracks[n].flag != RecordFlagFilter {
			active++
		}
	}
	if n == 0 {
		return
	}
	recs := b.rest.recs.All()
	b.recs = gap.Of(slices.Concat(b.recs.All(), recs[:active]))
	b.tracks = gap.Of(slices.Concat(b.tracks.All(), tracks[:n]))
	b.counts[RecordFlagFilter] += n - active
	b.rest.recs, b.rest.tracks = gap.Of(recs[active:]), gap.Of(tracks[n:])
	b.rest.counts[RecordFlagFilter] -= n - active
	if n == len(tracks) {
		b.rest = nil
	}
}

// parts divides the batch into the longest runs of records of the same status,
// in order. Acked and filtered count as one. What is to be retried is unmarked.
// The batch is used up.
func (b *Batch) parts() []part {
	if n := b.tracks.Len(); n > 0 && b.rest != nil && b.tracks.At(n-1).flag == RecordFlagRetry {
		b.join() // the last run goes on in the rest
	}
	var parts []part
	if rest := b.rest; rest != nil {
		b.rest = nil
		if b.hasCopies() {
			parts = b.appendParts(parts, RecordFlagAck)
		}
		return rest.appendParts(parts, RecordFlagRetry)
	}
	return b.appendParts(parts, RecordFlagAck)
}

// appendParts appends the runs of a batch without rest. The unmarked records of
// the batch have the status given.
func (b *Batch) appendParts(parts []part, unmarked RecordFlag) []part {
	if b.isWhole() && (b.counts[RecordFlagFilter] == 0 || unmarked == RecordFlagAck) {
		return append(parts, part{flag: unmarked, batch: b})
	}
	recs, tracks := b.recs.All(), b.tracks.All()
	flagOf := func(t *track) RecordFlag {
		switch t.flag {
		case RecordFlagFilter:
			return RecordFlagAck
		case RecordFlagAck:
			return unmarked
		default:
			return t.flag
		}
	}
	for len(tracks) > 0 {
		flag := flagOf(&tracks[0])
		sub := &Batch{origin: b.origin, notes: b.notes, split: b.split, held: b.held}
		n := 0
		for ; n < len(tracks) && flagOf(&tracks[n]) == flag; n++ {
			switch tracks[n].flag {
			case RecordFlagFilter:
				sub.counts[RecordFlagFilter]++
			case RecordFlagRetry:
				tracks[n].flag = RecordFlagAck
			}
		}
		active := n - sub.counts[RecordFlagFilter]
		sub.recs, sub.tracks = gap.Of(recs[:active]), gap.Of(tracks[:n])
		recs, tracks = recs[active:], tracks[n:]
		parts = append(parts, part{flag: flag, batch: sub})
	}
	return parts
}

// detach replaces the records by copies that nobody else holds. It fails if a
// record is nested too deeply to be copied.
func (b *Batch) detach() error {
	b.held = false
	if b.pieces != nil {
		b.touch() // to find what was split
	}
	recs := b.recs.All()
	copies := make([]opencdc.Record, len(recs))
	for i := range recs {
		var err error
		if copies[i], err = deepcopy.Record(recs[i]); err != nil {
			return cannotCopy(recs[i].Position, err)
		}
	}
	b.recs = gap.Of(copies)
	tracks := gap.Of(b.tracks.All())
	b.tracks = tracks
	if !b.split {
		return nil
	}
	var from, to int32 // pieces of a record stand side by side
	for i := range tracks.All() {
		t := tracks.At(i)
		n := b.notes.of(t)
		if n.original == nil {
			continue
		}
		if t.note != from {
			original, err := deepcopy.Record(*n.original)
			if err != nil {
				return cannotCopy(n.original.Position, err)
			}
			from, to = t.note, b.notes.add(note{original: b.notes.keep(original), err: n.err})
		}
		t.note = to
	}
	return nil
}

func cannotCopy(p opencdc.Position, err error) error {
	return FatalError(fmt.Errorf("record %s cannot be copied for a branch: %w", show(p), err))
}

// isNackedBy returns true if a record was nacked with the error of any context, or
// with the cause of ctx, which has ended.
func (b *Batch) isNackedBy(ctx context.Context) bool {
	for i := range b.tracks.Len() {
		if t := b.tracks.At(i); t.flag == RecordFlagNack && isAny(b.notes.of(t).err, context.Canceled, context.DeadlineExceeded, context.Cause(ctx)) {
			return true
		}
	}
	return false
}

// whole returns the source records [from, to) of a batch that has one copy of
// each of them, or false if that is not known.
func (b *Batch) whole() (from, to int, ok bool) {
	n := b.tracks.Len()
	switch {
	case b.rest != nil || n > 0 && b.split:
		return 0, 0, false
	case n > 0:
		first := int(b.tracks.At(0).slot)
		return first, first + n, true
	case b.pieces != nil:
		return b.first, b.first + len(b.pieces), true
	default:
		return b.first, b.first + b.recs.Len(), true
	}
}

// eachRun calls f for runs of slots that have the same number of copies, k, in
// this batch, until it fails.
func (b *Batch) eachRun(f func(from, to, k int) error) error {
	b.join()
	if from, to, ok := b.whole(); ok {
		return f(from, to, 1)
	}
	tracks := b.tracks.All()
	from, to, k := int(tracks[0].slot), int(tracks[0].slot), 0
	for i := 0; i < len(tracks); {
		slot, n := int(tracks[i].slot), 1
		for i+n < len(tracks) && int(tracks[i+n].slot) == slot {
			n++
		}
		if slot != to || n != k {
			if k > 0 {
				if err := f(from, to, k); err != nil {
					return err
				}
			}
			from, k = slot, n
		}
		to = slot + 1
		i += n
	}
	return f(from, to, k)
}

// retain adds k copies of each record.
func (b *Batch) retain(k int) error {
	return lost(b.eachRun(func(from, to, copies int) error {
		return b.origin.ledger.Retain(from, to, copies*k)
	}))
}

// settle settles every copy in the batch, once.
func (b *Batch) settle() error {
	if b.settled {
		return nil
	}
	b.settled = true
	if from, to, ok := b.whole(); ok {
		return lost(b.origin.ledger.Settle(from, to, 1))
	}
	return lost(b.eachRun(b.origin.ledger.Settle))
}

// settleNacked settles every copy in the batch, once: as nacked by the task, but
// for the filtered ones.
func (b *Batch) settleNacked(taskID string) error {
	if b.settled {
		return nil
	}
	b.settled = true
	b.join()
	b.nackSiblings()
	return lost(b.eachCopy(func(t *track, rec *opencdc.Record) error {
		if rec == nil {
			return b.origin.ledger.Settle(int(t.slot), int(t.slot)+1, 1)
		}
		return b.origin.ledger.Nack(int(t.slot), b.failure(t, rec, taskID))
	}))
}

// failures returns a failure for each source record of the batch that is not
// filtered, as nacked by the task. The second result says for each number of
// failures how many source records there are before the next one.
func (b *Batch) failures(taskID string) (failures []*failure, sources []int) {
	slot, n := int32(-1), 0 // the last source record, and how many there were
	failed := int32(-1)     // the last source record that has a failure
	b.join()
	b.nackSiblings()
	_ = b.eachCopy(func(t *track, rec *opencdc.Record) error {
		if t.slot != slot {
			slot = t.slot
			n++
		}
		switch {
		case rec == nil:
		case failed != slot:
			failed = slot
			f := b.failure(t, rec, taskID)
			failures = append(failures, &f)
			sources = append(sources, n-1)
		}
		return nil
	})
	return failures, append(sources, n)
}

// eachCopy calls f for each copy in the batch, with its record if it is not
// filtered, until it fails.
func (b *Batch) eachCopy(f func(t *track, rec *opencdc.Record) error) error {
	b.join()
	b.touch()
	recs := b.recs.All()
	for i := range b.tracks.All() {
		t, rec := b.tracks.At(i), (*opencdc.Record)(nil)
		if t.flag != RecordFlagFilter {
			rec, recs = &recs[0], recs[1:]
		}
		if err := f(t, rec); err != nil {
			return err
		}
	}
	return nil
}

// failure returns why the copy was nacked by the task.
func (b *Batch) failure(t *track, rec *opencdc.Record, taskID string) failure {
	n := b.notes.of(t)
	f := failure{record: *rec, err: n.err, taskID: taskID}
	if n.original != nil {
		f.record = *n.original
	}
	if isNil(f.err) {
		f.err = errNoCause
	}
	if f.position = f.record.Position; len(f.position) == 0 {
		f.position = b.origin.positions[t.slot]
	}
	return f
}
