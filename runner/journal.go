package runner

import (
	"context"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/metrics"
)

// PipelineNameField is the field of log lines that holds the name of the pipeline.
const PipelineNameField = "pipeline_name"

// families are the metrics of a group.
type families struct {
	state       metrics.LabeledGauge
	transitions metrics.LabeledCounter
	restarts    metrics.LabeledCounter
	lagRecords  metrics.LabeledGauge
	lagSeconds  metrics.LabeledGauge
}

func newFamilies(set *metrics.Set) *families {
	return &families{
		state: set.NewGauge(metrics.Desc{
			Name:   "funnel_pipeline_state",
			Help:   "1 for the state that the pipeline is in, 0 for the others.",
			Labels: []string{"pipeline_name", "state"},
		}),
		transitions: set.NewCounter(metrics.Desc{
			Name:   "funnel_pipeline_transitions_total",
			Help:   "Number of transitions of the pipeline into the state.",
			Labels: []string{"pipeline_name", "state"},
		}),
		restarts: set.NewCounter(metrics.Desc{
			Name:   "funnel_pipeline_restarts_total",
			Help:   "Number of times that the pipeline was restarted after a failure.",
			Labels: []string{"pipeline_name"},
		}),
		lagRecords: set.NewGauge(metrics.Desc{
			Name:   "funnel_lag_records",
			Help:   "Number of records that the sources of the pipeline are behind, NaN while unknown.",
			Labels: []string{"pipeline_name"},
		}),
		lagSeconds: set.NewGauge(metrics.Desc{
			Name:   "funnel_lag_seconds",
			Help:   "Time by which the sources of the pipeline are behind, in seconds, NaN while unknown.",
			Labels: []string{"pipeline_name"},
		}),
	}
}

// set sets the gauges of a pipeline. An empty state sets all to 0. It makes the counters, at
// 0: of a counter that began at 1, no increase would be seen.
func (f *families) set(pipeline string, state State) {
	f.restarts.WithValues(pipeline).Inc(0)
	for _, s := range states {
		f.transitions.WithValues(pipeline, string(s)).Inc(0)
		value := 0.0
		if s == state {
			value = 1
		}
		f.state.WithValues(pipeline, string(s)).Set(value)
	}
}

func (f *families) count(t *Transition) {
	f.set(t.Pipeline, t.To)
	f.transitions.WithValues(t.Pipeline, string(t.To)).Inc(1)
	if t.isRestart {
		f.restarts.WithValues(t.Pipeline).Inc(1)
	}
}

// publish writes a line to the log, counts the transition, and calls the listeners. It waits
// for none of them, so it may be called under a lock.
func (g *Group) publish(t *Transition) {
	g.journal.add(func() { g.write(t) })
	if g.metrics != nil {
		g.meter.add(func() {
			g.guard("failed to report metrics", t.Pipeline, func() { g.metrics.count(t) })
		})
	}
	if len(g.listeners) == 0 {
		return
	}
	g.calls.add(func() {
		for _, listener := range g.listeners {
			g.guard("a listener has failed", t.Pipeline, func() { listener(*t) })
		}
	})
}

// report sets the gauges of a pipeline that was added or removed.
func (g *Group) report(pipeline string, state State) {
	if g.metrics != nil {
		g.meter.add(func() {
			g.guard("failed to report metrics", pipeline, func() { g.metrics.set(pipeline, state) })
		})
	}
}

// guard calls a function of the host, and logs it if that panics.
func (g *Group) guard(what, pipeline string, f func()) {
	err := call(func() error { f(); return nil })
	if err == nil {
		return
	}
	g.journal.add(func() { // so that a log that hangs holds up no listener
		g.log(func() {
			e := g.logger.Error(context.Background()).Str(PipelineNameField, pipeline).Str(zerolog.ErrorFieldName, errorText(err))
			for _, p := range panicsIn(err) {
				e = e.Str("stack", string(p.Stack))
			}
			e.Msg(what)
		})
	})
}

// log calls a function that writes to the log. A panic of the logger must not end the process;
// there is no place to report it.
func (g *Group) log(f func()) {
	_ = call(func() error { f(); return nil })
}

// write writes the log line of a transition.
func (g *Group) write(t *Transition) {
	g.log(func() {
		e := g.logger.WithLevel(g.context(), t.level())
		if e == nil {
			return
		}
		e = e.Str(PipelineNameField, t.Pipeline).Str("from", string(t.From)).Str("state", string(t.To))
		if t.Attempt > 0 {
			e = e.Int("attempt", t.Attempt)
		}
		if t.To == Recovering {
			e = e.Time("next", t.Next).Dur("pause", t.Next.Sub(t.At).Round(time.Millisecond))
		}
		if t.Cause != nil {
			e = e.Str(zerolog.ErrorFieldName, errorText(t.Cause))
			if stacks := g.newStacks(t); stacks != "" {
				e = e.Str("stack", stacks)
			}
		}
		if t.isOver() {
			delete(g.logged, t.Pipeline)
		}
		e.Msg("pipeline is " + string(t.To))
	})
}

// isOver returns true if the transition is the end of a run.
func (t *Transition) isOver() bool {
	switch t.To {
	case Stopped, Recovering, Degraded, Done:
		return true
	default:
		return false
	}
}

func (t *Transition) level() zerolog.Level {
	switch {
	case t.To == Degraded || t.To == Stuck:
		return zerolog.ErrorLevel
	case t.Cause != nil:
		return zerolog.WarnLevel
	default:
		return zerolog.InfoLevel
	}
}

// newStacks returns the stacks of those panics in the cause that the same run has not logged
// yet. Only the journal calls it.
func (g *Group) newStacks(t *Transition) string {
	var stacks []string
	for _, p := range panicsIn(t.Cause) {
		if logged := g.logged[t.Pipeline]; !logged[p] {
			if logged == nil {
				logged = make(map[*funnel.PanicError]bool)
				g.logged[t.Pipeline] = logged
			}
			logged[p] = true
			stacks = append(stacks, string(p.Stack))
		}
	}
	return strings.Join(stacks, "\n")
}
