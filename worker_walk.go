package funnel

import (
	"context"
	"fmt"
	"slices"

	"github.com/conduitio/funnel/internal/batch"
	"github.com/conduitio/funnel/log"
)

// step is something still to be done with a batch.
type step struct {
	stage stage
	node  *TaskNode
	batch *Batch
	calls int // consecutive calls of the task without an answer
}

// stage says where a batch is at a node.
type stage int

const (
	stageTask  stage = iota // the task is next
	stageMarks              // the task is done, what it has marked decides how the batch goes on
	stageNext               // the nodes that follow are next
)

// walk takes a batch through the tasks, to the end of the pipeline or of a branch.
//
// It is a loop, in which what comes later waits in a slice, so that its depth does not
// grow with the number of sub-batches or retries. Only branches nest.
type walk struct {
	worker *Worker
	branch *branch // nil if it is on none
	step           // the one at hand
	later  []step  // those after it, the last one first; none as long as the batch stays whole
}

// walk does a step and all that follow from it. On a branch, it leaves releasing what
// is done to whoever joins the branches, and stops when its context ends, since another
// branch has failed.
func (w *Worker) walk(ctx context.Context, first step, on *branch) error {
	k := walk{worker: w, branch: on, step: first}
	for {
		var err error
		isOver := false
		switch k.stage {
		case stageTask:
			err = k.doTask(ctx)
		case stageMarks:
			err = k.checkMarks(ctx, 0)
		case stageNext:
			isOver, err = k.goOn(ctx)
		}
		if err != nil {
			return err
		}
		if isOver {
			if len(k.later) == 0 {
				return nil
			}
			k.pop()
		}
	}
}

// pop makes the step that comes next the one at hand.
func (k *walk) pop() {
	last := len(k.later) - 1
	k.step, k.later = k.later[last], k.later[:last]
}

// doTask lets the task handle the batch.
func (k *walk) doTask(ctx context.Context) error {
	if k.branch != nil {
		if err := ctx.Err(); err != nil {
			return err
		}
		k.branch.running = k.node
	}
	if k.calls > 0 {
		if err := k.waitToRetry(ctx); err != nil {
			return k.taskError(err)
		}
	}
	if k.batch.copies.IsShared() && !k.node.onlyReads() {
		if err := k.batch.unshare(); err != nil {
			return k.taskError(err)
		}
	}
	inactive := k.batch.copies.Inactive()
	if err := k.call(ctx); err != nil {
		return k.taskError(err)
	}
	return k.checkMarks(ctx, inactive)
}

// call calls the task.
func (k *walk) call(ctx context.Context) error {
	b := k.batch
	b.copies.BeginTask()
	if err := k.node.Task.Do(ctx, b); err != nil {
		return err
	}
	if b.copies.Source() == nil {
		return fmt.Errorf("%w: it has put another batch in the place of the one that it was given", ErrLostRecords)
	}
	switch k.node.Task.(type) {
	case *ProcessorTask:
		b.copies.EndTask(true)
	case *DestinationTask:
		b.copies.EndTask(true)
		b.copies.Share() // with the destination
	default:
		b.copies.EndTask(false)
	}
	return nil
}

// waitToRetry waits until the task may be called again.
func (k *walk) waitToRetry(ctx context.Context) error {
	w, records := k.worker, k.batch.ActiveRecords()
	w.logger.Warn(ctx).Str(log.TaskIDField, w.ids[k.node]).Int("rounds", k.calls).
		Int("records", len(records)).Str(log.RecordPositionField, shorten(records[0].Position)).
		Msg("the task gave no answer, trying again")
	_, err := sleep(ctx, pause(k.calls, minRetryPause, maxRetryPause), nil)
	return err
}

// checkMarks decides by what the task has marked how the batch goes on: as it is, or
// in parts. Inactive is the number of filtered copies before the task was called.
func (k *walk) checkMarks(ctx context.Context, inactive int) error {
	b := k.batch
	if b.copies.IsUnmarked() || b.copies.IsSettled() {
		k.stage, k.calls = stageNext, 0
		return nil
	}
	if err := k.checkContext(ctx); err != nil {
		return k.taskError(err)
	}
	if !b.copies.IsUnanswered(inactive) {
		k.calls = 0
	} else if k.calls++; k.calls == maxRetryCalls {
		return k.taskError(FatalError(fmt.Errorf("%w: no answer for %d records in %d calls in a row, the first one is %s",
			ErrNoProgress, b.copies.Len(), k.calls, show(b.copies.Records()[0].Position))))
	}
	return k.divide()
}

// checkContext returns the error of the context if the nacks that a task has just given
// are no answer: the context has ended, which is no record's fault.
func (k *walk) checkContext(ctx context.Context) error {
	if !k.batch.copies.HasNacks() || ctx.Err() == nil {
		return nil
	}
	cause := context.Cause(ctx)
	if cause == errOtherBranch {
		return contextError(ctx)
	}
	for err := range k.batch.copies.NackErrors() {
		if isAny(err, context.Canceled, context.DeadlineExceeded, cause) {
			return contextError(ctx)
		}
	}
	return nil
}

// divide divides the batch by status. The parts go on in order, each to the end before
// the next one starts. What is nacked is settled.
func (k *walk) divide() error {
	done := len(k.later)
	k.batch.copies.Divide(func(flag batch.Flag) *batch.Copies {
		part := step{stage: stageNext, node: k.node, batch: &Batch{}}
		if flag == batch.FlagRetry {
			part.stage, part.calls = stageTask, k.calls
		}
		k.later = append(k.later, part)
		return &part.batch.copies
	})
	parts := k.later[done:]
	for _, part := range parts {
		if part.batch.copies.HasNacks() {
			if err := lost(part.batch.copies.SettleNacked(k.worker.ids[k.node])); err != nil {
				return err
			}
		}
	}
	slices.Reverse(parts)
	k.pop()
	return nil
}

// goOn takes the batch to the nodes that follow. It returns true if that was the end of
// its way.
func (k *walk) goOn(ctx context.Context) (isOver bool, err error) {
	b := k.batch
	switch next := k.node.Next; {
	case b.copies.IsSettled() || b.copies.Len() == 0 || len(next) == 0:
		if err := lost(b.copies.Settle()); err != nil {
			return true, err
		}
	case len(next) == 1:
		k.stage, k.node = stageTask, next[0]
		return false, nil
	default:
		err = k.worker.fanOuts[k.node].do(ctx, b)
	}
	if k.branch != nil {
		return true, err
	}
	return true, k.worker.releaseAfter(ctx, b.copies.Source(), err)
}

// taskError wraps an error that comes from the task of the node.
func (k *walk) taskError(err error) error { return k.worker.taskError(k.node, err) }
