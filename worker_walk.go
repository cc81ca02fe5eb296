package funnel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/conduitio/funnel/internal/batch"
	"github.com/conduitio/funnel/log"
)

// step is something still to do with a batch. All records of a step were given to the
// node's task equally often.
type step struct {
	stage      stage
	node       *TaskNode
	batch      *Batch
	inactive   int // filtered copies before the last call of the task
	unanswered int // consecutive calls of the task without an answer
	callNumber int // the number of the last call, for observers; else 0
	dividedBy  int // the call behind which the batch was last divided, see TaskBegin
}

// stage says how far a batch has come at a node.
type stage int

const (
	stageTask  stage = iota // the task is next
	stageMarks              // the task is done, and its marks decide how the batch continues
	stageNext               // the nodes that follow are next
	stageEnd                // at the end: copies are settled, finished records are released
)

// walk takes a batch through the tasks, to the end of the pipeline or of a branch.
//
// It is a loop with a stack of steps, so neither sub-batches nor retries deepen the
// call stack. Only branches nest.
type walk struct {
	worker   *Worker
	track    *track             // its counts, and where its batch is
	onBranch bool               // it releases nothing, and ends with the context
	stay                        // in a sink
	step                        // the current step
	later    []step             // the steps after it, last one first; empty while the batch is whole
	forked   *batch.SourceBatch // after a fork, which takes the batch: its source batch
}

// run does the current step and all steps that follow from it. On a branch it releases
// nothing: the caller that joins the branches does. It also stops there when its context
// ends, for example because another branch has failed. After an error the current step
// and those that wait are what the walk has left open.
func (k *walk) run(ctx context.Context) error {
	if len(k.worker.sinks) > 0 && k.node.sink == nil {
		return k.runInSinks(ctx)
	}
	return k.runSteps(ctx)
}

// runSteps is run without the part that tells a sink how the walk ends.
func (k *walk) runSteps(ctx context.Context) error {
	for {
		var err error
		switch k.stage {
		case stageTask:
			err = k.doTask(ctx)
		case stageMarks:
			err = k.checkMarks(ctx)
		case stageNext:
			err = k.advance(ctx)
		case stageEnd:
			if err = k.end(); err == nil {
				if len(k.later) == 0 {
					return nil
				}
				k.pop()
			}
		}
		if err != nil {
			return err
		}
	}
}

// pop makes the next step the current one.
func (k *walk) pop() {
	last := len(k.later) - 1
	k.step, k.later = k.later[last], k.later[:last]
}

// doTask runs the task on the batch.
func (k *walk) doTask(ctx context.Context) error {
	if k.onBranch && ctx.Err() != nil {
		return ctx.Err()
	}
	if k.unanswered > 0 {
		if err := k.waitToRetry(ctx); err != nil {
			return k.taskError(err)
		}
	}
	if _, isRoute := k.node.Task.(*RouteTask); k.batch.copies.IsShared() && !isRoute && !k.node.onlyReads() {
		if err := k.batch.unshare(); err != nil {
			return k.taskError(err)
		}
	}
	k.inactive = k.batch.copies.Inactive()
	k.track.enter(k.node, k.worker.stats)
	if len(k.worker.observers) > 0 {
		return k.callObserved(ctx)
	}
	return k.callTask(ctx)
}

// callTask calls the task and counts what it has done.
func (k *walk) callTask(ctx context.Context) error {
	if err := k.call(ctx); err != nil {
		return k.taskError(err)
	}
	k.track.filtered += k.batch.copies.Inactive() - k.inactive
	k.stage = stageMarks
	return nil
}

