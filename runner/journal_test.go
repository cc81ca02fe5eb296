package runner_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/rs/zerolog"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
	"github.com/conduitio/funnel/runner"
)

// Each transition, to whatever state, is one line with all that it says, and one count.
func TestJournal_allStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		reg, set := &registry{values: make(map[string]float64)}, metrics.NewSet()
		set.Register(reg)
		w := newWorld(t, runner.WithLogger(log.New(zerolog.New(&out))), runner.WithMetrics(set))
		release := make(chan struct{})
		runs := 0
		w.add("hangs", build(func(s *source, d *destination) {
			if runs++; runs == 1 {
				s.OnOpen = func(context.Context) error { return errTest }
			}
			s.single("1")
			d.OnWrite = func(context.Context, []opencdc.Record) error { <-release; return nil }
		}), runner.WithRestart(runner.Restart{InitialInterval: 1500 * time.Millisecond, Jitter: -1}))
		time.Sleep(2 * time.Second)
		wantError(t, w.Stop(t.Context(), "hangs"), runner.ErrStuck)
		close(release)
		synctest.Wait()
		w.add("ends", build(func(s *source, _ *destination) { s.ending("1") }))
		synctest.Wait()
		w.add("fails", failingRead(funnel.FatalError(errTest)))
		synctest.Wait()
		w.wantPath("hangs", "starting recovering starting running draining stuck stopped")
		w.wantPath("ends", "starting running draining done")
		w.wantPath("fails", "starting running draining degraded")
		want(t, w.end())

		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		all := w.transitions()
		if len(lines) != len(all) {
			t.Fatalf("%d lines for %d transitions: %s", len(lines), len(all), &out)
		}
		counts := make(map[string]float64)
		for i, tr := range all {
			counts[fmt.Sprintf("funnel_pipeline_transitions_total[%s %s]", tr.Pipeline, tr.To)]++
			var got map[string]any
			want(t, json.Unmarshal([]byte(lines[i]), &got))
			if text, wanted := fmt.Sprint(got), fmt.Sprint(lineOf(tr)); text != wanted {
				t.Errorf("line %d is\n%s\nwant\n%s", i, text, wanted)
			}
		}
		for key, n := range counts {
			if got := reg.get(key); got != n {
				t.Errorf("%s: %v, want %v", key, got, n)
			}
		}
	})
}

// The counters of a pipeline are 0 from when it is added, so that the first increment is seen.
func TestMetrics_fromZero(t *testing.T) {
	reg, set := &registry{values: make(map[string]float64)}, metrics.NewSet()
	set.Register(reg)
	g := newGroup(t, runner.WithMetrics(set))
	want(t, g.Add("x", build(nil)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want(t, g.Run(ctx)) // starts nothing, and waits for the metrics
	for _, key := range []string{
		"funnel_pipeline_restarts_total[x]", "funnel_pipeline_transitions_total[x recovering]", "funnel_pipeline_transitions_total[x stuck]",
	} {
		if n, ok := reg.values[key]; n != 0 || !ok {
			t.Errorf("%s is %v, and exists: %t", key, n, ok)
		}
	}
	if n := reg.get("funnel_pipeline_state[x stopped]"); n != 1 {
		t.Errorf("the state stopped is %v", n)
	}
}

// lineOf returns the fields of the line for a transition.
func lineOf(tr runner.Transition) map[string]any {
	level := "info"
	switch {
	case tr.To == runner.Degraded || tr.To == runner.Stuck:
		level = "error"
	case tr.Cause != nil:
		level = "warn"
	}
	line := map[string]any{
		"level": level, "message": "pipeline is " + string(tr.To), "component": "runner",
		"pipeline_name": tr.Pipeline, "from": tr.From, "state": tr.To,
	}
	if tr.Attempt > 0 {
		line["attempt"] = tr.Attempt
	}
	if tr.To == runner.Recovering {
		line["next"], line["pause"] = tr.Next.Format(time.RFC3339), tr.Next.Sub(tr.At).Milliseconds()
	}
	if tr.Cause != nil {
		line["error"] = tr.Cause.Error()
	}
	return line
}
