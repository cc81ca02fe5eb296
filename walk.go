package funnel

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
)

// The walk takes a batch through the tasks. It is a loop, in which what comes
// later waits in a slice, so that its depth does not grow with the number of
// sub-batches or retries. Only branches nest.

// stepRoom is how many steps a walk has room for before it allocates more. A batch
// that stays whole needs one.
const stepRoom = 4

// step is something still to be done with a batch: give it to the task of the
// node or, if it has been there, to what comes after it.
type step struct {
	node  *TaskNode
	batch *Batch
	toDo  bool // the task of the node is still to be done
	done  bool // it has just been done, what it has marked is still to be looked at
	idle  int  // how often in a row the task has given no answer for the batch
}

// walk does a step and all that follow from it, up to the end of the pipeline or
// the branch. If on is nil, it releases what is done. Otherwise it is on that
// branch: it leaves releasing to others, and stops when its context ends, since
// another branch has failed.
func (w *Worker) walk(ctx context.Context, s step, on *branch) error {
	var room [stepRoom]step
	later := room[:0] // what comes after s, the last one first
	for {
		var err error
		isOver := false
		switch {
		case s.toDo && on != nil && ctx.Err() != nil:
			return ctx.Err()
		case s.toDo:
			if on != nil {
				on.running = s.node
			}
			s, later, err = w.do(ctx, s, later)
		case s.done:
			if err = w.checkNacks(ctx, s); err == nil {
				s, later, err = w.handled(s, later, 0)
			}
		case s.batch.settled || !s.batch.HasActiveRecords() || !s.node.HasNext():
			if err = s.batch.settle(); err == nil && on == nil {
				err = w.release(ctx, s.batch.origin)
			}
			isOver = true
		case len(s.node.Next) == 1:
			s = step{node: s.node.Next[0], batch: s.batch, toDo: true}
		default:
			err = w.fanOuts[s.node].do(ctx, s.batch, on != nil)
			isOver = true
		}
		if err != nil {
			return err
		}
		if isOver {
			if len(later) == 0 {
				return nil
			}
			s, later = later[len(later)-1], later[:len(later)-1]
		}
	}
}

// do lets a task handle a batch and returns the step that follows from it, and
// those that come later, the last one first.
func (w *Worker) do(ctx context.Context, s step, later []step) (step, []step, error) {
	task, b := s.node.Task, s.batch
	if s.idle > 0 {
		w.logger.Warn(ctx).Str(log.TaskIDField, w.ids[s.node]).Int("rounds", s.idle).
			Int("records", b.active()).Str(log.RecordPositionField, shorten(b.ActiveRecords()[0].Position)).
			Msg("the task gave no answer, trying again")
		if _, err := sleep(ctx, pause(s.idle, minRetryPause, maxRetryPause), nil); err != nil {
			return s, nil, w.taskError(s.node, err)
		}
	}
	if b.held && !s.node.onlyReads() {
		if err := b.detach(); err != nil {
			return s, nil, w.taskError(s.node, err)
		}
	}
	filtered := b.filteredCopies()
	b.beginTask()
	if err := task.Do(ctx, b); err != nil {
		return s, nil, w.taskError(s.node, err)
	}
	if b.origin == nil {
		return s, nil, w.taskError(s.node, fmt.Errorf("%w: it has put another batch in the place of the one that it was given", ErrLostRecords))
	}
	b.endTask(task)
	if err := w.checkNacks(ctx, s); err != nil {
		return s, nil, err
	}
	if _, ok := task.(*DestinationTask); ok {
		b.held = true // by the destination
	}
	return w.handled(s, later, filtered)
}

// checkNacks returns an error if the nacks that a task has just given are no
// answer: the context has ended, which is not the fault of any record.
func (w *Worker) checkNacks(ctx context.Context, s step) error {
	if s.batch.counts[RecordFlagNack] == 0 || ctx.Err() == nil || s.batch.settled {
		return nil
	}
	if context.Cause(ctx) == errOtherBranch || s.batch.isNackedBy(ctx) {
		return w.taskError(s.node, contextError(ctx))
	}
	return nil
}

