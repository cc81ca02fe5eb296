// Package metrics is how the engine measures without knowing who reads the
// measurements. A host implements [Registry] over its metrics library and
// registers it with a [Set]; what was made from the set before reports to it
// from then on.
package metrics

import "time"

// Counter counts up.
type Counter interface {
	// Inc adds a delta, which is not negative.
	Inc(delta float64)
}

// Gauge is a value that goes up and down.
type Gauge interface {
	// Set replaces the value.
	Set(value float64)
	// Add changes the value by a delta, which may be negative.
	Add(delta float64)
}

// Timer observes durations.
type Timer interface {
	// Update observes a duration, which is not negative.
	Update(d time.Duration)
	// UpdateSince observes the time that has passed since start: 0 if start is in
	// the future.
	UpdateSince(start time.Time)
}

// Histogram observes values and sorts them into buckets.
type Histogram interface {
	// Observe observes one value.
	Observe(value float64)
}

// LabeledCounter is a family of counters, one for each combination of label
// values.
type LabeledCounter interface {
	// WithValues returns the counter of these label values, which come in the
	// order of [Desc.Labels]. The same values give the same counter.
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
	// Name is the full name, its unit included: conduit_connector_bytes.
	Name string
	// Help says in a sentence what is measured.
	Help string
	// Labels are the names of the labels. A metric without labels has none,
	// and WithValues gets no values.
	Labels []string
	// Buckets are the upper bounds of a histogram's buckets, ascending, in the
	// unit of the metric. If there are none, the registry chooses.
	Buckets []float64
}

// Registry makes families of metrics. A host implements it over its metrics
// library. What it makes may be used by several goroutines at a time, and a
// call of Update or Observe should not block: it happens on the worker's
// goroutine, once per record.
//
// Timers report seconds.
type Registry interface {
	NewCounter(d Desc) LabeledCounter
	NewGauge(d Desc) LabeledGauge
	NewTimer(d Desc) LabeledTimer
	NewHistogram(d Desc) LabeledHistogram
}

// Enabled reports whether anyone would see what is observed with a metric: not
// if it is nil, and not if it has a method Enabled() bool that says no, as the
// metrics of a [Set] without a registry and those of package noop do. Callers
// use it to skip what only prepares an observation, such as reading the clock.
func Enabled(metric any) bool {
	if metric == nil {
		return false
	}
	e, ok := metric.(interface{ Enabled() bool })
	return !ok || e.Enabled()
}

// Resolve returns the metric that gets the observations of m at this time, if it
// is one: that of the only registry of the [Set] that m is from. Otherwise it
// returns m. Someone who observes many values at once resolves the metric before,
// each time, which saves a detour for each of the values. A resolved timer gets
// durations unchanged: the caller makes sure that none is negative.
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
