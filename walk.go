package funnel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
)

// The walk takes a batch through the tasks. It is a loop, in which what comes
// later waits in a slice, so that its depth does not grow with the number of
// sub-batches or retries. Only branches nest.

const (
	// maxIdleRounds is how often in a row one may be asked and give no answer.
	maxIdleRounds = 5
	minBackOff    = time.Millisecond
	maxBackOff    = 100 * time.Millisecond

	// stepRoom is how many steps a walk has room for before it allocates more. A
	// batch that stays whole needs one.
	stepRoom = 4
)

// backOff waits for the pause with that number: there is no pause number 0, number
// 1 is the shortest one, and each is twice as long as the one before.
func backOff(ctx context.Context, number int) error {
	if number == 0 {
		return nil
	}
	timer := time.NewTimer(min(minBackOff<<(number-1), maxBackOff))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

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
// the branch. It releases what is done, unless it is on a branch: that leaves it
// to others, and stops when its context ends, since another one has failed.
func (w *Worker) walk(ctx context.Context, s step, isBranch bool) error {
	var room [stepRoom]step
	later := room[:0] // what comes after s, the last one first
	for {
		var err error
		isOver := false
		switch {
		case s.toDo && isBranch && ctx.Err() != nil:
			return ctx.Err()
		case s.toDo:
			s, later, err = w.do(ctx, s, later)
		case s.done:
			s, later, err = handled(s, later, 0)
		case s.batch.settled || !s.batch.HasActiveRecords() || !s.node.HasNext():
			if err = s.batch.settle(); err == nil && !isBranch {
				err = w.release(ctx, s.batch.origin)
			}
			isOver = true
		case len(s.node.Next) == 1:
			s = step{node: s.node.Next[0], batch: s.batch, toDo: true}
		default:
			err = w.fanOuts[s.node].do(ctx, s.batch, isBranch)
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
		w.logger.Warn(ctx).Str(log.TaskIDField, task.ID()).Int("rounds", s.idle).
			Int("records", b.active()).Stringer(log.RecordPositionField, b.ActiveRecords()[0].Position).
			Msg("the task gave no answer, trying again")
		if err := backOff(ctx, s.idle); err != nil {
			return s, nil, taskError(task.ID(), err)
		}
	}
	if b.held && !s.node.onlyReads() {
		b.detach()
	}
	filtered := b.filteredCopies()
	if err := task.Do(ctx, b); err != nil {
		return s, nil, taskError(task.ID(), err)
	}
	if b.origin == nil {
		return s, nil, taskError(task.ID(), errors.New("the task has put another batch in the place of the one that it was given"))
	}
	if b.counts[RecordFlagNack] > 0 && context.Cause(ctx) == errOtherBranch {
		// The records may have failed only because of that.
		return s, nil, taskError(task.ID(), ctx.Err())
	}
	if _, ok := task.(*DestinationTask); ok {
		b.held = true // by the destination
	}
	return handled(s, later, filtered)
}

// handled returns the step that follows once a task has handled a batch in which
// so many copies were filtered before, and those that come later, the last one
// first. What was nacked is settled.
func handled(s step, later []step, filtered int) (step, []step, error) {
	b := s.batch
	if b.settled || b.isWhole() {
		return step{node: s.node, batch: b}, later, nil
	}
	idle := 0
	if b.isUnanswered(filtered) {
		if idle = s.idle + 1; idle == maxIdleRounds {
			return s, nil, taskError(s.node.id(), FatalError(fmt.Errorf(
				"no answer for %d records in %d attempts in a row, the first one is %q",
				b.active(), idle, b.ActiveRecords()[0].Position)))
		}
	}
	b.nackSiblings()
	parts := b.parts()
	for _, p := range parts {
		if p.flag == RecordFlagNack {
			if err := p.batch.settleNacked(s.node.id()); err != nil {
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
	w.releasing.Lock()
	defer w.releasing.Unlock()
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
		if !isNacked {
			if err := w.ack(ctx, o, from, to); err != nil {
				return err
			}
			if w.DLQ != nil {
				w.DLQ.window.Ack(to - from)
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

// releaseNacked releases the first of the nacked records in a run, those that
// were nacked by the same task, and returns how many they are.
func (w *Worker) releaseNacked(ctx context.Context, o *origin, from, to int) (int, error) {
	failures := []failure{o.ledger.Cause(from)}
	for i := from + 1; i < to; i++ {
		f := o.ledger.Cause(i)
		if f.taskID != failures[0].taskID {
			break
		}
		failures = append(failures, f)
	}
	if w.DLQ == nil {
		return 0, failures[0].asError()
	}
	n, err := w.DLQ.nack(ctx, failures, w.FirstTask.id())
	if n > 0 {
		err = joinErrors(err, w.ack(ctx, o, from, from+n))
	}
	return n, err
}

// ack acks records in the source. They are done.
func (w *Worker) ack(ctx context.Context, o *origin, from, to int) error {
	positions := o.positions[from:to:to]
	if o.isRepeatable {
		positions = slices.Clone(positions)
	}
	if err := w.Source.Ack(ctx, positions); err != nil {
		return &sourceAckError{err: err}
	}
	o.ledger.Release(to)
	if len(o.readAt) > 0 {
		now, timer := time.Now(), metrics.Resolve(w.timer)
		for _, at := range o.readAt[from:to] {
			timer.Update(now.Sub(at))
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
// Calling it again nacks nothing twice, it only tries once more what has failed.
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
	if err := settle(batch); err != nil {
		return err
	}
	w.releasing.Lock()
	batch.origin.isRepeatable = true
	w.releasing.Unlock()
	return w.release(ctx, batch.origin)
}
