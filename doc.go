// Package funnel is an embeddable pipeline engine for programs that must not lose a
// record.
//
// A [Worker] reads batches of records from a [Source] and passes them through a tree of
// tasks: processors, which change, filter, split or nack (refuse) records, and
// destinations, which write them. A task with several next tasks sends each batch down
// all of these branches at the same time. The worker acks finished records to the source
// in the order in which they were read; before that, nacked records go to a dead-letter
// queue, the [DLQ].
//
//	err := funnel.From("orders", orders).
//		Through("valid", funnel.Filter(isValid)).
//		Fork(
//			funnel.To("table", table),
//			funnel.Through("items", funnel.Split(items)).To("index", index),
//		).
//		DeadLetters("refused", refused, 100, 10).
//		Run(ctx) // until the source ends
//
// A [Pipeline] describes what a host can also make by hand: a [TaskNode] for each task,
// and [NewWorker]. Sources, processors and destinations can be functions ([SourceFunc],
// [ProcessorFunc], [Filter], [Map], [Split], [DestinationFunc]), Go channels
// ([NewChannelSource], [NewChannelDestination]), or types that implement [Source],
// [Processor] and [Destination]. Package funneltest tests them.
//
// # Guarantees
//
//   - Each record is acked once, in read order, and only when every copy of it is
//     filtered, acked by the destination at the end of its branch, or safe in the
//     dead-letter queue. A copy is the record, or one of the pieces it was split into,
//     on one branch.
//   - If any copy is nacked, the record goes to the dead-letter queue: once, as it was
//     before it was split, with the first error.
//   - Each destination and the dead-letter queue receive records in source order.
//   - Changes to a record on one branch are not visible on another.
//   - If a worker stops with an error, the next worker reads the unacked records again.
//     The engine never guesses: a destination or processor that breaks its contract is
//     an error.
//   - Stopping a worker, or ending its context, never nacks a record.
//
// # What ends a worker
//
// [Worker.Do] returns nil when the source has no more records or the worker is stopped,
// and an error otherwise. There is a sentinel error for each reason for which the
// engine itself ends a worker, such as [ErrNoProgress] and [ErrNackThreshold];
// [errors.Is] tells them apart. [errors.As] finds the [*TaskError] that names the task,
// and [IsFatalError] reports whether a restart would only fail again. If a connector,
// processor or task panics, Do panics with the same value or with a [*PanicError] that
// holds it.
//
// # Ownership
//
// The engine owns the slice that Source.Read returns, and the records in it. The source
// owns the slice passed to Source.Ack. A processor may change its input records in
// place and return them. A destination may share its input with other destinations at
// the same time: it must not modify the slice or the data in the records; it may keep
// the records, but not the slice. Nobody may write to the bytes of a position. The
// interfaces give the details.
//
// # Going faster
//
// [WithReadAhead] reads the source while a batch is in flight, for sources that are
// slow or return few records at a time. [NewParallelProcessor] runs a processor on
// parts of a batch at the same time, for processors that wait. [WithWholeBatches] keeps
// batches whole when records are nacked. [NewPartitionedDestination] writes to several
// destinations at the same time, in order for each key.
//
// # Embedding
//
// A host gives workers what it already has: destinations with acks of its own type
// ([FromDestination]), metrics ([NewMetrics], [NewConnectorMetricsFrom]), its mark for
// fatal errors ([WithFatalMark]). Several workers can share destinations ([NewSink]).
// [Worker.Stats] and [WithObserver] tell a host what a worker does. [WithRetryPolicy],
// [NewRetryDestination] and best-effort branches ([TaskNode]) decide what ends it.
// [WithOwnershipChecks] is for the tests of connectors.
//
// # Packages
//
// The packages connector, log and metrics hold the types in this package's signatures.
// They do not import it.
package funnel
