package fake

import "time"

// Timer keeps what it observes.
type Timer struct{ Observed []time.Duration }

// Update adds the duration.
func (t *Timer) Update(d time.Duration) { t.Observed = append(t.Observed, d) }

// UpdateSince adds the time since start.
func (t *Timer) UpdateSince(start time.Time) { t.Update(time.Since(start)) }
