package funnel

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/conduitio/funnel/internal/batch"
	"github.com/conduitio/funnel/metrics"
)

// Releasing hands the source records that are done, in order, to the source, or to the
// dead-letter queue and then to the source. The ledger says which are done. All of it
// happens here, under one lock.

// release releases what is done of a source batch.
func (w *Worker) release(ctx context.Context, s *batch.SourceBatch) error {
	if err := w.releasing.Lock(ctx); err != nil {
		return err
	}
	defer w.releasing.Unlock()
	return w.releaseLocked(ctx, s)
}

// releaseAfter releases what is done at the end of a way, which may have failed with
// err. What is finished is released all the same, unless releasing has failed already.
func (w *Worker) releaseAfter(ctx context.Context, s *batch.SourceBatch, err error) error {
	switch {
	case err == nil:
		return w.release(ctx, s)
	case s.Release.HasFailed:
		return err
	default:
		return also(err, func() error { return w.release(ctx, s) })
	}
}

// releaseLocked is release for a caller that holds the lock.
func (w *Worker) releaseLocked(ctx context.Context, s *batch.SourceBatch) error {
	s.Release.HasFailed = true // unless it gets to the end
	err := w.releaseRuns(ctx, s)
	s.Release.HasFailed = err != nil
	return err
}

// releaseRuns releases run after run of records that were all nacked, or all not.
func (w *Worker) releaseRuns(ctx context.Context, s *batch.SourceBatch) error {
	for {
		from, to, isNacked := s.Ledger.Front()
		if from == to {
			return nil
		}
		w.admit(s)
		if !isNacked {
			if err := w.ack(ctx, s, from, to); err != nil {
				return err
			}
			if to == len(s.Positions) {
				return nil
			}
			continue
		}
		for from < to {
			n, err := w.releaseNacked(ctx, s, from, to)
			if err != nil {
				return err
			}
			from += n
		}
	}
}

// admit tells the window of the queue, if there is one, what has become of the finished
// records at the front, once, and asks it whether it admits their nacks.
func (w *Worker) admit(s *batch.SourceBatch) {
	q, r := w.DLQ, &s.Release
	for q != nil && r.Refusal == nil {
		to, isNacked := s.Ledger.RunFrom(r.Admitted)
		n := to - r.Admitted
		switch {
		case n == 0:
			return
		case !isNacked:
			q.window.Ack(n)
		default:
			n = q.window.Tolerates(n)
			q.window.Nack(n)
		}
		if r.Admitted += n; r.Admitted < to {
			r.Refusal = q.refuse(s.Ledger.Cause(r.Admitted))
		}
	}
}

// releaseNacked releases the first records of a nacked run, as far as the same task has
// nacked them, and returns how many it has released. If the window refuses one, those
// before it are released all the same.
func (w *Worker) releaseNacked(ctx context.Context, s *batch.SourceBatch, from, to int) (int, error) {
	end := from + 1
	for end < to && s.Ledger.Cause(end).TaskID == s.Ledger.Cause(from).TaskID {
		end++
	}
	if w.DLQ == nil {
		return 0, nackError(s.Ledger.Cause(from))
	}
	err := w.storeNacked(ctx, s, from, end)
	stored := from + countStored(s, from, end)
	if stored > from {
		err = also(err, func() error { return w.ack(ctx, s, from, stored) })
	}
	return stored - from, err
}

// storeNacked writes the dead letters of nacked records that the window admits, up to
// one that is stored already. It returns an error if one of the records [from, end)
// must not, or could not, be stored.
func (w *Worker) storeNacked(ctx context.Context, s *batch.SourceBatch, from, end int) error {
	limit, refusal := end, error(nil)
	if s.Release.Admitted < end {
		limit, refusal = s.Release.Admitted, s.Release.Refusal
	}
	start := from + countStored(s, from, limit)
	var nacked []*batch.NackedRecord
	for i := start; i < limit && !s.Ledger.IsStored(i); i++ {
		nacked = append(nacked, s.Ledger.Cause(i))
	}
	err := holding(refusal, func() error {
		return w.DLQ.store(ctx, nacked, w.ids[w.FirstTask], func(i int) { s.Ledger.Store(start + i) })
	})
	if err != nil || start+len(nacked) == limit {
		return joinErrors(err, refusal)
	}
	return nil // there are more to write behind what is stored
}

// countStored returns how many of the nacked records [from, to), from the first one on,
// the queue has confirmed.
func countStored(s *batch.SourceBatch, from, to int) int {
	n := 0
	for from+n < to && s.Ledger.IsStored(from+n) {
		n++
	}
	return n
}

// ack acks records, which are done, in the source.
func (w *Worker) ack(ctx context.Context, s *batch.SourceBatch, from, to int) error {
	positions := s.Positions[from:to:to]
	if s.Release.CopyPositions {
		positions = slices.Clone(positions)
	}
	if err := w.Source.Ack(ctx, positions); err != nil {
		return w.taskError(w.FirstTask, &sourceAckError{err: err})
	}
	s.Ledger.Release(to)
	if len(s.ReadAt) > 0 {
		now, timer := time.Now(), metrics.Resolve(w.timer)
		for _, at := range s.ReadAt[from:to] {
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
	if !batch.copies.IsUnmarked() {
		nacked, retried := batch.copies.Marks()
		return fmt.Errorf("cannot ack a batch in which records are marked: %d nacked, %d to be retried", nacked, retried)
	}
	return w.settle(ctx, batch, batch.copies.Settle)
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
	return w.settle(ctx, batch, func() error { return batch.copies.SettleNacked(taskID) })
}

// settle settles a batch from outside the walk.
func (w *Worker) settle(ctx context.Context, b *Batch, settle func() error) error {
	s := b.copies.Source()
	if s == nil {
		return nil // a zero Batch
	}
	if err := b.checkPositions(); err != nil {
		return err
	}
	if err := w.releasing.Lock(ctx); err != nil {
		return err
	}
	defer w.releasing.Unlock()
	if err := lost(settle()); err != nil {
		return err
	}
	s.Release.CopyPositions = true
	return w.releaseLocked(ctx, s)
}
