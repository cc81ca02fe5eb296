package prometheus_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/metrics"
	"github.com/conduitio/funnel/metrics/noop"
	"github.com/conduitio/funnel/metrics/prometheus"
)

// wantText fails the test unless the error has all of the words.
func wantText(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("the error is %v, which lacks %q", err, word)
		}
	}
}

func TestNew_invalid(t *testing.T) {
	var none *client.Registry
	for _, c := range []struct {
		registerer client.Registerer
		opts       []prometheus.Option
		words      []string
	}{
		{nil, nil, []string{"registerer is nil"}},
		{none, nil, []string{"registerer is nil"}},
		{client.NewRegistry(), []prometheus.Option{prometheus.WithDurationBuckets(1), nil}, []string{"option 1 is nil"}},
		{client.NewRegistry(), []prometheus.Option{prometheus.WithDurationBuckets()}, []string{"WithDurationBuckets", "no bounds"}},
		{client.NewRegistry(), []prometheus.Option{prometheus.WithDurationBuckets(1, 1)}, []string{"WithDurationBuckets", "bound 1", "1, after 1"}},
		{client.NewRegistry(), []prometheus.Option{prometheus.WithDurationBuckets(math.NaN())}, []string{"bound 0", "NaN"}},
		{client.NewRegistry(), []prometheus.Option{prometheus.WithDurationBuckets(1, math.Inf(1))}, []string{"bound 1", "+Inf"}},
	} {
		e, err := prometheus.New(c.registerer, c.opts...)
		wantText(t, err, append(c.words, "prometheus: ")...)
		if e != nil {
			t.Error("there is an exporter beside the error")
		}
	}
}

// A second exporter is an error, and the first one still works.
func TestNew_twice(t *testing.T) {
	e, registry := newExporter(t)
	_, err := prometheus.New(registry)
	wantText(t, err, "already has an exporter")
	if _, ok := errors.AsType[client.AlreadyRegisteredError](err); !ok {
		t.Errorf("the error is %v", err)
	}
	e.Observer("shop")
	if n, err := testutil.GatherAndCount(registry, "funnel_batch_records"); n != 1 || err != nil {
		t.Errorf("%d metrics, %v", n, err)
	}
}

// If the host has a metric of the same name, no metric of the exporter is registered.
func TestNew_clash(t *testing.T) {
	for _, name := range []string{
		"conduit_connector_bytes", "conduit_pipeline_execution_duration_seconds",
		"funnel_records_total", "funnel_batch_records", "funnel_in_flight_records",
	} {
		for _, labels := range [][]string{nil, {"pipeline_name"}} {
			registry := client.NewPedanticRegistry()
			host := client.NewGaugeVec(client.GaugeOpts{Name: name, Help: "The host's own."}, labels)
			registry.MustRegister(host)
			_, err := prometheus.New(registry)
			wantText(t, err, "cannot register the metrics of funnel", name)
			registry.Unregister(host)
			free := client.NewGaugeVec(client.GaugeOpts{Name: "funnel_batch_errors_total", Help: "Free."}, []string{"x"})
			if err := registry.Register(free); err != nil {
				t.Errorf("after a clash of %s: %v", name, err)
			}
		}
	}
}

