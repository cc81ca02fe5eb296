package system_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// Each record goes to one of n destinations, in turn: by a route, or by branches that get
// all records and filter those of the others.
func BenchmarkWorker_route(b *testing.B) {
	for _, n := range []int{2, 5, 10} {
		outs := func() (cases []funnel.Case) {
			for i := range n {
				out := fake.Node(funnel.NewDestinationTask(fmt.Sprint("out", i), newQuietAcks(100_000), log.Nop(), nil))
				cases = append(cases, funnel.Case{Name: fmt.Sprint(i), Node: out})
			}
			return cases
		}
		b.Run(fmt.Sprintf("route/branches=%d", n), func(b *testing.B) {
			benchmarkBatch(b, func() *funnel.TaskNode {
				k, cases := 0, outs()
				return funnel.NewRouteTask("route", func(opencdc.Record) string { k++; return cases[k%n].Name }, cases...).Node()
			})
		})
		b.Run(fmt.Sprintf("filters/branches=%d", n), func(b *testing.B) {
			benchmarkBatch(b, func() *funnel.TaskNode {
				fork := fake.Custom("fork", fake.Nothing)
				for i, c := range outs() {
					fake.Fork(fork, fake.Chain(fake.Through(c.Name, keepEvery(n, i)), c.Node))
				}
				return fork
			})
		})
	}
}

// keepEvery returns a processor that keeps every n-th record, from the i-th on, and
// allocates only for these.
func keepEvery(n, i int) fake.Processor {
	var results []sdk.ProcessedRecord
	return func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		results = results[:0]
		for k := range recs {
			if k%n == i {
				results = append(results, sdk.SingleRecord(recs[k]))
			} else {
				results = append(results, sdk.FilterRecord{})
			}
		}
		return results
	}
}
