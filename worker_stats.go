package funnel

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// This file counts what a worker does, and records where its batch is. Each walk counts
// for itself. When branches join, their counts are added up; when a batch ends, its
// counts are added to the totals. So Stats costs one lock for each batch. Recording where
// a batch is costs at most one atomic store for each call of a task.

// counts are what a walk has counted in the batch in flight.
type counts struct {
	acked, deadLettered       int // source records
	filtered, nacked, retried int // copies
	skipped                   int // branches

	released []releaseEvent // for the observer; not of branches
}

// isSpecial returns true if something besides acks was counted.
func (c *counts) isSpecial() bool {
	return c.deadLettered|c.filtered|c.nacked|c.retried|c.skipped != 0
}

// add adds other, which may be in use by nobody else, and clears it.
func (c *counts) add(other *counts) {
	c.acked += other.acked
	c.deadLettered += other.deadLettered
	c.filtered += other.filtered
	c.nacked += other.nacked
	c.retried += other.retried
	c.skipped += other.skipped
	*other = counts{}
}

// totals are the totals of a worker.
type totals struct {
	mu      sync.Mutex
	stats   Stats         // LastAck covers only calls of Ack and Nack
	lastAck time.Duration // of batches, as the time since emptyReads.base; 0 if there is none
}

// add adds what was counted besides acks, and clears it. The caller holds the lock.
func (t *totals) add(c *counts) {
	s := &t.stats
	s.DeadLettered += uint64(c.deadLettered)
	s.Filtered += uint64(c.filtered)
	s.Nacked += uint64(c.nacked)
	s.Retried += uint64(c.retried)
	s.SkippedBranches += c.skipped
	*c = counts{}
}

// track is what others see of a walk: its counts, and where its batch is.
type track struct {
	counts
	node      atomic.Pointer[TaskNode] // nil if it has no batch
	isWaiting atomic.Bool              // it waits for the sink after the node
	since     atomic.Int64             // since when, in nanoseconds since 1970; only with WithStats
}

// enter says that the walk gives its batch to the task of a node.
func (t *track) enter(node *TaskNode, isTimed bool) {
	if t.node.Load() != node { // loading costs much less than storing
		t.node.Store(node)
	}
	if isTimed {
		t.since.Store(time.Now().UnixNano())
	}
}

// leave says that the walk has no batch anymore.
func (t *track) leave() { t.node.Store(nil) }

// beginRelease records when an ack of the source or a write to the queue begins.
func (w *Worker) beginRelease() {
	if w.stats {
		w.releasingSince.Store(time.Now().UnixNano())
	}
}

// endBatch adds a batch of n source records to the totals and lets it leave the gate.
func (w *Worker) endBatch(n int) {
	since := time.Since(w.emptyReads.base)
	if w.prefetcher == nil {
		w.emptyReads.know(since)
	}
	w.totals.mu.Lock()
	w.totals.stats.Read += uint64(n)
	w.totals.stats.Batches++
	if c := &w.track.counts; c.acked > 0 {
		w.totals.stats.Acked += uint64(c.acked)
		w.totals.lastAck = max(since, 1)
		c.acked = 0
	}
	if w.track.counts.isSpecial() {
		w.totals.add(&w.track.counts)
	}
	w.gate.Leave()
	w.totals.mu.Unlock()
}

// Stats returns what the worker has done so far, and what it is doing. The totals
// change once for each batch, when it ends. Stats may be called at any time from any
// goroutine.
func (w *Worker) Stats() Stats {
	w.totals.mu.Lock()
	s := w.totals.stats
	s.InFlight = w.gate.Inside()
	if w.totals.lastAck > 0 {
		if at := w.emptyReads.base.Add(w.totals.lastAck); at.After(s.LastAck) {
			s.LastAck = at
		}
	}
	w.totals.mu.Unlock()
	s.Read += uint64(s.InFlight)
	if w.prefetcher != nil {
		s.Read, s.Waiting = w.prefetcher.counts()
	}
	if w.DLQ != nil {
		s.Window = w.DLQ.windowStats()
	}
	if w.stats {
		s.Tasks = w.whereabouts()
		if t := w.changing.Load(); t != nil {
			s.Tasks = append(s.Tasks, *t)
		}
	}
	return s
}

// tell makes f, which opens or closes a task, tell Stats so.
func (w *Worker) tell(id string, activity Activity, f func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if !w.stats {
			return f(ctx)
		}
		w.changing.Store(&TaskStats{ID: id, Activity: activity, Since: time.Now()})
		defer w.changing.Store(nil)
		return f(ctx)
	}
}

// whereabouts returns the tasks that have the batch in flight.
func (w *Worker) whereabouts() []TaskStats {
	var all []TaskStats
	add := func(id string, activity Activity, since int64) {
		t := TaskStats{ID: id, Activity: activity}
		if w.stats {
			t.Since = time.Unix(0, since)
		}
		all = append(all, t)
	}
	if w.gate.Inside() == 0 {
		return nil
	}
	isReleasing := w.releaseLock.IsLocked()
	switch since := w.releasingSince.Load(); {
	case w.isStoring.Load():
		add(w.DLQ.ID(), ActivityDLQ, since)
	case isReleasing:
		add(w.ids[w.FirstTask], ActivityAck, since)
	}
	if !isReleasing || w.outside.Load() > 0 { // then a task may have the batch meanwhile
		for _, t := range w.tracks {
			if node := t.node.Load(); node == nil {
				continue
			} else if t.isWaiting.Load() {
				add(w.ids[node], ActivitySink, t.since.Load())
			} else {
				add(w.ids[node], ActivityTask, t.since.Load())
			}
		}
	}
	slices.SortFunc(all, func(a, b TaskStats) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// giveUp returns the error of a call that gives up waiting for the batch in flight. It
// adds to err where the batch is.
func (w *Worker) giveUp(err error) error {
	var where []string
	for _, t := range w.whereabouts() {
		text := fmt.Sprintf("%q is %s", t.ID, t.Activity)
		if w.stats {
			text += fmt.Sprintf(", for %v", time.Since(t.Since).Round(time.Millisecond))
		}
		where = append(where, text)
	}
	if err == nil || len(where) == 0 {
		return err
	}
	return fmt.Errorf("%w: the batch in flight is not done: %s", err, strings.Join(where, "; "))
}
