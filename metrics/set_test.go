package metrics_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/funnel/metrics"
	"github.com/conduitio/funnel/metrics/noop"
)

var (
	_ metrics.Registry = (*metrics.Set)(nil)
	_ metrics.Registry = (*registry)(nil)
)

// registry writes down what it is asked for and what is observed.
type registry struct {
	asked func() // unless nil, is called when a family or a metric is asked for

	mu    sync.Mutex
	descs []metrics.Desc
	calls []string
}

func (r *registry) NewCounter(d metrics.Desc) metrics.LabeledCounter {
	return labeledCounter{r.family("counter", d)}
}

func (r *registry) NewGauge(d metrics.Desc) metrics.LabeledGauge {
	return labeledGauge{r.family("gauge", d)}
}

func (r *registry) NewTimer(d metrics.Desc) metrics.LabeledTimer {
	return labeledTimer{r.family("timer", d)}
}

func (r *registry) NewHistogram(d metrics.Desc) metrics.LabeledHistogram {
	return labeledHistogram{r.family("histogram", d)}
}

func (r *registry) family(kind string, d metrics.Desc) family {
	if r.asked != nil {
		r.asked()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.descs = append(r.descs, d)
	return family{r: r, name: kind + " " + d.Name}
}

// taken returns what was observed since it was last called.
func (r *registry) taken() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls = nil
	return calls
}

func (r *registry) mustHave(t *testing.T, want ...string) {
	t.Helper()
	if got := r.taken(); !slices.Equal(got, want) {
		t.Errorf("got observations %q, want %q", got, want)
	}
}

type (
	family struct {
		r    *registry
		name string
	}
	labeledCounter   struct{ family }
	labeledGauge     struct{ family }
	labeledTimer     struct{ family }
	labeledHistogram struct{ family }
	recorder         struct{ family }
)

func (f family) with(values []string) recorder {
	if f.r.asked != nil {
		f.r.asked()
	}
	f.name += "{" + strings.Join(values, ",") + "}"
	return recorder{f}
}

func (f labeledCounter) WithValues(values ...string) metrics.Counter     { return f.with(values) }
func (f labeledGauge) WithValues(values ...string) metrics.Gauge         { return f.with(values) }
func (f labeledTimer) WithValues(values ...string) metrics.Timer         { return f.with(values) }
func (f labeledHistogram) WithValues(values ...string) metrics.Histogram { return f.with(values) }

func (m recorder) record(method string, value any) {
	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	m.r.calls = append(m.r.calls, fmt.Sprintf("%s %s %v", m.name, method, value))
}

func (m recorder) Inc(delta float64)           { m.record("inc", delta) }
func (m recorder) Set(value float64)           { m.record("set", value) }
func (m recorder) Add(delta float64)           { m.record("add", delta) }
func (m recorder) Update(d time.Duration)      { m.record("update", d) }
func (m recorder) UpdateSince(start time.Time) { m.record("update since", start) }
func (m recorder) Observe(value float64)       { m.record("observe", value) }

// instruments are one metric of each kind.
type instruments struct {
	counter   metrics.Counter
	gauge     metrics.Gauge
	timer     metrics.Timer
	histogram metrics.Histogram
}

func instrumentsOf(s *metrics.Set, value string) instruments {
	labels := []string{"l"}
	return instruments{
		counter:   s.NewCounter(metrics.Desc{Name: "c", Labels: labels}).WithValues(value),
		gauge:     s.NewGauge(metrics.Desc{Name: "g", Labels: labels}).WithValues(value),
		timer:     s.NewTimer(metrics.Desc{Name: "t", Labels: labels}).WithValues(value),
		histogram: s.NewHistogram(metrics.Desc{Name: "h", Labels: labels}).WithValues(value),
	}
}

func (i instruments) all() []any {
	return []any{i.counter, i.gauge, i.timer, i.histogram}
}

