package funnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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

	ctx     context.Context // that of Do
	started atomic.Bool     // Do was called
	running atomic.Bool     // Do has not returned yet
	done    chan struct{}   // closed when Do returns

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

// Do processes records from the source until the worker is stopped. It returns
// no error if the worker is stopped gracefully, or if the source has no more
// records, which it says with [io.EOF]. It returns the context's error if the
// context has ended, else the error that has stopped the worker.
//
// Whatever was not acked by then is read again by the next worker. Do does not
// tear the source down, that is left to Close, unless the worker reads ahead, see
// [WithReadAhead]. A worker runs once: another call returns an error.
//
// If a connector, processor or task panics, so does Do, with the same value or
// with a [*PanicError] that holds it. Without branches, everything is called on
// the goroutine of Do, unless the worker reads ahead or a processor runs in
// parallel. With branches nothing is; so if something ends its goroutine there by
// [runtime.Goexit], as a test does that fails in a connector, Do returns an error.
func (w *Worker) Do(ctx context.Context) error {
	if !w.started.CompareAndSwap(false, true) {
		return errors.New("a worker runs once: Do was called before")
	}
	w.running.Store(true)
	defer close(w.done)
	defer w.running.Store(false)
	if err := w.start(ctx); err != nil {
		return err
	}
	defer w.endFanOuts()
	run := w.run
	if w.readAhead > 0 {
		run = w.runAhead
	}
	if len(w.fanOuts) == 0 {
		return run(ctx)
	}
	return w.runApart(func() error { return run(ctx) })
}

// runApart runs a worker with branches, of which some take place on the goroutine
// of the worker. That is not the one of Do, which has to say so if one of them has
// ended the goroutine.
func (w *Worker) runApart(run func() error) (err error) {
	var panicked *PanicError
	done := make(chan struct{})
	go guard(run, func(e error, p *PanicError) {
		err, panicked = e, p
		close(done)
	})
	<-done
	if panicked != nil {
		panic(panicked)
	}
	if err == errGoexit {
		return fmt.Errorf("before the branches, a connector or task has not returned: %w", err)
	}
	return err
}

// run reads batches and processes them until there are no more.
func (w *Worker) run(ctx context.Context) error {
	for !w.isStopping() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if isLast, err := w.next(ctx); err != nil {
			return withContextError(ctx, err)
		} else if isLast {
			return nil
		}
	}
	return nil
}

// start prepares the run. It makes sure that the source is torn down from now on,
// also if it was not the worker that has opened it.
func (w *Worker) start(ctx context.Context) error {
	if err := w.takeTurn(ctx); err != nil {
		return err
	}
	defer w.endTurn()
	if w.openFailed {
		return errors.New("the worker is not open: Open has failed")
	}
	if !w.isStopping() {
		w.sourceOpen = true
	}
	w.ctx, w.fanOuts = ctx, make(map[*TaskNode]*fanOut)
	for node := range w.FirstTask.TaskNodes() {
		if len(node.Next) > 1 {
			w.fanOuts[node] = w.newFanOut(node)
		}
	}
	return nil
}

func (w *Worker) endFanOuts() {
	for _, f := range w.fanOuts {
		f.end()
	}
}

// next reads a batch and processes it. It returns true if there are no more.
func (w *Worker) next(ctx context.Context) (isLast bool, err error) {
	b, isLast, err := w.read(ctx)
	if err != nil {
		if w.isStopping() {
			return true, nil // the source was torn down, which ends a read
		}
		return false, err
	}
	if len(b.origin.positions) == 0 {
		return isLast, nil
	}
	isDropped, err := w.process(ctx, b)
	if err != nil {
		return false, w.reason(ctx, err)
	}
	return isLast || isDropped, nil
}

// reason returns why a batch has failed. If the stream of the source has closed,
// which was learned from an ack, the next read says why.
func (w *Worker) reason(ctx context.Context, err error) error {
	var ackErr *sourceAckError
	if !errors.As(err, &ackErr) || !errors.Is(ackErr.err, io.EOF) || w.isStopping() {
		return err
	}
	var reason error
	if w.reader != nil {
		reason = w.reader.next(ctx)
	} else {
		_, _, reason = w.read(ctx)
	}
	switch {
	case reason == nil || w.isStopping():
		return err
	case err == error(ackErr):
		return reason
	default:
		return errors.Join(err, reason) // something else went wrong, too
	}
}

// read returns the next batch. It returns true if it was the last one.
func (w *Worker) read(ctx context.Context) (b *Batch, isLast bool, err error) {
	w.origin.reset()
	w.shelf.putBack()
	w.batch = Batch{shelf: &w.shelf}
	w.batch.comeFrom(&w.origin)
	if w.reader != nil {
		return w.reader.take(ctx, &w.batch)
	}
	isLast, err = w.readInto(ctx, &w.batch)
	return &w.batch, isLast, err
}

// readInto lets the first task read a batch. It returns true if it was the last
// one.
func (w *Worker) readInto(ctx context.Context, b *Batch) (isLast bool, err error) {
	origin := b.origin
	err = w.FirstTask.Task.Do(ctx, b)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, taskError(w.FirstTask.id(), fmt.Errorf("failed to read from the source: %w", err))
	}
	if b.origin == nil {
		b.comeFrom(origin) // the task has put a zero Batch in its place
	}
	return err != nil, nil
}

// process brings a batch to the end of its way. It drops the batch and returns
// true if the worker is being stopped.
func (w *Worker) process(ctx context.Context, b *Batch) (isDropped bool, err error) {
	if !w.gate.Enter() {
		return true, nil
	}
	defer w.gate.Leave()
	origin := b.origin
	if err := origin.checkPositions(); err != nil {
		return false, taskError(w.FirstTask.id(), err)
	}
	if w.isTiming.now() {
		b.setReadTimes(time.Now())
	}
	if err := w.walk(ctx, step{node: w.FirstTask, batch: b, done: true}, false); err != nil {
		return false, err
	}
	if n := origin.ledger.Pending(); n > 0 {
		return false, fmt.Errorf("%d of %d records of a batch are not done at the end of the pipeline: a task has lost them",
			n, len(origin.positions))
	}
	return false, nil
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

// withContextError returns the error of the context, if it has ended, together
// with err, unless err says so itself.
func withContextError(ctx context.Context, err error) error {
	switch ended := ctx.Err(); {
	case ended == nil:
		return err
	case errors.Is(err, ended):
		return ended
	default:
		return errors.Join(ended, err)
	}
}
