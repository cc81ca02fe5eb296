package funnel_test

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
	"github.com/conduitio/funnel/metrics/noop"
)

var (
	_ funnel.ConnectorMetrics = funnel.ConnectorMetricsImpl{}
	_ funnel.ConnectorMetrics = &funnel.ConnectorMetricsImpl{}
	_ funnel.ConnectorMetrics = funnel.NoOpConnectorMetrics{}
	_ funnel.ConnectorMetrics = &funnel.NoOpConnectorMetrics{}
	_ funnel.ProcessorMetrics = funnel.ProcessorMetricsImpl{}
	_ funnel.ProcessorMetrics = &funnel.ProcessorMetricsImpl{}
	_ funnel.ProcessorMetrics = funnel.NoOpProcessorMetrics{}
	_ funnel.ProcessorMetrics = &funnel.NoOpProcessorMetrics{}
)

// metricsRegistry keeps what timers observe, in seconds, and what histograms
// observe.
type metricsRegistry struct {
	noop.Registry
	descs    map[string]metrics.Desc
	observed map[string][]float64
}

func (r *metricsRegistry) NewTimer(d metrics.Desc) metrics.LabeledTimer {
	r.descs["timer "+d.Name] = d
	return metricsTimers{metricsFamily{r, d}}
}

func (r *metricsRegistry) NewHistogram(d metrics.Desc) metrics.LabeledHistogram {
	r.descs["histogram "+d.Name] = d
	return metricsHistograms{metricsFamily{r, d}}
}

func (r *metricsRegistry) mustHave(t *testing.T, want map[string][]float64) {
	t.Helper()
	if !maps.EqualFunc(r.observed, want, slices.Equal) {
		t.Errorf("got observations %v, want %v", r.observed, want)
	}
	clear(r.observed)
}

func newMetricsRegistry() *metricsRegistry {
	return &metricsRegistry{descs: make(map[string]metrics.Desc), observed: make(map[string][]float64)}
}

type (
	metricsFamily struct {
		registry *metricsRegistry
		desc     metrics.Desc
	}
	metricsTimers     struct{ metricsFamily }
	metricsHistograms struct{ metricsFamily }
	metricsInstrument struct {
		registry *metricsRegistry
		name     string
	}
)

func (f metricsFamily) with(values []string) metricsInstrument {
	var labels []string
	for i, l := range f.desc.Labels {
		labels = append(labels, l+"="+values[i])
	}
	name := fmt.Sprintf("%s{%s}", f.desc.Name, strings.Join(labels, ","))
	return metricsInstrument{registry: f.registry, name: name}
}

func (f metricsTimers) WithValues(values ...string) metrics.Timer { return f.with(values) }

func (f metricsHistograms) WithValues(values ...string) metrics.Histogram { return f.with(values) }

func (i metricsInstrument) Observe(value float64) {
	i.registry.observed[i.name] = append(i.registry.observed[i.name], value)
}

func (i metricsInstrument) Update(d time.Duration) { i.Observe(d.Seconds()) }

func (i metricsInstrument) UpdateSince(start time.Time) { i.Update(time.Since(start)) }

// metricsRecords returns three records of 3, 0 and 12 bytes.
func metricsRecords() []opencdc.Record {
	return []opencdc.Record{
		{Key: opencdc.RawData("key")},
		{Position: opencdc.Position("position"), Metadata: opencdc.Metadata{"a": "b"}},
		{Payload: opencdc.Change{Before: opencdc.RawData("12345"), After: opencdc.StructuredData{"a": 1}}},
	}
}

