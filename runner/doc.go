// Package runner supervises pipelines that run for years. A [Group] holds named
// pipelines. For each run of a pipeline it builds the workers anew, opens them, runs
// them, and closes them. It restarts what has failed, stops within a bound, and says at any
// time what each pipeline is doing.
//
//	g, err := runner.New(runner.WithLogger(logger))
//	...
//	err = g.Add("orders", runner.Single(newOrders))
//	...
//	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
//	defer stop()
//	err = g.Run(ctx) // until a signal; then everything is stopped
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
//	Starting    the workers are built and opened
//	Running     the workers run
//	Draining    the workers finish what is in flight, and are closed
//	Recovering  a run has failed; the next one begins after a pause
//	Degraded    a run has failed; there is no next one
//	Stuck       a run cannot be ended
//	Done        the sources have no more records
//
// Starting and Draining lead to Stuck if the bound for ending a run has passed. Stuck
// leads to Stopped or Done if that run ends after all, and to Degraded if it had failed.
// [Group.Start] leads to Starting from each state without a run, and [Group.Stop] from
// Recovering and Degraded to Stopped. Each [Transition] goes to the listeners, is one line
// in the log, and is counted.
//
// # What is restarted
//
// A run has failed if Build, opening, a worker or closing returns an error, panics, or
// ends its goroutine ([funnel.ErrGoexit]), or if a connector sends an error to its channel
// Errors. That error ends the context of Do as its cause; the engine itself does not
// listen to these channels. The runner listens from when the workers are opened until they
// are closed; what a channel says after its first error is received and dropped, as is
// [context.Canceled] from a run that is about to end. If one worker of a run fails, the others are stopped as
// [Group.Stop] does it. All errors of a run are joined.
//
// A failed run is followed by another one after a pause ([Restart]), except:
//   - The error is fatal: [funnel.IsFatalError] says so, or the function of
//     [WithClassifier]. The pipeline is degraded.
//   - The restarts in the window are used up ([ErrAttempts]). The pipeline is degraded.
//   - The host has stopped the pipeline. It is stopped.
//   - The run cannot be ended. The pipeline is stuck, and is never started beside a run
//     that still lives.
//
// What a run could not close, because a teardown has failed, the next one closes again before
// it builds its workers. So a source that could not save its position gives up its claim
// ([github.com/conduitio/funnel/position]) as soon as it can.
//
// If all sources end, the pipeline is done. What a failed run has not acked is read again
// by the next one, if the source can resume; see package position.
//
// # Stopping
//
// The workers finish the batch in flight. After the graceful bound of [WithStopTimeout]
// the context of Do is cancelled. After the second bound the pipeline is stuck, and a
// [StuckError] names the tasks that have the batch or are being opened or closed, if the
// workers were made with [funnel.WithStats]. Building, opening and closing are within the same bounds. The
// context of a teardown does not end with that of Do, but before the second bound.
//
// No pipeline waits for another one. A connector that hangs keeps its goroutine and
// nothing else.
//
// # Pages
//
// [Group.Handler] serves pages over HTTP. They only read.
//
//	livez        200 unless a pipeline is stuck, otherwise 503
//	readyz       200 if the group is ready, otherwise 503
//	status.json  an [Overview] of all pipelines
//	index.html   the same as a table for people, also at the path of the mount
//
// The pages livez and readyz are for orchestrators, and plain text. They ask no connector,
// so they answer at once.
//
// An orchestrator should restart the process if livez fails: a run that cannot be ended
// goes only with the process. It should end the process by a signal that ends the context
// of [Group.Run], so that the other pipelines stop gracefully, and give it more time than
// both bounds of [WithStopTimeout]. What degraded pipelines and those that are recovering
// suffer from, a new process would not cure: they leave livez at 200. If a host would
// rather have a person look at a pipeline that is stuck, it serves a livez of its own.
//
// The group is ready while [Group.Run] runs, no pipeline is stuck, and each pipeline that
// should run is running or done. One that the host has stopped should not run, and leaves
// the group ready. If it is not ready, readyz names at most 20 pipelines and their states.
// It shows errors only if the host redacts them ([WithErrorText]).
//
// The pages status.json and index.html show errors as [Status] does. They ask all sources
// for their lag at the same time, and wait for at most a second, and as long again for the
// texts of errors. In status.json, times are
// strings as in RFC 3339, durations are numbers of nanoseconds, counts are integers, and
// fields without a value are left out where the types say omitempty or omitzero.
//
// The table loads itself again every 5 seconds, without scripts, and needs nothing but
// itself. Control characters are shown as \x1b, others that are not visible as \u202e.
package runner
