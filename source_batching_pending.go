package funnel

import (
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/reuse"
)

// pendingRecords are records that were read and not returned: those of the next batch
// and, if it is full, those behind it, which all come from the last read.
type pendingRecords struct {
	limit WriteLimit // of a batch

	reads    [][]opencdc.Record // what they returned, in order; the first one may begin with the rest of an earlier batch
	readAt   time.Time          // when the first record was read
	count    int                // records in the batch
	size     int                // their bytes, if these are limited
	isFull   bool               // there is no room for another record
	rest     []opencdc.Record   // the records behind the batch
	restSize int                // the size of the first of them, or notMeasured
	restAt   time.Time          // when they were read

	memory reuse.Buffer[[]opencdc.Record] // of reads
}

// add adds the records of a read, at least one. The batch must not be full.
func (p *pendingRecords) add(records []opencdc.Record, now time.Time) {
	p.addMeasured(records, now, notMeasured)
}

// addMeasured is add. size is the size of the first record, or notMeasured.
func (p *pendingRecords) addMeasured(records []opencdc.Record, now time.Time, size int) {
	if p.count == 0 {
		p.reads, p.readAt = p.memory.Take(0), now
	}
	p.reads = append(p.reads, records)
	n, nextSize := p.fill(records, size)
	p.rest, p.restSize, p.restAt = records[n:], nextSize, now
}

// fill returns how many of the records go into the batch, and the size of the record
// after them, or notMeasured. size is the size of the first record, or notMeasured.
func (p *pendingRecords) fill(records []opencdc.Record, size int) (n, nextSize int) {
	if p.limit.Bytes == 0 {
		n = min(len(records), p.limit.Records-p.count)
		p.count += n
		p.isFull = p.count == p.limit.Records
		return n, notMeasured
	}
	for n < len(records) && !p.isFull {
		if size == notMeasured {
			size = p.limit.size(&records[n])
		}
		if p.count > 0 && size > p.limit.Bytes-p.size {
			p.isFull = true
			return n, size
		}
		n++
		p.count++
		p.size += size
		p.isFull = p.count == p.limit.Records || p.size >= p.limit.Bytes
		size = notMeasured
	}
	return n, notMeasured
}

// take removes the batch and returns it.
func (p *pendingRecords) take() []opencdc.Record {
	records := p.batch()
	rest, size, readAt := p.rest, p.restSize, p.restAt
	p.clear()
	if len(rest) > 0 {
		p.addMeasured(rest, readAt, size)
	}
	return records
}

// batch returns the records of the batch, without room behind them.
func (p *pendingRecords) batch() []opencdc.Record {
	if first := p.reads[0]; p.count <= len(first) {
		return first[:p.count:p.count]
	}
	records := make([]opencdc.Record, 0, p.count)
	for _, read := range p.reads {
		records = append(records, read[:min(len(read), p.count-len(records))]...)
	}
	return records
}

// clear removes all records.
func (p *pendingRecords) clear() {
	p.memory.Put(p.reads)
	*p = pendingRecords{limit: p.limit, memory: p.memory}
}
