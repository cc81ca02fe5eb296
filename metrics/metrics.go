// Package metrics lets the engine measure without knowing who reads the measurements. A
// host implements [Registry] on top of its metrics library and registers it with a
// [Set]. From then on the metrics of the set report to it, including those made before.
package metrics

import "time"

// Counter counts up.
type Counter interface {
	// Inc adds a delta, which must not be negative.
	Inc(delta float64)
}

// Gauge is a value that goes up and down.
type Gauge interface {
	// Set replaces the value.
	Set(value float64)
	// Add changes the value by a delta, which may be negative.
	Add(delta float64)
}

// Timer observes durations. It may also have methods that make several observations at once,
// see [UpdateN] and [UpdateAll].
type Timer interface {
	// Update observes a duration, which must not be negative.
	Update(d time.Duration)
	// UpdateSince observes the time since start, or 0 if start is in the future.
	UpdateSince(start time.Time)
}

// Histogram observes values and sorts them into buckets. It may also have a method that makes
// several observations at once, see [ObserveAll].
type Histogram interface {
	// Observe observes one value.
	Observe(value float64)
}

// LabeledCounter is a family of counters, one for each combination of label
// values.
type LabeledCounter interface {
	// WithValues returns the counter for these label values, in the order of
	// [Desc.Labels]. The same values give the same counter.
	WithValues(values ...string) Counter
}

// LabeledGauge is a family of gauges, see [LabeledCounter].
type LabeledGauge interface {
	WithValues(values ...string) Gauge
}

// LabeledTimer is a family of timers, see [LabeledCounter].
type LabeledTimer interface {
	WithValues(values ...string) Timer
}

// LabeledHistogram is a family of histograms, see [LabeledCounter].
type LabeledHistogram interface {
	WithValues(values ...string) Histogram
}

// Desc describes a family of metrics.
type Desc struct {
	// Name is the full name, including the unit: conduit_connector_bytes.
	Name string
	// Help says in one sentence what is measured.
	Help string
	// Labels are the names of the labels. If there are none, WithValues takes no
	// values.
	Labels []string
	// Buckets are the upper bounds of a histogram's buckets, in ascending order and in
	// the unit of the metric. If there are none, the registry chooses.
	Buckets []float64
}

// Registry makes families of metrics. A host implements it on top of its metrics
// library. The metrics must be safe for concurrent use. Update and Observe should not
// block: they run on the worker's goroutine, for each record. For metrics that have the
// methods of [UpdateN], [UpdateAll] and [ObserveAll], these run once for many records instead.
//
// Timers report seconds.
type Registry interface {
	NewCounter(d Desc) LabeledCounter
	NewGauge(d Desc) LabeledGauge
	NewTimer(d Desc) LabeledTimer
	NewHistogram(d Desc) LabeledHistogram
}

// Enabled reports whether anyone reads the observations of a metric. It returns false
// if the metric is nil, or has a method Enabled() bool that returns false, as the
// metrics of a [Set] without a registry and those of package noop do. Use it to skip
// the work for an observation, such as reading the clock.
func Enabled(metric any) bool {
	if metric == nil {
		return false
	}
	e, ok := metric.(interface{ Enabled() bool })
	return !ok || e.Enabled()
}

// Resolve returns the metric that currently receives the observations of m if there is
// exactly one, which is so if the [Set] that made m has a single registry. Otherwise it
// returns m. Resolving a metric before each series of observations saves a detour for
// each of them. A resolved timer does not raise negative durations to 0: the caller
// must not pass any.
func Resolve[M any](m M) M {
	for {
		s, ok := any(m).(interface{ target() (M, bool) })
		if !ok {
			return m
		}
		target, ok := s.target()
		if !ok {
			return m
		}
		m = target
	}
}
