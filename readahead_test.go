package funnel_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
)

func TestReadAhead_smoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, ahead := range []int{0, 1, 100} {
			j := &journal{}
			s := newSource(j)
			reads := 0
			s.read = func(ctx context.Context) ([]opencdc.Record, error) {
				if reads++; reads > 100 {
					return nil, errTest
				}
				time.Sleep(time.Millisecond)
				return records("p"), nil
			}
			d := newDestination(j, "out")
			d.write = func(context.Context, []opencdc.Record) error { time.Sleep(time.Millisecond); return nil }
			var opts []funnel.WorkerOption
			if ahead > 0 {
				opts = append(opts, funnel.WithReadAhead(ahead))
			}
			w, err := funnel.NewWorker(chain(from(s), to(d)), nil, log.Nop(), nil, opts...)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			wantError(t, runWorker(t, w), errTest)
			t.Log(ahead, time.Since(start), len(j.all()))
		}
	})
}
