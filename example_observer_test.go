package funnel_test

import (
	"context"
	"fmt"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
)

// progress is an observer that prints what the tasks do.
type progress struct {
	funnel.NopObserver
}

func (progress) TaskDone(_ context.Context, e funnel.TaskDone) {
	fmt.Printf("%s: %d in, %d out, %d nacked\n", e.TaskID, e.In, e.Out, e.Nacked)
}

func (progress) DeadLettersWritten(_ context.Context, e funnel.DeadLettersWritten) {
	fmt.Printf("%d dead\n", e.Confirmed)
}

// An observer receives the events of each batch.
func ExampleWithObserver() {
	first := &funnel.TaskNode{Task: funnel.NewSourceTask("words", &words{list: []string{"apple", ""}}, log.Nop(), nil)}
	if err := first.AppendToEnd(&funnel.TaskNode{Task: funnel.NewProcessorTask("upper", upper{}, log.Nop(), nil)}); err != nil {
		panic(err)
	}
	if err := first.AppendToEnd(&funnel.TaskNode{Task: funnel.NewDestinationTask("table", &printer{name: "table"}, log.Nop(), nil)}); err != nil {
		panic(err)
	}
	dlq := funnel.NewDLQ("dead letters", &printer{name: "dead letters"}, log.Nop(), nil, 0, 0)
	worker, err := funnel.NewWorker(first, dlq, log.Nop(), nil, funnel.WithObserver(progress{}))
	if err != nil {
		panic(err)
	}
	if err := worker.Do(context.Background()); err != nil {
		panic(err)
	}
	// Output:
	// upper: 1 in, 1 out, 0 nacked
	// table: APPLE
	// table: 1 in, 1 out, 0 nacked
	// upper: 1 in, 0 out, 1 nacked
	// dead letters: "1"
	// 1 dead
}
