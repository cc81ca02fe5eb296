package funnel

import (
	"context"
	"errors"
	"fmt"
)

// The life of a worker: opening and closing its resources.
//
// Each resource has its own state. The source is a resource separate from the first
// task: the task opens it, the worker tears it down. A resource that fails to close
// stays open, and the next call closes only what is still open.

// phase is how far a worker has come in its life.
type phase int

const (
	phaseNew phase = iota
	phaseOpen
	phaseClosed
	phaseFailed       // the last Open failed
	phaseFailedClosed // the last Open failed, and Close was called
)

// isFailed returns true if the last Open failed.
func (p phase) isFailed() bool { return p == phaseFailed || p == phaseFailedClosed }

// checkNodes returns an error if the nodes of the pipeline have changed since
// NewWorker.
func (w *Worker) checkNodes() error {
	n := 0
	for node := range w.FirstTask.TaskNodes() {
		n++
		id, ok := w.ids[node]
		if !ok {
			return errors.New("the pipeline has changed since the worker was made: there is another task node")
		}
		if node.sink != nil && !w.sinks[node.sink] {
			return fmt.Errorf("the pipeline has changed since the worker was made: task %q now belongs to a sink", id)
		}
	}
	if n != len(w.ids) {
		return fmt.Errorf("the pipeline has changed since the worker was made: %d of %d task nodes are left", n, len(w.ids))
	}
	for sink := range w.sinks {
		if err := sink.checkNodes(); err != nil {
			return err
		}
	}
	return nil
}

// listResources lists the resources, and how each is opened and closed.
func (w *Worker) listResources() {
	w.source.close = w.tell(w.ids[w.FirstTask], ActivityClose, func(ctx context.Context) error {
		if err := w.Source.Teardown(ctx); err != nil {
			return w.taskError(w.FirstTask, fmt.Errorf("failed to tear down the source: %w", err))
		}
		return nil
	})
	add := func(id string, r *resource) {
		r.open, r.close = w.tell(id, ActivityOpen, r.open), w.tell(id, ActivityClose, r.close)
		w.tasksAndDLQ = append(w.tasksAndDLQ, r)
	}
	for node := range w.FirstTask.TaskNodes() {
		if node.sink == nil { // otherwise the sink opens and closes it
			add(w.ids[node], taskResource(w.ids[node], node.Task))
		}
	}
	first := w.tasksAndDLQ[0]
	open, close := first.open, first.close
	first.open = func(ctx context.Context) error {
		err := open(ctx)
		if err == nil {
			w.source.state = stateOpen
		}
		return err
	}
	first.close = func(ctx context.Context) error {
		if err := w.awaitFirstTask(ctx); err != nil {
			return w.taskError(w.FirstTask, fmt.Errorf("failed to close: %w", err))
		}
		return close(ctx)
	}
	if w.DLQ == nil {
		return
	}
	add(w.DLQ.ID(), &resource{
		open: func(ctx context.Context) error {
			if err := w.DLQ.Open(ctx); err != nil {
				return fmt.Errorf("failed to open the dead-letter queue %q: %w", w.DLQ.ID(), err)
			}
			return nil
		},
		close: func(ctx context.Context) error {
			if err := w.DLQ.Close(ctx); err != nil {
				return fmt.Errorf("failed to close the dead-letter queue %q: %w", w.DLQ.ID(), err)
			}
			return nil
		},
	})
}

// Run opens the worker, runs it with Do, and closes it, whatever happens, with a context
// that does not end. It returns all errors joined. If something panics, Run panics with a
// [*PanicError], which also holds whatever else went wrong. To stop the worker gracefully,
// call Stop; if the context of Run ends, Do returns as soon as its connectors do.
//
// Run is for a worker that was not opened. It can be called once: another call returns
// [ErrAlreadyRan]. If Open fails, so does Run, and Close may try again what Open could not
// close.
func (w *Worker) Run(ctx context.Context) error {
	if !w.ran.CompareAndSwap(false, true) || w.started.Load() {
		return w.fatalMark.add(ErrAlreadyRan)
	}
	var failed outcome
	w.runAndClose(ctx, &failed)
	return failed.result()
}

// runAndClose is Run, but collects what goes wrong. It closes the worker even if Do ends
// the goroutine.
func (w *Worker) runAndClose(ctx context.Context, failed *outcome) {
	failed.try(func() error { return w.Open(ctx) })
	if failed.isFailure() {
		return // everything that could be closed is closed
	}
	defer failed.try(func() error { return w.Close(context.WithoutCancel(ctx)) })
	failed.try(func() error { return w.Do(ctx) })
}

// Open opens the tasks in order, then the DLQ. If one of them fails, Open closes those
// that are open in reverse order, tears the source down, and returns all errors joined.
// Open may then be called again: it first closes what is still open, and fails if it
// cannot.
//
// If something panics, Open tries to close everything and then panics with a
// [*PanicError].
func (w *Worker) Open(ctx context.Context) error {
	return w.fatalMark.add(w.open(ctx))
}

