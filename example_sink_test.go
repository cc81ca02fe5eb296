package funnel_test

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
)

// feed is a source of one record per read.
type feed struct {
	funnel.Source
	left []string
}

func (f *feed) Open(context.Context) error                    { return nil }
func (f *feed) Ack(context.Context, []opencdc.Position) error { return nil }
func (f *feed) Teardown(context.Context) error                { return nil }

func (f *feed) Read(context.Context) ([]opencdc.Record, error) {
	if len(f.left) == 0 {
		return nil, io.EOF
	}
	next := f.left[0]
	f.left = f.left[1:]
	return []opencdc.Record{{Position: opencdc.Position(next)}}, nil
}

// ledger is a destination for one writer at a time.
type ledger struct {
	funnel.Destination
	acks []connector.DestinationAck
}

func (l *ledger) Open(context.Context) error     { fmt.Println("open"); return nil }
func (l *ledger) Teardown(context.Context) error { fmt.Println("closed"); return nil }

func (l *ledger) Write(_ context.Context, recs []opencdc.Record) error {
	l.acks = l.acks[:0]
	for _, rec := range recs {
		fmt.Printf("%s\n", rec.Position)
		l.acks = append(l.acks, connector.DestinationAck{Position: rec.Position})
	}
	return nil
}

func (l *ledger) Ack(context.Context) ([]connector.DestinationAck, error) { return l.acks, nil }

// Two sources share a destination, which needs no lock: the workers take turns.
func ExampleNewSink() {
	ctx := context.Background()
	node := &funnel.TaskNode{Task: funnel.NewDestinationTask("ledger", &ledger{}, log.Nop(), nil)}
	sink, err := funnel.NewSink(node)
	if err != nil {
		panic(err)
	}
	if err := sink.Open(ctx); err != nil {
		panic(err)
	}
	var workers sync.WaitGroup
	for id, source := range map[string]*feed{
		"orders":   {left: []string{"order 1", "order 2"}},
		"invoices": {left: []string{"invoice 1", "invoice 2"}},
	} {
		first := &funnel.TaskNode{Task: funnel.NewSourceTask(id, source, log.Nop(), nil), Next: []*funnel.TaskNode{node}}
		worker, err := funnel.NewWorker(first, nil, log.Nop(), nil)
		if err != nil {
			panic(err)
		}
		workers.Go(func() {
			if err := worker.Do(ctx); err != nil {
				panic(err)
			}
		})
	}
	workers.Wait()
	if err := sink.Close(ctx); err != nil {
		panic(err)
	}
	// Unordered output:
	// open
	// order 1
	// order 2
	// invoice 1
	// invoice 2
	// closed
}
