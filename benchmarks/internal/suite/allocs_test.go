package suite_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/metrics"

	"github.com/conduitio/funnel/benchmarks/internal/fake"
	"github.com/conduitio/funnel/benchmarks/internal/measure"
	"github.com/conduitio/funnel/benchmarks/internal/pipeline"
	"github.com/conduitio/funnel/benchmarks/internal/suite"
)

// Times are too noisy for a test. Allocations are not.

// Cases stay within their allocation targets.
func TestCases_allocations(t *testing.T) {
	for _, c := range suite.Cases() {
		if c.Target.Allocs == 0 && c.Target.MoreAllocs == 0 {
			continue
		}
		t.Run(c.Title, func(t *testing.T) {
			base, subject := allocations(t, &c, c.Base), allocations(t, &c, c.Subject)
			records := float64(c.Spec.Records())
			if limit := c.Target.Allocs; limit > 0 && subject/records >= limit {
				t.Errorf("%v allocations for a batch of %v records, want fewer than %v per record", subject, records, limit)
			}
			if limit := c.Target.MoreAllocs; limit > 0 && subject-base > limit {
				t.Errorf("%v allocations per batch, want at most %v more than the %v of the loop", subject, limit, base)
			}
		})
	}
}

// What is allocated for a batch does not grow with the records in it: neither on
// branches nor with metrics.
func TestAllocations_perRecord(t *testing.T) {
	for _, tc := range []struct {
		series string
		spec   pipeline.Spec
	}{
		{suite.Engine, pipeline.Spec{Destinations: 1}},
		{suite.Engine, pipeline.Spec{Destinations: 2}},
		{suite.Engine, pipeline.Spec{Destinations: 4}},
		{suite.Metrics, pipeline.Spec{Destinations: 1}},
		{suite.Metrics, pipeline.Spec{Destinations: 1, Payload: fake.Structured}},
	} {
		perBatch := func(size int) float64 {
			spec := tc.spec
			spec.Sizes = []int{size}
			return allocations(t, &suite.Case{Spec: spec}, tc.series)
		}
		if small, large := perBatch(100), perBatch(1_000); large-small >= 1 {
			t.Errorf("%s, %+v: %v allocations for a batch of 100, %v for one of 1,000", tc.series, tc.spec, small, large)
		}
	}
}

// allocations returns how much is allocated for a batch once it has run for a
// while: the least of several rounds, as the rest of the program allocates, too.
func allocations(t *testing.T, c *suite.Case, series string) float64 {
	t.Helper()
	s, err := c.Start(t.Context(), series)
	if err != nil {
		t.Fatal(err)
	}
	const rounds, batches = 5, 20
	var allocs []float64
	for range rounds {
		a, err := s.Allocs(batches)
		if err != nil {
			t.Fatal(err)
		}
		allocs = append(allocs, a)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	return slices.Min(allocs)
}

// A countingDestination records the maximum number of goroutines of its pipeline
// during a write. It works only in a synctest bubble.
type countingDestination struct {
	funnel.Destination
	goroutines int
}

func (d *countingDestination) Write(ctx context.Context, records []opencdc.Record) error {
	synctest.Wait() // the others have ended or are blocked
	d.goroutines = max(d.goroutines, ownGoroutines())
	return d.Destination.Write(ctx, records)
}

// pipelineLabel labels the goroutines of the pipeline under test. A goroutine inherits
// the labels of the one that starts it.
const pipelineLabel = "pipeline of TestMetrics_noGoroutine"

// ownGoroutines returns the number of goroutines with [pipelineLabel]. Goroutines that
// other tests have left behind do not count.
func ownGoroutines() int {
	var profile bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&profile, 1) // writes to a buffer do not fail
	var total, n int
	for line := range strings.Lines(profile.String()) {
		if _, err := fmt.Sscanf(line, "%d @", &n); err == nil {
			continue // n goroutines with one stack; their labels are on the next line
		}
		if strings.HasPrefix(line, "# labels:") && strings.Contains(line, pipelineLabel) {
			total += n
		}
	}
	return total
}

// Metrics start no goroutine, and the registry sees every observation.
func TestMetrics_noGoroutine(t *testing.T) {
	const size = 100
	registry := &fake.Registry{}
	set := metrics.NewSet()
	set.Register(registry)
	var goroutines [2]int
	for i, e := range []pipeline.Engine{{}, {Metrics: set}} {
		synctest.Test(t, func(t *testing.T) {
			gate := fake.NewGate()
			p := pipeline.Spec{Sizes: []int{size}, Destinations: 1}.Build(gate)
			d := &countingDestination{Destination: p.Destinations[0]}
			p.Destinations[0] = d
			run := func(ctx context.Context) (err error) {
				pprof.Do(ctx, pprof.Labels("test", pipelineLabel), func(ctx context.Context) {
					err = e.Run(ctx, p)
				})
				return err
			}
			s, err := measure.Start(t.Context(), "", gate, run)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Run(9); err != nil {
				t.Fatal(err)
			}
			if err := s.Stop(); err != nil {
				t.Fatal(err)
			}
			goroutines[i] = d.goroutines
		})
	}
	if goroutines[0] == 0 || goroutines[1] != goroutines[0] {
		t.Errorf("%d goroutines with metrics, %d without", goroutines[1], goroutines[0])
	}
	// The size and the time of each record at both ends, and its time on the way.
	if got, want := registry.Observations(), 10*size*5; got != want {
		t.Errorf("the registry has seen %d observations, want %d", got, want)
	}
}
