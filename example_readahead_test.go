package funnel_test

import (
	"context"
	"fmt"
	"io"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
)

// inbox is a source that returns one record per read, as it arrives.
type inbox struct {
	funnel.Source
	in      chan string
	drained chan struct{} // closed when the last one was read
}

func (s inbox) Open(context.Context) error                    { return nil }
func (s inbox) Ack(context.Context, []opencdc.Position) error { return nil }
func (s inbox) Teardown(context.Context) error                { return nil }

func (s inbox) Read(context.Context) ([]opencdc.Record, error) {
	message, ok := <-s.in
	if !ok {
		close(s.drained)
		return nil, io.EOF
	}
	return []opencdc.Record{{Position: opencdc.Position(message)}}, nil
}

// bulkStore is a destination for which one large write costs as much as a small
// one.
type bulkStore struct {
	funnel.Destination
	acks   []connector.DestinationAck
	busy   chan struct{} // gets a value when a write begins
	isDone chan struct{} // gives a value when it may end
}

func (d *bulkStore) Open(context.Context) error     { return nil }
func (d *bulkStore) Teardown(context.Context) error { return nil }

func (d *bulkStore) Write(_ context.Context, recs []opencdc.Record) error {
	d.busy <- struct{}{}
	<-d.isDone
	d.acks = make([]connector.DestinationAck, len(recs))
	for i, rec := range recs {
		d.acks[i].Position = rec.Position
	}
	fmt.Println("one write of", len(recs))
	return nil
}

func (d *bulkStore) Ack(context.Context) ([]connector.DestinationAck, error) {
	return d.acks, nil
}

// What arrives while the destination is busy becomes its next write.
func ExampleWithReadAhead() {
	source := inbox{in: make(chan string), drained: make(chan struct{})}
	store := &bulkStore{busy: make(chan struct{}), isDone: make(chan struct{})}
	go func() {
		source.in <- "1"
		<-store.busy
		for _, message := range []string{"2", "3", "4", "5"} {
			source.in <- message
		}
		close(source.in)
		<-source.drained
		store.isDone <- struct{}{}
		<-store.busy
		store.isDone <- struct{}{}
	}()

	first := &funnel.TaskNode{Task: funnel.NewSourceTask("inbox", source, log.Nop(), nil)}
	first.Next = []*funnel.TaskNode{{Task: funnel.NewDestinationTask("store", store, log.Nop(), nil)}}
	worker, err := funnel.NewWorker(first, nil, log.Nop(), nil, funnel.WithReadAhead(1000))
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
	// Output:
	// one write of 1
	// one write of 4
}
