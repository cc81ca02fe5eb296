package funnel_test

import (
	"context"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// quota is a limiter that allows a number of records for each second that it waits. In a
// real program, use the Limiter of golang.org/x/time/rate.
type quota struct{ perSecond int }

func (q quota) Burst() int { return q.perSecond }

func (q quota) WaitN(ctx context.Context, n int) error {
	fmt.Printf("wait for %d\n", n)
	return ctx.Err()
}

// A service allows two records a second.
func ExampleNewRateLimitTask() {
	task := funnel.NewRateLimitTask("limit", quota{perSecond: 2})
	batch := funnel.NewBatch([]opencdc.Record{text("a"), text("b"), text("c"), text("d"), text("e")})
	if err := task.Do(context.Background(), batch); err != nil {
		fmt.Println(err)
	}
	// Output:
	// wait for 2
	// wait for 2
	// wait for 1
}
