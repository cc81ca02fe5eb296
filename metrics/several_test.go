package metrics_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/conduitio/funnel/metrics"
)

// several is a registry whose timers and histograms take several observations at once.
type several struct{ *registry }

func (s several) NewTimer(d metrics.Desc) metrics.LabeledTimer {
	return severalTimers{s.family("timer", d)}
}

func (s several) NewHistogram(d metrics.Desc) metrics.LabeledHistogram {
	return severalHistograms{s.family("histogram", d)}
}

type (
	severalTimers     struct{ family }
	severalHistograms struct{ family }
	severalRecorder   struct{ recorder }
)

func (f severalTimers) WithValues(values ...string) metrics.Timer {
	return severalRecorder{f.with(values)}
}

func (f severalHistograms) WithValues(values ...string) metrics.Histogram {
	return severalRecorder{f.with(values)}
}

func (m severalRecorder) UpdateN(d time.Duration, n int) {
	m.record("update", fmt.Sprintf("%v %d times", d, n))
}
func (m severalRecorder) UpdateAll(ds []time.Duration) { m.record("update all", ds) }
func (m severalRecorder) ObserveAll(values []float64)  { m.record("observe all", values) }

// Each registry of a set gets several observations in the way that its metrics take them.
func TestSeveral(t *testing.T) {
	plain, atOnce := &registry{}, &registry{}
	s := metrics.NewSet()
	s.Register(plain)
	s.Register(several{atOnce})
	i := instrumentsOf(s, "x")

	for _, c := range []struct {
		name          string
		observe       func()
		plain, atOnce []string
	}{
		{"n durations", func() { metrics.UpdateN(i.timer, time.Second, 2) },
			[]string{"timer t{x} update 1s", "timer t{x} update 1s"}, []string{"timer t{x} update 1s 2 times"}},
		{"n negative durations", func() { metrics.UpdateN(i.timer, -1, 1) },
			[]string{"timer t{x} update 0s"}, []string{"timer t{x} update 0s 1 times"}},
		{"durations", func() { metrics.UpdateAll(i.timer, []time.Duration{1, 0}) },
			[]string{"timer t{x} update 1ns", "timer t{x} update 0s"}, []string{"timer t{x} update all [1ns 0s]"}},
		{"a negative duration among others", func() { metrics.UpdateAll(i.timer, []time.Duration{3, -1}) },
			[]string{"timer t{x} update 3ns", "timer t{x} update 0s"}, []string{"timer t{x} update 3ns", "timer t{x} update 0s"}},
		{"values", func() { metrics.ObserveAll(i.histogram, []float64{1, -2}) },
			[]string{"histogram h{x} observe 1", "histogram h{x} observe -2"}, []string{"histogram h{x} observe all [1 -2]"}},
		{"nothing", func() {
			metrics.UpdateN(i.timer, 1, 0)
			metrics.UpdateN(i.timer, 1, -1)
			metrics.UpdateAll(i.timer, nil)
			metrics.ObserveAll(i.histogram, []float64{})
		}, nil, nil},
	} {
		c.observe()
		if got := plain.taken(); !slices.Equal(got, c.plain) {
			t.Errorf("%s: one by one %q, want %q", c.name, got, c.plain)
		}
		if got := atOnce.taken(); !slices.Equal(got, c.atOnce) {
			t.Errorf("%s: at once %q, want %q", c.name, got, c.atOnce)
		}
	}
}

// Without a registry, several observations do nothing.
func TestSeveral_withoutRegistry(t *testing.T) {
	i := instrumentsOf(metrics.NewSet(), "x")
	metrics.UpdateN(i.timer, 1, 2)
	metrics.UpdateAll(i.timer, []time.Duration{1, -1})
	metrics.ObserveAll(i.histogram, []float64{1})
}
