package funnel

import (
	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/reuse"
)

// keptWrite is what a decorator keeps of a Write that it passes on in several writes:
// copies of the records, since the slice is not its own, and acks.
//
// The next Write reuses all memory. The memory of the records is cleared when the Write
// is done, the memory of the acks when the next Write begins.
type keptWrite struct {
	records []opencdc.Record           // none once the Write is done
	acks    []connector.DestinationAck // in order; none if the inner destination's slice is returned itself
	err     error                      // why the Write has failed

	recordMemory reuse.Buffer[opencdc.Record]
	ackMemory    reuse.Buffer[connector.DestinationAck]
}

// reset forgets the last Write.
func (k *keptWrite) reset() {
	k.recordMemory.Put(k.records)
	k.ackMemory.Put(k.acks)
	k.records, k.acks, k.err = nil, nil, nil
}

// keep copies the records of a Write.
func (k *keptWrite) keep(records []opencdc.Record) {
	k.records = append(k.recordMemory.Take(len(records)), records...)
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
	clear(k.records)
	k.records, k.err = k.records[:0], err
}

// result returns acks or, if there are none, the error of the Write.
func (k *keptWrite) result(acks []connector.DestinationAck) ([]connector.DestinationAck, error) {
	if len(acks) == 0 {
		return nil, k.err
	}
	return acks, nil
}
