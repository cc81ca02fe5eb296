// Package noop holds metrics that do nothing.
package noop

import (
	"time"

	"github.com/conduitio/funnel/metrics"
)

var (
	_ metrics.Registry         = Registry{}
	_ metrics.LabeledCounter   = LabeledCounter{}
	_ metrics.LabeledGauge     = LabeledGauge{}
	_ metrics.LabeledTimer     = LabeledTimer{}
	_ metrics.LabeledHistogram = LabeledHistogram{}
)

// Counter is a [metrics.Counter] that does nothing.
type Counter struct{}

// Inc does nothing.
func (Counter) Inc(float64) {}

// Enabled returns false, see [metrics.Enabled].
func (Counter) Enabled() bool { return false }

// Gauge is a [metrics.Gauge] that does nothing.
type Gauge struct{}

// Set does nothing.
func (Gauge) Set(float64) {}

// Add does nothing.
func (Gauge) Add(float64) {}

// Enabled returns false, see [metrics.Enabled].
func (Gauge) Enabled() bool { return false }

// Timer is a [metrics.Timer] that does nothing.
type Timer struct{}

// Update does nothing.
func (Timer) Update(time.Duration) {}

// UpdateSince does nothing.
func (Timer) UpdateSince(time.Time) {}

// Enabled returns false, see [metrics.Enabled].
func (Timer) Enabled() bool { return false }

// Histogram is a [metrics.Histogram] that does nothing.
type Histogram struct{}

// Observe does nothing.
func (Histogram) Observe(float64) {}

// Enabled returns false, see [metrics.Enabled].
func (Histogram) Enabled() bool { return false }

// LabeledCounter is a [metrics.LabeledCounter] of counters that do nothing.
type LabeledCounter struct{}

// WithValues returns a Counter.
func (LabeledCounter) WithValues(...string) metrics.Counter { return Counter{} }

// LabeledGauge is a [metrics.LabeledGauge] of gauges that do nothing.
type LabeledGauge struct{}

// WithValues returns a Gauge.
func (LabeledGauge) WithValues(...string) metrics.Gauge { return Gauge{} }

// LabeledTimer is a [metrics.LabeledTimer] of timers that do nothing.
type LabeledTimer struct{}

// WithValues returns a Timer.
func (LabeledTimer) WithValues(...string) metrics.Timer { return Timer{} }

// LabeledHistogram is a [metrics.LabeledHistogram] of histograms that do
// nothing.
type LabeledHistogram struct{}

// WithValues returns a Histogram.
func (LabeledHistogram) WithValues(...string) metrics.Histogram { return Histogram{} }

// Registry is a [metrics.Registry] whose metrics do nothing.
type Registry struct{}

// NewCounter returns a LabeledCounter.
func (Registry) NewCounter(metrics.Desc) metrics.LabeledCounter { return LabeledCounter{} }

// NewGauge returns a LabeledGauge.
func (Registry) NewGauge(metrics.Desc) metrics.LabeledGauge { return LabeledGauge{} }

// NewTimer returns a LabeledTimer.
func (Registry) NewTimer(metrics.Desc) metrics.LabeledTimer { return LabeledTimer{} }

// NewHistogram returns a LabeledHistogram.
func (Registry) NewHistogram(metrics.Desc) metrics.LabeledHistogram { return LabeledHistogram{} }
