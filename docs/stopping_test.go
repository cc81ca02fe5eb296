package docs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

import "testing"

// runUntil runs a worker until its source ends or interrupt is done. Then the batch in
// flight has ten seconds to get to its end.
func runUntil(interrupt context.Context, worker *funnel.Worker) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(interrupt))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	select {
	case err := <-done:
		return err
	case <-interrupt.Done():
	}
	grace, release := context.WithTimeout(ctx, 10*time.Second)
	defer release()
	if err := worker.Stop(grace); err != nil {
		fmt.Println("gave up:", err)
		cancel() // what is in flight is not acked, and is read again
	}
	return <-done
}

func runUntilCtrlC(worker *funnel.Worker) error {
	interrupt, release := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(interrupt, release) // a second Ctrl-C kills the program
	return runUntil(interrupt, worker)
}

// jobs is a source that never ends.
func jobs() funnel.Source {
	number := 0
	return funnel.SourceFunc(func(context.Context) ([]opencdc.Record, error) {
		number++
		return []opencdc.Record{{Position: opencdc.Position(strconv.Itoa(number))}}, nil
	})
}

// worksFor is a destination that takes its time.
func worksFor(d time.Duration) funnel.Destination {
	return funnel.DestinationFunc(func(ctx context.Context, records []opencdc.Record) error {
		select {
		case <-time.After(d):
			fmt.Printf("job %s is done\n", records[0].Position)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

func interruptJobs(ctx context.Context) error {
	for _, d := range []time.Duration{4 * time.Second, time.Hour} {
		worker, err := funnel.From("jobs", jobs()).To("work", worksFor(d)).
			Options(funnel.WithStats()). // to know since when
			Worker()
		if err != nil {
			return err
		}
		interrupt, release := context.WithTimeout(ctx, 6*time.Second)
		fmt.Printf("result: %v\n\n", runUntil(interrupt, worker))
		release()
	}
	return nil
}

func TestStoppingInterrupt(t *testing.T) {
	wantBubbleOutput(t, interruptJobs, `
job 1 is done
job 2 is done
result: <nil>

gave up: context deadline exceeded: the batch in flight is not done: "work" is working, for 16s
result: context canceled

`)
}

// keepRunning runs workers until one of them ends well, or until a restart cannot help.
func keepRunning(ctx context.Context, newWorker func() (*funnel.Worker, error)) error {
	pause := time.Second
	for {
		worker, err := newWorker()
		if err != nil {
			return err
		}
		err = worker.Run(ctx)
		if err == nil || ctx.Err() != nil || funnel.IsFatalError(err) {
			return err
		}
		if worker.Stats().Acked > 0 {
			pause = time.Second // it made progress, so this is a new problem
		}
		fmt.Printf("restart in %v: %v\n", pause, err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, time.Minute)
	}
}

func restartTwice(ctx context.Context) error {
	refused, wrong := errors.New("connection refused"), funnel.FatalError(errors.New("wrong password"))
	for _, results := range [][]error{{refused, refused, nil}, {refused, wrong}} {
		table := funnel.DestinationFunc(func(context.Context, []opencdc.Record) error {
			result := results[0]
			results = results[1:]
			return result
		})
		source := funnel.SliceSource(opencdc.Record{}, opencdc.Record{})
		err := keepRunning(ctx, funnel.From("jobs", source).To("table", table).Worker)
		var task *funnel.TaskError
		if errors.As(err, &task) {
			fmt.Printf("task %q needs a human: %v\n", task.TaskID, task.Err)
			continue
		}
		fmt.Println("end:", err)
	}
	return nil
}

func TestStoppingRestarts(t *testing.T) {
	wantBubbleOutput(t, restartTwice, `
restart in 1s: task "table": failed to write 2 records, from "0" on: connection refused
restart in 2s: task "table": failed to write 2 records, from "0" on: connection refused
end: <nil>
restart in 1s: task "table": failed to write 2 records, from "0" on: connection refused
task "table" needs a human: failed to write 2 records, from "0" on: wrong password
`)
}

// permanent is the host's mark for errors that a restart does not cure.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

func isPermanent(err error) bool { return errors.As(err, &permanent{}) }

func useMark(ctx context.Context) {
	table := funnel.DestinationFunc(func(context.Context, []opencdc.Record) error {
		return permanent{errors.New("no such table")}
	})
	err := funnel.From("jobs", jobs()).To("table", table).
		Options(funnel.WithFatalMark(func(err error) error { return permanent{err} }, isPermanent)).
		Run(ctx)
	fmt.Println("fatal for the engine:", funnel.IsFatalError(err))

	empty := funnel.SourceFunc(func(context.Context) ([]opencdc.Record, error) {
		return []opencdc.Record{{}}, nil // a record without a position
	})
	err = funnel.From("empty", empty).To("table", table).
		Options(funnel.WithFatalMark(func(err error) error { return permanent{err} }, isPermanent)).
		Run(ctx)
	fmt.Println("permanent for the host:", isPermanent(err))
}

func Example_stoppingMark() {
	useMark(context.Background())
	// Output:
	// fatal for the engine: true
	// permanent for the host: true
}

// It waits for a signal, so no example runs it.
var _ = runUntilCtrlC
