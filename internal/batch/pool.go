package batch

import (
	"sync"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/reuse"
)

// Pool keeps the buffers in which a worker's batches are edited, for the next batch.
// Memory follows the work: a buffer is given up if many consecutive batches would have
// filled less than a quarter of it. Only a batch that is still whole takes buffers, a
// few for each processor that it passes. Parts of a divided batch, and batches on
// branches, have a nil Pool, which allocates.
//
// A Pool is not safe for concurrent use. The zero value is empty.
type Pool struct {
	// Buffers of records are not cleared when they are put back, since that would cost
	// as much as filling them. They are in a sync.Pool, so garbage collections free
	// them, with what they hold, while the worker waits for records.
	records sync.Pool
	taken   []*recordBuffer

	states buffers[copyState]
	pieces buffers[int32]
}

// recordBuffer is a buffer of records.
type recordBuffer struct {
	records []opencdc.Record // the records of the last batch, with spare capacity
	age     reuse.Age
}

// take returns an empty slice with room for n records, or nil if the buffer is too
// small or is given up.
func (b *recordBuffer) take(n int) []opencdc.Record {
	if size := cap(b.records); size < n || b.age.EndRound(n, size) {
		return nil
	}
	if n < len(b.records) {
		clear(b.records[n:]) // nothing will overwrite these
	}
	b.records = b.records[:n]
	return b.records[:0:n]
}

// takeRecords returns an empty slice with room for n records.
func (p *Pool) takeRecords(n int) []opencdc.Record {
	if p == nil {
		return make([]opencdc.Record, 0, n)
	}
	buf, ok := p.records.Get().(*recordBuffer)
	if !ok {
		buf = &recordBuffer{}
	}
	room := buf.take(n)
	if room == nil {
		*buf = recordBuffer{records: make([]opencdc.Record, n)}
		room = buf.records[:0:n]
	}
	p.taken = append(p.taken, buf)
	return room
}

// takeStates returns an empty slice with room for n states.
func (p *Pool) takeStates(n int) []copyState {
	if p == nil {
		return make([]copyState, 0, n)
	}
	return p.states.take(n)
}

// takePieces returns an empty slice with room for n piece counts.
func (p *Pool) takePieces(n int) []int32 {
	if p == nil {
		return make([]int32, 0, n)
	}
	return p.pieces.take(n)
}

// PutBack ends a batch: the buffers that it has taken are free again.
func (p *Pool) PutBack() {
	for i, buf := range p.taken {
		p.records.Put(buf)
		p.taken[i] = nil
	}
	p.taken = p.taken[:0]
	p.states.putBack()
	p.pieces.putBack()
}

// buffers hands out slices of elements without pointers, one after the other.
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
