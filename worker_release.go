package funnel

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/conduitio/funnel/internal/batch"
	"github.com/conduitio/funnel/metrics"
)

// Releasing acks finished source records in order; nacked ones go to the dead-letter
// queue first. The ledger says which records are finished. All releasing happens in
// this file, under one lock.

// release releases the finished records of a source batch.
func (w *Worker) release(ctx context.Context, s *batch.SourceBatch) error {
	if err := w.releaseLock.Lock(ctx); err != nil {
		return err
	}
	defer w.releaseLock.Unlock()
	return w.releaseFinished(ctx, s)
}

// releaseAfter releases the finished records after the walk has failed with err, unless
// releasing is what failed.
func (w *Worker) releaseAfter(ctx context.Context, s *batch.SourceBatch, err error) error {
	if s.Progress.HasFailed {
		return err
	}
	return also(err, func() error { return w.release(ctx, s) })
}

// releaseFinished is release for a caller that holds the lock. It goes from run to run;
// the records of a run are either all nacked or all not.
func (w *Worker) releaseFinished(ctx context.Context, s *batch.SourceBatch) error {
	s.Progress.HasFailed = true // stays true after an error or a panic
	for s.Ledger.Pending() > 0 {
		from, to, isNacked := s.Ledger.Front()
		if from == to {
			break
		}
		w.admit(s) // in each run, since other records may have finished meanwhile
		if !isNacked {
			if err := w.ackSource(ctx, s, from, to); err != nil {
				return err
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
	s.Progress.HasFailed = false
	return nil
}

// admit reports the outcomes of the finished records at the front to the window of the
// queue, each outcome once. It stops at the first nack that the window refuses, and
// keeps the error. Without a queue it does nothing.
func (w *Worker) admit(s *batch.SourceBatch) {
	q, r := w.DLQ, &s.Progress
	for q != nil && r.Refusal == nil {
		to, isNacked := s.Ledger.RunFrom(r.Admitted)
		n := to - r.Admitted
		switch {
		case n == 0:
			return
		case !isNacked:
			q.window.CountAcks(n)
		default:
			n = q.window.Tolerates(n)
			q.window.CountNacks(n)
		}
		if r.Admitted += n; r.Admitted < to {
			r.Refusal = q.refuse(s.Ledger.Cause(r.Admitted))
		}
	}
}

// releaseNacked releases the first records of a nacked run, up to the first one that a
// different task nacked, and returns how many it has released. If the window refuses a
// record, those before it are still released.
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
		err = also(err, func() error { return w.ackSource(ctx, s, from, stored) })
	}
	return stored - from, err
}

// storeNacked writes dead letters for the records [from, end). It skips records at the
// start that are already stored. Then it stops at the first one that is already stored
// or that the window refuses. It returns an error if a record is refused or cannot be
// stored.
func (w *Worker) storeNacked(ctx context.Context, s *batch.SourceBatch, from, end int) error {
	limit, refusal := end, error(nil)
	if s.Progress.Admitted < end {
		limit, refusal = s.Progress.Admitted, s.Progress.Refusal
	}
	start := from + countStored(s, from, limit)
	var nacked []*batch.NackedRecord
	for i := start; i < limit && !s.Ledger.IsStored(i); i++ {
		nacked = append(nacked, s.Ledger.Cause(i))
	}
	err := keeping(refusal, func() error {
		return w.DLQ.store(ctx, nacked, w.ids[w.FirstTask], func(i int) { s.Ledger.MarkStored(start + i) })
	})
	if err != nil || start+len(nacked) == limit {
		return joinErrors(err, refusal)
	}
	return nil // it stopped at a stored record, which the next call skips
}

// countStored returns how many of the first nacked records in [from, to) the queue has
// confirmed.
func countStored(s *batch.SourceBatch, from, to int) int {
	n := 0
	for from+n < to && s.Ledger.IsStored(from+n) {
		n++
	}
	return n
}

// ackSource acks finished records in the source.
func (w *Worker) ackSource(ctx context.Context, s *batch.SourceBatch, from, to int) error {
	positions := s.Positions[from:to:to]
	if s.Progress.CopyPositions {
		positions = slices.Clone(positions)
	}
	if err := w.Source.Ack(ctx, positions); err != nil {
		return w.taskError(w.FirstTask, &sourceAckError{err: err})
	}
	s.Ledger.Release(to)
	if len(s.ReadAt) > 0 {
		w.observeAges(s.ReadAt[from:to])
	}
	return nil
}

// observeAges updates the timer with the time since records were read.
func (w *Worker) observeAges(readAt []time.Time) {
	now, timer := time.Now(), metrics.Resolve(w.timer)
	for _, at := range readAt {
		timer.Update(max(now.Sub(at), 0)) // a record may claim a read time in the future
	}
}

// Ack settles each record of the batch as done, once. If this settles the last copy of
// a source record, the source record is acked, in order; if another copy was nacked, the
// record goes to the DLQ first. A batch made by [NewBatch] is acked at once. Calling Ack
// again acks nothing twice: it only retries what failed.
//
// If a record is marked as nacked or to be retried, Ack returns an error and settles
// nothing. A task that settles its batch this way takes it out of the pipeline.
//
// Ack may be called concurrently with the worker if the worker does not hold the batch
// and the source allows Ack during Read. Ack waits while the worker itself releases
// records. If its context ends first, it returns the context's error and settles
// nothing.
func (w *Worker) Ack(ctx context.Context, batch *Batch) error {
	if !batch.copies.IsUnmarked() {
		nacked, retried := batch.copies.Marks()
		return fmt.Errorf("cannot ack a batch in which records are marked: %d nacked, %d to be retried", nacked, retried)
	}
	return w.settle(ctx, batch, batch.copies.Settle)
}

// Nack settles each record of the batch as nacked by the task, once, with the error it
// is marked with; filtered records stay filtered. A batch made by [NewBatch] goes to
// the DLQ and is acked at once. Records that the DLQ does not accept are not acked, and
// the error says why, see [DLQ.Nack].
//
// Calling Nack again nacks nothing twice: it only retries what failed. What the DLQ has
// confirmed is not written again, and each record counts once in the DLQ's window. If
// the window has refused a record, each further call fails with the same error.
//
// A task that settles its batch this way takes it out of the pipeline. Nack may be
// called concurrently with the worker under the same conditions as Ack.
func (w *Worker) Nack(ctx context.Context, batch *Batch, taskID string) error {
	return w.settle(ctx, batch, func() error { return batch.copies.SettleNacked(taskID) })
}

// settle settles a batch outside the walk and releases what is finished.
func (w *Worker) settle(ctx context.Context, b *Batch, settle func() error) error {
	s := b.copies.Source()
	if s == nil {
		return nil // a zero Batch
	}
	if err := b.checkPositions(); err != nil {
		return err
	}
	if err := w.releaseLock.Lock(ctx); err != nil {
		return err
	}
	defer w.releaseLock.Unlock()
	if err := lostRecords(settle()); err != nil {
		return err
	}
	s.Progress.CopyPositions = true
	return w.releaseFinished(ctx, s)
}