// NewMetrics describes its metrics once per set.
func TestMetrics_Descriptions(t *testing.T) {
	set, r := metrics.NewSet(), newMetricsRegistry()
	set.Register(r)
	funnel.NewMetrics(set)
	funnel.NewMetrics(set)

	buckets := []float64{1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576, 2097152}
	want := map[string]metrics.Desc{
		"histogram conduit_connector_bytes":                  {Labels: []string{"pipeline_name", "plugin", "type"}, Buckets: buckets},
		"timer conduit_connector_execution_duration_seconds": {Labels: []string{"pipeline_name", "plugin", "type"}},
		"timer conduit_processor_execution_duration_seconds": {Labels: []string{"pipeline_name", "processor"}},
		"histogram conduit_dlq_bytes":                        {Labels: []string{"pipeline_name", "plugin"}, Buckets: buckets},
		"timer conduit_dlq_execution_duration_seconds":       {Labels: []string{"pipeline_name", "plugin"}},
	}
	for name, d := range r.descs {
		w, ok := want[name]
		if !ok {
			t.Errorf("unexpected metric %s", name)
		}
		if !slices.Equal(d.Labels, w.Labels) || !slices.Equal(d.Buckets, w.Buckets) {
			t.Errorf("%s: got labels %q and buckets %v", name, d.Labels, d.Buckets)
		}
		if d.Help == "" {
			t.Errorf("%s: no help", name)
		}
	}
	if len(r.descs) != len(want) {
		t.Errorf("got %d metrics, want %d", len(r.descs), len(want))
	}
}

// For each record, its size and its share of the time are observed.
func TestMetrics_Observe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set, r := metrics.NewSet(), newMetricsRegistry()
		set.Register(r)
		m := funnel.NewMetrics(set)
		source := m.Connector("pipe", "builtin:generator", connector.TypeSource)
		destination := m.Connector("pipe", "builtin:file", connector.TypeDestination)
		processor := m.Processor("pipe", "field.set")
		dlq := m.DLQ("pipe", "builtin:log")

		start := time.Now()
		time.Sleep(3 * time.Second)
		source.Observe(metricsRecords(), start)
		r.mustHave(t, map[string][]float64{
			"conduit_connector_bytes{pipeline_name=pipe,plugin=builtin:generator,type=source}":                      {3, 0, 12},
			"conduit_connector_execution_duration_seconds{pipeline_name=pipe,plugin=builtin:generator,type=source}": {1, 1, 1},
		})
		destination.Observe(metricsRecords()[2:], start)
		r.mustHave(t, map[string][]float64{
			"conduit_connector_bytes{pipeline_name=pipe,plugin=builtin:file,type=destination}":                      {12},
			"conduit_connector_execution_duration_seconds{pipeline_name=pipe,plugin=builtin:file,type=destination}": {3},
		})
		processor.Observe(2, start)
		r.mustHave(t, map[string][]float64{
			"conduit_processor_execution_duration_seconds{pipeline_name=pipe,processor=field.set}": {1.5, 1.5},
		})
		dlq.Observe(metricsRecords()[:2], start)
		r.mustHave(t, map[string][]float64{
			"conduit_dlq_bytes{pipeline_name=pipe,plugin=builtin:log}":                      {3, 0},
			"conduit_dlq_execution_duration_seconds{pipeline_name=pipe,plugin=builtin:log}": {1.5, 1.5},
		})
	})
}

// Without records, nothing is observed.
func TestMetrics_Empty(t *testing.T) {
	set, r := metrics.NewSet(), newMetricsRegistry()
	set.Register(r)
	m := funnel.NewMetrics(set)
	for _, records := range [][]opencdc.Record{nil, {}} {
		m.Connector("pipe", "plugin", connector.TypeSource).Observe(records, time.Now())
		m.DLQ("pipe", "plugin").Observe(records, time.Now())
	}
	m.Processor("pipe", "plugin").Observe(0, time.Now())
	m.Processor("pipe", "plugin").Observe(-1, time.Now())
	r.mustHave(t, nil)
}

