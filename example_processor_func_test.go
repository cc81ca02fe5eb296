package funnel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
)

// text returns a record that holds a text.
func text(s string) opencdc.Record {
	return opencdc.Record{Position: opencdc.Position(s), Payload: opencdc.Change{After: opencdc.RawData(s)}}
}

// process prints what a processor makes of records.
func process(p funnel.Processor, texts ...string) {
	var records []opencdc.Record
	for _, s := range texts {
		records = append(records, text(s))
	}
	batch := funnel.NewBatch(records)
	if err := funnel.NewProcessorTask("p", p, log.Nop(), nil).Do(context.Background(), batch); err != nil {
		panic(err)
	}
	for i, record := range batch.ActiveRecords() {
		fmt.Printf("%s %v\n", record.Payload.After.Bytes(), batch.Status(i))
	}
}

// The result of the function is that of the record.
func ExampleProcessorFunc() {
	p := funnel.ProcessorFunc(func(_ context.Context, record opencdc.Record) sdk.ProcessedRecord {
		switch data := record.Payload.After.Bytes(); {
		case len(data) == 0:
			return sdk.FilterRecord{}
		case data[0] == '?':
			return sdk.ErrorRecord{Error: errors.New("unknown")}
		default:
			record.Payload.After = opencdc.RawData(bytes.ToUpper(data))
			return sdk.SingleRecord(record)
		}
	})
	process(p, "apple", "", "?", "pear")
	// Output:
	// APPLE {ack <nil>}
	// ? {nack unknown}
	// PEAR {ack <nil>}
}

func ExampleFilter() {
	long := funnel.Filter(func(record opencdc.Record) bool { return len(record.Payload.After.Bytes()) > 4 })
	process(long, "apple", "pear", "cherry")
	// Output:
	// apple {ack <nil>}
	// cherry {ack <nil>}
}

func ExampleMap() {
	upper := funnel.Map(func(record opencdc.Record) (opencdc.Record, error) {
		data := record.Payload.After.Bytes()
		if len(data) == 0 {
			return record, errors.New("empty")
		}
		record.Payload.After = opencdc.RawData(bytes.ToUpper(data))
		return record, nil
	})
	process(upper, "apple", "", "pear")
	// Output:
	// APPLE {ack <nil>}
	//  {nack empty}
	// PEAR {ack <nil>}
}

// A record becomes one for each word.
func ExampleSplit() {
	words := funnel.Split(func(record opencdc.Record) ([]opencdc.Record, error) {
		var pieces []opencdc.Record
		for _, word := range bytes.Fields(record.Payload.After.Bytes()) {
			record.Payload.After = opencdc.RawData(word)
			pieces = append(pieces, record)
		}
		return pieces, nil
	})
	process(words, "apple pear", " ", "cherry")
	// Output:
	// apple {ack <nil>}
	// pear {ack <nil>}
	// cherry {ack <nil>}
}

// A function that several goroutines may call at a time runs on parts of each batch.
func ExampleConcurrent() {
	upper := funnel.Map(func(record opencdc.Record) (opencdc.Record, error) {
		record.Payload.After = opencdc.RawData(bytes.ToUpper(record.Payload.After.Bytes()))
		return record, nil
	})
	p, err := funnel.NewParallelProcessor(funnel.Concurrent(upper), 8)
	if err != nil {
		panic(err)
	}
	process(p, "apple", "pear", "cherry")
	// Output:
	// APPLE {ack <nil>}
	// PEAR {ack <nil>}
	// CHERRY {ack <nil>}
}
