package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// If a branch fails, the others are told by their context, and Do returns its error.
// Nothing of the batch is acked beyond what is done before the first record that is not.
func TestRouteTask_failingBranch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		b := fake.NewDestination(j, "b")
		b.OnWrite = func(ctx context.Context, _ []opencdc.Record) error {
			<-ctx.Done()
			return ctx.Err()
		}
		route := routeTo(failing(j, "a", 2, func() error { return fake.ErrTest }), fake.To(b), to(j, "c"))
		err := fake.Run(t, fake.DLQ(j), fake.From(fake.SourceOf(j, "1a 2c", "3c 4b 5a 6c")), route)
		fake.WantError(t, err, fake.ErrTest)
		fake.WantTask(t, err, "a")
		if errors.Is(err, context.Canceled) {
			t.Errorf("the error is also that of the branch that was told: %v", err)
		}
		if ack := j.Given("ack"); !strings.HasPrefix("1a 2c 3c", ack) || !strings.HasPrefix(ack, "1a 2c") {
			t.Errorf("acked %s", ack)
		}
		j.Want(t, "dlq")
	})
}

// A route notices if copies were settled twice before it.
func TestRouteTask_lostRecords(t *testing.T) {
	j := &fake.Journal{}
	var w *funnel.Worker
	settles := fake.Custom("settles", func(ctx context.Context, b *funnel.Batch) error {
		b.Filter(0)
		another := *b
		return w.Ack(ctx, &another)
	})
	w = fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1a 2b")), settles, routeTo(to(j, "a"), to(j, "b"))), nil)
	fake.WantError(t, fake.RunWorker(t, w), funnel.ErrLostRecords)
	j.Want(t, "a b")
}

// A panic or runtime.Goexit in the function ends the worker like one in a task, also on
// a branch. No record of the batch is acked.
func TestRouteTask_functionEnds(t *testing.T) {
	for _, onBranch := range []bool{false, true} {
		for _, exits := range []bool{false, true} {
			t.Run(fmt.Sprintf("on a branch: %t, exits: %t", onBranch, exits), func(t *testing.T) {
				fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
					j := &fake.Journal{}
					n := 0
					function := func(rec opencdc.Record) string {
						if n++; n < 3 {
							return lastLetter(rec)
						}
						if exits {
							runtime.Goexit()
						}
						panic(fake.ErrTest)
					}
					node := funnel.NewRouteTask("route", function, casesOf(to(j, "a"), to(j, "b"))...).Node()
					if onBranch {
						node = fake.Fork(fake.Custom("fork", fake.Nothing), node, to(j, "c"))
					}
					w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1a 2b 3a 4b")), node), fake.DLQ(j), opts...)
					ending := <-fake.Start(t.Context(), w)
					switch {
					case !exits && !onBranch:
						if ending.Panic != fake.ErrTest {
							t.Errorf("ended with %+v", ending)
						}
					case !exits:
						ending.WantPanic(t, fake.ErrTest)
					case onBranch:
						ending.Want(t, funnel.ErrGoexit)
						fake.WantTask(t, ending.Err, "route")
					default:
						ending.WantExit(t)
					}
					fake.WantNoError(t, w.Close(t.Context()))
					j.Want(t, "ack dlq a b")
				})
			})
		}
	}
}

// A record without a route is nacked by the route, with its name, which may be long, or
// without a queue ends the worker.
func TestRouteTask_noRoute(t *testing.T) {
	for name, want := range map[string]string{
		"":                       `no route: ""`,
		"Ü\n":                    `no route: "Ü\n"`,
		strings.Repeat("n", 64):  `no route: "` + strings.Repeat("n", 64) + `"`,
		strings.Repeat("n", 1e6): `no route: "` + strings.Repeat("n", 64) + `"... (1000000 bytes)`,
	} {
		for _, hasQueue := range []bool{true, false} {
			j := &fake.Journal{}
			dead, dlq := fake.NewDestination(j, "dlq"), (*funnel.DLQ)(nil)
			if hasQueue {
				dlq = fake.Queue(dead)
			}
			route := funnel.NewRouteTask("route", func(opencdc.Record) string { return name }, casesOf(to(j, "a"), to(j, "b"))...)
			err := fake.Run(t, dlq, fake.From(fake.SourceOf(j, "1 2")), route.Node())
			j.Want(t, "a b")
			if !hasQueue {
				fake.WantError(t, err, funnel.ErrNoRoute, want)
				fake.WantTask(t, err, "route")
				continue
			}
			fake.WantNoError(t, err)
			for _, letter := range dead.Written {
				fake.WantNack(t, letter, "route", want)
			}
			j.Want(t, "ack dlq", "dlq 1 2", "ack 1 2")
		}
	}
}
