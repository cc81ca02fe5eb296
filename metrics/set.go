package metrics

import (
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Default is the set of the constructors that do not take one. It has no registry until
// the host registers one, so its metrics measure nothing at first. Nothing else in the
// module is shared by the whole program.
var Default = NewSet()

// Set makes metrics that report to any number of registries, including those registered
// later. It is itself a [Registry], so a set can be registered with another set.
//
// A metric of a set passes each observation on to every registry registered by then;
// earlier observations are lost. While there is no registry, its method Enabled returns
// false and observations do nothing. An observation takes no lock and allocates
// nothing. WithValues takes a lock, so keep what it returns.
//
// The zero value is an empty set. A Set is safe for concurrent use, and must not be
// copied.
type Set struct {
	mu         sync.Mutex
	registries []Registry
	families   []binder
}

// binder is a family of any kind.
type binder interface {
	name() string
	// String returns the kind and the labels.
	String() string
	// ask asks r for its counterparts of the family and of each metric in it. Nothing
	// reports to r until bind is called. bind cannot fail. Both are called under the
	// lock of the set.
	ask(r Registry) (bind func())
}

// NewSet returns a set without a registry.
func NewSet() *Set {
	return &Set{}
}

// Register makes all metrics of the set, existing and future, report to r as well. The
// set asks r once for each of its families, and passes it copies of the descriptions.
// Registering the same registry again changes nothing.
//
// Register panics if r is nil or the set itself. If r panics, Register panics with the
// same value, and nothing of the set reports to r. If r is then registered again, it is
// asked for everything once more.
//
// The set holds its lock while it asks a registry, so r must not call the set. For the
// same reason sets must not be registered with each other in a cycle.
func (s *Set) Register(r Registry) {
	if r == nil {
		panic("metrics: Register of a nil registry")
	}
	if r == Registry(s) {
		panic("metrics: Register of a set with itself")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if reflect.ValueOf(r).Comparable() && slices.Contains(s.registries, r) {
		return
	}
	binds := make([]func(), 0, len(s.families))
	for _, f := range s.families {
		binds = append(binds, f.ask(r))
	}
	for _, bind := range binds {
		bind()
	}
	s.registries = append(s.registries, r)
}

// NewCounter returns the family of counters that d describes.
//
// For a name that exists it returns the existing family, whose help does not change. It
// panics if that family is not one of counters or has other labels. If a registry
// panics when it is asked for its own family, NewCounter panics, too, and the set does
// not get the family. The same holds for the other kinds.
func (s *Set) NewCounter(d Desc) LabeledCounter {
	return familyOf(s, d, Registry.NewCounter, func(i *instrument[Counter]) Counter { return counter{i} })
}

// NewGauge returns the family of gauges that d describes, see [Set.NewCounter].
func (s *Set) NewGauge(d Desc) LabeledGauge {
	return familyOf(s, d, Registry.NewGauge, func(i *instrument[Gauge]) Gauge { return gauge{i} })
}

// NewTimer returns the family of timers that d describes, see [Set.NewCounter].
// UpdateSince reads the clock once for all registries, and only if one listens. A
// negative duration, as after a clock was set back, counts as 0: it adds one
// observation and nothing to the sum.
func (s *Set) NewTimer(d Desc) LabeledTimer {
	return familyOf(s, d, Registry.NewTimer, func(i *instrument[Timer]) Timer { return timer{i} })
}

// NewHistogram returns the family of histograms that d describes, see [Set.NewCounter].
// The buckets of an existing family do not change.
func (s *Set) NewHistogram(d Desc) LabeledHistogram {
	return familyOf(s, d, Registry.NewHistogram, func(i *instrument[Histogram]) Histogram { return histogram{i} })
}

// labeled is what LabeledCounter and its like have in common.
type labeled[M any] interface {
	WithValues(values ...string) M
}

// family is a family of metrics of type M: Counter, Gauge, Timer or Histogram.
type family[M any] struct {
	desc   Desc
	makeIn func(r Registry, d Desc) labeled[M]
	wrap   func(*instrument[M]) M

	mu          *sync.Mutex // the lock of the set
	bound       []labeled[M]
	instruments map[string]*instrument[M]
}

// familyOf returns the family that d describes, a new one if s has none of that name. A
// registry makes its own family with makeIn.
func familyOf[M any, L labeled[M]](
	s *Set, d Desc, makeIn func(Registry, Desc) L, wrap func(*instrument[M]) M,
) *family[M] {
	f := &family[M]{
		desc:        d.clone(),
		makeIn:      func(r Registry, d Desc) labeled[M] { return makeIn(r, d) },
		wrap:        wrap,
		mu:          &s.mu,
		instruments: make(map[string]*instrument[M]),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, existing := range s.families {
		if existing.name() != d.Name {
			continue
		}
		same, ok := existing.(*family[M])
		if !ok || !slices.Equal(same.desc.Labels, d.Labels) {
			panic(fmt.Sprintf("metrics: %s is a %v, asked for as a %v", d.Name, existing, f))
		}
		return same
	}
	for _, r := range s.registries {
		bind := f.ask(r)
		bind() // the set does not have the family yet
	}
	s.families = append(s.families, f)
	return f
}

func (f *family[M]) name() string {
	return f.desc.Name
}

func (f *family[M]) String() string {
	return fmt.Sprintf("%s with labels %q", reflect.TypeFor[M]().Name(), f.desc.Labels)
}

func (f *family[M]) ask(r Registry) (bind func()) {
	family := f.makeIn(r, f.desc.clone())
	targets := make(map[*instrument[M]]M, len(f.instruments))
	for _, i := range f.instruments {
		targets[i] = i.ask(family)
	}
	return func() {
		f.bound = append(f.bound, family)
		for i, target := range targets {
			i.add(target)
		}
	}
}

// WithValues returns the metric for these label values. It panics unless there are as
// many values as labels. If a registry panics when it is asked for its own metric,
// WithValues panics, too, and the family does not get the metric.
func (f *family[M]) WithValues(values ...string) M {
	if len(values) != len(f.desc.Labels) {
		panic(fmt.Sprintf("metrics: %s has the labels %q, got the values %q", f.desc.Name, f.desc.Labels, values))
	}
	key := fmt.Sprintf("%q", values)

	f.mu.Lock()
	defer f.mu.Unlock()
	i, ok := f.instruments[key]
	if !ok {
		i = &instrument[M]{values: slices.Clone(values)}
		for _, family := range f.bound {
			i.add(i.ask(family))
		}
		f.instruments[key] = i
	}
	return f.wrap(i)
}

// clone returns a copy of d that shares no slice with it.
func (d Desc) clone() Desc {
	d.Labels = slices.Clone(d.Labels)
	d.Buckets = slices.Clone(d.Buckets)
	return d
}

// instrument is what metrics of all kinds consist of: their counterparts in the
// registries.
type instrument[M any] struct {
	values []string
	// targets is replaced as a whole, so it can be read without a lock.
	targets atomic.Pointer[[]M]
}

// ask returns the counterpart of the instrument in a registry's family.
func (i *instrument[M]) ask(family labeled[M]) M {
	return family.WithValues(slices.Clone(i.values)...)
}

// add makes the instrument report to a counterpart as well. The caller holds the lock
// of the set.
func (i *instrument[M]) add(target M) {
	targets := append(slices.Clone(i.all()), target)
	i.targets.Store(&targets)
}

func (i *instrument[M]) all() []M {
	if targets := i.targets.Load(); targets != nil {
		return *targets
	}
	return nil
}

// target returns the only counterpart, if there is exactly one.
func (i *instrument[M]) target() (target M, ok bool) {
	if targets := i.all(); len(targets) == 1 {
		return targets[0], true
	}
	return target, false
}

// Enabled reports whether anyone reads the observations, see [Enabled].
func (i *instrument[M]) Enabled() bool {
	for _, target := range i.all() {
		if Enabled(target) {
			return true
		}
	}
	return false
}

type counter struct{ *instrument[Counter] }

func (c counter) Inc(delta float64) {
	for _, target := range c.all() {
		target.Inc(delta)
	}
}

type gauge struct{ *instrument[Gauge] }

func (g gauge) Set(value float64) {
	for _, target := range g.all() {
		target.Set(value)
	}
}

func (g gauge) Add(delta float64) {
	for _, target := range g.all() {
		target.Add(delta)
	}
}

type timer struct{ *instrument[Timer] }

func (t timer) Update(d time.Duration) {
	d = max(d, 0)
	for _, target := range t.all() {
		target.Update(d)
	}
}

func (t timer) UpdateSince(start time.Time) {
	if t.Enabled() {
		t.Update(time.Since(start))
	}
}

type histogram struct{ *instrument[Histogram] }

func (h histogram) Observe(value float64) {
	for _, target := range h.all() {
		target.Observe(value)
	}
}
