package funnel_test

import (
	"context"
	"fmt"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
)

// lookup is a processor that asks a slow service about each record. It holds
// nothing that a call could change, so that several of them may run at a time.
type lookup struct{ service func(key string) string }

func (lookup) Open(context.Context) error     { return nil }
func (lookup) Teardown(context.Context) error { return nil }
func (lookup) IsConcurrent() bool             { return true }

func (p lookup) Process(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
	results := make([]sdk.ProcessedRecord, len(recs))
	for i, rec := range recs {
		name := p.service(string(rec.Key.Bytes()))
		if name == "" {
			results[i] = sdk.FilterRecord{}
			continue
		}
		rec.Payload.After = opencdc.RawData(name)
		results[i] = sdk.SingleRecord(rec)
	}
	return results
}

// A processor that waits for a service handles a batch in the time that a part of
// it takes.
func ExampleNewParallelProcessor() {
	names := map[string]string{"de": "Germany", "fr": "France", "it": "Italy"}
	slow := lookup{service: func(key string) string {
		time.Sleep(2 * time.Millisecond)
		return names[key]
	}}
	p, err := funnel.NewParallelProcessor(slow, 16)
	if err != nil {
		panic(err)
	}
	task := funnel.NewProcessorTask("lookup", p, log.Nop(), nil)

	var recs []opencdc.Record
	for _, key := range []string{"it", "xx", "de", "fr"} {
		recs = append(recs, opencdc.Record{Position: opencdc.Position(key), Key: opencdc.RawData(key)})
	}
	batch := funnel.NewBatch(recs)
	if err := task.Do(context.Background(), batch); err != nil {
		panic(err)
	}
	for _, rec := range batch.ActiveRecords() {
		fmt.Printf("%s: %s\n", rec.Key.Bytes(), rec.Payload.After.Bytes())
	}
	// Output:
	// it: Italy
	// de: Germany
	// fr: France
}
