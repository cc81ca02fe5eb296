package funnel

import "context"

// These methods report to the observers of a worker. They are called only if there is one.

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
	w.track.leave() // no task has the batch while the observers are told
	w.calls.Store(0)
	o := observedBatch{ctx: ctx, waiting: w.observers}
	defer o.abort() // unless it has ended
	o.begin(BatchRead{Records: n}, b)
	err := w.processInside(o.ctx, b)
	w.track.leave()
	c := &w.track.counts
	o.end(BatchDone{
		Read: n, Acked: c.acked, DeadLettered: c.deadLettered,
		Filtered: c.filtered, Nacked: c.nacked, Retried: c.retried, Err: err,
	})
	return err
}

// callObserved is callTask with events.
func (k *walk) callObserved(ctx context.Context) error {
	o, id, b := k.worker.observers, k.worker.ids[k.node], k.batch
	in := b.copies.Len()
	k.callNumber = int(k.worker.calls.Add(1))
	taskCtx := o.taskBegin(ctx, TaskBegin{TaskID: id, Records: in, Call: k.callNumber, DividedBy: k.dividedBy})
	err := k.callTask(taskCtx)
	if err == nil && !b.copies.IsSettled() {
		if err = k.checkContext(taskCtx); err != nil {
			err = k.taskError(err)
		}
	}
	if err != nil {
		o.taskDone(taskCtx, TaskDone{TaskID: id, In: in, Err: err})
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
	o.taskDone(taskCtx, done)
	return nil
}

// reportReleased reports what was written to the queue and acked, in the walk or outside
// it.
func (w *Worker) reportReleased(ctx context.Context, c *counts, outside bool) {
	events := c.released
	c.released = nil
	for _, e := range events {
		if e.letters > 0 {
			w.observers.deadLettersWritten(ctx, DeadLettersWritten{Records: e.letters, Confirmed: e.confirmed, Err: e.err, Outside: outside})
		} else {
			w.observers.recordsAcked(ctx, RecordsAcked{Records: e.acked, Outside: outside})
		}
	}
}
