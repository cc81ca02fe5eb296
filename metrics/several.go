package metrics

import "time"

// Several observations at once cost less than the same observations one by one: a registry
// finds the bucket once, or takes its lock once. So metrics may have methods for that. These
// have the effect of Update or Observe for each observation, and must not keep the slice. The
// metrics of a Set have them.

// UpdateN makes n observations of the same duration: by the timer's method
// UpdateN(time.Duration, int) if it has one, otherwise by n calls of Update. It does nothing
// if n is not positive.
func UpdateN(t Timer, d time.Duration, n int) {
	if n <= 0 {
		return
	}
	if several, ok := t.(interface{ UpdateN(time.Duration, int) }); ok {
		several.UpdateN(d, n)
		return
	}
	for range n {
		t.Update(d)
	}
}

// UpdateAll observes each of the durations: by the timer's method
// UpdateAll([]time.Duration) if it has one, otherwise by calls of Update. The timer must not
// keep the slice. UpdateAll does nothing if there are no durations.
func UpdateAll(t Timer, durations []time.Duration) {
	if len(durations) == 0 {
		return
	}
	if several, ok := t.(interface{ UpdateAll([]time.Duration) }); ok {
		several.UpdateAll(durations)
		return
	}
	for _, d := range durations {
		t.Update(d)
	}
}

// ObserveAll observes each of the values: by the histogram's method ObserveAll([]float64) if
// it has one, otherwise by calls of Observe. The histogram must not keep the slice.
// ObserveAll does nothing if there are no values.
func ObserveAll(h Histogram, values []float64) {
	if len(values) == 0 {
		return
	}
	if several, ok := h.(interface{ ObserveAll([]float64) }); ok {
		several.ObserveAll(values)
		return
	}
	for _, value := range values {
		h.Observe(value)
	}
}

// UpdateN makes n observations of the same duration in each registry.
func (t timer) UpdateN(d time.Duration, n int) {
	d = max(d, 0)
	for _, target := range t.all() {
		UpdateN(target, d, n)
	}
}

// UpdateAll observes each of the durations in each registry.
func (t timer) UpdateAll(durations []time.Duration) {
	targets := t.all()
	if len(targets) == 0 {
		return
	}
	for _, d := range durations {
		if d < 0 { // Update makes it 0; the slice must not be changed
			for _, d := range durations {
				t.Update(d)
			}
			return
		}
	}
	for _, target := range targets {
		UpdateAll(target, durations)
	}
}

// ObserveAll observes each of the values in each registry.
func (h histogram) ObserveAll(values []float64) {
	for _, target := range h.all() {
		ObserveAll(target, values)
	}
}
