package funnel

import (
	"context"
	"slices"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
)

// What was read ahead is added to the arrivals at one end and taken at the other.

// arrival is a future batch: the records of one or more reads.
type arrival struct {
	records   []opencdc.Record
	positions []opencdc.Position
	readAt    []time.Time // if the timer is enabled
	isMerged  bool        // records is a buffer of the prefetcher

	// marked is the batch of a read whose records the first task has marked, edited or
	// settled. The other fields are then unset.
	marked *Batch
}

// add adds the records of a read to the arrivals. It returns true if it keeps the
// batch.
func (p *prefetcher) add(b *Batch) (isKept bool) {
	source := b.copies.Source()
	n := len(source.Positions)
	var readAt []time.Time
	if n > 0 && p.worker.timerEnabled.now() {
		readAt = slices.Repeat([]time.Time{time.Now()}, n)
	}
	defer signal(p.ready)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == prefetchReading {
		p.state = prefetchWaiting
	}
	p.reads++
	if n == 0 {
		return false
	}
	p.waiting += n
	p.records += uint64(n)
	if !b.copies.IsAsRead() {
		source.ReadAt = readAt
		p.arrivals = append(p.arrivals, arrival{marked: b})
		return true
	}
	next := arrival{records: b.copies.Records(), positions: source.Positions, readAt: readAt}
	if len(p.arrivals) > 0 && p.arrivals[len(p.arrivals)-1].marked == nil {
		p.merge(&p.arrivals[len(p.arrivals)-1], next)
	} else {
		p.arrivals = append(p.arrivals, next)
	}
	return false
}

// merge appends what has just arrived to the last arrival.
func (p *prefetcher) merge(last *arrival, next arrival) {
	if !last.isMerged {
		last.records = append(p.memory.Take(0), last.records...)
		last.isMerged = true
	}
	last.records = append(last.records, next.records...)
	last.positions = append(last.positions, next.positions...)
	last.readAt = append(last.readAt, next.readAt...)
}

// take waits for an arrival. It puts the first one into b, which is empty, or returns
// another batch that holds it. If there will be no more, it returns true and the error of
// the last read. The batch taken before must be done.
func (p *prefetcher) take(ctx context.Context, b *Batch) (taken *Batch, isLast bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.memory.Put(p.taken)
	p.taken = nil
	for len(p.arrivals) == 0 && p.state != prefetchEnded {
		if p.isDraining {
			signal(p.idle)
		}
		if err := p.wait(ctx); err != nil {
			return nil, false, err
		}
	}
	if len(p.arrivals) == 0 {
		return b, true, p.err
	}
	next := p.pop()
	if next.marked != nil {
		return next.marked, false, nil
	}
	if next.isMerged {
		p.taken = next.records
	}
	b.copies.Fill(next.records, next.positions)
	if len(next.readAt) == len(next.records) {
		b.copies.Source().ReadAt = next.readAt // otherwise the timer was disabled for some of the reads
	}
	return b, false, nil
}

// pop removes and returns the first arrival.
func (p *prefetcher) pop() arrival {
	first := p.arrivals[0]
	if len(p.arrivals) == 1 {
		p.arrivals = slices.Delete(p.arrivals, 0, 1) // keeps the array
	} else {
		p.arrivals[0] = arrival{}
		p.arrivals = p.arrivals[1:]
	}
	if first.marked != nil {
		p.waiting -= len(first.marked.copies.Source().Positions)
	} else {
		p.waiting -= len(first.records)
	}
	signal(p.room)
	return first
}

// dropUntilError drops arrivals until a read fails, or until a read that began after the
// call returns. A pending read began before the call, so unless it fails, the read after
// it counts. dropUntilError returns the error of the read.
func (p *prefetcher) dropUntilError(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.reads + 1
	p.wantsReason = true
	if p.state == prefetchReading {
		last++
	}
	for p.state != prefetchEnded && p.reads < last {
		p.arrivals, p.waiting = nil, 0
		signal(p.room)
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
	return p.err
}

// wait waits until something may have changed. The caller holds the lock.
func (p *prefetcher) wait(ctx context.Context) error {
	p.mu.Unlock()
	defer p.mu.Lock()
	select {
	case <-p.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drop drops what still waits.
func (p *prefetcher) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.arrivals, p.waiting = nil, 0
}
