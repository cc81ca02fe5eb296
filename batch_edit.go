package funnel

import (
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/gap"
)

// How a batch is edited.
//
// Filtering takes a record out of the slice of active records and splitting puts
// records into it. To do so for each record of a large batch in linear time, the
// slice has a gap where the last change was made. The tracks have their gap at
// the same place, so that the index of an active record leads to its track,
// however many filtered ones lie between. Where nothing was filtered or split
// both gaps are empty, and only their place counts.

// touch gives each record a track.
func (b *Batch) touch() {
	n := b.recs.Len()
	switch {
	case b.tracks.Len() > 0:
		return
	case b.pieces != nil:
		b.spell()
		return
	case n == 0:
		return
	}
	tracks := b.shelf.takeTracks(n)
	for i := range n {
		tracks = append(tracks, track{slot: int32(b.first + i)})
	}
	b.tracks = gap.Of(tracks) // with its gap at the start, like that of recs until now
}

// spell gives each copy a track in place of pieces, and counts it in the ledger.
func (b *Batch) spell() {
	tracks := b.shelf.takeTracks(b.recs.Len() + b.counts[RecordFlagFilter])
	var run splitRun
	for i, n := range b.pieces {
		t := track{slot: int32(b.first + i)}
		switch {
		case n == 0:
			t.flag = RecordFlagFilter
		case n > 1:
			t.note = b.notes.add(note{original: &b.before[i]})
			b.retainPieces(&run, b.first+i, int(n))
		}
		for range max(n, 1) {
			tracks = append(tracks, t)
		}
	}
	b.retainRun(&run)
	b.tracks = gap.Of(tracks)
	b.pieces, b.before = nil, nil
}

// at returns the track of active record i.
func (b *Batch) at(i int) *track {
	if b.counts[RecordFlagFilter] == 0 {
		return b.tracks.At(i)
	}
	b.seek(i)
	return b.tracks.Next()
}

// seek moves the gap to active record i, which is then the first one behind it,
// and so is its track.
func (b *Batch) seek(i int) {
	for b.recs.Before() > i {
		if b.tracks.Last().flag != RecordFlagFilter {
			b.recs.StepBack()
		}
		b.tracks.StepBack()
	}
	for b.recs.Before() < i || b.tracks.Next().flag == RecordFlagFilter {
		b.step()
	}
}

// step moves the gap behind the next track, and behind its record.
func (b *Batch) step() {
	if b.tracks.Next().flag != RecordFlagFilter {
		b.recs.Step()
	}
	b.tracks.Step()
}

// drop filters the record behind the gap.
func (b *Batch) drop() {
	b.mark(b.tracks.Next(), RecordFlagFilter)
	b.tracks.Step()
	b.recs.Drop()
}

// divide puts pieces in the place of the record behind the gap.
func (b *Batch) divide(pieces []opencdc.Record) {
	t := *b.tracks.Next()
	if n := b.notes.of(&t); n.original == nil {
		t.note = b.notes.add(note{original: b.notes.keep(*b.recs.Next()), err: n.err})
	}
	b.countPieces(&t, len(pieces))
	b.retainRun(&splitRun{from: int(t.slot), to: int(t.slot) + 1, pieces: len(pieces)})
	b.recs.Drop()
	b.recs.Put(pieces...)
	b.tracks.Drop()
	for range pieces {
		b.tracks.Put(t)
	}
}

// countPieces prepares the track of a record for its n pieces: those of a nacked
// record are nacked, and splitting one that was to be retried is an answer.
func (b *Batch) countPieces(t *track, n int) {
	if t.flag == RecordFlagRetry {
		b.mark(t, RecordFlagAck)
	}
	b.counts[t.flag] += n - 1
	b.marked += n - 1
	b.split = true
}

// splitRun is a run of source records of which a copy each was split into as many
// pieces.
type splitRun struct {
	from, to, pieces int
}

// retainPieces adds to the ledger that a copy of a source record is n pieces from
// now on. It adds whole runs only, the last one by retainRun.
func (b *Batch) retainPieces(run *splitRun, slot, n int) {
	if slot != run.to || n != run.pieces {
		b.retainRun(run)
		run.from, run.pieces = slot, n
	}
	run.to = slot + 1
}

func (b *Batch) retainRun(run *splitRun) {
	if run.from == run.to {
		return
	}
	// It fails if a record is settled already. Then the pieces cannot be settled
	// either, and that is where the caller learns of it.
	_ = b.origin.ledger.Retain(run.from, run.to, run.pieces-1)
}

// cut takes the records from i on out of the batch and makes them its rest,
// which is to be retried. The batch must have no rest, and no marks from i on.
func (b *Batch) cut(i int) {
	if b.pieces != nil {
		b.touch()
	}
	rest := &Batch{origin: b.origin, notes: b.notes, first: b.first + i, split: b.split, held: b.held}
	if b.tracks.Len() > 0 {
		b.seek(i)
		rest.recs, rest.tracks = gap.Of(b.recs.Cut()), gap.Of(b.tracks.Cut())
		before := b.tracks.Len() - b.recs.Len()
		b.counts[RecordFlagFilter], rest.counts[RecordFlagFilter] = before, b.counts[RecordFlagFilter]-before
	} else {
		recs := b.recs.All()
		b.recs, rest.recs = gap.Of(recs[:i]), gap.Of(recs[i:])
	}
	b.rest = rest
}

// reach makes sure that the records before end are not in the rest.
func (b *Batch) reach(end int) {
	if b.rest != nil && end > b.recs.Len() {
		b.join()
	}
}

// join puts the rest back, each record marked to be retried.
func (b *Batch) join() {
	rest := b.rest
	if rest == nil {
		return
	}
	b.rest = nil
	b.touch()
	rest.touch()
	n := b.tracks.Len()
	b.recs = gap.Of(slices.Concat(b.recs.All(), rest.recs.All()))
	b.tracks = gap.Of(slices.Concat(b.tracks.All(), rest.tracks.All()))
	b.counts[RecordFlagFilter] += rest.counts[RecordFlagFilter]
	b.marked = b.recs.Len()
	for i := n; i < b.tracks.Len(); i++ {
		if t := b.tracks.At(i); t.flag != RecordFlagFilter {
			b.mark(t, RecordFlagRetry)
		}
	}
}
