// Package funnel is a pipeline engine to embed in programs that must not lose a
// record.
//
// A [Worker] reads batches of records from a [Source] and takes them through a
// tree of tasks: processors, which change, filter, split or fail records, and
// destinations, which write them. A task with several next tasks sends each
// batch down all of these branches at the same time. Records that are done are
// acked in the source, in the order of reading; records that have failed go to a
// dead-letter queue, the [DLQ], first.
//
//	source := funnel.NewSourceTask("source", mySource, logger, nil)
//	clean := funnel.NewProcessorTask("clean", myProcessor, logger, nil)
//	table := funnel.NewDestinationTask("table", myTable, logger, nil)
//	index := funnel.NewDestinationTask("index", myIndex, logger, nil)
//	dlq := funnel.NewDLQ("dlq", myQueue, logger, nil, 100, 10)
//
//	first := &funnel.TaskNode{Task: source}
//	err := first.AppendToEnd(&funnel.TaskNode{
//		Task: clean,
//		Next: []*funnel.TaskNode{{Task: table}, {Task: index}},
//	})
//	// ...
//	worker, err := funnel.NewWorker(first, dlq, logger, nil)
//	// ...
//	if err := worker.Open(ctx); err != nil {
//		return err
//	}
//	err = worker.Do(ctx) // until the source ends, or worker.Stop(ctx)
//	return errors.Join(err, worker.Close(ctx))
//
// # What is guaranteed
//
//   - A record is acked once, in the order of reading, and only after each of its
//     copies was filtered, or written and confirmed by the destination at the end
//     of its branch, or is safe in the dead-letter queue. A copy is the record
//     itself, or a piece that it was split into, on one branch.
//   - If any copy is nacked, the record goes to the dead-letter queue: once, as it
//     was before it was split, with the first error.
//   - The dead-letter queue and each destination get records in the order of the
//     source.
//   - What is done to a record on one branch is not seen on another.
//   - When the worker stops with an error, what was not acked is read again by the
//     next one. The engine does not guess: a destination or processor that does
//     not keep its contract is an error.
//   - Stopping a worker, or ending its context, makes no record fail.
//
// # What ends a worker
//
// [Worker.Do] returns nil if the source has no more records or the worker was
// stopped. Any other end is an error. [errors.Is] tells the ends apart: there is a
// sentinel for each way in which the engine itself ends a worker, such as
// [ErrNoProgress] and [ErrNackThreshold]. [errors.As] finds the [*TaskError] that
// says which task it was, and [IsFatalError] says whether a restart would only fail
// again. If a connector, processor or task panics, so does Do, with the same value
// or with a [*PanicError] that holds it.
//
// # Who owns what
//
// The slice that Source.Read returns belongs to the engine, and so do the
// records. The slice that Source.Ack is given belongs to the source. A processor
// may change the records that it is given in place and return them. What a
// destination is given may be given to others at the same time: it changes
// neither the slice nor what the records hold, and may keep the records but not
// the slice. Nobody writes to the bytes of a position. The interfaces say more.
//
// # Going faster
//
// [WithReadAhead] reads the source while a batch is on its way, for sources that
// take time or return few records at a time. [NewParallelProcessor] runs a
// processor over parts of a batch at the same time, for processors that wait.
//
// # Packages
//
// The packages connector, log and metrics hold the words in the signatures of
// this one, and import nothing of it.
package funnel
