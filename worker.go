package funnel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/conduitio/funnel/internal/gate"
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
// A worker is opened, runs once, and is closed. Stop and Close may be called
// from any goroutine at any time, but not by a connector or processor that the
// worker is waiting for.
type Worker struct {
	Source    Source
	FirstTask *TaskNode
	DLQ       *DLQ

	logger   log.CtxLogger
	timer    metrics.Timer
	isTiming listener

	// turn is held while the worker is opened, stopped or closed. Holding it means
	// to have put a value in.
	turn chan struct{}
	// Batches go through the gate. It is closed, by who holds the turn, before the
	// source is torn down.
	gate *gate.Gate

	started atomic.Bool   // Do was called
	running atomic.Bool   // Do has not returned yet
	done    chan struct{} // closed when Do returns

	// What has to be closed, in the order of opening, and whether the source has
	// to be torn down. Who holds the turn may use them.
	opened     []openTask
	sourceOpen bool
	openFailed bool
	closed     bool

	batch  Batch // the one on its way
	origin origin
	shelf  shelf

	fanOuts map[*TaskNode]*fanOut // behind each node with several next nodes

	readAhead int     // how many records, 0 if not
	reader    *reader // nil unless it is reading ahead

	releasing sync.Mutex // held while records leave their ledger
}

// openTask is something that has to be closed: a task or the dead-letter queue.
type openTask struct {
	task interface {
		ID() string
		Close(context.Context) error
	}
	reads bool // it is the first task, and may be at work until Do returns
}

// WorkerOption changes how a worker works, see [WithReadAhead]. Options are made
// by this package only.
type WorkerOption interface {
	apply(w *Worker) error
}