// call calls the task and updates the state of the copies.
func (k *walk) call(ctx context.Context) error {
	b, task := k.batch, k.node.Task
	nacksLeave := false
	if k.worker.wholeBatches {
		_, nacksLeave = task.(*ProcessorTask)
	}
	b.copies.BeginTask(nacksLeave)
	source := b.copies.Source()
	var err error
	if c := k.worker.checks; c != nil {
		err = c.call(ctx, k.node, k.worker.ids[k.node], b)
	} else {
		err = task.Do(ctx, b)
	}
	if err != nil {
		return err
	}
	switch b.copies.Source() {
	case source:
	case nil:
		return fmt.Errorf("%w: it has put another batch in the place of the one that it was given", ErrLostRecords)
	default:
		k.inactive = 0 // it has put a batch of its own in its place
	}
	switch task.(type) {
	case *ProcessorTask:
		b.copies.EndTask(true)
		b.copies.WritePieceIDs()
	case *DestinationTask:
		b.copies.EndTask(true)
		b.copies.Share() // the destination may keep the records
	case *RouteTask, *rateLimitTask:
		b.copies.EndTask(true)
	default:
		if _, ok := task.(routed); !ok && b.copies.HasBranches() {
			return FatalError(errors.New("it calls a RouteTask, but does not embed it, so the records would go down all branches"))
		}
		b.copies.EndTask(false)
		b.copies.WritePieceIDs()
	}
	return nil
}

// waitToRetry logs the retry and waits until the task may be called again.
func (k *walk) waitToRetry(ctx context.Context) error {
	w, records := k.worker, k.batch.ActiveRecords()
	w.logger.Warn(ctx).Str(log.TaskIDField, w.ids[k.node]).Int("rounds", k.unanswered).
		Int("records", len(records)).Str(log.RecordPositionField, shortPosition(records[0].Position)).
		Msg("the task gave no answer, trying again")
	_, err := sleep(ctx, pause(k.unanswered, w.retry.MinPause, w.retry.MaxPause), nil)
	return err
}

// checkMarks decides, from the marks of the task, how the batch continues: whole, in
// parts, or not at all if the task has settled it.
func (k *walk) checkMarks(ctx context.Context) error {
	b := k.batch
	switch {
	case b.copies.IsSettled():
		k.stage = stageEnd
		return nil
	case b.copies.IsUnmarked():
		k.stage, k.unanswered = stageNext, 0
		return nil
	}
	if err := k.checkContext(ctx); err != nil {
		return k.taskError(err)
	}
	if err := k.countCall(); err != nil {
		return k.taskError(err)
	}
	b.copies.NackSiblings()
	nacked, retried := b.copies.Marks()
	k.track.nacked += nacked
	k.track.retried += retried
	if k.worker.wholeBatches {
		return k.stepOut(ctx)
	}
	return k.divide(ctx)
}

// stepOut settles the nacked records and lets the others go on without them. It divides
// the batch only if some are to be retried.
func (k *walk) stepOut(ctx context.Context) error {
	copies, taskID := &k.batch.copies, k.worker.ids[k.node]
	if _, retried := copies.Marks(); retried == 0 && !k.node.HasNext() {
		k.stage = stageEnd
		if k.worker.outcomes != nil {
			copies.MarkDelivered()
		}
		return lostRecords(copies.SettleMarked(taskID))
	}
	if err := copies.StepOut(taskID); err != nil {
		return lostRecords(err)
	}
	if copies.IsUnmarked() {
		k.stage, k.unanswered = stageNext, 0
		return nil
	}
	return k.divide(ctx)
}

// countCall counts consecutive calls without an answer. It returns an error if these are
// too many.
func (k *walk) countCall() error {
	b := k.batch
	if !b.copies.IsUnanswered(k.inactive) {
		k.unanswered = 0
		return nil
	}
	k.unanswered++
	if limit := k.worker.retry.MaxCalls; limit < 0 || k.unanswered < limit {
		return nil
	}
	return FatalError(fmt.Errorf("%w: no answer for %d records in %d calls in a row, the first one is %s",
		ErrNoProgress, b.copies.Len(), k.unanswered, quotePosition(b.copies.Records()[0].Position)))
}

// checkContext returns the context's error if the nacks of the task are no answer: the
// context has ended, and either another branch has failed or a nack's error is the
// context's.
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