func (i instruments) observe() {
	i.counter.Inc(1)
	i.gauge.Set(2)
	i.gauge.Add(-3)
	i.timer.Update(4 * time.Second)
	i.histogram.Observe(5)
}

// observed is what observe leaves in a registry.
func observed(value string) []string {
	return []string{
		"counter c{" + value + "} inc 1",
		"gauge g{" + value + "} set 2",
		"gauge g{" + value + "} add -3",
		"timer t{" + value + "} update 4s",
		"histogram h{" + value + "} observe 5",
	}
}

// A metric reports to a registry that was there before it.
func TestSet_RegisterFirst(t *testing.T) {
	s := metrics.NewSet()
	r := &registry{}
	s.Register(r)
	instrumentsOf(s, "x").observe()
	r.mustHave(t, observed("x")...)
}

// A metric reports to a registry from its registration on.
func TestSet_RegisterLater(t *testing.T) {
	var s metrics.Set
	x := instrumentsOf(&s, "x")
	x.observe()
	r := &registry{}
	s.Register(r)
	r.mustHave(t)
	x.observe()
	r.mustHave(t, observed("x")...)
	instrumentsOf(&s, "y").observe()
	r.mustHave(t, observed("y")...)
}

// A metric reports to all registries.
func TestSet_SeveralRegistries(t *testing.T) {
	s := metrics.NewSet()
	first, second, third := &registry{}, &registry{}, &registry{}
	s.Register(first)
	x := instrumentsOf(s, "x")
	s.Register(second)
	y := instrumentsOf(s, "y")
	s.Register(third)
	x.observe()
	y.observe()
	want := append(observed("x"), observed("y")...)
	for _, r := range []*registry{first, second, third} {
		r.mustHave(t, want...)
	}
}

// Sets share nothing.
func TestSet_SetsAreSeparate(t *testing.T) {
	s1, s2 := metrics.NewSet(), metrics.NewSet()
	r1, r2 := &registry{}, &registry{}
	s1.Register(r1)
	s2.Register(r2)
	instrumentsOf(s1, "x").observe()
	r1.mustHave(t, observed("x")...)
	r2.mustHave(t)
}

// A set may be the registry of another one.
func TestSet_InSet(t *testing.T) {
	inner, outer := metrics.NewSet(), metrics.NewSet()
	inner.Register(outer)
	x := instrumentsOf(inner, "x")
	for _, m := range x.all() {
		if metrics.Enabled(m) {
			t.Errorf("%T is enabled without a registry", m)
		}
	}
	r := &registry{}
	outer.Register(r)
	for _, m := range x.all() {
		if !metrics.Enabled(m) {
			t.Errorf("%T is not enabled", m)
		}
	}
	x.observe()
	r.mustHave(t, observed("x")...)
}

// A set asks each registry once for each family.
func TestSet_AsksOncePerDesc(t *testing.T) {
	s := metrics.NewSet()
	early, late := &registry{}, &registry{}
	s.Register(early)
	s.Register(early)
	for _, value := range []string{"x", "y", "x"} {
		instrumentsOf(s, value)
	}
	s.Register(late)
	s.Register(late)
	s.Register(early)
	for _, r := range []*registry{early, late} {
		var names []string
		for _, d := range r.descs {
			names = append(names, d.Name)
		}
		if want := []string{"c", "g", "t", "h"}; !slices.Equal(names, want) {
			t.Errorf("asked for %q, want %q", names, want)
		}
	}
	instrumentsOf(s, "x").observe()
	early.mustHave(t, observed("x")...)
	late.mustHave(t, observed("x")...)
}

// valueRegistry cannot be compared, so it is registered as often as it is given.
type valueRegistry struct {
	*registry
	_ []int
}

// Registries that cannot be compared are all registered.
func TestSet_RegistryNotComparable(t *testing.T) {
	s := metrics.NewSet()
	r := &registry{}
	s.Register(valueRegistry{registry: r})
	s.Register(r)
	s.Register(valueRegistry{registry: r})
	s.NewCounter(metrics.Desc{Name: "c"}).WithValues().Inc(1)
	r.mustHave(t, "counter c{} inc 1", "counter c{} inc 1", "counter c{} inc 1")
}

