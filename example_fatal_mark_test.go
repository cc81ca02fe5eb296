package funnel_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
)

// permanent is a host's mark for errors that a restart does not cure.
type permanent struct{ error }

func (e permanent) Unwrap() error { return e.error }

// full is a destination that fails for good, and marks its error as the host does.
type full struct{ printer }

func (*full) Write(context.Context, []opencdc.Record) error {
	return permanent{errors.New("disk full")}
}

// An error that a host's connector has marked is fatal for the engine, too.
func ExampleWithFatalMark() {
	mark := func(err error) error { return permanent{err} }
	is := func(err error) bool { return errors.As(err, &permanent{}) }

	first := &funnel.TaskNode{Task: funnel.NewSourceTask("words", &words{list: []string{"apple"}}, log.Nop(), nil)}
	first.Next = []*funnel.TaskNode{{Task: funnel.NewDestinationTask("table", &full{}, log.Nop(), nil)}}
	worker, err := funnel.NewWorker(first, nil, log.Nop(), nil, funnel.WithFatalMark(mark, is))
	if err != nil {
		panic(err)
	}
	err = worker.Do(context.Background())
	fmt.Println(err)
	fmt.Println("fatal:", funnel.IsFatalError(err))
	// Output:
	// task "table": failed to write 1 records, from "0" on: disk full
	// fatal: true
}
