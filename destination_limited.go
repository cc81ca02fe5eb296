package funnel

import (
	"context"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/jsonsize"
)

// WriteLimit is how much a destination takes in one Write.
type WriteLimit struct {
	// Records is the largest number of records. If it is less than 1, there is no limit.
	Records int
	// Bytes is the largest sum of the sizes of the records, as the metric
	// conduit_connector_bytes counts them, see [Metrics]. A record that is larger is
	// written alone. If Bytes is less than 1, there is no limit.
	Bytes int
}

// NewLimitedDestination returns a destination that writes to d in chunks within the
// limit, for destinations that take only so much at a time. If d is nil, so is the
// result.
//
// A chunk holds as many of the next records as the limit allows. It is written only after
// all records of the chunk before are acked: Write writes the first chunk, and each Ack
// returns the acks of one chunk, after writing it if it is not the first.
//
// If d fails, Ack returns the acks that d has given until then, and the error in its next
// call. So it does if the acks of a chunk do not match its records, but then no ack of
// the chunk counts. After an error, Ack returns it again until the next Write or Open.
//
// What is given up: d no longer gets all records of a Write together, so it cannot store
// all or none of them.
//
// If the records of a Write fit into one chunk, they are passed on as they are, and so
// are their acks. Otherwise they are copied, into memory that is reused. A limit on bytes
// measures each record once, in a time linear in its structured data. Without any limit
// the result is d.
func NewLimitedDestination(d Destination, limit WriteLimit) Destination {
	switch {
	case isNil(d):
		return nil
	case limit.Records <= 0 && limit.Bytes <= 0:
		return d
	}
	limit.Bytes = max(limit.Bytes, 0)
	return &limitedDestination{Destination: d, limit: limit}
}

type limitedDestination struct {
	Destination
	limit WriteLimit

	kept       keptWrite // nothing if the records fit into one chunk
	begin, end int       // the current chunk
	nextSize   int       // the size of the record behind it
}

func (l *limitedDestination) validate() error { return validate(l.Destination) }

func (l *limitedDestination) Open(ctx context.Context) error {
	l.kept.reset()
	return l.Destination.Open(ctx)
}

func (l *limitedDestination) Write(ctx context.Context, records []opencdc.Record) error {
	l.kept.reset()
	n, nextSize := l.limit.fill(records, notMeasured)
	if n == len(records) {
		return l.Destination.Write(ctx, records)
	}
	l.kept.keep(records)
	l.begin, l.end, l.nextSize = 0, n, nextSize
	err := l.Destination.Write(ctx, l.kept.records[:n:n])
	if err != nil {
		l.kept.end(err)
	}
	return err
}

func (l *limitedDestination) Ack(ctx context.Context) ([]connector.DestinationAck, error) {
	k := &l.kept
	switch {
	case k.err != nil:
		return nil, k.err
	case len(k.records) == 0:
		return l.Destination.Ack(ctx)
	}
	chunk := delivery{records: k.records[l.begin:l.end:l.end], isWritten: l.begin == 0}
	err := chunk.run(ctx, l.Destination)
	k.addAcks(&chunk)
	acks := k.acks[l.begin:len(k.acks):len(k.acks)]
	if err != nil || l.end == len(k.records) {
		k.end(err)
	} else {
		var n int
		n, l.nextSize = l.limit.fill(k.records[l.end:], l.nextSize)
		l.begin, l.end = l.end, l.end+n
	}
	return k.result(acks)
}

// notMeasured stands for a size.
const notMeasured = -1

// fill returns how many of the records go into a chunk, and the size of the record
// behind it, which saves measuring that one again: size is the size of the first record,
// or notMeasured.
func (w WriteLimit) fill(records []opencdc.Record, size int) (n, nextSize int) {
	left := w.Bytes
	for n := range records {
		if size == notMeasured {
			size = w.size(&records[n])
		}
		if n > 0 && (n == w.Records || size > left) {
			return n, size
		}
		left -= size
		size = notMeasured
	}
	return len(records), notMeasured
}

// size returns the size of a record, or 0 if bytes are not limited.
func (w WriteLimit) size(r *opencdc.Record) int {
	if w.Bytes == 0 {
		return 0
	}
	return jsonsize.Record(r)
}
