package funnel_test

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
)

// orders is a source of one order with several items.
type orders struct {
	funnel.Source
	isRead bool
}

func (s *orders) Open(context.Context) error                    { return nil }
func (s *orders) Ack(context.Context, []opencdc.Position) error { return nil }
func (s *orders) Teardown(context.Context) error                { return nil }

func (s *orders) Read(context.Context) ([]opencdc.Record, error) {
	if s.isRead {
		return nil, io.EOF
	}
	s.isRead = true
	order := opencdc.Record{Position: opencdc.Position("1"), Key: opencdc.RawData("order 7")}
	order.Payload.After = opencdc.RawData("tea,milk,tea")
	return []opencdc.Record{order}, nil
}

// items is a processor that splits an order into its items.
type items struct{}

func (items) Open(context.Context) error     { return nil }
func (items) Teardown(context.Context) error { return nil }

func (items) Process(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
	results := make([]sdk.ProcessedRecord, len(recs))
	for i, rec := range recs {
		var pieces sdk.MultiRecord
		for item := range strings.SplitSeq(string(rec.Payload.After.Bytes()), ",") {
			piece := rec.Clone()
			piece.Payload.After = opencdc.RawData(item)
			pieces = append(pieces, piece)
		}
		results[i] = pieces
	}
	return results
}

// itemTable is a destination that stores each item once, however often it is written.
type itemTable struct {
	funnel.Destination
	rows map[string]string // by order and piece
	acks []connector.DestinationAck
}

func (d *itemTable) Open(context.Context) error     { return nil }
func (d *itemTable) Teardown(context.Context) error { return nil }

func (d *itemTable) Write(_ context.Context, recs []opencdc.Record) error {
	d.acks = make([]connector.DestinationAck, len(recs))
	for i, rec := range recs {
		id := string(rec.Key.Bytes()) + "/" + rec.Metadata[funnel.MetadataPieceID]
		if _, ok := d.rows[id]; ok {
			fmt.Println("is there already:", id)
		} else {
			d.rows[id] = string(rec.Payload.After.Bytes())
			fmt.Println("stored:", id, d.rows[id])
		}
		d.acks[i].Position = rec.Position
	}
	return nil
}

func (d *itemTable) Ack(context.Context) ([]connector.DestinationAck, error) { return d.acks, nil }

// A table recognizes pieces that are delivered again, for example after a crash.
func ExampleWithPieceIDs() {
	table := &itemTable{rows: make(map[string]string)}
	for range 2 {
		first := &funnel.TaskNode{Task: funnel.NewSourceTask("orders", &orders{}, log.Nop(), nil)}
		err := first.AppendToEnd(&funnel.TaskNode{
			Task: funnel.NewProcessorTask("items", items{}, log.Nop(), nil),
			Next: []*funnel.TaskNode{{Task: funnel.NewDestinationTask("table", table, log.Nop(), nil)}},
		})
		if err != nil {
			panic(err)
		}
		worker, err := funnel.NewWorker(first, nil, log.Nop(), nil, funnel.WithPieceIDs())
		if err != nil {
			panic(err)
		}
		ctx := context.Background()
		if err := worker.Open(ctx); err != nil {
			panic(err)
		}
		if err := worker.Do(ctx); err != nil {
			panic(err)
		}
		if err := worker.Close(ctx); err != nil {
			panic(err)
		}
	}
	// Output:
	// stored: order 7/0 tea
	// stored: order 7/1 milk
	// stored: order 7/2 tea
	// is there already: order 7/0
	// is there already: order 7/1
	// is there already: order 7/2
}
