// Package otel traces workers of funnel with OpenTelemetry: a span for each batch, and one
// for each task in it.
//
//	observer, err := otel.NewObserver(provider, "orders")
//	if err != nil {
//		return err
//	}
//	err = funnel.From("orders", orders).
//		Through("valid", funnel.Filter(isValid)).
//		To("table", table).
//		Options(funnel.WithObserver(observer)).
//		Run(ctx)
//
// Each worker gets an observer of its own. Nothing is global: the provider is an argument,
// and observers do not affect each other.
//
// # Spans
//
// The span of a batch is named "process" and the pipeline, and has the kind consumer, as in
// the semantic conventions for messaging (v1.43.0, in development). It begins when the batch
// was read, and ends when the batch is done. Its parent is the span in the context of
// [funnel.Worker.Do], if there is one. Start a long-running worker without one, so that each
// batch begins a trace.
//
// The span of a call of a task is named "task" and the ID of the task, and has the kind
// internal. It is a child of the span of the batch, also on a branch and in a sink. The
// context of the call holds it, so the spans of a connector or processor are its children. The
// first task has no span: the batch begins after it.
//
// Acks of the source, writes to the dead-letter queue and divisions of the batch are events
// of the span of the batch. What a host settles by [funnel.Worker.Ack] or
// [funnel.Worker.Nack] belongs to no batch in flight: it is an event of the span in the
// context of that call, if there is one.
//
// The span of a batch or task that fails has the status error, the attribute error.type, and
// an event exception with the text of the error: 1,024 bytes at most. The text may name
// positions, as errors of the engine do; nothing else of a record is in a span. A nacked
// record is not a failure of its task. If a panic or [runtime.Goexit] ends a batch, its spans
// end with an error that says so; the value of the panic is not in them.
//
// # Attributes
//
//	key                           where                   what
//	messaging.system              batch                   funnel
//	messaging.operation.name      batch                   process
//	messaging.operation.type      batch                   process
//	messaging.batch.message_count batch                   source records that were read
//	funnel.pipeline               batch, task             name of the pipeline
//	funnel.task.id                task, divided           ID of the task
//	funnel.records.in             task                    active records before the call
//	funnel.records.out            task                    active records that go on
//	funnel.records.added          task*                   pieces beyond the first of each split
//	funnel.records.filtered       batch*, task*           filtered records
//	funnel.records.nacked         batch*, task*           nacked records
//	funnel.records.retried        batch*, task*           records that the task gets again
//	funnel.records.acked          batch, acked            source records that were acked
//	funnel.records.dead_lettered  batch*                  source records in the dead-letter queue
//	funnel.links.omitted          batch*                  records whose traces are not linked
//	funnel.batch.parts            divided                 parts of the batch
//	funnel.dead_letters           letters                 dead letters in a write
//	funnel.dead_letters.confirmed letters                 of them, those the queue has confirmed
//	error.type                    batch*, task*, letters* type of the error
//	exception.message             letters*                text of the error, as in exception
//
// Divided, acked and letters are the events "batch divided", "records acked" and "dead
// letters written". An attribute with a * is there only if it is not 0, or there is an error.
// The numbers are those of [funnel.TaskDone] and [funnel.BatchDone].
//
// # Links
//
// The span of a batch links to the traces of its records: to the spans that their metadata
// names as traceparent and tracestate (W3C Trace Context). Records of the same span share a
// link. There are at most 32 links. Further records with a traceparent are counted, even if it
// is invalid, since it is not read. The links are added after the span has started, so samplers
// do not see them.
//
// Where a task divides a batch, by nacks in the middle or by records that it wants again, the
// parts continue one after the other. The span of a task then links to the span of the call
// by which its records were last divided from others, of this task or of one before it in
// the pipeline, also before a fan-out. A division by the first task is not linked, since that
// has no span.
//
// # Passing the trace on
//
// A destination that sends records to another system finds the span in the context of Write,
// and can send it along. A destination that stores metadata, such as that of connector/file
// with its format Records, stores the trace that the records came with. [NewInjectTask] before
// the destination replaces that trace by the current span. So the next pipeline links to this
// one, whose batch links to where the records came from:
//
//	inject, err := otel.NewInjectTask("trace")
//	...
//	funnel.From("orders", orders).Step(inject).To("file", file)
//
// # Cost
//
// A batch that is sampled out costs the start of its span, which depends on the provider. Each
// of its tasks and events then costs a look into its context, and allocates nothing. The
// metadata of its records is not read.
package otel
