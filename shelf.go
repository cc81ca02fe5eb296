package funnel

import (
	"sync"

	"github.com/conduitio/conduit-commons/opencdc"
)

// shelf keeps the buffers that a worker's batches are edited in, for the next
// batch. They are as large as the largest batch has needed them. Only a batch as
// it was read takes buffers from it, on the goroutine of the worker: a few for
// each processor that it passes. For others, on a nil shelf, buffers are made.
type shelf struct {
	// Buffers that are put back are not cleared, which would cost as much as
	// filling them. From a pool they go, with what they hold, to the next garbage
	// collections if the worker waits for records.
	records sync.Pool
	taken   []*[]opencdc.Record

	tracks buffers[track]
	pieces buffers[int32]
}

// takeRecords returns an empty slice with room for n records.
func (s *shelf) takeRecords(n int) []opencdc.Record {
	if s == nil {
		return make([]opencdc.Record, 0, n)
	}
	buf, ok := s.records.Get().(*[]opencdc.Record)
	if !ok {
		buf = new([]opencdc.Record)
	}
	if cap(*buf) < n {
		*buf = make([]opencdc.Record, n)
	}
	s.taken = append(s.taken, buf)
	return (*buf)[:0:n]
}

// takeTracks returns an empty slice with room for n tracks.
func (s *shelf) takeTracks(n int) []track {
	if s == nil {
		return make([]track, 0, n)
	}
	return s.tracks.take(n)
}

// takePieces returns an empty slice with room for n numbers of pieces.
func (s *shelf) takePieces(n int) []int32 {
	if s == nil {
		return make([]int32, 0, n)
	}
	return s.pieces.take(n)
}

// putBack puts all buffers back.
func (s *shelf) putBack() {
	for i, buf := range s.taken {
		s.records.Put(buf)
		s.taken[i] = nil
	}
	s.taken = s.taken[:0]
	s.tracks.given, s.pieces.given = 0, 0
}

// buffers are slices without pointers, which are given out one after the other.
type buffers[T any] struct {
	all   [][]T
	given int
}

// take returns an empty slice with room for n elements.
func (b *buffers[T]) take(n int) []T {
	if b.given == len(b.all) {
		b.all = append(b.all, nil)
	}
	buf := &b.all[b.given]
	if cap(*buf) < n {
		*buf = make([]T, n)
	}
	b.given++
	return (*buf)[:0:n]
}
