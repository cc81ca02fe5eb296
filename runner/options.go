package runner

import (
	"errors"
	"fmt"
	"time"

	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
)

// Option is an option of [New].
type Option interface{ apply(*Group) error }

type option func(*Group) error

func (o option) apply(g *Group) error { return o(g) }

// WithLogger sets the logger, which gets one line for each transition. The default logs
// nothing.
func WithLogger(logger log.CtxLogger) Option {
	return option(func(g *Group) error {
		g.logger = logger.WithComponent("runner")
		return nil
	})
}

// WithMetrics reports to the registries of set, including those registered later:
//
//	funnel_pipeline_state                1 for the state that the pipeline is in, 0 for the others
//	funnel_pipeline_transitions_total    transitions into the state
//	funnel_pipeline_restarts_total       restarts after a failure
//	funnel_lag_records                   how many records the sources are behind in all
//	funnel_lag_seconds                   how long the slowest of them is behind
//
// All are labelled by pipeline_name, the first two also by state. What is counted before
// a registry is registered is lost to it; states are reported at the next transition.
//
// While a pipeline is running, its sources that are [Lagging] are asked for their lag every
// 10 s. The gauges are NaN while the lag is unknown: if a source has returned an error or not
// answered within 10 s, and once the pipeline does not run. A pipeline without such sources
// has no gauges of lag.
func WithMetrics(set *metrics.Set) Option {
	return option(func(g *Group) (err error) {
		if set == nil {
			return errors.New("the set of metrics is nil")
		}
		defer func() {
			if value := recover(); value != nil {
				err = fmt.Errorf("cannot make the metrics: %w", recovered(value))
			}
		}()
		g.metrics = newFamilies(set)
		return nil
	})
}

// WithListener adds a function that is told of each transition of each pipeline. The
// listeners of a group are called one at a time, in the order of the transitions, so a
// listener needs no lock of its own; the transition may be over by then. A listener may
// call any method of the group. While one waits, transitions pile up in memory, and
// nothing else is held up. If a listener panics, that is logged, and it is called again.
func WithListener(listener func(Transition)) Option {
	return option(func(g *Group) error {
		if listener == nil {
			return errors.New("a listener is nil")
		}
		g.listeners = append(g.listeners, listener)
		return nil
	})
}

// WithStopTimeout sets how long a run may take to end: graceful is for finishing what is
// in flight; then the context of the workers is cancelled, and they have the time
// cancelled to return and to be closed. After that the pipeline is stuck. Both must be
// positive. The defaults are 30 s and 5 s.
func WithStopTimeout(graceful, cancelled time.Duration) Option {
	return option(func(g *Group) error {
		if graceful <= 0 || cancelled <= 0 {
			return fmt.Errorf("the bounds for stopping are %v and %v, but must be positive", graceful, cancelled)
		}
		g.bounds = bounds{graceful, cancelled}
		return nil
	})
}

// WithErrorText sets the function that makes the texts of errors in a [Status], so that a
// host can leave out what is secret. The texts in the log and the errors that methods
// return are not affected. The default is the text of the error. Stacks are always removed,
// and long texts cut.
//
// The function is called once or more for each transition with a cause, and for each error
// of a source's lag, by several goroutines at the same time. The pipeline waits for it, but
// for a second at most. If it takes longer or panics, the text only names the type of the
// error, as do all others of the pipeline until it returns.
func WithErrorText(text func(pipeline string, err error) string) Option {
	return option(func(g *Group) error {
		if text == nil {
			return errors.New("the function for texts of errors is nil")
		}
		g.errorText = text
		return nil
	})
}

// PipelineOption is an option of [Group.Add].
type PipelineOption interface{ apply(*pipelineConfig) error }

type pipelineConfig struct {
	restart     Restart
	classify    func(error) Class
	isAutoStart bool
}

type pipelineOption func(*pipelineConfig) error

func (o pipelineOption) apply(c *pipelineConfig) error { return o(c) }

// WithRestart sets when the pipeline is restarted after a failure. Without it, the
// defaults of [Restart] hold.
func WithRestart(r Restart) PipelineOption {
	return pipelineOption(func(c *pipelineConfig) (err error) {
		c.restart, err = r.withDefaults()
		return err
	})
}

// WithClassifier sets the function that decides whether a failed run is followed by
// another one. It is called once for each failed run, with all its errors joined, on the
// goroutine of the run: while it hangs, the run is not over. If it panics, the panic is
// joined to the error, which then counts as unclassified.
func WithClassifier(classify func(error) Class) PipelineOption {
	return pipelineOption(func(c *pipelineConfig) error {
		if classify == nil {
			return errors.New("the classifier is nil")
		}
		c.classify = classify
		return nil
	})
}

// WithoutAutoStart only adds the pipeline: [Group.Start] starts it.
func WithoutAutoStart() PipelineOption {
	return pipelineOption(func(c *pipelineConfig) error {
		c.isAutoStart = false
		return nil
	})
}
