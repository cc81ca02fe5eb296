package funnel

import "github.com/conduitio/conduit-commons/opencdc"

// shelf keeps the buffers that a worker's batches are edited in, for the next
// batch. They are as large as the largest batch has needed them. Only a batch as
// it was read takes buffers from it: at most a few for each task, on the
// goroutine of the worker. For others, on a nil shelf, buffers are made.
type shelf struct {
	records buffers[opencdc.Record]
	tracks  buffers[track]
	notes   buffers[note]
}

// takeRecords returns an empty slice with room for n records.
func (s *shelf) takeRecords(n int) []opencdc.Record {
	if s == nil {
		return make([]opencdc.Record, 0, n)
	}
	return s.records.take(n)
}

// takeTracks returns an empty slice with room for n tracks.
func (s *shelf) takeTracks(n int) []track {
	if s == nil {
		return make([]track, 0, n)
	}
	return s.tracks.take(n)
}

// takeNotes returns an empty slice with room for n notes.
func (s *shelf) takeNotes(n int) []note {
	if s == nil {
		return make([]note, 0, n)
	}
	return s.notes.take(n)
}

// putBack puts all buffers back. It lets go of what they hold.
func (s *shelf) putBack() {
	s.records.putBack()
	s.tracks.putBack()
	s.notes.putBack()
}

// buffers are slices that are given out one after the other and put back all at
// once.
type buffers[T any] struct {
	all   [][]T // the length of those given out is what was asked for
	given int
}

func (b *buffers[T]) take(n int) []T {
	if n == 0 {
		return nil
	}
	if b.given == len(b.all) {
		b.all = append(b.all, nil)
	}
	buf := &b.all[b.given]
	if cap(*buf) < n {
		*buf = make([]T, n)
	}
	*buf = (*buf)[:n]
	b.given++
	return (*buf)[:0:n]
}

func (b *buffers[T]) putBack() {
	for _, buf := range b.all[:b.given] {
		clear(buf)
	}
	b.given = 0
}