// Metrics also report to a registry that is registered after they were made.
func TestMetrics_LateRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var set metrics.Set
		m := funnel.NewMetrics(&set)
		source := m.Connector("pipe", "plugin", connector.TypeSource)
		processor := m.Processor("pipe", "plugin")
		dlq := m.DLQ("pipe", "plugin")
		observe := func() {
			source.Observe(metricsRecords()[:1], time.Now())
			processor.Observe(1, time.Now())
			dlq.Observe(metricsRecords()[:1], time.Now())
		}
		for _, m := range []any{source, processor, dlq} {
			if metrics.Enabled(m) {
				t.Errorf("%T is enabled without a registry", m)
			}
		}
		observe()
		r := newMetricsRegistry()
		set.Register(r)
		for _, m := range []any{source, processor, dlq} {
			if !metrics.Enabled(m) {
				t.Errorf("%T is not enabled", m)
			}
		}
		r.mustHave(t, nil)
		observe()
		r.mustHave(t, map[string][]float64{
			"conduit_connector_bytes{pipeline_name=pipe,plugin=plugin,type=source}":                      {3},
			"conduit_connector_execution_duration_seconds{pipeline_name=pipe,plugin=plugin,type=source}": {0},
			"conduit_processor_execution_duration_seconds{pipeline_name=pipe,processor=plugin}":          {0},
			"conduit_dlq_bytes{pipeline_name=pipe,plugin=plugin}":                                        {3},
			"conduit_dlq_execution_duration_seconds{pipeline_name=pipe,plugin=plugin}":                   {0},
		})
	})
}

// Metrics of one set do not report to the registry of another one.
func TestMetrics_SetsAreSeparate(t *testing.T) {
	set1, set2 := metrics.NewSet(), metrics.NewSet()
	r1, r2 := newMetricsRegistry(), newMetricsRegistry()
	set1.Register(r1)
	set2.Register(r2)
	m1 := funnel.NewMetrics(set1)
	funnel.NewMetrics(set2).Processor("pipe", "plugin")
	m1.Connector("pipe", "plugin", connector.TypeSource).Observe(metricsRecords(), time.Now())
	m1.Processor("pipe", "plugin").Observe(2, time.Now())
	m1.DLQ("pipe", "plugin").Observe(metricsRecords(), time.Now())
	if len(r1.observed) != 5 {
		t.Errorf("got observations %v", r1.observed)
	}
	r2.mustHave(t, nil)
}

// histogramsOnly is a registry that ignores timers.
type histogramsOnly struct{ *metricsRegistry }

func (histogramsOnly) NewTimer(metrics.Desc) metrics.LabeledTimer { return noop.LabeledTimer{} }

// Metrics are enabled if at least one of their parts is.
func TestMetrics_HistogramsOnly(t *testing.T) {
	var set metrics.Set
	r := newMetricsRegistry()
	set.Register(histogramsOnly{r})
	m := funnel.NewMetrics(&set)
	source := m.Connector("pipe", "plugin", connector.TypeSource)
	if !source.Enabled() {
		t.Error("not enabled")
	}
	source.Observe(metricsRecords(), time.Now())
	r.mustHave(t, map[string][]float64{
		"conduit_connector_bytes{pipeline_name=pipe,plugin=plugin,type=source}": {3, 0, 12},
	})
}

// haveSameTargets reports whether metrics of connectors observe with the same histogram
// and the same timer.
func haveSameTargets(a, b funnel.ConnectorMetrics) bool {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	return x.FieldByName("bytes").Equal(y.FieldByName("bytes")) && x.FieldByName("timer").Equal(y.FieldByName("timer"))
}

// The constructors of the package, and those of a nil set, use the default set.
func TestMetrics_Default(t *testing.T) {
	m := funnel.NewMetrics(nil)
	if !haveSameTargets(funnel.NewConnectorMetrics("pipe", "plugin", connector.TypeSource), m.Connector("pipe", "plugin", connector.TypeSource)) {
		t.Error("NewConnectorMetrics does not use the default set")
	}
	if funnel.NewProcessorMetrics("pipe", "plugin") != m.Processor("pipe", "plugin") {
		t.Error("NewProcessorMetrics does not use the default set")
	}
	if !haveSameTargets(funnel.NewDLQMetrics("pipe", "plugin"), m.DLQ("pipe", "plugin")) {
		t.Error("NewDLQMetrics does not use the default set")
	}
	if m.Processor("pipe", "plugin") != funnel.NewMetrics(metrics.Default).Processor("pipe", "plugin") {
		t.Error("a nil set is not the default set")
	}
	for _, m := range []any{
		funnel.NewConnectorMetrics("pipe", "plugin", connector.TypeSource),
		funnel.NewProcessorMetrics("pipe", "plugin"), funnel.NewDLQMetrics("pipe", "plugin"),
	} {
		if metrics.Enabled(m) {
			t.Errorf("%T: the default set has a registry", m)
		}
	}
}

