package funnel

import (
	"context"
	"slices"
)

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
