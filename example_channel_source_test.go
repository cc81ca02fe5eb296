package funnel_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
)

// checker is a processor that nacks empty payments and filters cancelled ones.
type checker struct{ funnel.Processor }

func (checker) Open(context.Context) error     { return nil }
func (checker) Teardown(context.Context) error { return nil }

func (checker) Process(_ context.Context, records []opencdc.Record) []sdk.ProcessedRecord {
	results := make([]sdk.ProcessedRecord, len(records))
	for i, record := range records {
		switch string(record.Payload.After.Bytes()) {
		case "":
			results[i] = sdk.ErrorRecord{Error: errors.New("the payment is empty")}
		case "cancelled":
			results[i] = sdk.FilterRecord{}
		default:
			results[i] = sdk.SingleRecord(record)
		}
	}
	return results
}

// A server sends each payment that it receives through a pipeline, and waits for what
// becomes of it before it replies.
func ExampleChannelSource_Send() {
	ctx, logger := context.Background(), log.Nop()
	payments := funnel.NewChannelSource(nil)
	first := &funnel.TaskNode{Task: funnel.NewSourceTask("payments", payments, logger, nil)}
	err := first.AppendToEnd(&funnel.TaskNode{Task: funnel.NewProcessorTask("check", checker{}, logger, nil)})
	if err == nil {
		err = first.AppendToEnd(&funnel.TaskNode{Task: funnel.NewDestinationTask("ledger", &printer{name: "ledger"}, logger, nil)})
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	dlq := funnel.NewDLQ("refused", &printer{name: "refused"}, logger, nil, 0, 0)
	worker, err := funnel.NewWorker(first, dlq, logger, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan error)
	go func() { done <- worker.Do(ctx) }()

	for _, payment := range []string{"5 to Ann", "cancelled", ""} {
		record := opencdc.Record{Payload: opencdc.Change{After: opencdc.RawData(payment)}}
		outcome, err := payments.Send(ctx, record)
		fmt.Println(outcome, err)
	}
	payments.Close()
	fmt.Println(errors.Join(<-done, worker.Close(ctx)))
	_, err = payments.Send(ctx, opencdc.Record{})
	fmt.Println(err)

	// Output:
	// ledger: 5 to Ann
	// delivered <nil>
	// filtered <nil>
	// refused: "3"
	// dead-lettered task "check": the payment is empty
	// <nil>
	// not delivered: the source is closed
}
