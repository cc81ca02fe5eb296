package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
)

// poster is a destination that posts each record to a slow service, one after the other.
type poster struct {
	post func(key, text string) error
	acks []connector.DestinationAck
}

func (*poster) ID() string                     { return "poster" }
func (*poster) Open(context.Context) error     { return nil }
func (*poster) Teardown(context.Context) error { return nil }
func (*poster) Errors() <-chan error           { return nil }

func (d *poster) Write(_ context.Context, records []opencdc.Record) error {
	d.acks = d.acks[:0]
	for _, rec := range records {
		err := d.post(string(rec.Key.Bytes()), string(rec.Payload.After.Bytes()))
		d.acks = append(d.acks, connector.DestinationAck{Position: rec.Position, Error: err})
	}
	return nil
}

func (d *poster) Ack(context.Context) ([]connector.DestinationAck, error) { return d.acks, nil }

// Records with different keys are posted at the same time, records with the same key in
// order.
func ExampleNewPartitionedDestination() {
	var mu sync.Mutex
	threads := map[string]string{}
	post := func(key, text string) error {
		time.Sleep(2 * time.Millisecond)
		if text == "" {
			return errors.New("nothing to post")
		}
		mu.Lock()
		defer mu.Unlock()
		threads[key] += " " + text
		return nil
	}
	posters := funnel.NewPartitionedDestination(16,
		func(rec opencdc.Record) string { return string(rec.Key.Bytes()) },
		func(int) (funnel.Destination, error) { return &poster{post: post}, nil })
	task := funnel.NewDestinationTask("posters", posters, log.Nop(), nil)

	var recs []opencdc.Record
	for i, post := range [][2]string{{"ann", "hello"}, {"bob", "good"}, {"ann", "world"}, {"cid", ""}, {"bob", "night"}} {
		rec := opencdc.Record{Position: fmt.Append(nil, i), Key: opencdc.RawData(post[0])}
		rec.Payload.After = opencdc.RawData(post[1])
		recs = append(recs, rec)
	}
	batch := funnel.NewBatch(recs)
	ctx := context.Background()
	if err := task.Open(ctx); err != nil {
		panic(err)
	}
	if err := task.Do(ctx, batch); err != nil {
		panic(err)
	}
	if err := task.Close(ctx); err != nil {
		panic(err)
	}
	for _, key := range []string{"ann", "bob"} {
		fmt.Printf("%s:%s\n", key, threads[key])
	}
	for i, rec := range batch.ActiveRecords() {
		if status := batch.Status(i); status.Error != nil {
			fmt.Printf("%s: %v\n", rec.Key.Bytes(), status.Error)
		}
	}
	// Output:
	// ann: hello world
	// bob: good night
	// cid: nothing to post
}
