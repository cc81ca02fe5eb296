// Package runner supervises pipelines that run for years. A [Group] holds named
// pipelines. For each run of a pipeline it builds new workers, opens them, runs them, and
// closes them. It restarts failed runs, stops within a bound, and says at any time what each
// pipeline is doing.
//
//	// newOrders is called for each run.
//	newOrders := func(ctx context.Context) (*funnel.Worker, error) {
//		return funnel.From("orders", newSource()).To("table", newTable()).
//			Options(funnel.WithStats()). // says which task hangs
//			Worker()
//	}
//	g, err := runner.New(runner.WithLogger(logger))
//	...
//	err = g.Add("orders", runner.Single(newOrders))
//	...
//	http.Handle("/pipelines/", http.StripPrefix("/pipelines/", g.Handler()))
//	...
//	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
//	defer stop()
//	err = g.Run(ctx) // until a signal; then it stops all pipelines
//
// The directory examples/service of the repository is a whole service.
//
// # States
//
//	                  opened              stop, failure, end of the source
//	        Starting ────────▶ Running ────────▶ Draining ──┬─▶ Stopped
//	         ▲    │                                 ▲       ├─▶ Done
//	   pause │    │ a stop, while it starts         │       ├─▶ Recovering
//	    over │    ├─────────────────────────────────┘       └─▶ Degraded
//	         │    │ a failure, while it starts
//	     Recovering, Degraded
//
//	Stopped     not started yet, or stopped by the host
//	Starting    the workers are being built and opened
//	Running     the workers run
//	Draining    the workers finish the batches in flight, and are closed
//	Recovering  a run has failed; the next one begins after a pause
//	Degraded    a run has failed; the pipeline is not restarted
//	Stuck       a run does not end within the bounds
//	Done        the sources have no more records
//
// Starting and Draining lead to Stuck if the run does not end within the bounds
// ([WithStopTimeout]). If a stuck run ends after all, Stuck leads to Stopped if the host has
// stopped the pipeline, to Degraded if the run has failed, and to Done if its sources have
// ended. [Group.Start] leads to Starting from every state without a run. [Group.Stop] leads
// from Recovering and Degraded to Stopped. For each [Transition] the listeners are called, a
// line is logged, and a counter is incremented.
//
// # What is restarted
//
// A run has failed if Build, opening, a worker or closing returns an error, panics, or
// ends its goroutine ([funnel.ErrGoexit]). It has also failed if a connector sends an error
// to its channel Errors; that error ends the context of Do, as its cause. The engine itself
// does not receive from these channels. The runner does, from when the workers are opened
// until they are closed. It drops what a channel sends after its first error, and
// [context.Canceled] from a run that is ending. If one worker of a run fails, the runner
// stops the others as [Group.Stop] does. All errors of a run are joined.
//
// After a failed run and a pause ([Restart]) the next run begins, except:
//   - The error is fatal, according to [funnel.IsFatalError] or the function of
//     [WithClassifier]. The pipeline is degraded.
//   - The restarts in the window are used up ([ErrAttempts]). The pipeline is degraded.
//   - The host has stopped the pipeline. It is stopped.
//   - The run does not end. The pipeline is stuck: the runner never starts a run while
//     another run of the pipeline lives.
//
// If a teardown fails, the next run closes those workers and sinks again before it builds its
// own. So a source that could not save its position gives up its claim
// ([github.com/conduitio/funnel/position]) as soon as it can.
//
// If all sources end, the pipeline is done. The next run reads again what a failed run has
// not acked, if the source can resume; see package position.
//
// # Stopping
//
// The end of a run has two bounds, whatever its reason ([WithStopTimeout]). Up to the first,
// the graceful bound, the workers may finish the batches in flight. Then the context of Do is
// cancelled. At the second bound
// the pipeline is stuck: a [StuckError] names the tasks that have the batch or are being
// opened or closed, if the workers were made with [funnel.WithStats]. Building, opening and
// closing count towards the same bounds. The context of a teardown outlives that of Do, and
// ends before the second bound.
//
// No pipeline waits for another. A connector that hangs holds up only its own pipeline.
//
// # Pages
//
// [Group.Handler] serves pages over HTTP. They are read-only.
//
//	livez        200 unless a pipeline is stuck, otherwise 503
//	readyz       200 if the group is ready, otherwise 503
//	status.json  an [Overview] of all pipelines
//	index.html   the same as a table for people, also at the path of the mount
//
// Orchestrators probe livez and readyz, which are plain text. These call no connector, so
// they answer at once.
//
// Use livez as the liveness probe: only the end of the process ends a stuck run. Degraded and
// recovering pipelines leave livez at 200, since a new process would not cure them. A host
// that does not want to be restarted for a stuck pipeline serves a livez of its own.
//
// Use readyz as the readiness probe. The group is ready while [Group.Run] runs, no pipeline
// is stuck, and each pipeline that should run is running or done. A pipeline that the host
// has stopped should not run, and leaves the group ready. If the group is not ready, readyz
// names at most 20 pipelines and their states. It shows errors only if the host redacts them
// ([WithErrorText]).
//
// An orchestrator should end the process with a signal that ends the context of [Group.Run],
// so that the pipelines stop gracefully. Its grace period (terminationGracePeriodSeconds in
// Kubernetes) must be longer than Run may take: the two times of [WithStopTimeout], and the
// second of them once more if the metrics, a listener or the log hang.
//
// The pages status.json and index.html show errors as [Status] does. They ask all sources
// for their lag at the same time. They wait at most a second for the lag, and another one for
// the texts of errors. In status.json, times are strings as in RFC 3339, durations are
// integers of nanoseconds, counts are integers, and fields without a value are left out where
// the types say omitempty or omitzero.
//
// The table reloads every 5 seconds. It needs no scripts and no other files. It shows control
// characters as \x1b, and others that are not visible as \u202e.
//
// # Observing
//
// Besides the pages there are [WithLogger] for a log line for each transition, [WithListener]
// for a call, [WithMetrics] for counters and gauges of states, restarts and lag, and
// [Group.Status] and [Group.Lag] for values. Module metrics/prometheus exports the metrics,
// and the counts of [Group.Stats], to Prometheus.
package runner
