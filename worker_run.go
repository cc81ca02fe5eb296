package funnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Running a worker: it reads and processes one batch after the other until something
// ends it.

// Do processes records from the source until the worker is stopped. It returns no error
// if the worker is stopped gracefully, or if the source returns [io.EOF] because it has
// no more records. If the context has ended, the error wraps the context's error and
// its cause; otherwise it is the error that stopped the worker.
//
// The next worker reads unacked records again. Do leaves the source for Close to tear
// down, unless the worker reads ahead, see [WithReadAhead]. A worker runs once: another
// call returns [ErrAlreadyRan]. After a failed Open, Do returns [ErrNotOpen]; without
// Open, it uses the connectors as they are.
//
// If a connector, processor or task panics, Do panics with the same value or with a
// [*PanicError] that holds it. Everything runs on the goroutine of Do, except tasks on
// branches, the first task of a worker that reads ahead, and the parts of a batch in a
// parallel processor. If one of these calls [runtime.Goexit], as a failing test in a
// connector does, Do returns an error that wraps [ErrGoexit]. On the goroutine of Do,
// Goexit ends that goroutine, and Do does not return.
func (w *Worker) Do(ctx context.Context) error {
	return w.fatalMark.add(w.do(ctx))
}

func (w *Worker) do(ctx context.Context) error {
	if !w.started.CompareAndSwap(false, true) {
		return ErrAlreadyRan
	}
	defer close(w.done)
	if w.outcomes == nil {
		return w.doOnce(ctx)
	}
	w.outcomes.beginRun()
	err := errRunEnded // unless doOnce returns
	defer func() { w.outcomes.endRun(err) }()
	err = w.doOnce(ctx)
	return err
}

func (w *Worker) doOnce(ctx context.Context) (err error) {
	w.ctx = ctx
	if toRun, err := w.start(ctx); !toRun {
		return err
	}
	if w.checks != nil {
		defer func() {
			value, known := recover(), err
			if value != nil {
				known = newPanicError(value)
			}
			_ = keeping(known, func() error { w.checks.finish(); return nil })
			if value != nil {
				panic(value)
			}
		}()
	}
	defer w.endFanOuts()
	if w.readAhead > 0 {
		return w.runAhead(ctx)
	}
	return w.run(ctx)
}

// run reads and processes batches until there are no more or the worker is stopping.
func (w *Worker) run(ctx context.Context) error {
	for !w.Stopping() {
		if ctx.Err() != nil {
			return contextError(ctx)
		}
		if isLast, err := w.runBatch(ctx); err != nil {
			return withContextError(ctx, err)
		} else if isLast {
			return nil
		}
	}
	return nil
}