// divide divides the batch by status and settles the nacked parts. The other parts
// continue in order, each to the end before the next one starts.
func (k *walk) divide(ctx context.Context) error {
	waiting, call := len(k.later), k.callNumber
	flag := k.batch.copies.Divide(func(flag batch.Flag) *batch.Copies {
		part := k.part(flag, &Batch{})
		k.later = append(k.later, part)
		return &part.batch.copies
	})
	k.step = k.part(flag, k.batch)
	if err := k.settleNacked(k.batch); err != nil {
		return err
	}
	parts := k.later[waiting:]
	for _, part := range parts {
		if err := k.settleNacked(part.batch); err != nil {
			return err
		}
	}
	slices.Reverse(parts)
	if len(k.worker.observers) > 0 && len(parts) > 0 {
		k.dividedBy = call
		for i := range parts {
			parts[i].dividedBy = call
		}
		k.worker.observers.batchDivided(ctx, BatchDivided{TaskID: k.worker.ids[k.node], Call: call, Parts: 1 + len(parts)})
	}
	return nil
}

// part returns the step for a part of the batch.
func (k *walk) part(flag batch.Flag, b *Batch) step {
	part := step{stage: stageNext, node: k.node, batch: b, dividedBy: k.dividedBy}
	switch flag {
	case batch.FlagNack:
		part.stage = stageEnd
	case batch.FlagRetry:
		part.stage, part.unanswered = stageTask, k.unanswered
	}
	return part
}

// settleNacked settles a part whose records were nacked.
func (k *walk) settleNacked(b *Batch) error {
	if !b.copies.HasNacks() {
		return nil
	}
	return lostRecords(b.copies.SettleNacked(k.worker.ids[k.node]))
}

// advance takes the batch to the nodes that follow.
func (k *walk) advance(ctx context.Context) error {
	next := k.node.Next
	if len(next) == 0 || k.batch.copies.Len() == 0 {
		k.stage = stageEnd
		return nil
	}
	if sink := next[0].sink; sink != k.node.sink {
		if err := k.enterSink(ctx, sink); err != nil {
			return err
		}
	}
	if len(next) > 1 {
		return k.fork(ctx)
	}
	k.stage, k.node = stageTask, next[0]
	return nil
}

// fork sends the batch down all branches that follow, and waits for them.
func (k *walk) fork(ctx context.Context) error {
	branches := k.worker.fanOuts[k.node]
	if err := branches.fork(k.batch, k.dividedBy); err != nil {
		return err
	}
	k.forked = k.batch.copies.Source()
	k.stage, k.batch = stageEnd, nil // its copies now belong to the branches
	k.track.leave()
	if err := branches.unshare(); err != nil {
		return err
	}
	return branches.join(ctx, &k.track.counts)
}

// forgive settles everything that the walk has left open as done.
func (k *walk) forgive() error {
	if k.batch == nil && k.forked != nil {
		branches := k.worker.fanOuts[k.node].branches
		for i := range branches {
			if err := branches[i].walk.forgive(); err != nil {
				return err
			}
		}
	}
	for _, s := range append(k.later, k.step) {
		if s.batch == nil || s.batch.copies.Source() == nil {
			continue // a task has put a zero Batch in its place: the records are lost
		}
		if err := s.batch.copies.SettleMarked(""); err != nil {
			return err
		}
	}
	return nil
}

// end settles the batch, unless a fork took it, and releases finished records.
func (k *walk) end() error {
	source := k.forked
	if k.batch != nil {
		if k.worker.outcomes != nil {
			k.batch.copies.MarkDelivered()
		}
		if err := lostRecords(k.batch.copies.Settle()); err != nil {
			return err
		}
		source = k.batch.copies.Source()
	}
	if k.sink != nil {
		k.leaveSink()
	}
	if k.onBranch || k.sink != nil || k.worker.wholeBatches && len(k.later) > 0 {
		return nil
	}
	return k.worker.release(k.worker.ctx, source, &k.track.counts)
}

// taskError wraps an error that comes from the task of the node.
func (k *walk) taskError(err error) error { return k.worker.taskError(k.node, err) }