// Wrapped registerers keep exporters on the same registry apart.
func TestNew_wrapped(t *testing.T) {
	registry := client.NewPedanticRegistry()
	for _, side := range []string{"a", "b"} {
		e, err := prometheus.New(client.WrapRegistererWith(client.Labels{"side": side}, registry))
		if err != nil {
			t.Fatal(err)
		}
		e.Set().NewCounter(metrics.Desc{Name: "hosts_total", Help: "Hosts."}).WithValues().Inc(2)
	}
	err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP hosts_total Hosts.
# TYPE hosts_total counter
hosts_total{side="a"} 2
hosts_total{side="b"} 2
`), "hosts_total")
	if err != nil {
		t.Error(err)
	}
}

// Exporters of different registries do not mix, whatever the pipelines are called.
func TestExporter_sideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, registry := newExporter(t)
		_, other := newExporter(t)
		w := newWorld(t, e)
		fake.WantNoError(t, e.Watch(statsOf(workersOf(w))))
		fake.WantNoError(t, fake.RunWorker(t, w))
		if n, err := testutil.GatherAndCount(registry); n == 0 || err != nil {
			t.Errorf("%d metrics, %v", n, err)
		}
		if n, err := testutil.GatherAndCount(other); n != 0 || err != nil {
			t.Errorf("the other registry has %d metrics, %v", n, err)
		}
	})
}

// panicOf returns what the call panics with.
func panicOf(call func()) error {
	if value := fake.PanicOf(call); value != nil {
		return fmt.Errorf("panic: %v", value)
	}
	return nil
}

// A family that comes later is registered at once. If that fails, the set does not get the
// family, and the host may try again.
func TestSet_laterFamily(t *testing.T) {
	e, registry := newExporter(t)
	host := client.NewCounter(client.CounterOpts{Name: "hosts_total", Help: "Hosts."})
	registry.MustRegister(host)
	d := metrics.Desc{Name: "hosts_total", Help: "Hosts."}
	wantText(t, panicOf(func() { e.Set().NewCounter(d) }), "cannot register hosts_total")
	registry.Unregister(host)
	e.Set().NewCounter(d).WithValues().Inc(1)
	if n, err := testutil.GatherAndCount(registry, "hosts_total"); n != 1 || err != nil {
		t.Errorf("%d metrics, %v", n, err)
	}
}

// If another registry of the set refuses a family, the host may try again.
func TestSet_anotherRegistryPanics(t *testing.T) {
	e, registry := newExporter(t)
	refusing := &refusingRegistry{}
	e.Set().Register(refusing)
	refusing.refuses = true
	d := metrics.Desc{Name: "hosts", Help: "Hosts."}
	wantText(t, panicOf(func() { e.Set().NewGauge(d) }), "refused")
	refusing.refuses = false
	e.Set().NewGauge(d).WithValues().Set(7)
	if f := gather(t, registry)["hosts"]; f.GetMetric()[0].GetGauge().GetValue() != 7 {
		t.Errorf("got %v", f)
	}
}

type refusingRegistry struct {
	noop.Registry
	refuses bool
}

func (r *refusingRegistry) NewGauge(d metrics.Desc) metrics.LabeledGauge {
	if r.refuses {
		panic("refused")
	}
	return r.Registry.NewGauge(d)
}

func TestSet_invalidFamilies(t *testing.T) {
	e, registry := newExporter(t)
	s := e.Set()
	for _, c := range []struct {
		make  func()
		words []string
	}{
		{func() { s.NewHistogram(metrics.Desc{Name: "a", Help: "A.", Labels: []string{"le"}}) }, []string{"a has a label le"}},
		{func() { s.NewTimer(metrics.Desc{Name: "b", Help: "B.", Buckets: []float64{2, 1}}) }, []string{"prometheus: b", "bound 1"}},
		{func() { s.NewCounter(metrics.Desc{Name: "c", Help: "C.", Labels: []string{"x", "x"}}) }, []string{"cannot register c", "x"}},
		{func() { s.NewCounter(metrics.Desc{Name: "funnel_in_flight_records", Help: "D."}) }, []string{"cannot register funnel_in_flight_records"}},
		{func() { s.NewGauge(metrics.Desc{Name: "funnel_batch_errors_total", Labels: []string{"pipeline_name"}}) }, []string{"is a counter", "as a gauge"}},
		{func() { s.NewCounter(metrics.Desc{Name: "funnel_batch_records_count"}) }, []string{"funnel_batch_records_count", "so has the histogram funnel_batch_records"}},
		{func() { s.NewTimer(metrics.Desc{Name: "e"}); s.NewGauge(metrics.Desc{Name: "e_sum"}) }, []string{"e_sum", "so has the timer e"}},
		{func() { s.NewGauge(metrics.Desc{Name: "f_bucket"}); s.NewTimer(metrics.Desc{Name: "f"}) }, []string{"f has a series f_bucket", "so has the gauge f_bucket"}},
	} {
		wantText(t, panicOf(c.make), c.words...)
	}
	gather(t, registry) // what was refused does no harm
}

// All kinds of metrics of the set are exported, with their labels.
func TestSet_kinds(t *testing.T) {
	e, registry := newExporter(t, prometheus.WithDurationBuckets(1, 2))
	s := e.Set()
	counter := s.NewCounter(metrics.Desc{Name: "c_total", Help: "C.", Labels: []string{"l"}}).WithValues("x")
	counter.Inc(1)
	counter.Inc(.5)
	gauge := s.NewGauge(metrics.Desc{Name: "g", Help: "G.", Labels: []string{"l"}}).WithValues("x")
	gauge.Set(5)
	gauge.Add(-7)
	timer := s.NewTimer(metrics.Desc{Name: "t_seconds", Help: "T.", Labels: []string{"l"}}).WithValues("x")
	timer.Update(time.Second)
	timer.Update(1500 * time.Millisecond)
	timer.UpdateSince(time.Now().Add(time.Hour))
	histogram := s.NewHistogram(metrics.Desc{Name: "h", Help: "H.", Labels: []string{"l"}, Buckets: []float64{-1, 0}}).WithValues("x")
	histogram.Observe(-1)
	histogram.Observe(3)
	err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP c_total C.
# TYPE c_total counter
c_total{l="x"} 1.5
# HELP g G.
# TYPE g gauge
g{l="x"} -2
# HELP h H.
# TYPE h histogram
h_bucket{l="x",le="-1"} 1
h_bucket{l="x",le="0"} 1
h_bucket{l="x",le="+Inf"} 2
h_sum{l="x"} 2
h_count{l="x"} 2
# HELP t_seconds T.
# TYPE t_seconds histogram
t_seconds_bucket{l="x",le="1"} 2
t_seconds_bucket{l="x",le="2"} 3
t_seconds_bucket{l="x",le="+Inf"} 3
t_seconds_sum{l="x"} 2.5
t_seconds_count{l="x"} 3
`), "c_total", "g", "h", "t_seconds")
	if err != nil {
		t.Error(err)
	}
}

