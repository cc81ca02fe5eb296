package funnel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
)

// A pipeline of connectors and a processor that are written by hand, made of nodes.
func Example_byHand() {
	if err := runByHand(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Unordered output:
	// table: APPLE
	// table: PEAR
	// index: APPLE
	// index: PEAR
	// dead letters: "1"
	// resume behind "2"
}

func runByHand(ctx context.Context) error {
	logger := log.Nop()
	source := funnel.NewSourceTask("words", &words{list: []string{"apple", "", "pear"}}, logger, nil)
	upper := funnel.NewProcessorTask("upper", upper{}, logger, nil)
	table := funnel.NewDestinationTask("table", &printer{name: "table"}, logger, nil)
	index := funnel.NewDestinationTask("index", &printer{name: "index"}, logger, nil)
	// More than 10 nacked records among the last 100 stop the worker.
	dlq := funnel.NewDLQ("dead letters", &printer{name: "dead letters"}, logger, nil, 100, 10)

	first := &funnel.TaskNode{Task: source, Next: []*funnel.TaskNode{{
		Task: upper,
		Next: []*funnel.TaskNode{{Task: table}, {Task: index}}, // at the same time
	}}}
	worker, err := funnel.NewWorker(first, dlq, logger, nil)
	if err != nil {
		return err
	}
	if err := worker.Open(ctx); err != nil {
		return err
	}
	err = worker.Do(ctx) // until the source ends, or worker.Stop(ctx)
	return errors.Join(err, worker.Close(ctx))
}

// words is a source of words. A position is the number of a word.
type words struct {
	list []string
	next int
	done opencdc.Position // what a real source would save
}

func (s *words) Read(context.Context) ([]opencdc.Record, error) {
	if s.next == len(s.list) {
		return nil, io.EOF
	}
	record := opencdc.Record{Position: opencdc.Position(strconv.Itoa(s.next))}
	record.Payload.After = opencdc.RawData(s.list[s.next])
	s.next++
	return []opencdc.Record{record}, nil
}

func (s *words) Ack(_ context.Context, positions []opencdc.Position) error {
	s.done = positions[len(positions)-1]
	return nil
}

func (s *words) Teardown(context.Context) error {
	fmt.Printf("resume behind %q\n", s.done)
	return nil
}

func (*words) ID() string                 { return "words" }
func (*words) Open(context.Context) error { return nil }
func (*words) Errors() <-chan error       { return nil }

// upper is a processor that fails for empty words.
type upper struct{}

func (upper) Process(_ context.Context, records []opencdc.Record) []sdk.ProcessedRecord {
	results := make([]sdk.ProcessedRecord, len(records))
	for i, record := range records {
		word := record.Payload.After.Bytes()
		if len(word) == 0 {
			results[i] = sdk.ErrorRecord{Error: errors.New("empty word")}
			continue
		}
		record.Payload.After = opencdc.RawData(bytes.ToUpper(word))
		results[i] = sdk.SingleRecord(record)
	}
	return results
}

func (upper) Open(context.Context) error     { return nil }
func (upper) Teardown(context.Context) error { return nil }

// printer is a destination that prints records.
type printer struct {
	name string
	acks []connector.DestinationAck
}

func (d *printer) Write(_ context.Context, records []opencdc.Record) error {
	d.acks = d.acks[:0]
	for _, record := range records {
		if data, ok := record.Payload.After.(opencdc.RawData); ok {
			fmt.Printf("%s: %s\n", d.name, data)
		} else {
			fmt.Printf("%s: %q\n", d.name, record.Position)
		}
		d.acks = append(d.acks, connector.DestinationAck{Position: record.Position})
	}
	return nil
}

func (d *printer) Ack(context.Context) ([]connector.DestinationAck, error) { return d.acks, nil }

func (d *printer) ID() string                   { return d.name }
func (*printer) Open(context.Context) error     { return nil }
func (*printer) Teardown(context.Context) error { return nil }
func (*printer) Errors() <-chan error           { return nil }
