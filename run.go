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
	w.fanOuts = make(map[*TaskNode]*fanOut)
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
