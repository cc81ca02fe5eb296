package embedding_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/position"
	"github.com/conduitio/funnel/runner"
)

// The tests in this file check what the page says outside of its table.

// With the defaults, a pipeline gives up after about five minutes; a patient one never does,
// and comes back within its longest pause.
func TestBudget(t *testing.T) {
	for _, tt := range []struct {
		name   string
		opts   []runner.PipelineOption
		outage time.Duration
		end    runner.State
	}{
		{"defaults, short", nil, 3 * time.Minute, runner.Running},
		{"defaults, long", nil, 7 * time.Minute, runner.Degraded},
		{"patient", patient(), 24 * time.Hour, runner.Running},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, p := newWorld(t), numbers(10)
				p.set(faults{onWrite: func(context.Context, []opencdc.Record) error { return errAway }})
				w.start(p, tt.opts...)
				time.Sleep(tt.outage)
				p.set(faults{})
				time.Sleep(72 * time.Second) // the longest pause with its jitter
				s := w.status("orders", tt.end)
				if tt.end == runner.Degraded {
					if d := s.Since.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)); d < 4*time.Minute || d > 6*time.Minute+30*time.Second {
						t.Errorf("the pipeline was degraded after %v", d)
					}
				}
				want(t, w.end())
			})
		})
	}
}

// Run returns within the graceful bound and twice the other one, whatever hangs.
func TestStopBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		freed := make(chan struct{})
		w, p := newWorld(t), numbers(10)
		g, err := runner.New(
			runner.WithStopTimeout(20*time.Second, 4*time.Second),
			runner.WithListener(func(tr runner.Transition) {
				if tr.To == runner.Stuck {
					<-freed
				}
			}),
		)
		want(t, err)
		w.group = g
		p.set(faults{onWrite: func(context.Context, []opencdc.Record) error { <-freed; return nil }})
		w.start(p)
		w.after(time.Minute)
		began := time.Now()
		if err := w.end(); !errors.Is(err, runner.ErrStuck) {
			t.Errorf("Run: %v", err)
		}
		if d := time.Since(began); d != 28*time.Second {
			t.Errorf("Run took %v", d)
		}
		close(freed)
	})
}

// A batch that takes less than the graceful bound is finished, and nothing is written twice.
func TestGracefulStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, p := newWorld(t), numbers(3)
		p.set(faults{onWrite: func(context.Context, []opencdc.Record) error { time.Sleep(19 * time.Second); return nil }})
		w.start(p)
		w.after(2 * time.Second)
		want(t, w.end())
		w.wantProbes(200, 503)
		w.wantText("readyz", "the group is closed")
		if got := p.written(); !slices.Equal(got, []string{"1"}) {
			t.Errorf("%v was written", got)
		}
		w.restartProcess(p)
		if got := p.written(); !slices.Equal(got, []string{"1", "2", "3"}) {
			t.Errorf("%v was written", got)
		}
	})
}

// Pipelines that hang, panic and fail hold up no other one.
func TestIsolation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		freed := make(chan struct{})
		w, healthy := newWorld(t), numbers(100)
		want(t, w.add(healthy.flow("healthy")))
		for name, f := range map[string]faults{
			"hangs":  {onWrite: func(context.Context, []opencdc.Record) error { <-freed; return nil }},
			"panics": {onCheck: func(opencdc.Record) error { panic("at once") }},
			"fails":  {onRead: func(context.Context) error { return errAway }},
			"slow":   {onWrite: func(context.Context, []opencdc.Record) error { time.Sleep(15 * time.Second); return nil }},
		} {
			p := numbers(100)
			p.set(f)
			want(t, w.add(p.flow(name)))
		}
		w.run()
		w.after(101 * time.Second)
		healthy.wantAll(t)
		// One that is stuck holds up neither the others nor the end of the group.
		if err := w.group.Stop(t.Context(), "hangs"); !errors.Is(err, runner.ErrStuck) {
			t.Errorf("Stop: %v", err)
		}
		want(t, w.group.Restart(t.Context(), "healthy"))
		w.after(time.Second)
		w.status("healthy", runner.Running)
		w.status("hangs", runner.Stuck)
		want(t, w.group.Stop(t.Context(), "healthy"))
		if err := w.end(); !errors.Is(err, runner.ErrStuck) || strings.Contains(err.Error(), "healthy") {
			t.Errorf("Run: %v", err)
		}
		close(freed)
	})
}

