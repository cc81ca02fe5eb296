package prometheus

import (
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	client "github.com/prometheus/client_golang/prometheus"

	"github.com/conduitio/funnel/metrics"
)

// The engine observes several values for each record. The histograms of the client library
// take one value at a time, with several atomic operations each, which would cost more than
// the engine itself. The histograms here take several values under one lock. Under the lock
// they only count, so no wait is long. A scrape takes the lock, too, so it never sees a part of
// what was handed over together, and count, sum and buckets always agree.

// histograms is a family of histograms or timers.
type histograms struct {
	desc   *client.Desc
	bounds []float64

	mu      sync.Mutex
	members map[string]*histogram
}

// newHistograms returns the family that d describes. It panics if a label is named le.
func newHistograms(d metrics.Desc) *histograms {
	if slices.Contains(d.Labels, "le") {
		panic("prometheus: " + d.Name + " has a label le, which is the bound of a bucket")
	}
	return &histograms{
		desc:    client.NewDesc(d.Name, d.Help, d.Labels, nil),
		bounds:  slices.Clone(d.Buckets),
		members: make(map[string]*histogram),
	}
}

// member returns the histogram for these label values.
func (f *histograms) member(values []string) *histogram {
	values = valid(values)
	key := strings.Join(values, "\xff") // no value has this byte
	f.mu.Lock()
	defer f.mu.Unlock()
	h, ok := f.members[key]
	if !ok {
		h = &histogram{values: values, bounds: f.bounds, counts: make([]uint64, len(f.bounds)+1)}
		f.members[key] = h
	}
	return h
}

// WithValues returns the histogram for these label values.
func (f *histograms) WithValues(values ...string) metrics.Histogram { return f.member(values) }

// Describe describes the family.
func (f *histograms) Describe(ch chan<- *client.Desc) { ch <- f.desc }

// Collect collects the histograms of the family.
func (f *histograms) Collect(ch chan<- client.Metric) {
	f.mu.Lock()
	members := slices.Collect(maps.Values(f.members))
	f.mu.Unlock()
	for _, h := range members {
		ch <- h.metric(f.desc)
	}
}

// timers is a family of timers.
type timers struct{ *histograms }

// WithValues returns the timer for these label values.
func (f timers) WithValues(values ...string) metrics.Timer { return timer{f.member(values)} }

// histogram counts values by bucket.
type histogram struct {
	values []string // of the labels
	bounds []float64

	mu     sync.Mutex
	counts []uint64 // by bucket; the last one has no bound
	sum    float64
	bucket int // the bucket of the last value, where the search for the next one begins
}

// find returns the bucket of a value. The caller holds the lock.
func (h *histogram) find(value float64) int {
	i := h.bucket
	for i < len(h.bounds) && !(value <= h.bounds[i]) { // NaN is in the last bucket
		i++
	}
	for i > 0 && value <= h.bounds[i-1] {
		i--
	}
	h.bucket = i
	return i
}

// limits returns the bounds below and above a bucket.
func (h *histogram) limits(bucket int) (above, upTo float64) {
	above, upTo = math.Inf(-1), math.Inf(1)
	if bucket > 0 {
		above = h.bounds[bucket-1]
	}
	if bucket < len(h.bounds) {
		upTo = h.bounds[bucket]
	}
	return above, upTo
}

// observe observes a value n times.
func (h *histogram) observe(value float64, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[h.find(value)] += uint64(n)
	h.sum += value * float64(n)
}

// Observe observes one value.
func (h *histogram) Observe(value float64) { h.observe(value, 1) }

// ObserveAll observes each of the values. Adjacent values in the same bucket are counted
// together.
func (h *histogram) ObserveAll(values []float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	bucket, run := h.bucket, uint64(0)
	above, upTo := h.limits(bucket)
	sum := 0.0 // small numbers are added up before they meet a large one
	for _, value := range values {
		if !(above < value && value <= upTo) {
			h.counts[bucket] += run
			bucket, run = h.find(value), 0
			above, upTo = h.limits(bucket)
		}
		run++
		sum += value
	}
	h.counts[bucket] += run
	h.sum += sum
}

// metric returns the counts of the histogram.
func (h *histogram) metric(desc *client.Desc) client.Metric {
	h.mu.Lock()
	counts, sum := slices.Clone(h.counts), h.sum
	h.mu.Unlock()
	buckets, count := make(map[float64]uint64, len(h.bounds)), uint64(0)
	for i, n := range counts {
		count += n
		if i < len(h.bounds) {
			buckets[h.bounds[i]] = count
		}
	}
	return client.MustNewConstHistogram(desc, count, sum, buckets, h.values...)
}

// timer is a histogram of seconds.
type timer struct{ h *histogram }

// seconds divides, since that is more exact than to multiply by 1e-9: a duration that equals a
// bound is in the bucket of that bound.
func seconds(d time.Duration) float64 { return float64(d) / 1e9 }

// Update observes a duration.
func (t timer) Update(d time.Duration) { t.UpdateN(d, 1) }

// UpdateSince observes the time since start, or 0 if start is in the future.
func (t timer) UpdateSince(start time.Time) { t.Update(time.Since(start)) }

// UpdateN observes a duration n times.
func (t timer) UpdateN(d time.Duration, n int) { t.h.observe(seconds(max(d, 0)), n) }

// UpdateAll observes each of the durations. Adjacent equal ones, as of records that were read
// together, are counted together.
func (t timer) UpdateAll(durations []time.Duration) {
	h := t.h
	h.mu.Lock()
	defer h.mu.Unlock()
	sum := 0.0
	for len(durations) > 0 {
		d, run := durations[0], 1
		for run < len(durations) && durations[run] == d {
			run++
		}
		value := seconds(max(d, 0))
		h.counts[h.find(value)] += uint64(run)
		sum += value * float64(run)
		durations = durations[run:]
	}
	h.sum += sum
}