// start prepares the run. It returns false if there is nothing to run. From then on
// Stop and Close tear the source down, even if the worker did not open it.
func (w *Worker) start(ctx context.Context) (toRun bool, err error) {
	// Do not wait for a holder that has closed the gate: it may be waiting for Do.
	if isLocked, err := w.lockLifecycle(ctx, w.gate.Closed()); err != nil {
		return false, contextError(ctx)
	} else if !isLocked {
		return false, nil
	}
	defer w.unlockLifecycle()
	if w.phase.isFailed() {
		return false, fmt.Errorf("%w: opening the worker has failed", ErrNotOpen)
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
	w.emptyReads.base = time.Now()
	w.hasBegun = true
	return true, nil
}

// listFanOuts makes a fan-out for each node with several next nodes.
func (w *Worker) listFanOuts() {
	w.fanOuts = make(map[*TaskNode]*fanOut)
	w.tracks = append(w.tracks, &w.track)
	for node := range w.FirstTask.TaskNodes() {
		if len(node.Next) > 1 {
			f := w.newFanOut(node)
			w.fanOuts[node] = f
			for i := range f.branches {
				w.tracks = append(w.tracks, &f.branches[i].track)
			}
		}
	}
}

func (w *Worker) endFanOuts() {
	for _, f := range w.fanOuts {
		f.end()
	}
}

// runBatch reads and processes a batch. It returns true if there are no more.
func (w *Worker) runBatch(ctx context.Context) (isLast bool, err error) {
	b, isLast, err := w.read(ctx)
	if err != nil {
		if w.Stopping() {
			return true, nil // tearing the source down ends a read
		}
		return false, err
	}
	if b.copies.Source().IsEmpty() {
		return isLast, nil
	}
	isDropped, err := w.process(ctx, b)
	if err != nil {
		return false, w.streamReason(ctx, err)
	}
	return isLast || isDropped, nil
}

// read returns the next batch, and true if it is the last one.
func (w *Worker) read(ctx context.Context) (b *Batch, isLast bool, err error) {
	w.sourceBatch.Reset()
	w.pool.PutBack()
	w.batch = Batch{}
	w.batch.copies.Attach(&w.sourceBatch, &w.pool, w.pieceIDKey)
	if w.prefetcher != nil {
		return w.prefetcher.take(ctx, &w.batch)
	}
	if isDue, err := w.pauseReads(ctx); !isDue {
		return &w.batch, false, err // if there is no error, the worker is stopping, as run will see
	}
	isLast, err = w.readInto(ctx, &w.batch)
	return &w.batch, isLast, err
}

// pauseReads pauses if the last read returned nothing. It returns true when a read is
// due, and false if the worker is stopping or the context ends first.
func (w *Worker) pauseReads(ctx context.Context) (isDue bool, err error) {
	return w.emptyReads.begin(ctx, w.gate.Closed())
}

// readInto has the first task read a batch into b. It returns true if there are no more
// batches.
func (w *Worker) readInto(ctx context.Context, b *Batch) (isLast bool, err error) {
	source := b.copies.Source()
	task := w.FirstTask.Task
	if w.checks != nil {
		task = w.checks.tasks[w.FirstTask]
	}
	err = task.Do(ctx, b)
	if err != nil && err != io.EOF { // an error that wraps io.EOF is an ordinary error
		return false, w.taskError(w.FirstTask, fmt.Errorf("failed to read from source: %w", err))
	}
	if b.copies.Source() == nil {
		b.copies.Attach(source, nil, w.pieceIDKey) // the task replaced it by a zero Batch
	}
	if w.pieceIDKey != "" {
		b.copies.IdentifyPieces(w.pieceIDKey) // the task may have replaced the batch by one without IDs
		b.copies.WritePieceIDs()
	}
	w.emptyReads.end(b.copies.Source().IsEmpty())
	return err != nil, nil
}

// process takes a batch through the pipeline. If the worker is stopping, it drops the
// batch and returns true.
func (w *Worker) process(ctx context.Context, b *Batch) (isDropped bool, err error) {
	n := len(b.copies.Source().Positions)
	if !w.gate.Enter(n) {
		return true, nil
	}
	defer w.endBatch(n)
	if len(w.observers) > 0 {
		return false, w.processObserved(ctx, b)
	}
	return false, w.processInside(ctx, b)
}

// processInside does the work of process inside the gate. ctx is for the tasks.
func (w *Worker) processInside(ctx context.Context, b *Batch) error {
	if err := b.checkPositions(); err != nil {
		return w.taskError(w.FirstTask, err)
	}
	if w.timerEnabled.now() {
		b.copies.SetReadTimes(time.Now())
	}
	if w.keepRead && w.DLQ != nil {
		b.copies.KeepRead()
	}
	source := b.copies.Source() // a task may replace what b points to
	if w.checks != nil {
		w.checks.beginBatch(source)
	}
	w.track.filtered = b.copies.Inactive()
	k := walk{worker: w, track: &w.track, step: step{stage: stageMarks, node: w.FirstTask, batch: b}}
	if err := k.run(ctx); err != nil {
		return w.releaseAfter(w.ctx, source, err, &w.track.counts)
	}
	if n := source.Ledger.Pending(); n > 0 {
		return fmt.Errorf("%w: %d of %d records of a batch are not done at the end of the pipeline",
			ErrLostRecords, n, len(source.Positions))
	}
	return nil
}

// streamReason returns why a batch failed with err. If Source.Ack returned io.EOF, the
// stream of the source has closed, and the next read says why.
func (w *Worker) streamReason(ctx context.Context, err error) error {
	ackErr, ok := find[*sourceAckError](err)
	if !ok || !isAny(ackErr.err, io.EOF) || w.Stopping() {
		return err
	}
	reason := keeping(err, func() error {
		if w.prefetcher != nil {
			return w.prefetcher.dropUntilError(ctx)
		}
		_, _, reason := w.read(ctx)
		return reason
	})
	switch {
	case reason == nil || w.Stopping():
		return err
	case ctx.Err() != nil: // the read may say only that the context has ended
		return joinErrors(err, reason)
	case errors.Unwrap(err) == error(ackErr): // err holds nothing but the error of the ack
		return reason
	default:
		return joinErrors(err, reason)
	}
}
