package metrics_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/funnel/metrics"
)

// errFault is what a faulty registry panics with.
var errFault = errors.New("fault")

// failAfter makes the registry fail the next time that it is asked for something
// after n times. Then it works again.
func (r *registry) failAfter(n int, fail func()) {
	r.asked = func() {
		if n--; n < 0 {
			r.asked = nil
			fail()
		}
	}
}

// faults are the ways in which a registry does not return.
var faults = map[string]func(){
	"panic":  func() { panic(errFault) },
	"Goexit": runtime.Goexit,
}

// fails reports whether the call does not return, but panics with errFault or ends
// its goroutine.
func fails(t *testing.T, call func()) bool {
	t.Helper()
	hasReturned := false
	var value any
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { value = recover() }()
		call()
		hasReturned = true
	}()
	<-done
	if value != nil && value != errFault {
		t.Errorf("got the panic %v, want that of the registry", value)
	}
	return !hasReturned
}

// If a registry panics while it is registered, at whatever call, the set is as it
// was before. Registered again, the registry gets each observation once.
func TestSet_RegisterFails(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			const calls = 4 + 4*2 // families and metrics
			for n := range calls + 1 {
				s := metrics.NewSet()
				early, faulty := &registry{}, &registry{}
				s.Register(early)
				x, y := instrumentsOf(s, "x"), instrumentsOf(s, "y")
				faulty.failAfter(n, fault)
				hasFailed := fails(t, func() { s.Register(faulty) })
				if want := n < calls; hasFailed != want {
					t.Fatalf("call %d: Register has failed: %v, want %v", n, hasFailed, want)
				}
				faulty.asked = nil
				xyz := func() (want []string) {
					x.observe()
					y.observe()
					instrumentsOf(s, "z").observe()
					return slices.Concat(observed("x"), observed("y"), observed("z"))
				}
				if hasFailed {
					early.mustHave(t, xyz()...)
					faulty.mustHave(t)
					s.Register(faulty)
				}
				want := xyz()
				early.mustHave(t, want...)
				faulty.mustHave(t, want...)
				if t.Failed() {
					t.Fatalf("the registry has failed at call %d", n)
				}
			}
		})
	}
}

// A registry that failed to register enables nothing.
func TestSet_RegisterFailsAlone(t *testing.T) {
	s := metrics.NewSet()
	x := instrumentsOf(s, "x")
	faulty := &registry{}
	faulty.failAfter(4, faults["panic"])
	if !fails(t, func() { s.Register(faulty) }) {
		t.Fatal("Register has not failed")
	}
	for _, m := range x.all() {
		if metrics.Enabled(m) {
			t.Errorf("%T is enabled by a registry that is not registered", m)
		}
	}
}

// kinds make a family of each kind, and observe with one of its metrics.
var kinds = map[string]func(s *metrics.Set, value string) (use func()){
	"counter": func(s *metrics.Set, value string) func() {
		f := s.NewCounter(metrics.Desc{Name: "f", Labels: []string{"l"}})
		return func() { f.WithValues(value).Inc(1) }
	},
	"gauge": func(s *metrics.Set, value string) func() {
		f := s.NewGauge(metrics.Desc{Name: "f", Labels: []string{"l"}})
		return func() { f.WithValues(value).Add(1) }
	},
	"timer": func(s *metrics.Set, value string) func() {
		f := s.NewTimer(metrics.Desc{Name: "f", Labels: []string{"l"}})
		return func() { f.WithValues(value).Update(1) }
	},
	"histogram": func(s *metrics.Set, value string) func() {
		f := s.NewHistogram(metrics.Desc{Name: "f", Labels: []string{"l"}})
		return func() { f.WithValues(value).Observe(1) }
	},
}

// If one of several registries panics when it is asked for a new family or metric,
// the set does not have it. Asked again, each registry gets each observation once.
func TestSet_AskFails(t *testing.T) {
	for kind, familyOf := range kinds {
		for name, fault := range faults {
			for which := range 3 {
				for _, what := range []string{"family", "metric"} {
					t.Run(fmt.Sprintf("%s/%s/registry %d/%s", kind, name, which, what), func(t *testing.T) {
						s := metrics.NewSet()
						registries := []*registry{{}, {}, {}}
						for _, r := range registries {
							s.Register(r)
						}
						faulty := registries[which]
						if what == "metric" {
							familyOf(s, "")
						}
						faulty.failAfter(0, fault)
						if !fails(t, func() { familyOf(s, "x")() }) {
							t.Fatal("the registry has not failed")
						}
						late := &registry{}
						s.Register(late) // asks for what there is
						familyOf(s, "x")()
						familyOf(s, "y")()
						for i, r := range append(registries, late) {
							got := r.taken()
							if len(got) != 2 || !strings.Contains(got[0], "{x}") || !strings.Contains(got[1], "{y}") {
								t.Errorf("registry %d has got %q, want one observation of x and one of y", i, got)
							}
						}
					})
				}
			}
		}
	}
}

// A registry that comes later is not asked for what failed.
func TestSet_AskFailsWithoutTrace(t *testing.T) {
	s := metrics.NewSet()
	faulty := &registry{}
	s.Register(faulty)
	f := s.NewCounter(metrics.Desc{Name: "c", Labels: []string{"l"}})
	faulty.failAfter(0, faults["panic"])
	if !fails(t, func() { f.WithValues("x") }) {
		t.Fatal("WithValues has not failed")
	}
	faulty.failAfter(0, faults["panic"])
	if !fails(t, func() { s.NewGauge(metrics.Desc{Name: "g"}) }) {
		t.Fatal("NewGauge has not failed")
	}
	asked := 0
	late := &registry{asked: func() { asked++ }}
	s.Register(late)
	if asked != 1 {
		t.Errorf("asked for %d things, want the one family that there is", asked)
	}
	s.NewTimer(metrics.Desc{Name: "g"}) // of another kind
}

// A set passes on the panic of its registry to the set that it is registered with.
func TestSet_InSetFails(t *testing.T) {
	const calls = 4 + 4*2
	for n := range calls {
		inner, outer := metrics.NewSet(), metrics.NewSet()
		x, y := instrumentsOf(inner, "x"), instrumentsOf(inner, "y")
		r := &registry{}
		outer.Register(r)
		r.failAfter(n, faults["panic"])
		if !fails(t, func() { inner.Register(outer) }) {
			t.Fatalf("call %d: Register has not failed", n)
		}
		x.observe()
		r.mustHave(t)
		inner.Register(outer)
		x.observe()
		y.observe()
		r.mustHave(t, append(observed("x"), observed("y")...)...)
	}
}
