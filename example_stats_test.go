package funnel_test

import (
	"context"
	"fmt"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
)

// hanging is a destination whose second write hangs until the example releases it.
type hanging struct {
	printer
	writes int
	hangs  chan struct{} // closed when it hangs
	letGo  chan struct{}
}

func (d *hanging) Write(ctx context.Context, records []opencdc.Record) error {
	if d.writes++; d.writes == 2 {
		close(d.hangs)
		<-d.letGo
	}
	return d.printer.Write(ctx, records)
}

// While a destination hangs, the stats and the error of Stop name its task.
func ExampleWithStats() {
	table := &hanging{printer: printer{name: "table"}, hangs: make(chan struct{}), letGo: make(chan struct{})}
	first := &funnel.TaskNode{Task: funnel.NewSourceTask("words", &words{list: []string{"apple", "pear"}}, log.Nop(), nil)}
	first.Next = []*funnel.TaskNode{{Task: funnel.NewDestinationTask("table", table, log.Nop(), nil)}}
	worker, err := funnel.NewWorker(first, nil, log.Nop(), nil, funnel.WithStats())
	if err != nil {
		panic(err)
	}
	done := make(chan error)
	go func() { done <- worker.Do(context.Background()) }()
	<-table.hangs

	stats := worker.Stats()
	fmt.Printf("%d read, %d acked, %d in flight\n", stats.Read, stats.Acked, stats.InFlight)
	for _, task := range stats.Tasks {
		fmt.Printf("%q is %s, for less than a minute: %t\n", task.ID, task.Activity, time.Since(task.Since) < time.Minute)
	}

	close(table.letGo)
	if err := <-done; err != nil {
		panic(err)
	}
	// Output:
	// table: apple
	// 2 read, 1 acked, 1 in flight
	// "table" is working, for less than a minute: true
	// table: pear
}