// Metrics that do nothing, and zero ones, can be used and are not enabled.
func TestMetrics_NoOp(t *testing.T) {
	for _, m := range []funnel.ConnectorMetrics{
		funnel.NoOpConnectorMetrics{}, &funnel.NoOpConnectorMetrics{}, funnel.ConnectorMetricsImpl{}, &funnel.ConnectorMetricsImpl{},
	} {
		m.Observe(metricsRecords(), time.Now())
		if metrics.Enabled(m) {
			t.Errorf("%T is enabled", m)
		}
	}
	for _, m := range []funnel.ProcessorMetrics{
		funnel.NoOpProcessorMetrics{}, &funnel.NoOpProcessorMetrics{}, funnel.ProcessorMetricsImpl{}, &funnel.ProcessorMetricsImpl{},
	} {
		m.Observe(2, time.Now())
		if metrics.Enabled(m) {
			t.Errorf("%T is enabled", m)
		}
	}
}

// histogram keeps what it observes.
type histogram struct{ observed []float64 }

func (h *histogram) Observe(value float64) { h.observed = append(h.observed, value) }

// started is a time before any test.
var started = time.Unix(0, 0)

// Metrics that a host has made are used as they are. A nil metric observes nothing.
func TestMetrics_ofTheHost(t *testing.T) {
	var noTimer *fake.Timer
	var noHistogram *histogram
	timer, sizes := &fake.Timer{}, &histogram{}
	for _, tt := range []struct {
		timer         metrics.Timer
		sizes         metrics.Histogram
		times, values int // how many are observed
	}{
		{timer, sizes, 3, 3}, {timer, nil, 3, 0}, {timer, noHistogram, 3, 0}, {nil, sizes, 0, 3}, {noTimer, sizes, 0, 3},
		{nil, nil, 0, 0}, {noTimer, noHistogram, 0, 0}, {noop.Timer{}, noop.Histogram{}, 0, 0},
	} {
		timer.Observed, sizes.observed = nil, nil
		m := funnel.NewConnectorMetricsFrom(tt.timer, tt.sizes)
		m.Observe(metricsRecords(), started)
		if want := (tt.times + tt.values) > 0; m.Enabled() != want {
			t.Errorf("%T, %T: enabled is %t", tt.timer, tt.sizes, m.Enabled())
		}
		if len(timer.Observed) != tt.times || len(sizes.observed) != tt.values || tt.values > 0 && sizes.observed[2] != 12 {
			t.Errorf("%T, %T: observed %v, %v", tt.timer, tt.sizes, timer.Observed, sizes.observed)
		}

		timer.Observed = nil
		p := funnel.NewProcessorMetricsFrom(tt.timer)
		p.Observe(3, started)
		if len(timer.Observed) != tt.times || p.Enabled() != (tt.times > 0) {
			t.Errorf("%T: enabled is %t, observed %v", tt.timer, p.Enabled(), timer.Observed)
		}
	}
}

// loudData fails the test if it is asked for its size.
type loudData struct {
	opencdc.Data
	t *testing.T
}

func (d loudData) Bytes() []byte {
	d.t.Error("a size was computed for nobody")
	return nil
}

// If nobody reads the sizes of records, they are not computed.
func TestMetrics_NoSizesForNobody(t *testing.T) {
	var set metrics.Set
	set.Register(noop.Registry{})
	records := []opencdc.Record{{Key: loudData{t: t}}}
	funnel.NewMetrics(&set).Connector("pipe", "plugin", connector.TypeSource).Observe(records, time.Now())
}

// adder is a registry whose metrics allocate nothing.
type adder struct {
	noop.Registry
	total *float64
}

func (a adder) NewTimer(metrics.Desc) metrics.LabeledTimer { return adderTimers(a) }

func (a adder) NewHistogram(metrics.Desc) metrics.LabeledHistogram { return adderHistograms(a) }

func (a adder) Update(d time.Duration) { a.Observe(d.Seconds()) }

