// Package otel traces workers of funnel with OpenTelemetry: a span for each batch, and a child
// span for each call of a task with it.
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
// Workers that run at the same time each get an observer of their own; a later worker may reuse
// one. Nothing is global: the provider is an argument, and observers do not affect each other.
//
// # Spans
//
// The span of a batch is named "process" and the name of the pipeline, such as "process
// orders". Its kind is consumer. Both follow the semantic conventions for messaging (v1.43.0,
// in development). It begins when the batch was read, and ends when the batch is done. Its
// parent is the span in the context of [funnel.Worker.Do], if there is one. Start a
// long-running worker without one, so that each batch begins a trace.
//
// The span of a call of a task is named "task" and the ID of the task, such as "task table".
// Its kind is internal. It is a child of the span of the batch, even on a branch or in a sink.
// The context of the call holds it, so spans that a connector or processor starts are its
// children. The first task has no span: the batch begins after it.
//
// Acks of the source, writes to the dead-letter queue and divisions of the batch are events
// of the span of the batch. Records that a host settles by [funnel.Worker.Ack] or
// [funnel.Worker.Nack] belong to no batch in flight. Their acks and dead letters are events of
// the span in the context of that call, if there is one.
//
// The span of a failed batch or task has the status error, the attribute error.type, and an
// event named exception with the text of the error, at most 1,024 bytes. The text may name
// positions, as errors of the engine do; spans hold no other data of records. A nacked record
// is not a failure of its task. If a panic or [runtime.Goexit] ends a batch, its spans end with
// an error that says so, without the value of the panic.
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
//	funnel.records.retried        batch*, task*           records that a task gets again
//	funnel.records.acked          batch, acked            source records that were acked
//	funnel.records.dead_lettered  batch*                  source records in the dead-letter queue
//	funnel.links.omitted          batch*                  records whose traces are not linked
//	funnel.batch.parts            divided                 parts of the batch
//	funnel.dead_letters           letters                 dead letters in a write
//	funnel.dead_letters.confirmed letters                 those that the queue has confirmed
//	error.type                    batch*, task*, letters* type of the error
//	exception.message             letters*                text of the error, as in exception
//
// Here divided, acked and letters are the events "batch divided", "records acked" and "dead
// letters written". An attribute with a * is left out if it is 0 or there is no error. The
// numbers are as in [funnel.TaskDone] and [funnel.BatchDone].
//
// # Links
//
// The span of a batch links to the traces of its records: to the spans in their metadata
// traceparent and tracestate (W3C Trace Context). Records with the same traceparent share a
// link. A span has at most 32 links. Further records with a traceparent are only counted, even
// with an invalid one, since it is not parsed. The links are added after the span has started,
// so samplers do not see them.
//
// If a task divides a batch, by nacks in the middle or by records that it wants again, the
// parts continue one after the other. The span of each later call then links to the call that
// last divided its records from others. That call may be of the same task or of an earlier one,
// even before a fan-out. A division by the first task is not linked, since that has no span.
//
// # Passing the trace on
//
// A destination that sends records to another system finds the span in the context of Write,
// and can send it along. A destination that stores metadata, such as the one of connector/file
// with its format Records, stores the trace that the records came with. [NewInjectTask] before
// the destination replaces that trace by the current span. The next pipeline then links to this
// one, whose batch links to the origin of the records:
//
//	inject, err := otel.NewInjectTask("trace")
//	...
//	funnel.From("orders", orders).Step(inject).To("file", file)
//
// # Cost
//
// A batch that is not sampled costs the start of its span, which depends on the provider. Each
// of its tasks and events then costs a lookup in its context, and allocates nothing. The
// metadata of its records is not read.
package otel
