package prometheus

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	client "github.com/prometheus/client_golang/prometheus"

	"github.com/conduitio/funnel/metrics"
)

// registry makes families and registers them. Before registerAll it only collects them, so
// that they are registered together or not at all.
type registry struct {
	durationBuckets []float64

	mu         sync.Mutex
	registerer client.Registerer // nil until registerAll has succeeded
	early      collectors
	families   map[string]described
}

var _ metrics.Registry = (*registry)(nil)

// described is a family with its description.
type described struct {
	kind   string
	labels []string
	family any
}

func newRegistry(durationBuckets []float64) *registry {
	return &registry{durationBuckets: durationBuckets, families: make(map[string]described)}
}

// registerAll registers all families so far, and c.
func (r *registry) registerAll(registerer client.Registerer, c client.Collector) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := registerer.Register(append(r.early, c)); err != nil {
		return err
	}
	r.registerer, r.early = registerer, nil
	return nil
}

// family returns the family that d describes. If there is none, it makes one with add, and
// registers it. It panics if the family exists with another kind or other labels, if another
// family has a series of the same name, if buckets or labels are invalid, or if the registerer
// refuses the family.
func family[F client.Collector](r *registry, kind string, d metrics.Desc, add func() F) F {
	r.mu.Lock()
	defer r.mu.Unlock()
	if existing, ok := r.families[d.Name]; ok {
		if existing.kind != kind || !slices.Equal(existing.labels, d.Labels) {
			panic(fmt.Sprintf("prometheus: %s is a %s with labels %q, asked for as a %s with labels %q",
				d.Name, existing.kind, existing.labels, kind, d.Labels))
		}
		return existing.family.(F)
	}
	if err := checkBuckets(d.Buckets); err != nil {
		panic(fmt.Sprintf("prometheus: %s: %v", d.Name, err))
	}
	for name, other := range r.families {
		for _, s := range seriesOf(d.Name, kind) {
			if slices.Contains(seriesOf(name, other.kind), s) {
				panic(fmt.Sprintf("prometheus: %s has a series %s, and so has the %s %s", d.Name, s, other.kind, name))
			}
		}
	}
	f := add()
	if r.registerer == nil {
		r.early = append(r.early, f)
	} else if err := r.registerer.Register(f); err != nil {
		panic(fmt.Sprintf("prometheus: cannot register %s: %v", d.Name, err))
	}
	r.families[d.Name] = described{kind: kind, labels: slices.Clone(d.Labels), family: f}
	return f
}

// seriesOf returns the names of the series of a family. A scrape fails if two families share
// one, but a registerer does not check that.
func seriesOf(name, kind string) []string {
	if kind == "timer" || kind == "histogram" {
		return []string{name, name + "_bucket", name + "_count", name + "_sum"}
	}
	return []string{name}
}

// NewCounter returns the family of counters that d describes.
func (r *registry) NewCounter(d metrics.Desc) metrics.LabeledCounter {
	return family(r, "counter", d, func() counters {
		return counters{client.NewCounterVec(client.CounterOpts{Name: d.Name, Help: d.Help}, d.Labels)}
	})
}

// NewGauge returns the family of gauges that d describes.
func (r *registry) NewGauge(d metrics.Desc) metrics.LabeledGauge {
	return family(r, "gauge", d, func() gauges {
		return gauges{client.NewGaugeVec(client.GaugeOpts{Name: d.Name, Help: d.Help}, d.Labels)}
	})
}

// NewTimer returns the family of timers that d describes.
func (r *registry) NewTimer(d metrics.Desc) metrics.LabeledTimer {
	if len(d.Buckets) == 0 {
		d.Buckets = r.durationBuckets
	}
	return timers{family(r, "timer", d, func() *histograms { return newHistograms(d) })}
}

// NewHistogram returns the family of histograms that d describes.
func (r *registry) NewHistogram(d metrics.Desc) metrics.LabeledHistogram {
	if len(d.Buckets) == 0 {
		d.Buckets = client.DefBuckets
	}
	return family(r, "histogram", d, func() *histograms { return newHistograms(d) })
}

// collectors is a collector made of several.
type collectors []client.Collector

// Describe describes all metrics.
func (cs collectors) Describe(ch chan<- *client.Desc) {
	for _, c := range cs {
		c.Describe(ch)
	}
}

// Collect collects all metrics.
func (cs collectors) Collect(ch chan<- client.Metric) {
	for _, c := range cs {
		c.Collect(ch)
	}
}

type counters struct{ *client.CounterVec }

// WithValues returns the counter for these label values.
func (c counters) WithValues(values ...string) metrics.Counter {
	return counter{c.WithLabelValues(valid(values)...)}
}

type counter struct{ client.Counter }

// Inc adds a delta. It panics if the delta is negative.
func (c counter) Inc(delta float64) { c.Add(delta) }

type gauges struct{ *client.GaugeVec }

// WithValues returns the gauge for these label values.
func (g gauges) WithValues(values ...string) metrics.Gauge {
	return g.WithLabelValues(valid(values)...)
}

// valid makes label values valid UTF-8, since a scrape fails otherwise. Invalid bytes become
// U+FFFD; values that differ only in these become equal.
func valid(values []string) []string {
	made := make([]string, len(values))
	for i, value := range values {
		made[i] = strings.ToValidUTF8(value, "\ufffd")
	}
	return made
}
