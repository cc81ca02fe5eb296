package fake

import (
	"strconv"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
)

// Records returns records with these positions. The payload of each is its position.
func Records(positions ...string) []opencdc.Record {
	recs := make([]opencdc.Record, len(positions))
	for i, p := range positions {
		recs[i] = opencdc.Record{
			Position: opencdc.Position(p),
			Metadata: opencdc.Metadata{"id": p},
			Payload:  opencdc.Change{After: opencdc.RawData(p)},
		}
	}
	return recs
}

// Numbered returns n records with the positions 0, 1, ...
func Numbered(n int) []opencdc.Record {
	positions := make([]string, n)
	for i := range positions {
		positions[i] = strconv.Itoa(i)
	}
	return Records(positions...)
}

// Positions returns the positions of the records.
func Positions(recs []opencdc.Record) []string {
	positions := make([]string, len(recs))
	for i, rec := range recs {
		positions[i] = string(rec.Position)
	}
	return positions
}

// Pieces returns n copies of the record. Each adds a letter to its position.
func Pieces(rec opencdc.Record, n int) sdk.MultiRecord {
	pieces := make(sdk.MultiRecord, n)
	for i := range pieces {
		pieces[i] = rec.Clone()
		pieces[i].Position = opencdc.Position(string(rec.Position) + string(rune('a'+i)))
	}
	return pieces
}

// NackedBatch returns a batch in which each record is nacked with its [ErrOf].
func NackedBatch(positions ...string) *funnel.Batch {
	b := funnel.NewBatch(Records(positions...))
	for i, p := range positions {
		b.Nack(i, ErrOf(p))
	}
	return b
}
