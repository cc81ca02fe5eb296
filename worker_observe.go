package funnel

import "context"

// These methods report to the observer of a worker. They are called only if there is one.

// releaseEvent is an event that is reported after the release lock is unlocked: a write
// to the dead-letter queue or, if letters is 0, an ack of the source.
type releaseEvent struct {
	letters, confirmed int
	acked              int
	err                error
}

// processObserved is processInside with events.
func (w *Worker) processObserved(ctx context.Context, b *Batch) error {
	n := len(b.copies.Source().Positions)
	w.track.leave() // no task has the batch while the observer is told
	taskCtx := batchRead(ctx, w.observer, BatchRead{Records: n}, b)
	hasEnded := false
	defer func() {
		if !hasEnded {
			batchAborted(taskCtx, w.observer)
		}
	}()
	err := w.processInside(taskCtx, b)
	w.track.leave()
	c := &w.track.counts
	w.observer.BatchDone(taskCtx, BatchDone{
		Read: n, Acked: c.acked, DeadLettered: c.deadLettered,
		Filtered: c.filtered, Nacked: c.nacked, Retried: c.retried, Err: err,
	})
	hasEnded = true
	return err
}

// callObserved is callTask with events.
func (k *walk) callObserved(ctx context.Context) error {
	o, id, b := k.worker.observer, k.worker.ids[k.node], k.batch
	in := b.copies.Len()
	taskCtx := derived(ctx, o.TaskBegin(ctx, TaskBegin{TaskID: id, Records: in, Node: k.node, Waiting: len(k.later)}))
	err := k.callTask(taskCtx)
	if err == nil && !b.copies.IsSettled() {
		if err = k.checkContext(taskCtx); err != nil {
			err = k.taskError(err)
		}
	}
	if err != nil {
		o.TaskDone(taskCtx, TaskDone{TaskID: id, In: in, Err: err})
		return err
	}
	done := TaskDone{TaskID: id, In: in, Filtered: b.copies.Inactive() - k.inactive}
	if !b.copies.IsSettled() {
		b.copies.NackSiblings()
		done.Nacked, done.Retried = b.copies.Marks()
		done.Out = b.copies.Len() - done.Retried
		if done.Nacked > 0 {
			done.Out -= done.Nacked - b.copies.Left()
		}
		done.Added = max(done.Out+done.Filtered+done.Nacked+done.Retried-in, 0) // the task may have put a smaller batch in its place
	}
	o.TaskDone(taskCtx, done)
	return nil
}

// reportReleased reports what was written to the queue and acked, in the walk or outside
// it.
func (w *Worker) reportReleased(ctx context.Context, c *counts, outside bool) {
	events := c.released
	c.released = nil
	for _, e := range events {
		if e.letters > 0 {
			w.observer.DeadLettersWritten(ctx, DeadLettersWritten{Records: e.letters, Confirmed: e.confirmed, Err: e.err, Outside: outside})
		} else {
			w.observer.RecordsAcked(ctx, RecordsAcked{Records: e.acked, Outside: outside})
		}
	}
}