// handled returns the step that follows once a task has handled a batch in which
// so many copies were filtered before, and those that come later, the last one
// first. What was nacked is settled.
func (w *Worker) handled(s step, later []step, filtered int) (step, []step, error) {
	b := s.batch
	if b.settled || b.isWhole() {
		return step{node: s.node, batch: b}, later, nil
	}
	idle := 0
	if b.isUnanswered(filtered) {
		if idle = s.idle + 1; idle == maxRetryCalls {
			return s, nil, w.taskError(s.node, FatalError(fmt.Errorf(
				"%w: no answer for %d records in %d calls in a row, the first one is %s",
				ErrNoProgress, b.active(), idle, show(b.ActiveRecords()[0].Position))))
		}
	}
	b.nackSiblings()
	parts := b.parts()
	for _, p := range parts {
		if p.flag == RecordFlagNack {
			if err := p.batch.settleNacked(w.ids[s.node]); err != nil {
				return s, nil, err
			}
		}
	}
	for _, p := range slices.Backward(parts) {
		next := step{node: s.node, batch: p.batch}
		if p.flag == RecordFlagRetry {
			next.toDo, next.idle = true, idle
		}
		later = append(later, next)
	}
	return later[len(later)-1], later[:len(later)-1], nil
}

// release hands the source records that are done, in order, to the source or to
// the dead-letter queue and then to the source.
func (w *Worker) release(ctx context.Context, o *origin) error {
	if err := w.releasing.Lock(ctx); err != nil {
		return err
	}
	defer w.releasing.Unlock()
	return w.releaseLocked(ctx, o)
}

// releaseLocked is release for a caller that holds the lock.
func (w *Worker) releaseLocked(ctx context.Context, o *origin) error {
	o.hasFailed = true // unless it gets to the end
	err := w.releaseRuns(ctx, o)
	o.hasFailed = err != nil
	return err
}

// releaseRuns releases the records that are done. The caller has the lock.
func (w *Worker) releaseRuns(ctx context.Context, o *origin) error {
	for {
		from, to, isNacked := o.ledger.Front()
		if from == to {
			return nil
		}
		o.admit(w.DLQ)
		if !isNacked {
			if err := w.ack(ctx, o, from, to); err != nil {
				return err
			}
			if to == len(o.positions) {
				return nil
			}
			continue
		}
		for from < to {
			n, err := w.releaseNacked(ctx, o, from, to)
			if err != nil {
				return err
			}
			from += n
		}
	}
}

// releaseNacked releases the first records of a nacked run, as far as the same task
// has nacked them, and returns how many it has released. If the window refuses one,
// those before it are released all the same. What the queue has confirmed already
// is not written again.
func (w *Worker) releaseNacked(ctx context.Context, o *origin, from, to int) (int, error) {
	taskID, end := o.ledger.Cause(from).taskID, from+1
	for end < to && o.ledger.Cause(end).taskID == taskID {
		end++
	}
	if w.DLQ == nil {
		return 0, o.ledger.Cause(from).asError()
	}
	limit := min(o.admitted, end)
	start := from
	for start < limit && o.ledger.IsStored(start) {
		start++
	}
	var failures []*failure
	for i := start; i < limit && !o.ledger.IsStored(i); i++ {
		failures = append(failures, o.ledger.Cause(i))
	}
	refusal := o.refusal
	if limit == end {
		refusal = nil // it is that of a record further on
	}
	err := holding(refusal, func() error {
		return w.DLQ.store(ctx, failures, w.ids[w.FirstTask], func(i int) { o.ledger.Store(start + i) })
	})
	if start+len(failures) == limit || err != nil {
		err = joinErrors(err, refusal)
	}
	stored := from
	for stored < limit && o.ledger.IsStored(stored) {
		stored++
	}
	if stored > from {
		err = also(err, func() error { return w.ack(ctx, o, from, stored) })
	}
	return stored - from, err
}

