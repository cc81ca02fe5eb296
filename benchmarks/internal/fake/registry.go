package fake

import (
	"time"

	"github.com/conduitio/funnel/metrics"
)

// Registry is a [metrics.Registry] that sums up its observations. An observation
// allocates nothing. Its metrics are not safe for concurrent use, so that they cost
// next to nothing.
type Registry struct {
	observations int
	sum          float64
	time         time.Duration
}

// Observations returns the number of observations.
func (r *Registry) Observations() int { return r.observations }

// NewCounter returns counters that sum up.
func (r *Registry) NewCounter(metrics.Desc) metrics.LabeledCounter {
	return labeled[metrics.Counter]{meter{r}}
}

// NewGauge returns gauges that sum up.
func (r *Registry) NewGauge(metrics.Desc) metrics.LabeledGauge {
	return labeled[metrics.Gauge]{meter{r}}
}

// NewTimer returns timers that sum up.
func (r *Registry) NewTimer(metrics.Desc) metrics.LabeledTimer {
	return labeled[metrics.Timer]{meter{r}}
}

// NewHistogram returns histograms that sum up.
func (r *Registry) NewHistogram(metrics.Desc) metrics.LabeledHistogram {
	return labeled[metrics.Histogram]{meter{r}}
}

// labeled is a family whose metrics are all the same one.
type labeled[M any] struct{ metric M }

// WithValues returns the metric.
func (l labeled[M]) WithValues(...string) M { return l.metric }

// meter is a metric of any kind.
type meter struct{ *Registry }

func (m meter) Inc(delta float64)           { m.Observe(delta) }
func (m meter) Set(value float64)           { m.Observe(value) }
func (m meter) Add(delta float64)           { m.Observe(delta) }
func (m meter) UpdateSince(start time.Time) { m.Update(time.Since(start)) }

func (m meter) Update(d time.Duration) {
	m.observations++
	m.time += d
}

func (m meter) Observe(value float64) {
	m.observations++
	m.sum += value
}