// NewWorker returns a worker for the pipeline that starts at first, which must
// be a node with a task that has a method GetSource() Source, such as a
// [SourceTask].
//
// Without a DLQ, any nack stops the worker with the record's error. The timer is
// updated for each source record at the end of its way, with the time since it
// was read; a nil timer is not.
//
// It returns an error that names the task if a node is nil or has no task, if
// the tasks form a cycle, if a task ID occurs more than once, or if a source,
// processor or destination is missing.
func NewWorker(
	first *TaskNode,
	dlq *DLQ,
	logger log.CtxLogger,
	timer metrics.Timer,
	opts ...WorkerOption,
) (*Worker, error) {
	if first == nil {
		return nil, errors.New("the first task node is nil")
	}
	if err := first.validate(); err != nil {
		return nil, fmt.Errorf("invalid pipeline: %w", err)
	}
	if !first.IsFirst() {
		return nil, fmt.Errorf("the first task %q is no source task: it has no method GetSource", first.id())
	}
	source := first.Task.(sourced).GetSource()
	if isNil(source) {
		return nil, fmt.Errorf("the source of the first task %q is nil", first.id())
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
		Source:    source,
		FirstTask: first,
		DLQ:       dlq,
		logger:    logger.WithComponent("worker"),
		timer:     timer,
		isTiming:  listenerOf(timer),
		turn:      make(chan struct{}, 1),
		gate:      gate.New(),
		done:      make(chan struct{}),
	}
	for i, opt := range opts {
		if isNil(opt) {
			return nil, fmt.Errorf("worker option %d is nil", i)
		}
		if err := opt.apply(w); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// Open opens the tasks in order, then the DLQ. If one of them fails, all that
// were opened are closed again, and the error is returned with theirs.
func (w *Worker) Open(ctx context.Context) (err error) {
	if err := w.takeTurn(ctx); err != nil {
		return err
	}
	defer w.endTurn()
	if w.closed || w.started.Load() || len(w.opened) > 0 {
		return errors.New("the worker was opened already, or has run, or is closed")
	}
	w.openFailed = true // also if it panics
	defer func() {
		if err != nil {
			err = errors.Join(err, w.closeTasks(ctx), w.tearDown(ctx))
		}
	}()
	for task := range w.FirstTask.Tasks() {
		if err := task.Open(ctx); err != nil {
			return fmt.Errorf("failed to open task %q: %w", task.ID(), err)
		}
		_, isSource := task.(*SourceTask) // which has nothing to close
		w.opened = append(w.opened, openTask{task: task, reads: len(w.opened) == 0 && !isSource})
		w.sourceOpen = true // the first task is the source's
	}
	if w.DLQ != nil {
		if err := w.DLQ.Open(ctx); err != nil {
			return fmt.Errorf("failed to open the dead-letter queue %q: %w", w.DLQ.ID(), err)
		}
		w.opened = append(w.opened, openTask{task: w.DLQ})
	}
	w.openFailed = false
	return nil
}

// Stop waits for the batch that is on its way to be processed end to end, then
// tears the source down, which makes Do return. If the context ends while it
// waits, it returns the context's error, and the worker runs on as if Stop had
// not been called.
//
// Stop can be called repeatedly and before Do, which then returns at once. The
// source is torn down once it was opened, and again by the next Stop or Close if
// that failed. Once tearing it down has begun the worker ends, also if that
// fails or takes longer than the context: what is still being read is dropped
// unacked, and a failed read is no error.
//
// With a context that has ended already Stop does nothing while Do runs. So a
// program that stops on a signal gives it another one than that of
// [os/signal.NotifyContext], see [context.WithoutCancel].
func (w *Worker) Stop(ctx context.Context) error {
	if w.running.Load() && ctx.Err() != nil {
		return ctx.Err()
	}
	if err := w.takeTurn(ctx); err != nil {
		return err
	}
	defer w.endTurn()
	if err := w.gate.Close(ctx); err != nil {
		return err
	}
	return w.tearDown(ctx)
}

// Close closes the tasks and the DLQ, those that were opened, and tears the
// source down if that was not done by Stop. If Do is still running it first does
// what Stop does, and closes nothing if the context ends while it waits. A first
// task other than a [SourceTask], which may be at work on what it has read, is
// closed when Do has returned, and not if tearing the source down has failed,
// since Do may not return then. Called again, Close closes only what failed to
// close. The errors are joined.
func (w *Worker) Close(ctx context.Context) error {
	if err := w.takeTurn(ctx); err != nil {
		return err
	}
	defer w.endTurn()
	if err := w.gate.Close(ctx); err != nil {
		return err
	}
	w.closed = true
	return errors.Join(w.tearDown(ctx), w.closeTasks(ctx))
}

// takeTurn waits until nobody else has the turn.
func (w *Worker) takeTurn(ctx context.Context) error {
	select {
	case w.turn <- struct{}{}:
		return nil
	default:
	}
	select {
	case w.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *Worker) endTurn() {
	<-w.turn
}

// isStopping returns true once tearing the source down may have begun.
func (w *Worker) isStopping() bool {
	return w.gate.IsClosed()
}

// tearDown tears the source down, if that is still to be done. The caller has
// the turn.
func (w *Worker) tearDown(ctx context.Context) error {
	if !w.sourceOpen {
		return nil
	}
	if err := w.Source.Teardown(ctx); err != nil {
		return fmt.Errorf("failed to tear down the source of task %q: %w", w.FirstTask.id(), err)
	}
	w.sourceOpen = false
	return nil
}

// closeTasks closes what is open, in reverse. What fails stays open. The caller
// has the turn.
func (w *Worker) closeTasks(ctx context.Context) error {
	var failed []openTask
	defer func() {
		slices.Reverse(failed)
		w.opened = append(w.opened, failed...)
	}()
	var errs []error
	for len(w.opened) > 0 {
		last := w.opened[len(w.opened)-1]
		if err := w.closeTask(ctx, last); err != nil {
			errs = append(errs, fmt.Errorf("failed to close %q: %w", last.task.ID(), err))
			failed = append(failed, last)
		}
		w.opened = w.opened[:len(w.opened)-1]
	}
	return errors.Join(errs...)
}

// closeTask closes a task. One that reads is left alone until Do has returned.
func (w *Worker) closeTask(ctx context.Context, t openTask) error {
	if t.reads && w.running.Load() {
		if w.sourceOpen {
			return errors.New("it may be reading still: the source was not torn down")
		}
		select {
		case <-w.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return t.task.Close(ctx)
}