// The same name gives the same family, and the same values the same metric.
func TestSet_SameNameSameFamily(t *testing.T) {
	s := metrics.NewSet()
	if instrumentsOf(s, "x") != instrumentsOf(s, "x") {
		t.Error("the same values give other metrics")
	}
	if instrumentsOf(s, "x") == instrumentsOf(s, "y") {
		t.Error("other values give the same metrics")
	}
	r := &registry{}
	s.Register(r)
	first := s.NewHistogram(metrics.Desc{Name: "b", Help: "first", Buckets: []float64{1}})
	second := s.NewHistogram(metrics.Desc{Name: "b", Help: "second", Buckets: []float64{2}})
	if first != second {
		t.Error("the same name gives another family")
	}
	if d := r.descs[len(r.descs)-1]; d.Help != "first" || !slices.Equal(d.Buckets, []float64{1}) {
		t.Errorf("unexpected description %+v", d)
	}
}

// Values that look alike when joined give different metrics.
func TestSet_LabelValues(t *testing.T) {
	s := metrics.NewSet()
	f := s.NewCounter(metrics.Desc{Name: "c", Labels: []string{"a", "b"}})
	combinations := [][]string{
		{"x", "y"}, {"y", "x"}, {"", "xy"}, {"xy", ""}, {`x" "y`, ""}, {"x", `" "y`}, {"\xff", ""}, {`\xff`, ""}, {"\ufffd", ""}, {"", ""},
		{"x y", "z"}, {"x", "y z"}, {"x,y", "z"}, {"x", "y,z"},
	}
	seen := make(map[metrics.Counter][]string)
	for _, values := range combinations {
		c := f.WithValues(values...)
		if other, ok := seen[c]; ok {
			t.Errorf("%q and %q give the same counter", values, other)
		}
		seen[c] = values
	}
}

// A set copies the descriptions and values that it is given.
func TestSet_OwnsDescAndValues(t *testing.T) {
	s := metrics.NewSet()
	desc := metrics.Desc{Name: "h", Help: "help", Labels: []string{"a", "b"}, Buckets: []float64{1, 2}}
	values := []string{"x", "y"}
	h := s.NewHistogram(desc).WithValues(values...)
	desc.Labels[0], desc.Buckets[0], values[0] = "changed", -1, "changed"

	for range 2 {
		r := &registry{}
		s.Register(r)
		got := r.descs[0]
		if got.Name != "h" || got.Help != "help" ||
			!slices.Equal(got.Labels, []string{"a", "b"}) || !slices.Equal(got.Buckets, []float64{1, 2}) {
			t.Errorf("unexpected description %+v", got)
		}
		h.Observe(1)
		r.mustHave(t, "histogram h{x,y} observe 1")
		// What a registry does with its description is not seen by the next.
		got.Labels[0], got.Buckets[0] = "changed", -1
	}
}

// Wrong calls panic, say what is wrong, and leave no lock behind.
func TestSet_Panics(t *testing.T) {
	s := metrics.NewSet()
	s.NewCounter(metrics.Desc{Name: "c", Labels: []string{"a", "b"}})
	for name, tc := range map[string]struct {
		call func()
		want []string
	}{
		"too few values": {
			func() { s.NewCounter(metrics.Desc{Name: "c", Labels: []string{"a", "b"}}).WithValues("x") },
			[]string{"metrics: c has", `["a" "b"]`, `["x"]`},
		},
		"too many values": {
			func() { s.NewTimer(metrics.Desc{Name: "t"}).WithValues("x") },
			[]string{"metrics: t has", `["x"]`},
		},
		"other kind": {
			func() { s.NewGauge(metrics.Desc{Name: "c", Labels: []string{"a", "b"}}) },
			[]string{"metrics: c is a Counter", "asked for as a Gauge"},
		},
		"other labels": {
			func() { s.NewCounter(metrics.Desc{Name: "c", Labels: []string{"b", "a"}}) },
			[]string{"metrics: c is a Counter", `["a" "b"]`, `["b" "a"]`},
		},
		"no registry": {func() { s.Register(nil) }, []string{"nil registry"}},
		"itself":      {func() { s.Register(s) }, []string{"with itself"}},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				message := fmt.Sprint(recover())
				for _, want := range tc.want {
					if !strings.Contains(message, want) {
						t.Errorf("panic %q does not say %q", message, want)
					}
				}
			}()
			tc.call()
		})
	}
	// No lock stays held.
	s.Register(&registry{})
	s.NewCounter(metrics.Desc{Name: "c", Labels: []string{"a", "b"}}).WithValues("x", "y").Inc(1)
}

