package prometheus

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"

	client "github.com/prometheus/client_golang/prometheus"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/metrics"
)

// Exporter exports the metrics of any number of pipelines to one registerer. It is safe
// for concurrent use. [New] makes one; the zero value is not usable.
type Exporter struct {
	set     *metrics.Set
	metrics *funnel.Metrics
	ages    metrics.LabeledTimer
	events  *events
	watched *watched
}

// Option is an option of [New].
type Option interface {
	apply(o *options) error
}

type option func(o *options) error

func (set option) apply(o *options) error { return set(o) }

type options struct {
	durationBuckets []float64
}

// WithDurationBuckets sets the upper bounds of the buckets, in seconds, for all timers without
// bounds of their own, such as those whose names begin with conduit_. The default bounds are
// the same as in Conduit, from 0.001 to 5. A last bucket without a bound is always added. [New]
// returns an error if there are no bounds, or if they are not finite and ascending.
func WithDurationBuckets(bounds ...float64) Option {
	return option(func(o *options) error {
		if len(bounds) == 0 {
			return errors.New("WithDurationBuckets: there are no bounds")
		}
		if err := checkBuckets(bounds); err != nil {
			return fmt.Errorf("WithDurationBuckets: %w", err)
		}
		o.durationBuckets = slices.Clone(bounds)
		return nil
	})
}

// durationBuckets returns the bounds that Conduit's timers have.
func durationBuckets() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
}

// checkBuckets returns an error unless the bounds are ascending numbers.
func checkBuckets(bounds []float64) error {
	for i, bound := range bounds {
		switch {
		case math.IsNaN(bound) || math.IsInf(bound, 0):
			return fmt.Errorf("bound %d of the buckets is %v", i, bound)
		case i > 0 && bound <= bounds[i-1]:
			return fmt.Errorf("bound %d of the buckets is %v, after %v", i, bound, bounds[i-1])
		}
	}
	return nil
}

// New returns an exporter, and registers it as one collector with all families of the
// package's table.
//
// New returns an error if the registerer or an option is nil, if an option has an invalid
// value, or if the registerer refuses the collector: an exporter is registered there already,
// or another collector has a metric of the same name. The registerer is then unchanged. For a
// prefix, or labels of the whole process, wrap the registerer, see [client.WrapRegistererWith].
func New(registerer client.Registerer, opts ...Option) (*Exporter, error) {
	if isNil(registerer) {
		return nil, errors.New("prometheus: the registerer is nil")
	}
	o := options{durationBuckets: durationBuckets()}
	for i, opt := range opts {
		if isNil(opt) {
			return nil, fmt.Errorf("prometheus: option %d is nil", i)
		}
		if err := opt.apply(&o); err != nil {
			return nil, fmt.Errorf("prometheus: %w", err)
		}
	}
	r := newRegistry(o.durationBuckets)
	e := &Exporter{set: metrics.NewSet(), events: newEvents(r), watched: newWatched()}
	e.set.Register(r)
	e.metrics = funnel.NewMetrics(e.set)
	e.ages = e.set.NewTimer(metrics.Desc{
		Name:   "conduit_pipeline_execution_duration_seconds",
		Help:   "Time from reading to acking a record, in seconds.",
		Labels: []string{"pipeline_name"},
	})
	if err := r.registerAll(registerer, e.watched); err != nil {
		if are, ok := errors.AsType[client.AlreadyRegisteredError](err); ok {
			return nil, fmt.Errorf("prometheus: the registerer already has an exporter of funnel: %w", are)
		}
		return nil, fmt.Errorf("prometheus: cannot register the metrics of funnel: %w", err)
	}
	return e, nil
}

// Set returns the set whose metrics the exporter exports, for other code that reports to a set.
//
// A family that is new to the set is registered when it is made, by [metrics.Set.NewCounter]
// and its like. These panic if the registerer refuses the family, for instance because another
// collector has a metric of the same name; the set then does not get the family.
func (e *Exporter) Set() *metrics.Set { return e.set }

// Instrument makes a pipeline report all that the exporter has of a worker: [Exporter.Metrics],
// [Exporter.Timer] and [Exporter.Observer], under the name of the pipeline. It returns p.
func (e *Exporter) Instrument(p *funnel.Pipeline, name string) *funnel.Pipeline {
	return p.Metrics(e.Metrics(), name).Timer(e.Timer(name)).Options(funnel.WithObserver(e.Observer(name)))
}

// Metrics returns the [funnel.Metrics] whose metrics of connectors, processors and dead-letter
// queues the exporter exports. It is the same as [funnel.NewMetrics] of the exporter's set.
func (e *Exporter) Metrics() *funnel.Metrics { return e.metrics }

// Timer returns the timer for the workers of a pipeline, see [funnel.NewWorker] and
// [funnel.Pipeline.Timer]. It observes the time from reading to acking a record, as
// conduit_pipeline_execution_duration_seconds.
func (e *Exporter) Timer(pipeline string) metrics.Timer {
	return e.ages.WithValues(pipeline)
}

// isNil reports whether v is nil, or holds a nil pointer or function.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch value := reflect.ValueOf(v); value.Kind() {
	case reflect.Pointer, reflect.Func, reflect.Map, reflect.Chan, reflect.Slice, reflect.Interface:
		return value.IsNil()
	default:
		return false
	}
}
