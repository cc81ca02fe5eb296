package prometheus_test

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/conduitio/funnel/metrics"
	"github.com/conduitio/funnel/metrics/prometheus"
)

// histogramOf returns the only histogram of a family.
func histogramOf(t testing.TB, g client.Gatherer, name string) *dto.Histogram {
	t.Helper()
	return gather(t, g)[name].GetMetric()[0].GetHistogram()
}

// wantEqual fails the test unless two histograms are equal, except for rounding of the sum.
func wantEqual(t *testing.T, got, want *dto.Histogram) {
	t.Helper()
	if got.GetSampleCount() != want.GetSampleCount() || len(got.GetBucket()) != len(want.GetBucket()) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i, b := range want.GetBucket() {
		if g := got.GetBucket()[i]; g.GetUpperBound() != b.GetUpperBound() || g.GetCumulativeCount() != b.GetCumulativeCount() {
			t.Errorf("bucket %d: got %v, want %v", i, g, b)
		}
	}
	x, y := got.GetSampleSum(), want.GetSampleSum()
	if math.Abs(x-y) > 1e-9*math.Abs(y) || math.IsNaN(x) != math.IsNaN(y) {
		t.Errorf("sum %v, want %v", x, y)
	}
}

// One by one or together, values make the same histogram as in the client library.
func TestHistogram_likeTheClientLibrary(t *testing.T) {
	for _, bounds := range [][]float64{{1}, {-2, 0, 1, 4}, {1, 2, 3, 4, 5, 6, 7, 8, 9}} {
		for seed := range uint64(30) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			e, registry := newExporter(t)
			h := e.Set().NewHistogram(metrics.Desc{Name: "h", Help: "H.", Buckets: bounds}).WithValues()
			reference := client.NewHistogram(client.HistogramOpts{Name: "h", Help: "H.", Buckets: bounds})
			for range 20 {
				values := make([]float64, 1+rnd.IntN(20))
				for i := range values {
					values[i] = float64(rnd.IntN(30)-6) / 2
					if rnd.IntN(50) == 0 {
						values[i] = math.Inf(1)
					}
					reference.Observe(values[i])
				}
				if rnd.IntN(3) == 0 {
					for _, value := range values {
						h.Observe(value)
					}
				} else {
					metrics.ObserveAll(h, values)
				}
			}
			of := client.NewRegistry()
			of.MustRegister(reference)
			wantEqual(t, histogramOf(t, registry, "h"), histogramOf(t, of, "h"))
		}
	}
}

// Every value is counted, in the right bucket.
func TestHistogram_oddValues(t *testing.T) {
	for _, together := range []bool{false, true} {
		e, registry := newExporter(t)
		h := e.Set().NewHistogram(metrics.Desc{Name: "h", Help: "H.", Buckets: []float64{0, 1}}).WithValues()
		values := []float64{math.Inf(-1), math.NaN(), 0, math.NaN(), math.Inf(1), math.Inf(-1), 1}
		if together {
			metrics.ObserveAll(h, values)
		} else {
			for _, value := range values {
				h.Observe(value)
			}
		}
		got := histogramOf(t, registry, "h")
		b := got.GetBucket()
		if b[0].GetCumulativeCount() != 3 || b[1].GetCumulativeCount() != 4 || got.GetSampleCount() != 7 {
			t.Errorf("together %t: %v", together, got)
		}
	}
}

// Timers count seconds, in the same way one by one and together. A duration that equals a
// bound is in its bucket.
func TestTimer(t *testing.T) {
	bounds := []float64{.001, .0025, .005, .009, .011, .013, .1, .25, .5, 1, 2.5, 5} // 9e6 * 1e-9 > .009
	durations := []time.Duration{-time.Second, 0, 0, time.Hour}
	for _, bound := range bounds {
		exact := time.Duration(math.Round(bound * 1e9))
		durations = append(durations, exact, exact, exact+1, exact-1)
	}
	reference := client.NewHistogram(client.HistogramOpts{Name: "t_seconds", Help: "T.", Buckets: bounds})
	for _, d := range durations {
		reference.Observe(max(d, 0).Seconds())
	}
	of := client.NewRegistry()
	of.MustRegister(reference)
	for name, observe := range map[string]func(metrics.Timer){
		"one by one": func(timer metrics.Timer) {
			for _, d := range durations {
				timer.Update(d)
			}
		},
		"together": func(timer metrics.Timer) { metrics.UpdateAll(timer, durations) },
		"resolved": func(timer metrics.Timer) { metrics.UpdateAll(metrics.Resolve(timer), durations) },
		"n times": func(timer metrics.Timer) {
			for i := 0; i < len(durations); i++ {
				n := 1
				for i+1 < len(durations) && durations[i+1] == durations[i] {
					i, n = i+1, n+1
				}
				metrics.UpdateN(metrics.Resolve(timer), durations[i], n)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, registry := newExporter(t, prometheus.WithDurationBuckets(bounds...))
			observe(e.Set().NewTimer(metrics.Desc{Name: "t_seconds", Help: "T."}).WithValues())
			wantEqual(t, histogramOf(t, registry, "t_seconds"), histogramOf(t, of, "t_seconds"))
		})
	}
}

// A scrape sees only whole batches, and each once.
func TestHistogram_scrapesBetweenBatches(t *testing.T) {
	const batches, size = 2_000, 50
	e, registry := newExporter(t)
	h := e.Set().NewHistogram(metrics.Desc{Name: "h", Help: "H.", Buckets: []float64{1, 10}}).WithValues()
	values := make([]float64, size)
	for i := range values {
		values[i] = float64(1 + 9*(i%2))
	}
	const each = size / 2 * (1 + 10)
	var observing sync.WaitGroup
	for range 2 {
		observing.Go(func() {
			for range batches {
				metrics.ObserveAll(h, values)
			}
		})
	}
	check := func() (count uint64) {
		got := histogramOf(t, registry, "h")
		n := got.GetSampleCount()
		if n%size != 0 || got.GetBucket()[0].GetCumulativeCount() != n/2 || got.GetBucket()[1].GetCumulativeCount() != n ||
			got.GetSampleSum() != float64(n/size*each) {
			t.Fatalf("the histogram is %v", got)
		}
		return n
	}
	for range 200 {
		check()
	}
	observing.Wait()
	if n := check(); n != 2*batches*size {
		t.Errorf("%d values", n)
	}
}

// Observing allocates nothing.
func TestHistogram_allocatesNothing(t *testing.T) {
	e, _ := newExporter(t)
	h := e.Set().NewHistogram(metrics.Desc{Name: "h", Help: "H."}).WithValues()
	timer := e.Timer("shop")
	values, durations := []float64{1, 2, 3, 100}, []time.Duration{1, 2, 2, time.Minute}
	if n := testing.AllocsPerRun(100, func() {
		h.Observe(1)
		metrics.ObserveAll(h, values)
		timer.Update(1)
		metrics.UpdateN(timer, 1, 1_000)
		metrics.UpdateAll(timer, durations)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