// A metric is enabled once it has a registry that listens.
func TestSet_Enabled(t *testing.T) {
	s := metrics.NewSet()
	x := instrumentsOf(s, "x")
	check := func(want bool) {
		t.Helper()
		for _, m := range x.all() {
			if got := metrics.Enabled(m); got != want {
				t.Errorf("%T: enabled %v, want %v", m, got, want)
			}
		}
	}
	check(false)
	s.Register(noop.Registry{})
	check(false)
	s.Register(&registry{})
	check(true)
}

// All registries observe the same duration.
func TestSet_UpdateSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := metrics.NewSet()
		timer := s.NewTimer(metrics.Desc{Name: "t"}).WithValues()
		start := time.Now()
		time.Sleep(3 * time.Second)
		timer.UpdateSince(start)
		first, second := &registry{}, &registry{}
		s.Register(first)
		s.Register(second)
		timer.UpdateSince(start)
		first.mustHave(t, "timer t{} update 3s")
		second.mustHave(t, "timer t{} update 3s")
	})
}

// Negative durations count as 0.
func TestSet_NegativeDurations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := metrics.NewSet()
		timer := s.NewTimer(metrics.Desc{Name: "t"}).WithValues()
		inner := metrics.NewSet()
		inner.Register(s)
		nested := inner.NewTimer(metrics.Desc{Name: "t"}).WithValues()
		var registries []*registry
		for range 2 {
			r := &registry{}
			s.Register(r)
			registries = append(registries, r)

			now := time.Now()
			timer.UpdateSince(now.Add(time.Second))
			timer.UpdateSince(now.Round(0).Add(time.Second)) // by the wall clock
			timer.UpdateSince(now)
			nested.UpdateSince(now.Add(time.Second))
			timer.Update(-1)
			timer.Update(math.MinInt64)
			timer.Update(1)
			for _, r := range registries {
				r.mustHave(t, append(slices.Repeat([]string{"timer t{} update 0s"}, 6), "timer t{} update 1ns")...)
			}
		}
	})
}

// silent counts the updates of its timer, which is not enabled.
type silent struct {
	noop.Registry
	updates int
}

func (s *silent) NewTimer(metrics.Desc) metrics.LabeledTimer { return s }
func (s *silent) WithValues(...string) metrics.Timer         { return s }
func (s *silent) Update(time.Duration)                       { s.updates++ }
func (s *silent) UpdateSince(time.Time)                      { s.updates++ }
func (s *silent) Enabled() bool                              { return false }

// If nobody listens, UpdateSince does not read the clock.
func TestSet_UpdateSinceForNobody(t *testing.T) {
	s := metrics.NewSet()
	r := &silent{}
	s.Register(r)
	s.NewTimer(metrics.Desc{Name: "t"}).WithValues().UpdateSince(time.Now())
	if r.updates != 0 {
		t.Error("the clock was read for nobody")
	}
}

// sum is a registry whose metrics allocate nothing.
type sum struct {
	mu    sync.Mutex
	total float64
}

