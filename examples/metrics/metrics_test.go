// Package metrics_test runs a supervised pipeline with everything that exports metrics, as a
// host would.
package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	client "github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/metrics/prometheus"
	"github.com/conduitio/funnel/runner"
)

// source is a source with a lag. Every 25th read fails.
type source struct {
	funnel.Source
	reads *atomic.Int64
}

func (s source) Lag(context.Context) (int64, time.Duration, error) { return 7, time.Minute, nil }

func (s source) Read(ctx context.Context) ([]opencdc.Record, error) {
	n := s.reads.Add(1)
	if n%25 == 0 {
		return nil, errors.New("the source has failed")
	}
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var records []opencdc.Record
	for i := range 10 {
		records = append(records, opencdc.Record{Position: opencdc.Position(fmt.Sprint(n, ".", i)), Payload: opencdc.Change{After: opencdc.RawData("x")}})
	}
	return records, nil
}

// pipeline returns a Build for a pipeline. Of ten records, one is nacked and one is filtered.
func pipeline(e *prometheus.Exporter, name string) runner.Build {
	reads := new(atomic.Int64)
	ignore := funnel.DestinationFunc(func(context.Context, []opencdc.Record) error { return nil })
	keep := funnel.Filter(func(rec opencdc.Record) bool { return !strings.HasSuffix(string(rec.Position), ".1") })
	refuse := funnel.Map(func(rec opencdc.Record) (opencdc.Record, error) {
		if strings.HasSuffix(string(rec.Position), ".5") {
			return rec, errors.New("refused")
		}
		return rec, nil
	})
	return func(context.Context) (runner.Parts, error) {
		inner := funnel.SourceFunc(func(context.Context) ([]opencdc.Record, error) { return nil, io.EOF }) // never read
		p := funnel.From("in", source{inner, reads}).Through("keep", keep).Through("refuse", refuse).To("out", ignore).
			DeadLetters("dlq", ignore, 100, 50)
		w, err := e.Instrument(p, name).Worker()
		return runner.Parts{Workers: []*funnel.Worker{w}}, err
	}
}

// counters returns the values of all counters and counts of histograms.
func counters(families []*dto.MetricFamily) map[string]float64 {
	values := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := fmt.Sprint(f.GetName(), m.GetLabel())
			if m.Counter != nil {
				values[key] = m.GetCounter().GetValue()
			}
			if m.Histogram != nil {
				values[key] = float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return values
}

// No counter of a group and its workers goes backwards when a pipeline fails and is restarted.
func TestGroup_counters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := client.NewPedanticRegistry()
		e, err := prometheus.New(registry)
		if err != nil {
			t.Fatal(err)
		}
		group, err := runner.New(runner.WithMetrics(e.Set()))
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Watch(group.Stats); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"orders", "re\xffturns"} {
			if err := group.Add(name, pipeline(e, name)); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- group.Run(ctx) }()
		before := map[string]float64{}
		for range 120 {
			time.Sleep(time.Second)
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			now := counters(families)
			for key, value := range before {
				if now[key] < value {
					t.Errorf("%s went from %v to %v", key, value, now[key])
				}
			}
			before = now
		}
		if s, err := group.StatusOf("orders"); err != nil || s.Restarts < 2 || s.Records.DeadLettered < 50 {
			t.Errorf("the pipeline was not restarted, or has read nothing: %+v, %v", s, err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
