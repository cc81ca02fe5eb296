package runner_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/rs/zerolog"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
	"github.com/conduitio/funnel/metrics/noop"
	"github.com/conduitio/funnel/position"
	"github.com/conduitio/funnel/runner"
)

// registry keeps the values of gauges and counters.
type registry struct {
	mu     sync.Mutex
	values map[string]float64
}

func (r *registry) NewCounter(d metrics.Desc) metrics.LabeledCounter { return counters{r, d.Name} }
func (r *registry) NewGauge(d metrics.Desc) metrics.LabeledGauge     { return gauges{r, d.Name} }
func (r *registry) NewTimer(metrics.Desc) metrics.LabeledTimer {
	return noop.LabeledTimer{}
}

func (r *registry) NewHistogram(metrics.Desc) metrics.LabeledHistogram {
	return noop.LabeledHistogram{}
}

type (
	counters struct {
		r    *registry
		name string
	}
	gauges counters
	value  struct {
		r   *registry
		key string
	}
)

func (c counters) WithValues(v ...string) metrics.Counter { return value{c.r, fmt.Sprint(c.name, v)} }
func (g gauges) WithValues(v ...string) metrics.Gauge     { return value{g.r, fmt.Sprint(g.name, v)} }

func (v value) Inc(d float64) { v.Add(d) }
func (v value) Add(d float64) {
	v.r.mu.Lock()
	defer v.r.mu.Unlock()
	v.r.values[v.key] += d
}

func (v value) Set(x float64) {
	v.r.mu.Lock()
	defer v.r.mu.Unlock()
	v.r.values[v.key] = x
}

func (r *registry) get(key string) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.values[key]
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := &registry{values: make(map[string]float64)}
		set := metrics.NewSet()
		set.Register(reg)
		w := newWorld(t, runner.WithMetrics(set))
		n := 0
		w.add("x", build(func(s *source, _ *destination) {
			if n++; n < 3 {
				s.OnOpen = func(context.Context) error { return errTest }
			}
		}), runner.WithRestart(runner.Restart{Jitter: -1}))
		w.add("y", build(func(s *source, _ *destination) {
			s.OnOpen = func(context.Context) error { return errTest }
		}))
		synctest.Wait()
		want(t, w.Start("y")) // before the pause is over
		synctest.Wait()
		want(t, w.Remove(t.Context(), "y"))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		check := func(key string, want float64) {
			t.Helper()
			if got := reg.get(key); got != want {
				t.Errorf("%s: %v, want %v", key, got, want)
			}
		}
		check("funnel_pipeline_state[x running]", 1)
		check("funnel_pipeline_state[x starting]", 0)
		check("funnel_pipeline_transitions_total[x recovering]", 2)
		check("funnel_pipeline_transitions_total[x starting]", 3)
		check("funnel_pipeline_restarts_total[x]", 2)
		check("funnel_pipeline_transitions_total[y starting]", 2)
		check("funnel_pipeline_restarts_total[y]", 0)
		if s := w.status("x"); s.Restarts != 2 || s.LastError == "" || s.LastErrorAt.IsZero() || s.Cause != "" {
			t.Errorf("got %+v", s)
		}
		want(t, w.Restart(t.Context(), "x"))
		synctest.Wait()
		check("funnel_pipeline_restarts_total[x]", 2)
		want(t, w.Remove(t.Context(), "x"))
		synctest.Wait()
		for key := range reg.values {
			if strings.HasPrefix(key, "funnel_pipeline_state") {
				check(key, 0)
			}
		}
		want(t, w.end())
	})
	set := metrics.NewSet()
	set.NewCounter(metrics.Desc{Name: "funnel_pipeline_state"})
	if _, err := runner.New(runner.WithMetrics(set)); err == nil {
		t.Error("New took metrics of another kind")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A log that hangs does not hold up the metrics.
func TestMetrics_log(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := &registry{values: make(map[string]float64)}
		set := metrics.NewSet()
		set.Register(reg)
		unread := make(chan struct{})
		hanging := writerFunc(func(p []byte) (int, error) { <-unread; return len(p), nil })
		w := newWorld(t, runner.WithMetrics(set), runner.WithLogger(log.New(zerolog.New(hanging))))
		w.add("x", build(nil))
		synctest.Wait()
		if n := reg.get("funnel_pipeline_state[x running]"); n != 1 {
			t.Errorf("the state running is %v", n)
		}
		close(unread)
		want(t, w.end())
		if n := reg.get("funnel_pipeline_state[x stopped]"); n != 1 {
			t.Errorf("the state stopped is %v", n)
		}
	})
}

