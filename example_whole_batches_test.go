package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
)

// lines is a source of one batch, which counts the calls of Ack.
type lines struct {
	funnel.Source
	batch []opencdc.Record
	acks  int
}

func (s *lines) Read(context.Context) ([]opencdc.Record, error) {
	batch := s.batch
	s.batch = nil
	return batch, io.EOF
}

func (s *lines) Ack(context.Context, []opencdc.Position) error { s.acks++; return nil }

// parser is a processor that fails for empty lines.
type parser struct{ funnel.Processor }

func (parser) Process(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
	results := make([]sdk.ProcessedRecord, len(recs))
	for i, rec := range recs {
		if results[i] = sdk.SingleRecord(rec); len(rec.Key.Bytes()) == 0 {
			results[i] = sdk.ErrorRecord{Error: errors.New("an empty line")}
		}
	}
	return results
}

// bulk is a destination that counts its writes.
type bulk struct {
	funnel.Destination
	writes int
	acks   []connector.DestinationAck
}

func (d *bulk) Write(_ context.Context, recs []opencdc.Record) error {
	d.writes++
	d.acks = make([]connector.DestinationAck, len(recs))
	for i, rec := range recs {
		d.acks[i].Position = rec.Position
	}
	return nil
}

func (d *bulk) Ack(context.Context) ([]connector.DestinationAck, error) { return d.acks, nil }

// Every tenth record of a batch is nacked. That divides the batch, unless the worker has
// the option WithWholeBatches.
func ExampleWithWholeBatches() {
	for _, options := range [][]funnel.WorkerOption{nil, {funnel.WithWholeBatches()}} {
		source, table, dead := &lines{}, &bulk{}, &bulk{}
		for i := range 100 {
			rec := opencdc.Record{Position: fmt.Append(nil, i), Key: opencdc.RawData("a line")}
			if i%10 == 5 {
				rec.Key = opencdc.RawData("")
			}
			source.batch = append(source.batch, rec)
		}
		first := &funnel.TaskNode{Task: funnel.NewSourceTask("lines", source, log.Nop(), nil)}
		first.Next = []*funnel.TaskNode{{Task: funnel.NewProcessorTask("parser", parser{}, log.Nop(), nil)}}
		first.Next[0].Next = []*funnel.TaskNode{{Task: funnel.NewDestinationTask("table", table, log.Nop(), nil)}}
		worker, err := funnel.NewWorker(first, funnel.NewDLQ("dead letters", dead, log.Nop(), nil, 0, 0), log.Nop(), nil, options...)
		if err != nil {
			panic(err)
		}
		if err := worker.Do(context.Background()); err != nil {
			panic(err)
		}
		fmt.Printf("writes: %d, writes of dead letters: %d, acks: %d\n", table.writes, dead.writes, source.acks)
	}
	// Output:
	// writes: 11, writes of dead letters: 10, acks: 21
	// writes: 1, writes of dead letters: 1, acks: 1
}