// Workers that share a sink are one pipeline: if one source fails, all restart.
func TestSharedSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, north, south := newWorld(t), numbers(10), numbers(10)
		sources := []funnel.Source{
			position.Track("north", w.positions, north.flow("").from),
			position.Track("south", w.positions, south.flow("").from),
		}
		want(t, w.group.Add("orders", func(context.Context) (runner.Parts, error) {
			table := north.destination(&north.table, func() writer { return nil })
			sink, err := funnel.NewSink(&funnel.TaskNode{Task: funnel.NewDestinationTask("table", table, log.Nop(), nil)})
			if err != nil {
				return runner.Parts{}, err
			}
			parts := runner.Parts{Sinks: []*funnel.Sink{sink}}
			for i, id := range []string{"north", "south"} {
				worker, err := funnel.From(id, sources[i]).Into(sink).Worker()
				if err != nil {
					return runner.Parts{}, err
				}
				parts.Workers = append(parts.Workers, worker)
			}
			return parts, nil
		}))
		south.set(faults{onRead: func(context.Context) error { return errAway }})
		w.run()
		w.after(100 * time.Millisecond)
		w.status("orders", runner.Recovering)
		south.set(faults{})
		w.after(time.Minute)
		w.status("orders", runner.Running)
		want(t, w.end())
		for i := range 10 {
			if n := count(north.written(), string(rune('1'+i))); i < 9 && n != 2 {
				t.Errorf("number %d was written %d times", i+1, n)
			}
		}
	})
}

// A pipeline that gets another name begins anew: its position is stored under its name.
func TestRename(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := position.NewMemory()
		p := numbers(3)
		for _, name := range []string{"orders", "orders", "Orders"} {
			w := newWorldAt(t, store)
			want(t, w.add(p.flow(name)))
			w.run()
			w.after(time.Minute)
			want(t, w.end())
		}
		if got := p.written(); !slices.Equal(got, []string{"1", "2", "3", "1", "2", "3"}) {
			t.Errorf("%v was written", got)
		}
	})
}

// One registry, one logger and one provider of traces tell the pipelines apart by name.
func TestEyes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, name := range []string{"orders", "returns"} {
			p := numbers(3)
			p.set(faults{onCheck: func(opencdc.Record) error { return errors.New("no price") }})
			want(t, w.add(p.flow(name)))
		}
		w.run()
		w.after(time.Minute)
		want(t, w.end())
		spans := make(map[string]int)
		for _, s := range w.spans.GetSpans() {
			spans[s.Name]++
		}
		for _, name := range []string{"orders", "returns"} {
			if !w.hasSeries("funnel_records_total", `pipeline_name="`+name+`"`) ||
				!w.hasSeries("conduit_connector_bytes_count", `pipeline_name="`+name+`"`) ||
				!w.hasSeries("conduit_pipeline_execution_duration_seconds_count", `pipeline_name="`+name+`"`) {
				t.Errorf("series of %s are missing: %s", name, strings.Join(w.series, "\n"))
			}
			if spans["process "+name] != 3 {
				t.Errorf("the spans are %v", spans)
			}
			if !slices.ContainsFunc(strings.Split(w.logs.String(), "\n"), func(line string) bool {
				return strings.Contains(line, "records were written to the dead-letter queue") &&
					strings.Contains(line, `"pipeline_name":"`+name+`"`)
			}) {
				t.Errorf("the log of %s is %s", name, w.logs.String())
			}
		}
	})
}

// A tracked source that could not save gives up its claim once it can, whether each run makes
// one or not.
func TestTrackInEachRun(t *testing.T) {
	for _, inEachRun := range []bool{false, true} {
		t.Run(fmt.Sprint(inEachRun), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &fragileStore{Memory: position.NewMemory()}
				w, p := newWorldAt(t, store), numbers(10)
				source := position.Track("orders", store, p.flow("").from)
				want(t, w.group.Add("orders", runner.Single(func(context.Context) (*funnel.Worker, error) {
					if inEachRun {
						source = position.Track("orders", store, p.flow("").from)
					}
					return funnel.From("orders", source).To("table", p.destination(&p.table, func() writer { return nil })).Worker()
				})))
				w.run()
				w.after(1500 * time.Millisecond)
				store.isBroken.Store(true)
				w.after(3 * time.Second)
				store.isBroken.Store(false)
				w.after(20 * time.Minute)
				w.status("orders", runner.Running)
				want(t, w.end())
			})
		})
	}
}

// fragileStore is a store whose claims may fail to save.
type fragileStore struct {
	*position.Memory
	isBroken atomic.Bool
}

func (s *fragileStore) Claim(ctx context.Context, id string) (position.Claim, error) {
	claim, err := s.Memory.Claim(ctx, id)
	if err != nil {
		return nil, err
	}
	return &fragileClaim{claim, s}, nil
}

type fragileClaim struct {
	position.Claim
	store *fragileStore
}

func (c *fragileClaim) Save(ctx context.Context, p opencdc.Position) error {
	if c.store.isBroken.Load() {
		return syscall.EIO
	}
	return c.Claim.Save(ctx, p)
}

// Without a run, there are no gauges of Watch, but counters stay.
func TestGauges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, p := newWorld(t), numbers(3)
		w.start(p)
		w.after(time.Minute)
		if !w.hasSeries("funnel_nack_window_size_records", "") {
			t.Error("a running pipeline has no gauge")
		}
		want(t, w.group.Stop(t.Context(), "orders"))
		w.series = nil
		w.after(time.Second)
		if w.hasSeries("funnel_nack_window_size_records", "") {
			t.Error("a stopped pipeline has a gauge")
		}
		if !w.hasSeries("funnel_records_total", `outcome="acked"`) {
			t.Error("a stopped pipeline has no counter")
		}
		want(t, w.end())
	})
}
