package funnel

import (
	"context"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/jsonsize"
)

// WriteLimit says how much a destination gets in one Write.
type WriteLimit struct {
	// Records is the maximum number of records. If it is less than 1, there is no limit.
	Records int
	// Bytes is the maximum total size of the records, as the metric
	// conduit_connector_bytes counts it, see [Metrics]. A record that is larger is
	// written alone. If Bytes is less than 1, there is no limit.
	Bytes int
}

// NewLimitedDestination returns a destination that writes to d in chunks within the
// limit, for destinations that accept only a limited amount at a time. If d is nil, so is
// the result.
//
// A chunk holds as many of the next records as the limit allows. It is written only after
// all records of the previous chunk are acked: Write writes the first chunk, and each Ack
// returns the acks of one chunk, after writing the chunk itself unless it is the first.
//
// If d fails, Ack first returns the acks that d has given for the chunk, if there are
// any, and then the error. If the acks of a chunk do not match its records, Ack returns
// an error, and no ack of the chunk counts. Once Ack has returned an error, it returns
// the same error until the next Write or Open.
//
// What is given up: d no longer gets all records of a Write together, so it cannot store
// them atomically.
//
// If the records of a Write fit into one chunk, they are passed on as they are, and so
// are their acks. Otherwise they are copied, into memory that is reused, unless a
// [DestinationTask] or another destination of this package writes them. A limit on bytes
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
	nextSize   int       // the size of the record after it
}

func (l *limitedDestination) validate() error { return validate(l.Destination) }

func (l *limitedDestination) Open(ctx context.Context) error {
	l.kept.reset()
	return l.Destination.Open(ctx)
}

func (l *limitedDestination) Write(ctx context.Context, records []opencdc.Record) error {
	return l.write(ctx, records, false)
}

func (l *limitedDestination) write(ctx context.Context, records []opencdc.Record, isLent bool) error {
	l.kept.reset()
	n, nextSize := l.limit.fill(records, notMeasured)
	if n == len(records) {
		if isLent {
			return write(ctx, l.Destination, records)
		}
		return l.Destination.Write(ctx, records)
	}
	l.kept.keep(records, isLent)
	l.begin, l.end, l.nextSize = 0, n, nextSize
	err := write(ctx, l.Destination, l.kept.records[:n:n])
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

// notMeasured stands for a size that is not known yet.
const notMeasured = -1

// fill returns how many of the records go into a chunk, and the size of the record after
// it, so that it is not measured again. size is the size of the first record, or
// notMeasured.
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
