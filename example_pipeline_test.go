package funnel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/funneltest"
)

// splitLines is a pipeline from a channel of lines to two destinations for words.
func splitLines(lines <-chan opencdc.Record, table, index funnel.Destination) *funnel.Pipeline {
	return funnel.From("lines", funnel.NewChannelSource(lines)).
		Through("no comments", funnel.Filter(isNoComment)).
		Through("words", funnel.Split(splitWords)).
		Fork(
			funnel.To("table", table),
			funnel.To("index", index), // at the same time
		)
}

func isNoComment(line opencdc.Record) bool {
	return !bytes.HasPrefix(line.Payload.After.Bytes(), []byte("#"))
}

func splitWords(line opencdc.Record) ([]opencdc.Record, error) {
	var words []opencdc.Record
	for _, word := range bytes.Fields(line.Payload.After.Bytes()) {
		piece := line
		piece.Payload.After = opencdc.RawData(word)
		words = append(words, piece)
	}
	if len(words) == 0 {
		return nil, errors.New("the line is empty") // the line goes to the dead-letter queue
	}
	return words, nil
}

// printing is a destination that prints records.
func printing(name string) funnel.Destination {
	return funnel.DestinationFunc(func(_ context.Context, records []opencdc.Record) error {
		for _, record := range records {
			fmt.Printf("%s: %s\n", name, record.Payload.After.Bytes())
		}
		return nil // all of them are written
	})
}

func TestSplitLines(t *testing.T) {
	lines := make(chan opencdc.Record, 3)
	for _, line := range funneltest.Records("to be", "# or not", "") {
		lines <- line
	}
	close(lines)
	result := funneltest.Run(t, splitLines(lines, &funneltest.Destination{}, &funneltest.Destination{}))
	result.Want(t, "table", "to", "be")
	result.Want(t, "index", "to", "be")
	result.WantDeadLetters(t, "the line is empty")
}

// A pipeline from a channel, through a filter and a split, to two destinations.
func Example_pipeline() {
	lines := make(chan opencdc.Record)
	go func() {
		defer close(lines)
		for _, line := range []string{"# Hamlet", "to be"} {
			lines <- opencdc.Record{Payload: opencdc.Change{After: opencdc.RawData(line)}}
		}
	}()
	err := splitLines(lines, printing("table"), printing("index")).
		DeadLetters("dead letters", printing("dead letters"), 100, 10). // at most 10 of 100 lines
		Run(context.Background())
	fmt.Println(err)
	// Unordered output:
	// table: to
	// table: be
	// index: to
	// index: be
	// <nil>
}