// admit tells the window of the queue, if there is one, what has become of the
// finished records at the front, once, and asks it whether it admits their nacks.
func (o *origin) admit(q *DLQ) {
	for q != nil && o.refusal == nil {
		to, isNacked := o.ledger.Run(o.admitted)
		n := to - o.admitted
		switch {
		case n == 0:
			return
		case !isNacked:
			q.window.Ack(n)
		default:
			n = q.window.Tolerates(n)
			q.window.Nack(n)
		}
		if o.admitted += n; o.admitted < to {
			o.refusal = q.refuse(o.ledger.Cause(o.admitted))
		}
	}
}

// ack acks records in the source. They are done.
func (w *Worker) ack(ctx context.Context, o *origin, from, to int) error {
	positions := o.positions[from:to:to]
	if o.isRepeatable {
		positions = slices.Clone(positions)
	}
	if err := w.Source.Ack(ctx, positions); err != nil {
		return w.taskError(w.FirstTask, &sourceAckError{err: err})
	}
	o.ledger.Release(to)
	if len(o.readAt) > 0 {
		now, timer := time.Now(), metrics.Resolve(w.timer)
		for _, at := range o.readAt[from:to] {
			timer.Update(max(now.Sub(at), 0)) // a record may claim a read time in the future
		}
	}
	return nil
}

// Ack settles each record of the batch, once, as done. The source records of
// which that was the last copy are acked in the source, those that were nacked
// before go to the DLQ first, and all of them in order. A batch made by
// [NewBatch] is acked at once. Calling it again acks nothing twice, it only
// tries once more what has failed.
//
// A batch that holds records marked as nacked or to be retried is an error, and
// nothing of it is settled. A task that settles its batch this way takes it out
// of the pipeline. Ack may be called concurrently with the worker, for batches
// that the worker does not have, if the source allows its Ack beside its Read.
// While the worker itself releases records, Ack waits. If its context ends first,
// it returns the context's error and settles nothing.
func (w *Worker) Ack(ctx context.Context, batch *Batch) error {
	if !batch.isWhole() {
		batch.join()
		return fmt.Errorf("cannot ack a batch in which records are marked: %d nacked, %d to be retried",
			batch.counts[RecordFlagNack], batch.counts[RecordFlagRetry])
	}
	return w.settle(ctx, batch, (*Batch).settle)
}

// Nack settles each record of the batch, once, as nacked by the task, with the
// error that it is marked with; filtered records stay filtered. A batch made by
// [NewBatch] goes to the DLQ and is acked in the source at once. Records that the
// DLQ does not take are not acked, and the error says why, see [DLQ.Nack].
//
// Calling it again nacks nothing twice, it only retries what has failed: what the
// DLQ has confirmed is not written again, and each record counts once in its
// window. If the window has refused a record, each further call fails with the
// same error.
//
// A task that settles its batch this way takes it out of the pipeline. Nack may
// be called concurrently with the worker like Ack.
func (w *Worker) Nack(ctx context.Context, batch *Batch, taskID string) error {
	return w.settle(ctx, batch, func(b *Batch) error { return b.settleNacked(taskID) })
}

// settle settles a batch from outside the walk.
func (w *Worker) settle(ctx context.Context, batch *Batch, settle func(*Batch) error) error {
	if batch.origin == nil {
		return nil // a zero Batch
	}
	if err := batch.origin.checkPositions(); err != nil {
		return err
	}
	if err := w.releasing.Lock(ctx); err != nil {
		return err
	}
	defer w.releasing.Unlock()
	if err := settle(batch); err != nil {
		return err
	}
	batch.origin.isRepeatable = true
	return w.releaseLocked(ctx, batch.origin)
}
