package funnel

import (
	"context"
	"slices"
)

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

// observers are the observers of a worker, in the order of its options. What begins goes to
// them in this order, what ends in reverse order.
type observers []Observer

func (all observers) taskBegin(ctx context.Context, e TaskBegin) context.Context {
	for _, o := range all {
		ctx = derived(ctx, o.TaskBegin(ctx, e))
	}
	return ctx
}

func (all observers) taskDone(ctx context.Context, e TaskDone) {
	for _, o := range slices.Backward(all) {
		o.TaskDone(ctx, e)
	}
}

func (all observers) batchDivided(ctx context.Context, e BatchDivided) {
	for _, o := range all {
		o.BatchDivided(ctx, e)
	}
}

func (all observers) deadLettersWritten(ctx context.Context, e DeadLettersWritten) {
	for _, o := range all {
		o.DeadLettersWritten(ctx, e)
	}
}

func (all observers) recordsAcked(ctx context.Context, e RecordsAcked) {
	for _, o := range all {
		o.RecordsAcked(ctx, e)
	}
}

// observedBatch tells observers of the beginning and the end of a batch. Whatever panics,
// each observer that was told of the beginning is told of one end.
type observedBatch struct {
	ctx     context.Context // for the tasks
	waiting observers       // that were not told of the beginning yet
	told    observers       // of the beginning, and not of the end
}

// begin tells the observers of the beginning, with the records if they want them.
func (b *observedBatch) begin(e BatchRead, records *Batch) {
	all := b.waiting
	for i, o := range all {
		ctx := b.ctx
		if r, ok := o.(RecordsObserver); ok {
			ctx = r.RecordsRead(ctx, e, slices.Clip(records.ActiveRecords()))
		} else {
			ctx = o.BatchRead(ctx, e)
		}
		b.ctx, b.told, b.waiting = derived(b.ctx, ctx), all[:i+1], all[i+1:]
	}
}

// end tells the observers that the batch is done.
func (b *observedBatch) end(e BatchDone) {
	for n := len(b.told); n > 0; n-- {
		b.told[n-1].BatchDone(b.ctx, e)
		b.told = b.told[:n-1]
	}
}

// abort tells the observers that were not told of an end that the batch is aborted, also if
// one of them panics.
func (b *observedBatch) abort() {
	n := len(b.told)
	if n == 0 {
		return
	}
	last := b.told[n-1]
	b.told = b.told[:n-1]
	defer b.abort()
	if o, ok := last.(AbortObserver); ok {
		o.BatchAborted(b.ctx)
	}
}

// derived returns the context that a method of an observer has returned, or ctx if it is
// nil.
func derived(ctx, returned context.Context) context.Context {
	if returned == nil {
		return ctx
	}
	return returned
}
