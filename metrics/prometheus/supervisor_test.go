package prometheus_test

import "github.com/conduitio/funnel/metrics"

// The families with which a supervisor of pipelines reports to a set, as the dashboard and
// the alerts use them.
const (
	pipelineState       = "funnel_pipeline_state"
	pipelineTransitions = "funnel_pipeline_transitions_total"
	pipelineRestarts    = "funnel_pipeline_restarts_total"
	lagRecords          = "funnel_lag_records"
	lagSeconds          = "funnel_lag_seconds"
)

// pipelineStates are the values of the label state.
var pipelineStates = []string{"stopped", "starting", "running", "draining", "recovering", "degraded", "stuck", "done"}

// superviseIn reports to the set as a supervisor does for a pipeline in each state.
func superviseIn(set *metrics.Set, pipeline string) {
	ofState := []string{"pipeline_name", "state"}
	state := set.NewGauge(metrics.Desc{Name: pipelineState, Help: "1 for the state that a pipeline is in, otherwise 0.", Labels: ofState})
	transitions := set.NewCounter(metrics.Desc{Name: pipelineTransitions, Help: "Number of times that a pipeline has entered a state.", Labels: ofState})
	for _, s := range pipelineStates {
		state.WithValues(pipeline, s).Set(1)
		transitions.WithValues(pipeline, s).Inc(1)
	}
	set.NewCounter(metrics.Desc{Name: pipelineRestarts, Help: "Number of restarts of a pipeline after a failure.", Labels: []string{"pipeline_name"}}).
		WithValues(pipeline).Inc(1)
	for _, name := range []string{lagRecords, lagSeconds} {
		set.NewGauge(metrics.Desc{Name: name, Help: "How far the sources of a pipeline are behind.", Labels: []string{"pipeline_name"}}).
			WithValues(pipeline).Set(1)
	}
}
