package funnel

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// The life of a worker: what it opens, and closes again.
//
// Each resource has one state. The source is a resource of its own, beside the
// first task: the task opens it, the worker tears it down. A resource that fails to
// close keeps its state, and the next call closes only what is left.

// phase is how far a worker has come.
type phase int

const (
	phaseNew phase = iota
	phaseOpen
	phaseClosed
	phaseFailed  // the last Open has failed
	phaseGivenUp // and Close was called
)

// isFailed returns true if Open was called, and the last call has failed.
func (p phase) isFailed() bool { return p == phaseFailed || p == phaseGivenUp }

// state is the state of a resource.
type state int

const (
	stateNew  state = iota // it was not opened, or has failed to open
	stateOpen              // it has to be closed, which may have failed before
	stateClosed
)

// resource is something that has to be closed once it is open. The errors of open
// and close name it.
type resource struct {
	state state
	open  func(context.Context) error
	close func(context.Context) error
}

// shut closes the resource if it is open. If that fails, it stays open.
func (r *resource) shut(ctx context.Context) error {
	if r.state != stateOpen {
		return nil
	}
	if err := r.close(ctx); err != nil {
		return err
	}
	r.state = stateClosed
	return nil
}

// checkNodes returns an error if the pipeline is not the one that the worker was
// made of.
func (w *Worker) checkNodes() error {
	n := 0
	for node := range w.FirstTask.TaskNodes() {
		n++
		if _, ok := w.ids[node]; !ok {
			return errors.New("the pipeline has changed since the worker was made: there is another task node")
		}
	}
	if n != len(w.ids) {
		return fmt.Errorf("the pipeline has changed since the worker was made: %d of %d task nodes are left", n, len(w.ids))
	}
	return nil
}