func (w *Worker) open(ctx context.Context) error {
	if _, err := w.lockLifecycle(ctx, nil); err != nil {
		return err
	}
	defer w.unlockLifecycle()
	if w.phase != phaseNew && w.phase != phaseFailed || w.started.Load() {
		return errors.New("the worker was opened already, or has run, or is closed")
	}
	if err := w.checkNodes(); err != nil {
		neverRuns(w.Source, err)
		return err
	}
	closing := append(reversed(w.tasksAndDLQ), &w.source)
	if err := closeAll(ctx, closing); err != nil {
		err = fmt.Errorf("the worker cannot be opened again, since it is still open in part: %w", err)
		neverRuns(w.Source, err)
		return err
	}
	w.phase = phaseFailed                                      // until everything is open
	tellSource := func(err error) { neverRuns(w.Source, err) } // before it is torn down
	if err := openAll(ctx, w.tasksAndDLQ, closing, tellSource); err != nil {
		return err
	}
	w.phase = phaseOpen
	return nil
}

// Stop waits until the batch in flight is processed end to end, then tears the source
// down, which makes Do return. If the context ends first, Stop returns the context's
// error, and the worker runs on as if Stop had not been called.
//
// Stop can be called repeatedly, and before Do, which then returns at once. It tears
// the source down only if the source was opened, or if Do has run without Open. If the
// teardown fails, the next Stop or Close tries again. Once the teardown has begun the
// worker ends as soon as a pending read returns, even if the teardown fails or outlasts the
// context: what is still being read is dropped unacked, and a failed read is not an error.
//
// While Do runs, Stop does nothing if its context has already ended. A program that
// stops on a signal must therefore not pass it the context of
// [os/signal.NotifyContext], see [context.WithoutCancel].
func (w *Worker) Stop(ctx context.Context) error {
	return w.fatalMark.add(w.stop(ctx))
}

func (w *Worker) stop(ctx context.Context) error {
	if w.isRunning() && ctx.Err() != nil {
		return w.giveUp(ctx.Err())
	}
	if _, err := w.lockLifecycle(ctx, nil); err != nil {
		return w.giveUp(err)
	}
	defer w.unlockLifecycle()
	if err := w.closeGate(ctx); err != nil {
		return err
	}
	return w.source.closeIfOpen(ctx)
}

// Close tears the source down unless Stop has, and closes the DLQ and the tasks if they
// were opened. If Do is still running, Close first waits as Stop does, and closes
// nothing if the context ends first. A first task other than a [SourceTask] may still
// be working on what it has read: Close closes it after Do has returned, and not at all
// if tearing the source down failed, since Do may then never return.
//
// If something fails to close, Close still closes the rest and joins the errors. If
// something panics, Close tries to close everything and then panics with a
// [*PanicError]. Called again, Close closes only what failed to close.
func (w *Worker) Close(ctx context.Context) error {
	return w.fatalMark.add(w.close(ctx))
}

func (w *Worker) close(ctx context.Context) error {
	if _, err := w.lockLifecycle(ctx, nil); err != nil {
		return w.giveUp(err)
	}
	defer w.unlockLifecycle()
	if err := w.closeGate(ctx); err != nil {
		return err
	}
	if w.phase.isFailed() {
		w.phase = phaseFailedClosed
	} else {
		w.phase = phaseClosed
	}
	return closeAll(ctx, append([]*resource{&w.source}, reversed(w.tasksAndDLQ)...))
}

// lockLifecycle takes the lifecycle lock and returns true. It returns false if quit,
// which may be nil, is closed first, and false with the context's error if the context
// ends first.
func (w *Worker) lockLifecycle(ctx context.Context, quit <-chan struct{}) (bool, error) {
	select {
	case w.lifecycleLock <- struct{}{}:
		return true, nil
	default:
	}
	select {
	case w.lifecycleLock <- struct{}{}:
		return true, nil
	case <-quit:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (w *Worker) unlockLifecycle() {
	<-w.lifecycleLock
}

// isRunning returns true if Do has begun and not returned.
func (w *Worker) isRunning() bool {
	select {
	case <-w.done:
		return false
	default:
		return w.started.Load()
	}
}

// awaitFirstTask waits until Do returns. Then the first task no longer works on what it
// has read, and can be closed. It fails if the source was not torn down, since Do may
// then never return.
func (w *Worker) awaitFirstTask(ctx context.Context) error {
	if _, isSource := w.FirstTask.Task.(*SourceTask); isSource || !w.isRunning() {
		return nil // a SourceTask has nothing to close
	}
	if w.source.state == stateOpen {
		return errors.New("it may be reading still: the source was not torn down")
	}
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// taskError wraps an error of the task of a node.
func (w *Worker) taskError(node *TaskNode, err error) error {
	return taskError(w.ids[node], err)
}
