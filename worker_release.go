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
func (w *Worker) release(ctx context.Context, s *batch.SourceBatch, c *counts) error {
	if len(w.observers) > 0 {
		defer w.reportReleased(ctx, c, false) // also after a panic
	}
	return w.releaseLocked(ctx, s, c)
}

// releaseLocked takes the lock and releases the finished records.
func (w *Worker) releaseLocked(ctx context.Context, s *batch.SourceBatch, c *counts) error {
	if err := w.releaseLock.Lock(ctx); err != nil {
		return err
	}
	defer w.releaseLock.Unlock()
	return w.releaseFinished(ctx, s, c)
}

// releaseAfter releases the finished records after the walk has failed with err, unless
// releasing is what failed.
func (w *Worker) releaseAfter(ctx context.Context, s *batch.SourceBatch, err error, c *counts) error {
	if s.Progress.HasFailed {
		return err
	}
	return also(err, func() error { return w.release(ctx, s, c) })
}

// releaseFinished is release for a caller that holds the lock.
func (w *Worker) releaseFinished(ctx context.Context, s *batch.SourceBatch, c *counts) error {
	s.Progress.HasFailed = true // stays true after an error or a panic
	for s.Ledger.Pending() > 0 {
		from, to, nacked := s.Finished()
		if from == to {
			break // other records may have finished meanwhile, so look until there are none
		}
		if len(nacked) == 0 {
			w.admitAcks(s, to-s.Progress.Admitted)
			if err := w.ackSource(ctx, s, from, to, c); err != nil {
				return err
			}
			continue
		}
		w.admit(s, to, nacked)
		for from < to {
			g := w.nextGroup(s, from, to, nacked)
			if err := w.releaseGroup(ctx, s, g, c); err != nil {
				return err
			}
			from, nacked = g.to, nacked[len(g.nacked):]
		}
	}
	s.Progress.HasFailed = false
	return nil
}

// admit reports the outcomes of the finished records below to, each once, to the window
// of the queue. nacked has the slots of the nacked ones. admit stops at the first nack
// that the window refuses, and keeps the error. Without a queue every nack is refused.
func (w *Worker) admit(s *batch.SourceBatch, to int, nacked []int) {
	r := &s.Progress
	for _, slot := range nacked {
		if slot < r.Admitted {
			continue
		}
		if r.Refusal != nil || !w.admitNack(s, slot) {
			return
		}
	}
	if n := to - r.Admitted; n > 0 && r.Refusal == nil {
		w.admitAcks(s, n)
	}
}

// admitAcks reports the next n outcomes, all of them acks.
func (w *Worker) admitAcks(s *batch.SourceBatch, n int) {
	if w.DLQ != nil {
		w.DLQ.window.CountAcks(n)
	}
	s.Progress.Admitted += n
}

// admitNack reports the outcomes up to a nacked record. It returns false if the record
// is refused.
func (w *Worker) admitNack(s *batch.SourceBatch, slot int) bool {
	r := &s.Progress
	w.admitAcks(s, slot-r.Admitted)
	switch {
	case w.DLQ == nil:
		r.Refusal = nackError(s.Ledger.Cause(slot))
	case w.DLQ.window.Tolerates(1) == 0:
		r.Refusal = w.DLQ.refuse(s.Ledger.Cause(slot))
	default:
		w.DLQ.window.CountNacks(1)
		r.Admitted++
		return true
	}
	return false
}

// group is a run of finished records that are released together. The dead letters of its
// nacked records are written first, then the whole group is acked.
type group struct {
	from, to int
	nacked   []int
}

// nextGroup returns the first group of the finished records [from, to). nacked has the
// slots of the nacked ones. The group is a run of records that are not nacked, or a run
// that the same task has nacked. If batches stay whole, it is all records.
func (w *Worker) nextGroup(s *batch.SourceBatch, from, to int, nacked []int) group {
	switch {
	case w.wholeBatches || len(nacked) == 0:
		return group{from: from, to: to, nacked: nacked}
	case nacked[0] > from:
		return group{from: from, to: nacked[0]}
	}
	n, taskID := 1, s.Ledger.Cause(from).TaskID
	for n < len(nacked) && nacked[n] == from+n && s.Ledger.Cause(nacked[n]).TaskID == taskID {
		n++
	}
	return group{from: from, to: from + n, nacked: nacked[:n]}
}

// releaseGroup releases the records of a group. If the window refuses a record, or the
// queue does not confirm it, the records before it are still released.
func (w *Worker) releaseGroup(ctx context.Context, s *batch.SourceBatch, g group, c *counts) error {
	to, refusal := g.to, error(nil)
	if s.Progress.Admitted < to {
		to, refusal = s.Progress.Admitted, s.Progress.Refusal
	}
	err := refusal
	if len(g.nacked) > 0 {
		err = w.storeNacked(ctx, s, g.nacked, to, refusal, c)
		to = firstUnstored(s, g.nacked, to)
	}
	if to > g.from {
		err = also(err, func() error { return w.ackSource(ctx, s, g.from, to, c) })
	}
	return err
}

