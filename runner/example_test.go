package runner_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/runner"
)

// A pipeline fails twice, since its database is away, and then recovers.
func Example() {
	runs := 0
	newOrders := func(context.Context) (*funnel.Worker, error) {
		if runs++; runs <= 2 {
			return nil, errors.New("the database is away")
		}
		orders := funnel.SliceSource(make([]opencdc.Record, 3)...)
		table := funnel.DestinationFunc(func(context.Context, []opencdc.Record) error { return nil })
		return funnel.From("orders", orders).To("table", table).Worker()
	}

	ctx, stop := context.WithCancel(context.Background())
	g, err := runner.New(runner.WithListener(func(t runner.Transition) {
		fmt.Print(t.From, " -> ", t.To)
		if t.Cause != nil {
			fmt.Print(" (", t.Cause, ")")
		}
		fmt.Println()
		if t.To == runner.Done {
			stop()
		}
	}))
	if err != nil {
		panic(err)
	}
	err = g.Add("orders", runner.Single(newOrders), runner.WithRestart(runner.Restart{
		InitialInterval: time.Millisecond,
	}))
	if err != nil {
		panic(err)
	}
	fmt.Println("Run:", g.Run(ctx))
	s, _ := g.StatusOf("orders")
	fmt.Printf("%v after %d restarts, %d records acked\n", s.State, s.Restarts, s.Records.Acked)
	// Output:
	// stopped -> starting
	// starting -> recovering (failed to build the pipeline: the database is away)
	// recovering -> starting
	// starting -> recovering (failed to build the pipeline: the database is away)
	// recovering -> starting
	// starting -> running
	// running -> draining
	// draining -> done
	// Run: <nil>
	// done after 2 restarts, 3 records acked
}

// The host handles the signals: they end the context of Run.
func ExampleGroup_Run() {
	g, err := runner.New()
	if err != nil {
		panic(err)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program
	interrupt()                  // as an operator would
	fmt.Println("Run:", g.Run(ctx))
	// Output: Run: <nil>
}

func interrupt() {
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Signal(os.Interrupt)
	}
}
