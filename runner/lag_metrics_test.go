package runner_test

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/metrics"
	"github.com/conduitio/funnel/runner"
)

// The gauges of lag follow the sources while the pipeline is running, and are NaN while the
// lag is unknown. No source is asked while the set has no registry.
func TestMetrics_lag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := &registry{values: make(map[string]float64)}
		set := metrics.NewSet()
		w := newWorld(t, runner.WithMetrics(set))
		asked, hang := 0, make(chan struct{})
		answers := []func() (int64, time.Duration, error){
			func() (int64, time.Duration, error) { return 3, 5 * time.Second, nil },
			func() (int64, time.Duration, error) { return -1, 7 * time.Second, nil },
			func() (int64, time.Duration, error) { return 0, 0, errTest },
			func() (int64, time.Duration, error) { panic("no lag") },
			func() (int64, time.Duration, error) { return 4, 6 * time.Second, nil },
			func() (int64, time.Duration, error) { <-hang; return 8, 9 * time.Second, nil },
			func() (int64, time.Duration, error) { return 0, -time.Second, nil },
		}
		w.add("x", func(context.Context) (parts runner.Parts, err error) {
			one := &lagging{newSource(), func(context.Context) (int64, time.Duration, error) {
				asked++
				return answers[asked-1]()
			}}
			two := &lagging{newSource(), func(context.Context) (int64, time.Duration, error) { return 2, time.Second, nil }}
			for _, s := range []funnel.Source{one, two} {
				wk, err := newWorker(s, newDestination())
				if err != nil {
					return parts, err
				}
				parts.Workers = append(parts.Workers, wk)
			}
			return parts, nil
		})
		w.add("y", build(func(*source, *destination) {}))
		check := func(records, behind float64) {
			t.Helper()
			synctest.Wait()
			for key, want := range map[string]float64{"funnel_lag_records[x]": records, "funnel_lag_seconds[x]": behind} {
				if got := reg.get(key); got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
					t.Errorf("%s is %v, want %v", key, got, want)
				}
			}
		}
		time.Sleep(time.Minute)
		if asked > 0 {
			t.Error("the source was asked, though nobody listens")
		}
		set.Register(reg)
		nan := math.NaN()
		time.Sleep(2100 * time.Millisecond)
		check(5, 5)
		for _, want := range [][2]float64{{nan, 7}, {nan, nan}, {nan, nan}, {6, 6}} {
			time.Sleep(11 * time.Second)
			check(want[0], want[1])
		}
		time.Sleep(11 * time.Second) // the next answer is due, and does not come
		check(6, 6)
		time.Sleep(11 * time.Second)
		check(nan, nan)
		if asked != 6 {
			t.Errorf("the source was asked %d times", asked)
		}
		close(hang)
		time.Sleep(time.Second)
		check(10, 9)
		time.Sleep(2 * time.Second)
		check(2, 1)
		want(t, w.Stop(t.Context(), "x"))
		check(nan, nan)
		if _, ok := reg.values["funnel_lag_records[y]"]; ok {
			t.Error("a pipeline whose source knows no lag has a gauge")
		}
		want(t, w.end())
	})
}
