package noop_test

import (
	"testing"
	"time"

	"github.com/conduitio/funnel/metrics"
	"github.com/conduitio/funnel/metrics/noop"
)

func TestRegistry(t *testing.T) {
	var r metrics.Registry = noop.Registry{}
	d := metrics.Desc{Name: "name", Labels: []string{"label"}}
	counter := r.NewCounter(d).WithValues("value")
	gauge := r.NewGauge(d).WithValues("value")
	timer := r.NewTimer(d).WithValues("value")
	histogram := r.NewHistogram(d).WithValues("value")

	for _, m := range []any{counter, gauge, timer, histogram} {
		if metrics.Enabled(m) {
			t.Errorf("%T is enabled", m)
		}
	}
	if got := testing.AllocsPerRun(10, func() {
		counter.Inc(1)
		gauge.Set(1)
		gauge.Add(1)
		timer.Update(time.Second)
		timer.UpdateSince(time.Time{})
		histogram.Observe(1)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// TestPointers uses the metrics as hosts do that prefer pointers.
func TestPointers(t *testing.T) {
	for _, m := range []any{
		metrics.Counter(&noop.Counter{}), metrics.Gauge(&noop.Gauge{}), metrics.Timer(&noop.Timer{}),
		metrics.Histogram(&noop.Histogram{}),
	} {
		if metrics.Enabled(m) {
			t.Errorf("%T is enabled", m)
		}
	}
}
