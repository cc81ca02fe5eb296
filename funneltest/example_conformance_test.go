package funneltest_test

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/funneltest"
)

// words is a source of words. A position is the number of words up to and including its
// own, so it says where to resume.
type words struct {
	words  []string
	acked  int
	next   int
	isTorn atomic.Bool // Teardown may be called during Read
}

func (w *words) ID() string           { return "words" }
func (w *words) Errors() <-chan error { return nil }

func (w *words) Open(context.Context) error {
	w.next = w.acked
	w.isTorn.Store(false)
	return nil
}

func (w *words) Read(context.Context) ([]opencdc.Record, error) {
	if w.isTorn.Load() || w.next == len(w.words) {
		return nil, io.EOF
	}
	w.next++
	return []opencdc.Record{{
		Position:  opencdc.Position(strconv.Itoa(w.next)),
		Operation: opencdc.OperationCreate,
		Payload:   opencdc.Change{After: opencdc.RawData(w.words[w.next-1])},
	}}, nil
}

func (w *words) Ack(_ context.Context, positions []opencdc.Position) (err error) {
	w.acked, err = strconv.Atoi(string(positions[len(positions)-1]))
	return err
}

func (w *words) Teardown(context.Context) error {
	w.isTorn.Store(true)
	return nil
}

// testWords is the test of the source. In a file of tests it is called TestWords.
func testWords(t *testing.T) {
	funneltest.TestSource(t, funneltest.SourceConformance{
		New: func(testing.TB) funnel.Source {
			return &words{words: strings.Fields("each of these words becomes a record of its own")}
		},
		AckDuringRead: true,
	})
}

// The test of a source is one call. It runs a subtest for each promise of the contract. To
// run one of them, type
//
//	go test -race -run TestWords/acked_records_are_not_read_again
func ExampleTestSource() {
	ctx := context.Background()
	source := &words{words: []string{"first", "second"}}
	_ = source.Open(ctx)
	for {
		recs, err := source.Read(ctx)
		if err == io.EOF {
			break
		}
		fmt.Printf("position %s: %s\n", recs[0].Position, recs[0].Payload.After.Bytes())
	}

	_ = testWords // go test runs it

	// Output:
	// position 1: first
	// position 2: second
}
