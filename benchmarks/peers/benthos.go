package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	// Components that every stream needs.
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
)

// benthos is a stream between the two functions that a stream builder has for
// embedding. The source calls the producer function, which returns when the batch is
// acked. The consumer function gets what the first destination is to write. A builder
// takes only one consumer function, so further destinations are plugins.
type benthos struct {
	stream  *service.Stream
	produce service.MessageBatchHandlerFunc
	ended   chan error

	// The batches that the source returns in turn. A stream is done with a batch when
	// produce returns, so its messages can be sent again.
	batches []service.MessageBatch
	next    int

	records int // acked
}

func startBenthos(w *work) (peer, error) {
	env := service.NewEnvironment()
	builder := env.NewStreamBuilder()
	builder.SetLogger(slog.New(slog.DiscardHandler))
	builder.SetThreads(1)
	builder.SetOutputBrokerPattern(service.OutputBrokerPatternFanOutSequentialFailFast)
	err := errors.Join(
		builder.SetBufferYAML("none: {}"),
		builder.SetMetricsYAML("none: {}"),
		builder.SetTracerYAML("none: {}"),
	)
	if err != nil {
		return nil, err
	}

	b := &benthos{ended: make(chan error, 1)}
	if b.produce, err = benthosProducer(builder, w.batch); err != nil {
		return nil, err
	}
	if err := builder.AddBatchConsumerFunc(benthosOutput{w.destinations[0]}.WriteBatch); err != nil {
		return nil, err
	}
	for i, d := range w.destinations[1:] {
		name := fmt.Sprintf("destination%d", i+1)
		err := env.RegisterBatchOutput(name, service.NewConfigSpec(),
			func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
				return benthosOutput{d}, service.BatchPolicy{}, 1, nil // one batch in flight
			})
		if err != nil {
			return nil, err
		}
		if err := builder.AddOutputYAML(name + ": {}"); err != nil {
			return nil, err
		}
	}
	if b.stream, err = builder.Build(); err != nil {
		return nil, err
	}

	for payloads := range slices.Chunk(w.payloads, w.batch) {
		batch := make(service.MessageBatch, len(payloads))
		for i, payload := range payloads {
			batch[i] = service.NewMessage(payload)
		}
		b.batches = append(b.batches, batch)
	}
	go func() { b.ended <- b.stream.Run(context.Background()) }()
	return b, nil
}

// benthosProducer returns the function that the source calls. Batches of one use the
// function for single messages, which is faster.
func benthosProducer(builder *service.StreamBuilder, batch int) (service.MessageBatchHandlerFunc, error) {
	if batch > 1 {
		return builder.AddBatchProducerFunc()
	}
	produce, err := builder.AddProducerFunc()
	return func(ctx context.Context, batch service.MessageBatch) error { return produce(ctx, batch[0]) }, err
}

func (b *benthos) run(batches int) error {
	ctx := context.Background()
	for range batches {
		batch := b.batches[b.next]
		if b.next++; b.next == len(b.batches) {
			b.next = 0
		}
		if err := b.produce(ctx, batch); err != nil {
			return err
		}
		b.records += len(batch)
	}
	return nil
}

func (b *benthos) acked() int { return b.records }

func (b *benthos) close() error {
	err := b.stream.StopWithin(10 * time.Second)
	return errors.Join(err, <-b.ended)
}

// benthosOutput writes to a destination.
type benthosOutput struct{ destination *destination }

func (benthosOutput) Connect(context.Context) error { return nil }
func (benthosOutput) Close(context.Context) error   { return nil }

func (o benthosOutput) WriteBatch(_ context.Context, batch service.MessageBatch) error {
	if o.destination.look != nil {
		for _, m := range batch {
			payload, err := m.AsBytes()
			if err == nil {
				err = o.destination.look(payload)
			}
			if err != nil {
				return err
			}
		}
	}
	o.destination.records.Add(int64(len(batch)))
	return nil
}
