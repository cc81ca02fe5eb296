package funnel_test

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
)

// one is a source of one record.
type one struct {
	funnel.Source
	hasRead bool
}

func (s *one) Ack(context.Context, []opencdc.Position) error { return nil }

func (s *one) Read(context.Context) ([]opencdc.Record, error) {
	if s.hasRead {
		return nil, io.EOF
	}
	s.hasRead = true
	return []opencdc.Record{{Position: opencdc.Position("the record")}}, nil
}

// client is a processor whose service does not answer before the call with a given
// number.
type client struct {
	funnel.Processor
	calls, answersAt int
}

func (c *client) Process(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
	results := make([]sdk.ProcessedRecord, len(recs)) // nil is no answer
	if c.calls++; c.calls >= c.answersAt {
		for i, rec := range recs {
			results[i] = sdk.SingleRecord(rec)
		}
	}
	return results
}

// screen is a destination that prints records.
type screen struct {
	funnel.Destination
	acks []connector.DestinationAck
}

func (d *screen) Write(_ context.Context, recs []opencdc.Record) error {
	fmt.Printf("%s arrives\n", recs[0].Position)
	d.acks = []connector.DestinationAck{{Position: recs[0].Position}}
	return nil
}

func (d *screen) Ack(context.Context) ([]connector.DestinationAck, error) { return d.acks, nil }

// A worker survives any outage of a service, and calls it again at least once per
// MaxPause.
func ExampleWithRetryPolicy() {
	service := &client{answersAt: 50}
	first := &funnel.TaskNode{Task: funnel.NewSourceTask("one", &one{}, log.Nop(), nil)}
	first.Next = []*funnel.TaskNode{{Task: funnel.NewProcessorTask("client", service, log.Nop(), nil)}}
	first.Next[0].Next = []*funnel.TaskNode{{Task: funnel.NewDestinationTask("screen", &screen{}, log.Nop(), nil)}}

	worker, err := funnel.NewWorker(first, nil, log.Nop(), nil, funnel.WithRetryPolicy(funnel.RetryPolicy{
		MaxCalls: -1,                   // no limit; by default the worker gives up after 16 calls
		MinPause: 1 * time.Microsecond, // doubles from call to call
		MaxPause: 1 * time.Millisecond,
	}))
	if err != nil {
		panic(err)
	}
	if err := worker.Do(context.Background()); err != nil {
		panic(err)
	}
	fmt.Println("calls:", service.calls)
	// Output:
	// the record arrives
	// calls: 50
}