func (a adder) UpdateSince(start time.Time) { a.Update(time.Since(start)) }

func (a adder) Observe(value float64) { *a.total += value }

type (
	adderTimers     adder
	adderHistograms adder
)

func (a adderTimers) WithValues(...string) metrics.Timer { return adder(a) }

func (a adderHistograms) WithValues(...string) metrics.Histogram { return adder(a) }

// Observing allocates nothing, with a registry and without one.
func TestMetrics_ObservingAllocatesNothing(t *testing.T) {
	for _, isRegistered := range []bool{false, true} {
		var set metrics.Set
		if isRegistered {
			set.Register(adder{total: new(float64)})
		}
		m := funnel.NewMetrics(&set)
		source := m.Connector("pipe", "plugin", connector.TypeSource)
		processor := m.Processor("pipe", "plugin")
		dlq := m.DLQ("pipe", "plugin")
		records := metricsRecords()
		start := time.Now()
		if got := testing.AllocsPerRun(100, func() {
			source.Observe(records, start)
			processor.Observe(len(records), start)
			dlq.Observe(records, start)
		}); got != 0 {
			t.Errorf("registered %v: %v allocations", isRegistered, got)
		}
	}
}

// A value without a JSON form has no size, but the data around it does.
func TestMetrics_DataThatHasNoJSON(t *testing.T) {
	set, r := metrics.NewSet(), newMetricsRegistry()
	set.Register(histogramsOnly{r})
	funnel.NewMetrics(set).DLQ("pipe", "plugin").Observe([]opencdc.Record{
		{Key: opencdc.StructuredData{"a": math.NaN(), "b": make(chan int)}},
	}, time.Now())
	r.mustHave(t, map[string][]float64{
		"conduit_dlq_bytes{pipeline_name=pipe,plugin=plugin}": {float64(len(`{"a":,"b":}`))},
	})
}

// No duration is negative, whatever other clocks say.
func TestMetrics_noNegativeDurations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newMetricsRegistry()
		set := metrics.NewSet()
		set.Register(r)
		timer := set.NewTimer(metrics.Desc{Name: "timer"}).WithValues()
		j := &fake.Journal{}
		recs := fake.Records("1", "2")
		recs[0].Metadata.SetReadAt(time.Now().Add(time.Hour))
		recs[1].Metadata.SetReadAt(time.Now().Add(-time.Hour))
		w := fake.NewTimedWorker(t, fake.Chain(fake.From(fake.NewSource(j, fake.Read{Records: recs})), fake.Out(j)), nil, timer)
		fake.WantNoError(t, w.Do(t.Context()))
		r.mustHave(t, map[string][]float64{"timer{}": {0, 3600}})

		m := funnel.NewMetrics(set)
		m.Processor("p", "x").Observe(2, time.Now().Add(time.Hour))
		r.mustHave(t, map[string][]float64{"conduit_processor_execution_duration_seconds{pipeline_name=p,processor=x}": {0, 0}})
	})
}

func BenchmarkConnectorMetrics(b *testing.B) {
	records := slices.Repeat(metricsRecords(), 100)
	for _, isRegistered := range []bool{false, true} {
		b.Run(fmt.Sprintf("registered=%v", isRegistered), func(b *testing.B) {
			var set metrics.Set
			if isRegistered {
				set.Register(adder{total: new(float64)})
			}
			source := funnel.NewMetrics(&set).Connector("pipe", "plugin", connector.TypeSource)
			start := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				source.Observe(records, start)
			}
		})
	}
}

// processorMetrics keeps the number of records of each observation.
type processorMetrics struct{ observed []int }

func (m *processorMetrics) Observe(n int, start time.Time) {
	if start.IsZero() {
		n = -1
	}
	m.observed = append(m.observed, n)
}

// A record is observed only when the processor answers for it.
func TestMetrics_ofAProcessorTask(t *testing.T) {
	j := &fake.Journal{}
	m := &processorMetrics{}
	p := funnel.NewProcessorTask("p", fake.AtMost(2), log.Nop(), m)
	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3", "")), fake.Node(p), fake.Out(j)))
	if !slices.Equal(m.observed, []int{2, 1}) {
		t.Errorf("observed %v", m.observed)
	}
}

