package funnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// The run of a worker: batches are read and processed, one after the other, until
// something ends it.

// Do processes records from the source until the worker is stopped. It returns
// no error if the worker is stopped gracefully, or if the source has no more
// records, which it says with [io.EOF]. If the context has ended, the error wraps
// the context's error and its cause; otherwise it is the error that has stopped the
// worker.
//
// Whatever was not acked by then is read again by the next worker. Do does not
// tear the source down, that is left to Close, unless the worker reads ahead, see
// [WithReadAhead]. A worker runs once: another call returns [ErrAlreadyRan]. After
// a failed Open, Do returns [ErrNotOpen]; without Open, it uses the connectors as
// they are.
//
// If a connector, processor or task panics, so does Do, with the same value or
// with a [*PanicError] that holds it. Everything runs on the goroutine of Do,
// except for the tasks on branches, the first task of a worker that reads ahead,
// and the parts of a batch that a processor works on in parallel. If one of these
// calls [runtime.Goexit], as a test that fails in a connector does, Do returns an
// error that wraps [ErrGoexit]. On the goroutine of Do, Goexit ends the caller.
func (w *Worker) Do(ctx context.Context) error {
	if !w.started.CompareAndSwap(false, true) {
		return ErrAlreadyRan
	}
	defer close(w.done)
	if toRun, err := w.start(ctx); !toRun {
		return err
	}
	defer w.endFanOuts()
	if w.readAhead > 0 {
		return w.runAhead(ctx)
	}
	return w.run(ctx)
}

// run reads batches and processes them until there are no more.
func (w *Worker) run(ctx context.Context) error {
	for !w.Stopping() {
		if ctx.Err() != nil {
			return contextError(ctx)
		}
		if isLast, err := w.next(ctx); err != nil {
			return withContextError(ctx, err)
		} else if isLast {
			return nil
		}
	}
	return nil
}

// start prepares the run, and returns false if there is nothing to run. It makes
// sure that the source will be torn down, even if the worker did not open it.
func (w *Worker) start(ctx context.Context) (toRun bool, err error) {
	// If another call has the lock and has closed the gate, it may be waiting for Do.
	if isLocked, err := w.lockLifecycle(ctx, w.gate.Closed()); err != nil {
		return false, contextError(ctx)
	} else if !isLocked {
		return false, nil
	}
	defer w.unlockLifecycle()
	if w.phase.isFailed() {
		return false, ErrNotOpen
	}
	if err := w.checkNodes(); err != nil {
		return false, err
	}
	if w.Stopping() {
		return false, nil
	}
	if w.source.state == stateNew {
		w.source.state = stateOpen
	}
	w.empty.base = time.Now()
	w.fanOuts = make(map[*TaskNode]*fanOut)
	for node := range w.FirstTask.TaskNodes() {
		if len(node.Next) > 1 {
			w.fanOuts[node] = w.newFanOut(node)
		}
	}
	return true, nil
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
		if w.Stopping() {
			return true, nil // the source was torn down, which ends a read
		}
		return false, err
	}
	if len(b.copies.Source().Positions) == 0 {
		return isLast, nil
	}
	isDropped, err := w.process(ctx, b)
	if err != nil {
		return false, w.reason(ctx, err)
	}
	return isLast || isDropped, nil
}

// read returns the next batch. It returns true if it was the last one.
func (w *Worker) read(ctx context.Context) (b *Batch, isLast bool, err error) {
	w.sourceBatch.Reset()
	w.pool.PutBack()
	w.batch = Batch{}
	w.batch.copies.Attach(&w.sourceBatch, &w.pool)
	if w.prefetcher != nil {
		return w.prefetcher.take(ctx, &w.batch)
	}
	isLast, err = w.readInto(ctx, &w.batch)
	return &w.batch, isLast, err
}

// readInto lets the first task read a batch, after a pause if the read before has
// returned nothing. It returns true if there are no more batches.
func (w *Worker) readInto(ctx context.Context, b *Batch) (isLast bool, err error) {
	if ok, err := w.empty.begin(ctx, w.gate.Closed()); !ok {
		return false, err
	}
	source := b.copies.Source()
	err = w.FirstTask.Task.Do(ctx, b)
	if err != nil && err != io.EOF { // an error that wraps io.EOF is an ordinary error
		return false, w.taskError(w.FirstTask, fmt.Errorf("failed to read from source: %w", err))
	}
	if b.copies.Source() == nil {
		b.copies.Attach(source, nil) // the task has put a zero Batch in its place
	}
	w.empty.end(len(b.copies.Source().Positions) == 0)
	return err != nil, nil
}

// process brings a batch to the end of its way. It drops the batch and returns true if
// the worker is being stopped.
func (w *Worker) process(ctx context.Context, b *Batch) (isDropped bool, err error) {
	if !w.gate.Enter() {
		return true, nil
	}
	defer w.gate.Leave()
	if err := b.checkPositions(); err != nil {
		return false, w.taskError(w.FirstTask, err)
	}
	if w.isTiming.now() {
		b.copies.SetReadTimes(time.Now())
	}
	source := b.copies.Source() // which the batch may lose on its way
	if err := w.walk(ctx, step{stage: stageMarks, node: w.FirstTask, batch: b}, nil); err != nil {
		return false, err
	}
	if n := source.Ledger.Pending(); n > 0 {
		return false, fmt.Errorf("%w: %d of %d records of a batch are not done at the end of the pipeline",
			ErrLostRecords, n, len(source.Positions))
	}
	return false, nil
}

// reason returns why a batch has failed. If the stream of the source has closed,
// which was learned from an ack, the next read says why.
func (w *Worker) reason(ctx context.Context, err error) error {
	ackErr, ok := find[*sourceAckError](err)
	if !ok || !isAny(ackErr.err, io.EOF) || w.Stopping() {
		return err
	}
	reason := holding(err, func() error {
		if w.prefetcher != nil {
			return w.prefetcher.dropUntilError(ctx)
		}
		_, _, reason := w.read(ctx)
		return reason
	})
	switch {
	case reason == nil || w.Stopping():
		return err
	case ctx.Err() != nil: // and not because of what the stream has closed for
		return joinErrors(err, reason)
	case errors.Unwrap(err) == error(ackErr): // the error of the task, and nothing else
		return reason
	default:
		return joinErrors(err, reason)
	}
}
