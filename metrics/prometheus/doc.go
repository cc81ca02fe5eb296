// Package prometheus exports the metrics of funnel to Prometheus.
//
//	e, err := prometheus.New(registerer)
//	...
//	worker, err := funnel.From("orders", source).
//		Through("enrich", enrich).
//		To("table", table).
//		DeadLetters("refused", refused, 1_000, 50).
//		Metrics(e.Metrics(), "shop").
//		Timer(e.Timer("shop")).
//		Options(funnel.WithObserver(e.Observer("shop"))).
//		Worker()
//	...
//	err = e.Watch(group.Stats) // gauges of all pipelines of a group, read at each scrape
//
// Each of these lines is useful alone; a family to which nothing reports is not exported. An
// [Exporter] reports to its registerer only: there is no default registry, and exporters with
// different registerers do not affect each other. Code that reports to a [metrics.Set], such
// as a supervisor of pipelines, can report to [Exporter.Set].
//
// # Metrics
//
// The names that begin with conduit_, and their labels, are those of Conduit.
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
// The label outcome is read, acked or dead_lettered, which count source records, or
// filtered, nacked or retried, which count copies: each piece of a split record, on each
// branch, as in [funnel.Stats]. Acked records include the dead-lettered ones. The label
// result is confirmed or failed; their sum is the number of letters in all writes to the
// queue, and the next worker writes a failed letter again. The label flow is in, added, out,
// filtered, nacked or retried, as in [funnel.TaskDone]; the first task is not observed.
//
// Labels hold names of pipelines, connectors and tasks, never positions, errors or data, so
// there are as many series as the host has names. Bytes of a name that are not UTF-8 become
// U+FFFD. Counters and histograms of a pipeline stay until the process ends, so a new worker
// continues them; gauges disappear with the pipeline. If a batch ends by a panic, its duration
// and its copies are not counted.
//
// # Dashboard and alerts
//
// The directory of the package has two files for operators: dashboard.json is a dashboard for
// Grafana, with variables for the data source and the pipelines; alerts.yaml has rules for
// pipelines that are stuck, degraded, lagging, dead-lettering, or recovering for a long time.
// The states and the lag are those that package runner reports to [Exporter.Set]; the other
// rules need no supervisor. alerts_test.yaml tests the rules.
//
// # Cost
//
// An observation allocates nothing, and waits for a scrape at most as long as that copies a
// histogram. The engine hands over up to 256 values at a time. With batches of 1,000 raw records, all
// of the above costs about 30 ns for each record, most of it to look at the sizes and the times
// of the records. The rows named prometheus in the benchmarks measure it.
package prometheus
