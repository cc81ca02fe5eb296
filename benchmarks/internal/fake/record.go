package fake

import (
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"
)

// Payload is a kind of payload.
type Payload int

// The kinds of payload.
const (
	Raw        Payload = iota // 64 bytes
	Structured                // five fields
)

// Records returns n records with the positions "r00000000" and so on.
func Records(n int, payload Payload) []opencdc.Record {
	records := make([]opencdc.Record, n)
	for i := range records {
		position := fmt.Appendf(nil, "r%08d", i)
		records[i] = opencdc.Record{
			Position:  position,
			Operation: opencdc.OperationCreate,
			Key:       opencdc.RawData(position),
			Payload:   opencdc.Change{After: payload.data(i)},
		}
	}
	return records
}

// NewKeys returns a function that returns n different prepared keys in turn, without
// looking at the record.
func NewKeys(n int) func(opencdc.Record) string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("k%08d", i)
	}
	next := -1
	return func(opencdc.Record) string {
		if next++; next == n {
			next = 0
		}
		return keys[next]
	}
}

func (p Payload) data(i int) opencdc.Data {
	if p == Raw {
		return opencdc.RawData(fmt.Sprintf("%064d", i))
	}
	return opencdc.StructuredData{
		"id":      i,
		"name":    fmt.Sprintf("name of %d", i),
		"amount":  float64(i) / 8,
		"active":  i%2 == 0,
		"country": "Iceland",
	}
}
