package runner_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/runner"
)

// The host chooses the path below which the pages are.
func ExampleGroup_Handler() {
	ctx, stop := context.WithCancel(context.Background())
	g, err := runner.New(runner.WithListener(func(t runner.Transition) {
		if t.To == runner.Done {
			stop()
		}
	}))
	if err != nil {
		panic(err)
	}
	err = g.Add("orders", runner.Single(func(context.Context) (*funnel.Worker, error) {
		orders := funnel.SliceSource(make([]opencdc.Record, 3)...)
		table := funnel.DestinationFunc(func(context.Context, []opencdc.Record) error { return nil })
		return funnel.From("orders", orders).To("table", table).Worker()
	}))
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/pipelines/", http.StripPrefix("/pipelines/", g.Handler()))

	fmt.Print(get(mux, "/pipelines/readyz"))
	if err := g.Run(ctx); err != nil {
		panic(err)
	}
	fmt.Print(get(mux, "/pipelines/livez"))
	fmt.Print(get(mux, "/pipelines/status.json"))
	// Output:
	// 503 not ready: the group does not run yet
	// 200 live
	// 200 {
	//   "at": "(a time)",
	//   "phase": "closed",
	//   "live": true,
	//   "ready": false,
	//   "pipelines": [
	//     {
	//       "name": "orders",
	//       "state": "done",
	//       "since": "(a time)",
	//       "should_run": true,
	//       "attempt": 0,
	//       "restarts": 0,
	//       "records": {
	//         "read": 3,
	//         "acked": 3,
	//         "dead_lettered": 0,
	//         "filtered": 0,
	//         "nacked": 0,
	//         "retried": 0,
	//         "batches": 1,
	//         "in_flight": 0,
	//         "waiting": 0
	//       },
	//       "last_ack": "(a time)",
	//       "acked_per_second": 0
	//     }
	//   ]
	// }
}

// get returns a page, with a text in place of times.
func get(h http.Handler, path string) string {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	times := regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]*"`)
	return fmt.Sprint(rec.Code, " ", times.ReplaceAllString(rec.Body.String(), `"(a time)"`))
}
