package funnel_test

import (
	"context"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
)

// ticker is a source of words that goes on until it is torn down.
type ticker struct {
	words
	idle chan struct{} // closed when all words are read
	torn chan struct{}
}

func (s *ticker) Read(ctx context.Context) ([]opencdc.Record, error) {
	if s.next == len(s.list) {
		close(s.idle)
		<-s.torn
	}
	return s.words.Read(ctx)
}

func (s *ticker) Teardown(context.Context) error {
	close(s.torn)
	return nil
}

// With WithDrain, Stop lets the worker process everything that was read ahead.
func ExampleWithDrain() {
	source := &ticker{
		words: words{list: []string{"apple", "pear", "plum"}},
		idle:  make(chan struct{}), torn: make(chan struct{}),
	}
	first := &funnel.TaskNode{Task: funnel.NewSourceTask("words", source, log.Nop(), nil)}
	first.Next = []*funnel.TaskNode{{Task: funnel.NewDestinationTask("table", &printer{name: "table"}, log.Nop(), nil)}}
	worker, err := funnel.NewWorker(first, nil, log.Nop(), nil, funnel.WithReadAhead(100), funnel.WithDrain())
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	done := make(chan error)
	go func() { done <- worker.Do(ctx) }()
	<-source.idle // all words are read, but perhaps not yet written
	if err := worker.Stop(ctx); err != nil {
		panic(err)
	}
	if err := <-done; err != nil {
		panic(err)
	}
	// Output:
	// table: apple
	// table: pear
	// table: plum
}