func TestStatus_rate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := 0
		w.add("x", build(func(s *source, _ *destination) {
			s.OnRead = func(ctx context.Context) ([]opencdc.Record, error) {
				if n >= 200 {
					return s.wait(ctx)
				}
				time.Sleep(100 * time.Millisecond)
				n++
				return records(fmt.Sprint(n)), nil
			}
		}))
		check := func(after time.Duration, low, high float64) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if s := w.status("x"); s.Rate < low || s.Rate > high {
				t.Errorf("%d records, %v per second", s.Records.Acked, s.Rate)
			}
		}
		check(0, 0, 0)
		check(5050*time.Millisecond, 9, 11)
		check(13*time.Second, 9, 11)
		check(7*time.Second, 3, 9)
		check(5*time.Second, 0, 0)
		acked := w.status("x").Records.Acked
		want(t, w.Restart(t.Context(), "x"))
		synctest.Wait()
		if s := w.status("x"); s.Records.Acked != acked || s.Records.Acked != 200 || s.Records.Batches != 200 || s.LastAck.IsZero() || s.Rate != 0 {
			t.Errorf("after a restart: %+v", s)
		}
		want(t, w.end())
	})
}

func TestStatus_tasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("x", build(func(s *source, d *destination) {
			s.single("1")
			d.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { <-ctx.Done(); return ctx.Err() }
		}))
		time.Sleep(time.Second)
		s := w.status("x")
		if len(s.Tasks) != 1 || s.Tasks[0].ID != "out" || time.Since(s.Tasks[0].Since) != time.Second || s.Records.InFlight != 1 {
			t.Errorf("got %+v", s)
		}
		want(t, w.end())
	})
}

// lagging is a source with a lag.
type lagging struct {
	*source
	lag func(context.Context) (int64, time.Duration, error)
}

func (l *lagging) Lag(ctx context.Context) (int64, time.Duration, error) { return l.lag(ctx) }

// wrapped wraps a source in all decorators of the root and of package position.
func wrapped(s funnel.Source) funnel.Source {
	open := func(opencdc.Position) (funnel.Source, error) { return s, nil }
	tracked := position.Track("in", position.NewMemory(), open)
	return funnel.NewBatchingSource(funnel.NewReplaySource(tracked), funnel.BatchPolicy{Records: 1})
}

func TestLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		calls := 0
		w.add("x", func(context.Context) (runner.Parts, error) {
			var parts runner.Parts
			for i, s := range []funnel.Source{
				newSource(),
				wrapped(&lagging{newSource(), func(context.Context) (int64, time.Duration, error) { return 3, time.Minute, nil }}),
				&lagging{newSource(), func(context.Context) (int64, time.Duration, error) { panic("no lag") }},
				&lagging{newSource(), func(context.Context) (int64, time.Duration, error) { calls++; <-release; return 4, 0, nil }},
			} {
				wk, err := newWorker(s, newDestination())
				if err != nil {
					return parts, fmt.Errorf("%d: %w", i, err)
				}
				parts.Workers = append(parts.Workers, wk)
			}
			return parts, nil
		})
		synctest.Wait()
		begun := time.Now()
		lags, err := w.Lag(t.Context(), "x")
		want(t, err)
		if len(lags) != 3 || time.Since(begun) != 5*time.Second {
			t.Fatalf("after %v: %+v", time.Since(begun), lags)
		}
		if l := lags[0]; l != (runner.Lag{Worker: 1, Source: "in", Records: 3, Behind: time.Minute}) {
			t.Errorf("got %+v", l)
		}
		if lags[1].Error == "" || lags[2].Error == "" {
			t.Errorf("got %+v", lags)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = w.Lag(ctx, "x")
		want(t, err)
		close(release)
		synctest.Wait()
		if calls != 1 {
			t.Errorf("a source that hangs was asked %d times", calls)
		}
		if lags, _ = w.Lag(t.Context(), "x"); lags[2].Records != 4 || lags[2].Error != "" {
			t.Errorf("got %+v", lags)
		}
		_, err = w.Lag(t.Context(), "y")
		wantError(t, err, runner.ErrUnknown)
		want(t, w.Stop(t.Context(), "x"))
		if lags, err = w.Lag(t.Context(), "x"); len(lags) != 0 || err != nil {
			t.Errorf("got %v, %v", lags, err)
		}
		want(t, w.end())
	})
}
