package funnel

import (
	"context"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/reuse"
)

// write writes records to d. The caller leaves the slice alone until Ack has returned the
// acks of all records, or an error. So it lends the slice to decorators, which spares
// them a copy.
func write(ctx context.Context, d Destination, records []opencdc.Record) error {
	switch d := d.(type) {
	case *limitedDestination:
		return d.write(ctx, records, true)
	case *retryDestination:
		return d.write(ctx, records, true)
	default:
		return d.Write(ctx, records)
	}
}

// keptWrite is what a decorator keeps of a Write that it passes on in several writes:
// the records, which are copies unless the slice was lent to it, and acks.
//
// The next Write reuses all memory. The memory of the copies is cleared when the Write
// is done, the memory of the acks when the next Write begins.
type keptWrite struct {
	records []opencdc.Record           // only to be read; none once the Write is done
	copies  []opencdc.Record           // the memory of records, unless that was lent
	acks    []connector.DestinationAck // in order; none if the inner destination's slice is returned itself
	err     error                      // why the Write has failed

	recordMemory reuse.Buffer[opencdc.Record]
	ackMemory    reuse.Buffer[connector.DestinationAck]
}

// reset forgets the last Write.
func (k *keptWrite) reset() {
	k.recordMemory.Put(k.copies)
	k.ackMemory.Put(k.acks)
	k.records, k.copies, k.acks, k.err = nil, nil, nil, nil
}

// keep keeps the records of a Write. It copies them unless the slice was lent.
func (k *keptWrite) keep(records []opencdc.Record, isLent bool) {
	k.records = records
	if !isLent {
		k.copies = append(k.recordMemory.Take(len(records)), records...)
		k.records = k.copies
	}
}

// keepOnly keeps only the records that were refused, as copies.
func (k *keptWrite) keepOnly(refused []refusal) {
	kept := k.copies[:0]
	if k.copies == nil {
		kept = k.recordMemory.Take(len(refused))
	}
	for _, r := range refused {
		kept = append(kept, k.records[r.index])
	}
	if len(kept) < len(k.copies) {
		clear(k.copies[len(kept):])
	}
	k.records, k.copies = kept, kept
}

// addAcks adds the acks of a delivery to acks.
func (k *keptWrite) addAcks(d *delivery) {
	if k.acks == nil {
		k.acks = k.ackMemory.Take(len(k.records))
	}
	k.acks = d.appendAcks(k.acks)
}

// end drops the records: the Write is done or, if err is not nil, has failed.
func (k *keptWrite) end(err error) {
	clear(k.copies)
	k.records, k.copies, k.err = nil, k.copies[:0], err
}

// result returns acks or, if there are none, the error of the Write.
func (k *keptWrite) result(acks []connector.DestinationAck) ([]connector.DestinationAck, error) {
	if len(acks) == 0 {
		return nil, k.err
	}
	return acks, nil
}

// writeAcks are the acks of a Write that has decided all of its records. The next Write
// reuses their memory.
type writeAcks struct {
	all     []connector.DestinationAck
	isTaken bool
	memory  reuse.Buffer[connector.DestinationAck]
}

// reset forgets the last Write.
func (w *writeAcks) reset() {
	w.memory.Put(w.all)
	w.all, w.isTaken = nil, false
}

// add adds an ack for each record. errs are the errors of the records, or nil.
func (w *writeAcks) add(records []opencdc.Record, errs []error) {
	w.all = w.memory.Take(len(records))
	for i := range records {
		ack := connector.DestinationAck{Position: records[i].Position}
		if errs != nil {
			ack.Error = errs[i]
		}
		w.all = append(w.all, ack)
	}
}

// take returns the acks, the first time.
func (w *writeAcks) take() []connector.DestinationAck {
	if w.isTaken {
		return nil
	}
	w.isTaken = true
	return w.all
}