// connectorMetrics adds the positions of what it observes to the journal.
type connectorMetrics struct {
	*fake.Journal
	name string
}

func (m connectorMetrics) Observe(recs []opencdc.Record, start time.Time) {
	if start.IsZero() {
		m.Add("no start")
	}
	m.Add(append([]string{m.name}, fake.Positions(recs)...)...)
}

// The tasks and the queue observe what they read and write.
func TestMetrics_ofConnectorTasks(t *testing.T) {
	j := &fake.Journal{}
	d := fake.NewDestination(j, "d")
	source := fake.SourceOf(j, "1 2", "", "3")
	first := fake.Chain(
		fake.Node(funnel.NewSourceTask("s", source, log.Nop(), connectorMetrics{j, "read"})),
		fake.Through("p", fake.ByPosition(fake.Answers{"1": fake.Filter, "3": fake.Fail})),
		fake.Node(funnel.NewDestinationTask("d", d, log.Nop(), connectorMetrics{j, "written"})),
	)
	dlq := funnel.NewDLQ("q", fake.NewDestination(j, "q"), log.Nop(), connectorMetrics{j, "dead"}, 0, 0)
	fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, dlq)))
	j.Want(t, "no read written dead", "read 1 2", "written 2", "read 3", "dead 3")
}

// Nil metrics and timers, typed or not, do nothing.
func TestMetrics_nil(t *testing.T) {
	j := &fake.Journal{}
	first := fake.Chain(
		fake.Node(funnel.NewSourceTask("s", fake.SourceOf(j, "1 2"), log.Nop(), (*funnel.NoOpConnectorMetrics)(nil))),
		fake.Node(funnel.NewProcessorTask("p", fake.ByPosition(fake.Answers{"1": fake.Fail}), log.Nop(), (*funnel.NoOpProcessorMetrics)(nil))),
		fake.Node(funnel.NewDestinationTask("d", fake.NewDestination(j, "d"), log.Nop(), nil)),
	)
	dlq := funnel.NewDLQ("q", fake.NewDestination(j, "q"), log.Nop(), (*funnel.NoOpConnectorMetrics)(nil), 0, 0)
	w, err := funnel.NewWorker(first, dlq, log.CtxLogger{}, (*noop.Timer)(nil))
	if err != nil {
		t.Fatal(err)
	}
	fake.WantNoError(t, fake.RunWorker(t, w))
	j.Want(t, "ack", "ack 1", "ack 2")
}

// Metrics and timers that are not enabled are not called.
func TestMetrics_disabled(t *testing.T) {
	j := &fake.Journal{}
	m := disabledMetrics{t}
	first := fake.Chain(
		fake.Node(funnel.NewSourceTask("s", fake.SourceOf(j, "1 2"), log.Nop(), m)),
		fake.Node(funnel.NewProcessorTask("p", fake.ByPosition(fake.Answers{"1": fake.Fail}), log.Nop(), disabledProcessorMetrics(m))),
		fake.Node(funnel.NewDestinationTask("d", fake.NewDestination(j, "d"), log.Nop(), m)),
	)
	w := fake.NewTimedWorker(t, first, funnel.NewDLQ("q", fake.NewDestination(j, "q"), log.Nop(), m, 0, 0), m)
	fake.WantNoError(t, fake.RunWorker(t, w))
	j.Want(t, "ack", "ack 1", "ack 2")
}

// disabledMetrics fail the test if they are called.
type disabledMetrics struct{ t *testing.T }

func (m disabledMetrics) Enabled() bool { return false }

func (m disabledMetrics) Observe([]opencdc.Record, time.Time) { m.t.Error("something was observed") }

func (m disabledMetrics) Update(time.Duration) { m.t.Error("something was observed") }

func (m disabledMetrics) UpdateSince(time.Time) { m.t.Error("something was observed") }

type disabledProcessorMetrics struct{ t *testing.T }

func (m disabledProcessorMetrics) Enabled() bool { return false }

func (m disabledProcessorMetrics) Observe(int, time.Time) { m.t.Error("something was observed") }
