// Package prometheus exports the metrics of funnel to Prometheus.
//
//	e, err := prometheus.New(registry) // a registry or another registerer of client_golang
//	...
//	pipeline := funnel.From("orders", source).
//		Through("enrich", enrich).
//		To("table", table).
//		DeadLetters("refused", refused, 1_000, 50)
//	worker, err := e.Instrument(pipeline, "shop").Worker()
//	...
//	group, err := runner.New(runner.WithMetrics(e.Set())) // states, restarts and lag
//	...
//	err = e.Watch(group.Stats) // gauges of all pipelines of a group, read at each scrape
//	...
//	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
//
// Instrument stands for Metrics, Timer and Observer. These, Set and Watch are independent: use
// the ones you need. A family to
// which nothing reports is not exported. An [Exporter] reports to its registerer only: there is
// no default registry, and exporters with different registerers do not affect each other. Any
// code that reports to a [metrics.Set], such as package runner, can report to [Exporter.Set].
//
// # Metrics
//
// The names that begin with conduit_, and their labels, are the same as in Conduit. The
// families of package runner are not in the table; runner.WithMetrics lists them.
//
//	name                                          kind       labels
//
//	From Metrics, one observation for each record:
//	conduit_connector_bytes                       histogram  pipeline_name, plugin, type
//	conduit_connector_execution_duration_seconds  histogram  pipeline_name, plugin, type
//	conduit_processor_execution_duration_seconds  histogram  pipeline_name, processor
//	conduit_dlq_bytes                             histogram  pipeline_name, plugin
//	conduit_dlq_execution_duration_seconds        histogram  pipeline_name, plugin
//
//	From Timer, one observation for each acked record:
//	conduit_pipeline_execution_duration_seconds   histogram  pipeline_name
//
//	From Observer:
//	funnel_records_total                          counter    pipeline_name, outcome
//	funnel_dead_letters_total                     counter    pipeline_name, result
//	funnel_batch_records                          histogram  pipeline_name
//	funnel_batch_duration_seconds                 histogram  pipeline_name
//	funnel_batch_errors_total                     counter    pipeline_name
//	funnel_task_records_total                     counter    pipeline_name, task, flow
//	funnel_task_errors_total                      counter    pipeline_name, task
//	funnel_task_divisions_total                   counter    pipeline_name, task
//
//	From Watch:
//	funnel_in_flight_records                      gauge      pipeline_name
//	funnel_waiting_records                        gauge      pipeline_name
//	funnel_skipped_branches                       gauge      pipeline_name
//	funnel_last_ack_age_seconds                   gauge      pipeline_name
//	funnel_nack_window_size_records               gauge      pipeline_name
//	funnel_nack_window_threshold_records          gauge      pipeline_name
//	funnel_nack_window_nacks                      gauge      pipeline_name
//	funnel_nack_window_refusing                   gauge      pipeline_name
//
// The label outcome is read, acked or dead_lettered for source records, and filtered, nacked
// or retried for copies: each piece of a split record, on each branch, as in [funnel.Stats].
// Acked records include the dead-lettered ones. The label result is confirmed or failed; the
// sum of both is the number of letters in all writes to the queue. The next worker writes a
// failed letter again. The label flow is in, added, out, filtered, nacked or retried, as in
// [funnel.TaskDone]; the first task is not observed.
//
// Labels hold names of pipelines, connectors and tasks, never positions, errors or data, so
// the number of series is bounded by the names that the host gives. Bytes of a name that are
// not UTF-8 become U+FFFD. Counters and histograms of a pipeline stay until the process ends,
// so a new worker continues them. The gauges from Watch disappear with the pipeline. If a panic
// ends a batch, its duration, its error and its filtered, nacked and retried copies are not
// counted.
//
// # Dashboard and alerts
//
// The directory of the package has two files for operators. dashboard.json is a dashboard for
// Grafana, with variables for the data source and the pipelines. alerts.yaml has alerting rules
// for pipelines that are stuck or degraded, keep failing, ack nothing, lag, or dead-letter.
// States, restarts and lag need package runner, with [Exporter.Set]; the other panels and rules
// do not. alerts_test.yaml tests the rules.
//
// # Cost
//
// An observation allocates nothing. It waits for a scrape only while the scrape copies a
// histogram. The engine hands over up to 256 values at a time. With batches of 1,000 raw
// records, all of the above costs about 30 ns for each record, mostly for finding the sizes and
// times of the records. The rows named prometheus in the benchmarks measure it.
package prometheus
