package funneltest

import (
	"encoding/json"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"
)

// Record returns a record with a raw payload and no position. A [Source] gives a record
// without a position its number, from 1.
func Record(payload string) opencdc.Record {
	return opencdc.Record{
		Operation: opencdc.OperationCreate,
		Metadata:  opencdc.Metadata{},
		Payload:   opencdc.Change{After: opencdc.RawData(payload)},
	}
}

// Records returns a [Record] for each payload.
func Records(payloads ...string) []opencdc.Record {
	records := make([]opencdc.Record, len(payloads))
	for i, payload := range payloads {
		records[i] = Record(payload)
	}
	return records
}

// Payload returns the payload of a record (after the change) as text: raw data as it is,
// structured data as JSON, and "" if there is none.
func Payload(r opencdc.Record) string {
	switch data := r.Payload.After.(type) {
	case nil:
		return ""
	case opencdc.StructuredData:
		text, err := json.Marshal(map[string]any(data))
		if err != nil {
			return fmt.Sprint(map[string]any(data))
		}
		return string(text)
	default:
		return string(data.Bytes())
	}
}

// Payloads returns the [Payload] of each record.
func Payloads(records []opencdc.Record) []string {
	payloads := make([]string, len(records))
	for i, r := range records {
		payloads[i] = Payload(r)
	}
	return payloads
}