// Names that are not UTF-8 are exported, too. Those that become equal count together.
func TestExporter_invalidUTF8(t *testing.T) {
	e, registry := newExporter(t)
	for _, name := range []string{"a\xff", "a\xfe"} {
		e.Timer(name).Update(time.Second)
		e.Set().NewCounter(metrics.Desc{Name: "c_total", Help: "C.", Labels: []string{"l"}}).WithValues(name).Inc(1)
		e.Set().NewGauge(metrics.Desc{Name: "g", Help: "G.", Labels: []string{"l"}}).WithValues(name).Add(1)
	}
	families := gather(t, registry)
	for _, name := range []string{"c_total", "g", "conduit_pipeline_execution_duration_seconds"} {
		all := families[name].GetMetric()
		if len(all) != 1 || all[0].GetLabel()[0].GetValue() != "a\ufffd" {
			t.Errorf("%s: %v", name, all)
			continue
		}
		m := all[0]
		if n := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount()); n != 2 {
			t.Errorf("%s: %v", name, m)
		}
	}
}

// Members of a family with similar labels are kept apart.
func TestSet_labelValuesThatLookAlike(t *testing.T) {
	e, registry := newExporter(t)
	h := e.Set().NewHistogram(metrics.Desc{Name: "h", Help: "H.", Labels: []string{"l", "m"}})
	for _, values := range [][]string{{"a", "bc"}, {"ab", "c"}, {"a\x00", "b"}, {"a", "\x00b"}, {"", "abc"}, {"a\xff", "b"}, {"a", "\xffb"}} {
		h.WithValues(values...).Observe(1)
	}
	if n, err := testutil.GatherAndCount(registry, "h"); n != 7 || err != nil {
		t.Errorf("%d metrics, %v", n, err)
	}
}

// The names and help texts of the metrics follow the conventions of Prometheus.
func TestExporter_lint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, registry := newExporter(t)
		w := newWorld(t, e)
		if err := e.Watch(statsOf(workersOf(w))); err != nil {
			t.Fatal(err)
		}
		fake.WantNoError(t, fake.RunWorker(t, w))
		problems, err := testutil.GatherAndLint(registry)
		if err != nil || len(problems) > 0 {
			t.Error(problems, err)
		}
	})
}

// All methods may be called at the same time.
func TestExporter_concurrently(t *testing.T) {
	e, registry := newExporter(t)
	var calls sync.WaitGroup
	for g := range 4 {
		calls.Go(func() {
			for i := range 100 {
				name := fmt.Sprint(i % 3)
				e.Timer(name).Update(time.Second)
				e.Observer(name)
				e.Set().NewCounter(metrics.Desc{Name: "c_total", Help: "C."}).WithValues().Inc(1)
				if err := e.Watch(fixed(nil)); err != nil {
					t.Error(err)
				}
				if g == 0 {
					if _, err := registry.Gather(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	calls.Wait()
	families := gather(t, registry)
	if n := families["c_total"].GetMetric()[0].GetCounter().GetValue(); n != 400 {
		t.Errorf("counted %v", n)
	}
	var names []string
	for _, m := range families["conduit_pipeline_execution_duration_seconds"].GetMetric() {
		names = append(names, m.GetLabel()[0].GetValue())
	}
	if !slices.Equal(names, []string{"0", "1", "2"}) {
		t.Errorf("pipelines %q", names)
	}
}
