package funnel

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/conduitio/funnel/internal/batch"
	"github.com/conduitio/funnel/internal/gate"
	"github.com/conduitio/funnel/internal/lock"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
	"github.com/conduitio/funnel/metrics/noop"
)

// Worker collects the tasks that need to be executed in a pipeline for a
// specific source. It processes records from the source through the tasks until
// it is stopped. The worker is responsible for coordinating tasks and
// acking/nacking records.
//
// Batches are processed in the following way:
//   - The first task is always a source task which reads a batch of records from
//     the source. The batch is then passed to the next task.
//   - Any task between the source and the destination can process the batch by
//     updating the records or their status (see [RecordStatus]). If a record in
//     the batch is marked as filtered, the next task will skip processing it and
//     consider it as already processed. If a record is marked as nacked, the
//     record will be sent to the DLQ. If a record is marked as retry, the record
//     will be reprocessed by the same task (relevant if a task processed only
//     part of the batch, experienced an error and skipped the rest).
//   - The last task is always a destination task which writes the batch of
//     records to the destination. The batch is then acked.
//
// Note that if a task marks a record in the middle of a batch as nacked, the
// batch is split into sub-batches. The records that were successfully processed
// continue to the next task (and ideally to the end of the pipeline), because
// the order of the records is kept. Only once the records before the nacked
// record are end-to-end processed, will the nacked record be sent to the DLQ.
// The rest of the records are processed as a sub-batch, and the same rules apply
// to them.
//
// A worker is opened, run once and closed. Stop and Close may be called at any time
// from any goroutine, but not by a connector or processor call that the worker is
// waiting for.
type Worker struct {
	Source    Source
	FirstTask *TaskNode
	DLQ       *DLQ

	ids          map[*TaskNode]string // the task IDs, as NewWorker found them
	logger       log.CtxLogger
	timer        metrics.Timer
	timerEnabled enablement

	// lifecycleLock holds a value while the worker is being opened, stopped or closed.
	// Its holder may close the gate and then wait for Do, so Do must not wait for the
	// lock once the gate is closed.
	lifecycleLock chan struct{}
	// The batch in flight is inside the gate. The holder of the lifecycle lock closes
	// the gate before it tears the source down.
	gate *gate.Gate

	ran     atomic.Bool   // Run was called
	started atomic.Bool   // Do was called
	done    chan struct{} // closed when Do returns

	// What the worker opens and closes. Guarded by the lifecycle lock.
	hasBegun    bool // Do has called run
	phase       phase
	source      resource
	tasksAndDLQ []*resource               // the tasks in order, then the dead-letter queue
	changing    atomic.Pointer[TaskStats] // what is being opened or closed; only with WithStats

	batch       Batch // what is read next or in flight; sourceBatch and pool belong to it
	sourceBatch batch.SourceBatch
	pool        batch.Pool
	emptyReads  emptyReads

	fanOuts map[*TaskNode]*fanOut // one for each node with several next nodes
	sinks   map[*Sink]bool        // the sinks that the pipeline leads into, as NewWorker found them

	options
	prefetcher *prefetcher      // nil unless reading ahead
	checks     *ownershipChecks // or nil
	outcomes   outcomeSource    // nil unless the source wants to know what becomes of its records

	releaseLock    *lock.Mutex     // held while records are released
	outside        atomic.Int32    // calls of Ack and Nack
	isStoring      atomic.Bool     // dead letters are being written
	releasingSince atomic.Int64    // when writing or acking began, like track.since
	ages           []time.Duration // for the timer; guarded by releaseLock

	ctx    context.Context // of Do
	totals totals
	calls  atomic.Int64 // of tasks with the batch in flight; only for observers
	track  track        // of the walk that is on no branch
	tracks []*track     // of all walks
}

// NewWorker returns a worker for the pipeline that starts at first. The task of first
// must have a method GetSource() Source, as a [SourceTask] has.
//
// If dlq is nil, any nack stops the worker with the record's error. The timer, which
// may be nil, observes for each source record the time from read to ack.
//
// NewWorker returns an error, which names the task if there is one, if a node is nil or
// has no task, if the tasks form a cycle, if a task ID occurs more than once, if a task
// other than the first has a source, if a source, processor, destination or option is
// nil or was made with invalid arguments, or if a path through the tasks ends at a
// [SourceTask], a [ProcessorTask] or a rate limit: its records would be acked, but written
// nowhere. The same holds if BestEffort is set where a [TaskNode] does not allow it, or if
// a node leads into a [Sink] in another way than the sink says. NewWorker asks each task
// for its ID once.
func NewWorker(
	first *TaskNode,
	dlq *DLQ,
	logger log.CtxLogger,
	timer metrics.Timer,
	opts ...WorkerOption,
) (*Worker, error) {
	w, err := newWorker(first, dlq, logger, timer, opts)
	if err != nil && first != nil && !isNil(first.Task) {
		if t, ok := first.Task.(sourced); ok {
			neverRuns(t.GetSource(), err)
		}
	}
	return w, err
}

func newWorker(first *TaskNode, dlq *DLQ, logger log.CtxLogger, timer metrics.Timer, opts []WorkerOption) (*Worker, error) {
	if first == nil {
		return nil, errors.New("the first task node is nil")
	}
	ids, sinks, err := first.validate()
	if err != nil {
		return nil, fmt.Errorf("invalid pipeline: %w", err)
	}
	if !first.IsFirst() {
		return nil, fmt.Errorf("the first task %q is no source task: it has no method GetSource", ids[first])
	}
	source := first.Task.(sourced).GetSource()
	if isNil(source) {
		return nil, fmt.Errorf("the source of the first task %q is nil", ids[first])
	}
	if err := validate(source); err != nil {
		return nil, fmt.Errorf("invalid pipeline: %w", taskError(ids[first], err))
	}
	if dlq != nil {
		if err := dlq.validate(); err != nil {
			return nil, err
		}
	}
	if isNil(timer) {
		timer = noop.Timer{}
	}
	w := &Worker{
		Source:        source,
		FirstTask:     first,
		DLQ:           dlq,
		ids:           ids,
		sinks:         sinks,
		logger:        logger.WithComponent("worker"),
		timer:         timer,
		timerEnabled:  enablementOf(timer),
		lifecycleLock: make(chan struct{}, 1),
		gate:          gate.New(),
		done:          make(chan struct{}),
		releaseLock:   lock.New(),
	}
	w.outcomes = outcomeSourceOf(source)
	w.retry, _ = RetryPolicy{}.withDefaults()
	w.listResources()
	w.listFanOuts()
	for i, opt := range opts {
		if isNil(opt) {
			return nil, fmt.Errorf("worker option %d is nil", i)
		}
		if err := opt.apply(&w.options); err != nil {
			return nil, err
		}
	}
	if err := w.options.check(); err != nil {
		return nil, err
	}
	if w.readAhead > 0 {
		w.prefetcher = newPrefetcher(w)
	}
	if w.reportFault != nil {
		w.checks = newOwnershipChecks(w)
	}
	return w, nil
}

// Stopping reports whether the worker may have begun to tear the source down. From then
// on a failed read is not an error, and what is read is dropped unacked. Stopping may
// be called at any time from any goroutine.
func (w *Worker) Stopping() bool {
	return w.gate.IsClosed()
}