// listResources lists the resources, and how each is opened and closed.
func (w *Worker) listResources() {
	w.source.close = func(ctx context.Context) error {
		if err := w.Source.Teardown(ctx); err != nil {
			return w.taskError(w.FirstTask, fmt.Errorf("failed to tear down the source: %w", err))
		}
		return nil
	}
	for node := range w.FirstTask.TaskNodes() {
		w.others = append(w.others, &resource{
			open: func(ctx context.Context) error {
				if err := node.Task.Open(ctx); err != nil {
					return w.taskError(node, fmt.Errorf("failed to open: %w", err))
				}
				return nil
			},
			close: func(ctx context.Context) error {
				if err := w.closeTask(ctx, node); err != nil {
					return w.taskError(node, fmt.Errorf("failed to close: %w", err))
				}
				return nil
			},
		})
	}
	if w.DLQ == nil {
		return
	}
	w.others = append(w.others, &resource{
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

// Open opens the tasks in order, then the DLQ. If one of them fails, Open closes
// those that are open, in reverse, tears the source down, and returns all errors
// joined. It may then be called again: it first closes what could not be closed,
// and fails if that fails.
//
// If something panics, so does Open, with a [*PanicError], after it has tried to
// close everything.
func (w *Worker) Open(ctx context.Context) (err error) {
	if _, err := w.lockLifecycle(ctx, nil); err != nil {
		return err
	}
	defer w.unlockLifecycle()
	if w.phase != phaseNew && w.phase != phaseFailed || w.started.Load() {
		return errors.New("the worker was opened already, or has run, or is closed")
	}
	if err := w.checkNodes(); err != nil {
		return err
	}
	if err := w.closeAll(ctx, append(w.reversed(), &w.source)); err != nil {
		return fmt.Errorf("the worker cannot be opened again, it is still open in part: %w", err)
	}
	w.phase = phaseFailed // unless it gets to the end
	var failed outcome
	defer func() {
		if w.phase == phaseOpen {
			return
		}
		if value := recover(); value != nil {
			failed.add(nil, newPanicError(value))
		}
		w.closeEach(ctx, append(w.reversed(), &w.source), &failed)
		err = failed.result()
	}()
	for i, r := range w.others {
		if err := r.open(ctx); err != nil {
			failed.add(err, nil)
			return nil // the deferred call sets the error, once all is closed
		}
		r.state = stateOpen
		if i == 0 {
			w.source.state = stateOpen // by the first task
		}
	}
	w.phase = phaseOpen
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
	if w.isRunning() && ctx.Err() != nil {
		return ctx.Err()
	}
	if _, err := w.lockLifecycle(ctx, nil); err != nil {
		return err
	}
	defer w.unlockLifecycle()
	if err := w.gate.Close(ctx); err != nil {
		return err
	}
	return w.source.shut(ctx)
}

// Close tears the source down, unless Stop has, and closes the DLQ and the tasks
// if they were opened. If Do is still running it first does what Stop does, and
// closes nothing if the context ends while it waits. A first task other than a
// [SourceTask], which may be at work on what it has read, is closed when Do has
// returned, and not if tearing the source down has failed, since Do may not return
// then.
//
// If one of them fails to close, the others are closed all the same, and the errors
// are joined. If something panics, so does Close, with a [*PanicError], after it
// has tried to close everything. Called again, Close closes only what failed to
// close.
func (w *Worker) Close(ctx context.Context) error {
	if _, err := w.lockLifecycle(ctx, nil); err != nil {
		return err
	}
	defer w.unlockLifecycle()
	if err := w.gate.Close(ctx); err != nil {
		return err
	}
	if w.phase.isFailed() {
		w.phase = phaseGivenUp
	} else {
		w.phase = phaseClosed
	}
	return w.closeAll(ctx, append([]*resource{&w.source}, w.reversed()...))
}

// lockLifecycle waits for the lifecycle lock and returns true. It returns false if quit,
// which may be nil, is closed first, or with the context's error if the context ends
// first.
func (w *Worker) lockLifecycle(ctx context.Context, quit <-chan struct{}) (bool, error) {
	select {
	case w.lifecycle <- struct{}{}:
		return true, nil
	default:
	}
	select {
	case w.lifecycle <- struct{}{}:
		return true, nil
	case <-quit:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (w *Worker) unlockLifecycle() {
	<-w.lifecycle
}

// isRunning returns true if Do was called and has not returned.
func (w *Worker) isRunning() bool {
	select {
	case <-w.done:
		return false
	default:
		return w.started.Load()
	}
}

// reversed returns the resources in the reverse order of opening, without the source.
func (w *Worker) reversed() []*resource {
	reversed := slices.Clone(w.others)
	slices.Reverse(reversed)
	return reversed
}

// closeAll closes what still has to be closed. It panics if something has panicked.
func (w *Worker) closeAll(ctx context.Context, all []*resource) error {
	var failed outcome
	w.closeEach(ctx, all, &failed)
	return failed.result()
}

// closeEach closes what still has to be closed, one after the other. If one ends
// the goroutine, those behind it are closed all the same.
func (w *Worker) closeEach(ctx context.Context, all []*resource, failed *outcome) {
	if len(all) == 0 {
		return
	}
	defer w.closeEach(ctx, all[1:], failed)
	failed.try(func() error { return all[0].shut(ctx) })
}

// closeTask closes a task. A first task that may be at work on what it has read
// is left alone until Do has returned.
func (w *Worker) closeTask(ctx context.Context, node *TaskNode) error {
	_, isSource := node.Task.(*SourceTask) // which has nothing to close
	if node == w.FirstTask && !isSource && w.isRunning() {
		if w.source.state == stateOpen {
			return errors.New("it may be reading still: the source was not torn down")
		}
		select {
		case <-w.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return node.Task.Close(ctx)
}

// taskError wraps an error that comes from the task of a node.
func (w *Worker) taskError(node *TaskNode, err error) error {
	return taskError(w.ids[node], err)
}
