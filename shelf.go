package funnel

import (
	"sync"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/reuse"
)

// shelf keeps the buffers that a worker's batches are edited in, for the next
// batch. Memory follows the work: a buffer that many batches in a row would have
// filled to less than a quarter is given up. Only a batch as it was read takes
// buffers from it, on the goroutine of the worker: a few for each processor that
// it passes. For others, on a nil shelf, buffers are made.
type shelf struct {
	// Buffers of records that are put back are not cleared, which would cost as
	// much as filling them. They are in a pool, so that the next garbage
	// collections free them, with what they hold, while the worker waits for
	// records.
	records sync.Pool
	taken   []*recordBuffer

	tracks buffers[track]
	pieces buffers[int32]
}

// recordBuffer is a buffer of records.
type recordBuffer struct {
	records []opencdc.Record // those that the last batch has used, with room behind them
	age     reuse.Age
}

// take returns room for n records, or nil if the buffer is to be given up.
func (b *recordBuffer) take(n int) []opencdc.Record {
	if size := cap(b.records); size < n || b.age.IsOver(n, size) {
		return nil
	}
	if n < len(b.records) {
		clear(b.records[n:]) // nobody overwrites these
	}
	b.records = b.records[:n]
	return b.records[:0:n]
}

// takeRecords returns an empty slice with room for n records.
func (s *shelf) takeRecords(n int) []opencdc.Record {
	if s == nil {
		return make([]opencdc.Record, 0, n)
	}
	buf, ok := s.records.Get().(*recordBuffer)
	if !ok {
		buf = &recordBuffer{}
	}
	room := buf.take(n)
	if room == nil {
		*buf = recordBuffer{records: make([]opencdc.Record, n)}
		room = buf.records[:0:n]
	}
	s.taken = append(s.taken, buf)
	return room
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
	s.tracks.putBack()
	s.pieces.putBack()
}

// buffers are slices without pointers, which are given out one after the other.
type buffers[T any] struct {
	all   []reuse.Buffer[T]
	taken [][]T // taken[i] is from all[i]
}

// take returns an empty slice with room for n elements.
func (b *buffers[T]) take(n int) []T {
	i := len(b.taken)
	if i == len(b.all) {
		b.all = append(b.all, reuse.Buffer[T]{})
	}
	b.taken = append(b.taken, b.all[i].Take(n))
	return b.taken[i][:0:n]
}

func (b *buffers[T]) putBack() {
	for i := range b.all {
		if i < len(b.taken) {
			b.all[i].Put(b.taken[i])
			b.taken[i] = nil
		} else {
			b.all[i].Put(nil)
		}
	}
	b.taken = b.taken[:0]
}
