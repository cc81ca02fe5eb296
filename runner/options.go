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

// WithLogger sets the logger, which gets one line for each transition: at level error if the
// pipeline is degraded or stuck, at level warn if there is another error, otherwise at level
// info. By default nothing is logged.
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
//	funnel_lag_records                   records that the sources are behind, in total
//	funnel_lag_seconds                   time that the slowest source is behind
//
// All have the label pipeline_name, the first two also state. A registry that is registered
// later misses what was counted before; it gets states at the next transition.
//
// While a pipeline is running, its sources that are [Lagging] are asked for their lag every
// 10 s. The gauges of lag are NaN while the lag is unknown: if a source returns an error or
// does not answer within 10 s, and while the pipeline is not running. A pipeline without such
// sources has no gauges of lag.
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

// WithListener adds a function that is called for each transition of each pipeline. The
// listeners of a group are called one at a time, in the order of the transitions, so a
// listener needs no lock of its own. The pipeline may have left the state by then. A listener
// may call any method of the group. While a listener waits, transitions queue up in memory;
// it holds up only other listeners. If a listener panics, the panic is logged, and the
// listener is still called for later transitions.
func WithListener(listener func(Transition)) Option {
	return option(func(g *Group) error {
		if listener == nil {
			return errors.New("a listener is nil")
		}
		g.listeners = append(g.listeners, listener)
		return nil
	})
}

// WithStopTimeout sets the two bounds for the end of a run. The time graceful leads to the
// first bound: the workers may finish the batches in flight, and then their context is
// cancelled. The time cancelled leads from there to the second bound: the workers must return
// and be closed, or else the pipeline is stuck. Both times must be positive. The defaults are
// 30 s and 5 s.
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
// host can redact secrets. It does not affect the log, nor the errors that methods return.
// The default is the text of the error. Stacks are always removed, and long texts cut.
//
// The function is called at least once for each transition with a cause, and for each error
// of a source's lag, by several goroutines at the same time. The pipeline waits for it for at
// most a second. If it takes longer or panics, the text only names the type of the error.
// Until it returns, so do all other texts of the pipeline.
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

// WithClassifier sets the function that decides whether the pipeline is restarted after a
// failed run. It is called once for each failed run, with all errors of the run joined. It is
// part of the run: while it hangs, the run is not over. If it panics, the panic is joined to
// the error, which then counts as unclassified.
func WithClassifier(classify func(error) Class) PipelineOption {
	return pipelineOption(func(c *pipelineConfig) error {
		if classify == nil {
			return errors.New("the classifier is nil")
		}
		c.classify = classify
		return nil
	})
}

// WithoutAutoStart keeps [Group.Run] and [Group.Add] from starting the pipeline. [Group.Start]
// starts it.
func WithoutAutoStart() PipelineOption {
	return pipelineOption(func(c *pipelineConfig) error {
		c.isAutoStart = false
		return nil
	})
}