func (s *sum) NewCounter(metrics.Desc) metrics.LabeledCounter     { return sumOf[metrics.Counter]{s} }
func (s *sum) NewGauge(metrics.Desc) metrics.LabeledGauge         { return sumOf[metrics.Gauge]{s} }
func (s *sum) NewTimer(metrics.Desc) metrics.LabeledTimer         { return sumOf[metrics.Timer]{s} }
func (s *sum) NewHistogram(metrics.Desc) metrics.LabeledHistogram { return sumOf[metrics.Histogram]{s} }

type sumOf[M any] struct{ m any }

func (s sumOf[M]) WithValues(...string) M { return s.m.(M) }

func (s *sum) Inc(delta float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total += delta
}
func (s *sum) Set(value float64)           { s.Inc(value) }
func (s *sum) Add(delta float64)           { s.Inc(delta) }
func (s *sum) Update(d time.Duration)      { s.Inc(d.Seconds()) }
func (s *sum) UpdateSince(start time.Time) { s.Update(time.Since(start)) }
func (s *sum) Observe(value float64)       { s.Inc(value) }

// Observing allocates nothing.
func TestSet_ObservingAllocatesNothing(t *testing.T) {
	s := metrics.NewSet()
	x := instrumentsOf(s, "x")
	start := time.Now()
	for registered := range 3 {
		if got := testing.AllocsPerRun(100, func() {
			x.observe()
			x.timer.UpdateSince(start)
		}); got != 0 {
			t.Errorf("%d registries: %v allocations", registered, got)
		}
		s.Register(&sum{})
	}
}

// Goroutines may ask, observe and register at the same time.
func TestSet_Concurrent(t *testing.T) {
	s := metrics.NewSet()
	first := &sum{}
	s.Register(first)
	later := &sum{}
	const goroutines, rounds = 8, 200
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range rounds {
				x := instrumentsOf(s, fmt.Sprint(i%10))
				x.observe()
				metrics.Enabled(x.timer)
				if g == 0 && i == rounds/2 {
					s.Register(later)
				}
			}
		})
	}
	wg.Wait()
	const each = 1 + 2 - 3 + 4 + 5
	if want := float64(goroutines * rounds * each); first.total != want {
		t.Errorf("got %v, want %v", first.total, want)
	}
	if later.total == 0 || later.total > first.total {
		t.Errorf("the later registry got %v of %v", later.total, first.total)
	}
	before := later.total
	instrumentsOf(s, "0").observe()
	if got := later.total - before; got != each {
		t.Errorf("the later registry got %v, want %v", got, each)
	}
}

// Goroutines that ask for the same values at the same time get the same metric.
func TestSet_WithValuesConcurrent(t *testing.T) {
	s := metrics.NewSet()
	f := s.NewCounter(metrics.Desc{Name: "c", Labels: []string{"l"}})
	const goroutines, values = 8, 200
	var got [goroutines][values]metrics.Counter
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for v := range values {
				got[g][v] = f.WithValues(fmt.Sprint(v))
			}
		})
	}
	wg.Go(func() { s.Register(&sum{}) })
	wg.Wait()
	for g := range goroutines {
		if got[g] != got[0] {
			t.Error("the same values give other counters")
		}
	}
	for _, c := range got[0] {
		if !metrics.Enabled(c) {
			t.Error("a counter missed the registry")
		}
	}
}

// Nothing in the module registers with the default set.
func TestDefault(t *testing.T) {
	c := metrics.Default.NewCounter(metrics.Desc{Name: "test_default"}).WithValues()
	if metrics.Enabled(c) {
		t.Error("the default set has a registry")
	}
	c.Inc(1)
}

func BenchmarkSet_Observe(b *testing.B) {
	s := metrics.NewSet()
	h := s.NewHistogram(metrics.Desc{Name: "h"}).WithValues()
	for _, registries := range []int{0, 1, 2} {
		b.Run(fmt.Sprintf("%d registries", registries), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h.Observe(1)
			}
		})
		s.Register(&sum{})
	}
}