// storeNacked writes dead letters for the nacked records below limit, unless they are
// stored already. It joins its error with the refusal of the record at the limit, which
// may be nil.
func (w *Worker) storeNacked(ctx context.Context, s *batch.SourceBatch, nacked []int, limit int, refusal error, c *counts) error {
	var slots []int
	var records []*batch.NackedRecord
	for _, slot := range nacked {
		if slot < limit && !s.Ledger.IsStored(slot) {
			slots = append(slots, slot)
			records = append(records, s.Ledger.Cause(slot))
		}
	}
	if len(records) == 0 {
		return refusal
	}
	w.isStoring.Store(true)
	defer w.isStoring.Store(false)
	w.beginRelease()
	confirmed := 0
	err := errNotWritten // unless the write returns
	if len(w.observers) > 0 {
		defer func() {
			c.released = append(c.released, releaseEvent{letters: len(records), confirmed: confirmed, err: err})
		}()
	}
	err = keeping(refusal, func() error {
		return w.DLQ.store(ctx, w.queueTask(), records, w.ids[w.FirstTask], func(i int) {
			s.Ledger.MarkStored(slots[i])
			confirmed++
			c.deadLettered++
		})
	})
	return joinErrors(err, refusal)
}

// queueTask returns the task that writes dead letters.
func (w *Worker) queueTask() *DestinationTask {
	if w.checks != nil {
		return w.checks.queue
	}
	return w.DLQ.task
}

// firstUnstored returns the first of the nacked records whose dead letter the queue has
// not confirmed, or limit if there is none below it.
func firstUnstored(s *batch.SourceBatch, nacked []int, limit int) int {
	for _, slot := range nacked {
		if slot >= limit {
			break
		}
		if !s.Ledger.IsStored(slot) {
			return slot
		}
	}
	return limit
}

// ackSource acks finished records in the source.
func (w *Worker) ackSource(ctx context.Context, s *batch.SourceBatch, from, to int, c *counts) error {
	positions := s.Positions[from:to:to]
	if s.Progress.CopyPositions {
		positions = slices.Clone(positions)
	}
	if w.checks != nil {
		w.checks.checkAcked(s, from, to)
	}
	if w.outcomes != nil {
		w.decide(s, from, to)
	}
	w.beginRelease()
	if err := w.Source.Ack(ctx, positions); err != nil {
		return w.taskError(w.FirstTask, &sourceAckError{err: err})
	}
	s.Ledger.Release(to)
	c.acked += to - from
	if len(w.observers) > 0 {
		c.released = append(c.released, releaseEvent{acked: to - from})
	}
	switch {
	case len(s.ReadAt) > 0:
		w.observeAges(s.ReadAt[from:to])
	case !s.ReadTime.IsZero():
		metrics.UpdateN(metrics.Resolve(w.timer), max(time.Since(s.ReadTime), 0), to-from)
	}
	return nil
}

// observeAges updates the timer with the time since records were read.
func (w *Worker) observeAges(readAt []time.Time) {
	if w.ages == nil {
		w.ages = make([]time.Duration, maxValues)
	}
	now, timer := time.Now(), metrics.Resolve(w.timer)
	for chunk := range slices.Chunk(readAt, maxValues) {
		for i := range chunk {
			if i > 0 && chunk[i] == chunk[i-1] { // as most are; comparing costs less than Sub
				w.ages[i] = w.ages[i-1]
			} else {
				w.ages[i] = max(now.Sub(chunk[i]), 0) // a record may claim a read time in the future
			}
		}
		metrics.UpdateAll(timer, w.ages[:len(chunk)])
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
	return w.settle(ctx, batch, func(*counts) error {
		if w.outcomes != nil {
			batch.copies.MarkDelivered()
		}
		return batch.copies.Settle()
	})
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
	return w.settle(ctx, batch, func(c *counts) error {
		if !batch.copies.IsSettled() {
			c.nacked += batch.copies.Len()
		}
		return batch.copies.SettleNacked(taskID)
	})
}

// settle settles a batch outside the walk and releases what is finished.
func (w *Worker) settle(ctx context.Context, b *Batch, settle func(*counts) error) error {
	s := b.copies.Source()
	if s == nil {
		return nil // a zero Batch
	}
	if err := b.checkPositions(); err != nil {
		return err
	}
	w.outside.Add(1)
	defer w.outside.Add(-1)
	var c counts
	defer w.addOutside(&c) // also after a panic
	if len(w.observers) > 0 {
		defer w.reportReleased(ctx, &c, true) // also after a panic
	}
	return w.settleLocked(ctx, s, settle, &c)
}

// addOutside adds what was counted outside the walk to the totals.
func (w *Worker) addOutside(c *counts) {
	w.totals.mu.Lock()
	defer w.totals.mu.Unlock()
	if c.acked > 0 {
		w.totals.stats.Acked += uint64(c.acked)
		w.totals.stats.LastAck = time.Now()
	}
	w.totals.add(c)
}

// settleLocked takes the lock, settles a batch and releases what is finished.
func (w *Worker) settleLocked(ctx context.Context, s *batch.SourceBatch, settle func(*counts) error, c *counts) error {
	if err := w.releaseLock.Lock(ctx); err != nil {
		return err
	}
	defer w.releaseLock.Unlock()
	if err := lostRecords(settle(c)); err != nil {
		return err
	}
	s.Progress.CopyPositions = true
	return w.releaseFinished(ctx, s, c)
}
