package sinks

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

type ending = fake.Ending

// cancelContext ends the context of a worker.
func (w *worker) cancelContext() {
	w.mu.Lock()
	w.add("the context of worker %d ends: it is %s", w.number, w.stage)
	if !w.isOver {
		w.counts["context ends: "+w.stage]++
	}
	w.ends = append(w.ends, end{time.Now(), w.hasUnfinished()})
	w.isCancelled = true
	w.mu.Unlock()
	w.cancel(w.cause)
}

// stopped is called when Stop has returned, with its error and that of its context.
func (w *worker) stopped(err, ended error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add("Stop of worker %d is over: %v", w.number, err)
	switch {
	case err == nil:
		w.isStopped = true
	case ended == nil || !errors.Is(err, ended):
		w.breaks("Stop of worker %d returns %v", w.number, err)
	case !w.isOver:
		w.counts["Stop gives up: "+w.stage]++
	}
}

// ended is called when Do has ended.
func (w *worker) ended(e ending) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add("worker %d ends: %v %v %t", w.number, e.Err, e.Panic, e.Exited)
	w.isOver, w.over, w.overAt = true, e, time.Now()
	if w.hasUnfinished() {
		w.counts["ended inside"]++
	}
}

// checkIdle checks, long after everything, that each worker has ended or waits in a
// read, after it has acked all that it has read.
func (o *world) checkIdle() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range o.workers {
		switch {
		case w.isOver:
		case w.isDone && w.acked < len(w.items), w.stage != "reading" && w.ahead == 0:
			o.breaks("worker %d hangs, with %d of %d acked, while it is %s", w.number, w.acked, len(w.items), w.stage)
		case w.ahead > 0 && w.acked < len(w.items):
			o.breaks("worker %d hangs, with %d of %d acked", w.number, w.acked, len(w.items))
		}
		w.wasIdle = !w.isOver
	}
}

// checkEnd checks how everything has ended.
func (o *world) checkEnd() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.parts {
		if p.isOpen {
			o.breaks("%s is open still", p.id)
		}
	}
	for _, w := range o.workers {
		for _, p := range append(w.source.all(), w.letters) {
			if p.isOpen {
				o.breaks("%s is open still", p.id)
			}
		}
		o.counts["ends"]++
		w.checkEnding()
	}
}

// checkEnding checks how Do has ended.
func (w *worker) checkEnding() {
	e := w.over
	for _, f := range w.faults {
		if !shows(e, f) {
			w.breaks("worker %d does not report %v", w.number, f.err)
		}
	}
	switch {
	case e.Panic != nil || e.Exited:
		if len(w.faults) == 0 {
			w.breaks("worker %d panics or exits", w.number)
		}
	case e.Err == nil:
		isComplete := w.isDone && w.atEnd == endEOF && w.acked == len(w.items)
		if !w.isStopped && !w.wasIdle && !isComplete {
			w.breaks("worker %d ends for no reason", w.number)
		}
	case errors.Is(e.Err, funnel.ErrSinkFailed):
		w.checkSinkFailed(e.Err)
		w.counts["others told of the failure"]++
	case !w.explains(e.Err):
		w.breaks("worker %d returns %v", w.number, e.Err)
	}
}

// shows returns true if the ending of Do reports a fault.
func shows(e ending, f fault) bool {
	switch err, _ := e.Panic.(error); {
	case e.Exited:
		return true // Do could not return
	case f.kind == panics:
		return e.Panic == any(f.err) || err != nil && errors.Is(err, f.err)
	default:
		return errors.Is(e.Err, f.err) || err != nil && errors.Is(err, f.err)
	}
}

// explains returns true if there is a reason for an error of Do.
func (w *worker) explains(err error) bool {
	for _, f := range w.faults {
		if errors.Is(err, f.err) {
			return true
		}
	}
	for _, maybe := range w.maybe {
		if errors.Is(err, maybe) {
			return true
		}
	}
	switch {
	case w.isCancelled && errors.Is(err, context.Canceled) && errors.Is(err, w.cause):
		w.counts["ended with the context"]++
	case w.isClosed && errors.Is(err, funnel.ErrNotOpen):
		w.counts["sink not open"]++
	case w.wasRefused(err):
		w.counts["nack refused"]++
	default:
		return false
	}
	return true
}

// wasRefused returns true if the error is that of a nack that the queue may refuse.
func (w *worker) wasRefused(err error) bool {
	if !w.queue.isNone && w.queue.size == 0 || !errors.Is(err, fake.ErrTest) {
		return false
	}
	isNacked := slices.ContainsFunc(w.items, func(it *item) bool { return len(it.nacks) > 0 })
	return isNacked && errors.Is(err, funnel.ErrNackThreshold) == (!w.queue.isNone && w.queue.threshold > 0)
}

// checkSinkFailed checks that another worker has failed in the sink, with what the error
// says.
func (w *worker) checkSinkFailed(err error) {
	for _, f := range w.failures {
		if f.worker == w {
			w.breaks("worker %d, which has failed in the sink, returns %v", w.number, err)
		}
	}
	asked := w.passed // or later
	wasOpenedSince := func(at time.Time) bool {
		return slices.ContainsFunc(w.opened, func(opened time.Time) bool { return at.Before(opened) && opened.Before(asked) })
	}
	isCause := func(f failure) bool {
		return f.worker != w && errors.Is(err, f.err) && !wasOpenedSince(f.at)
	}
	if slices.ContainsFunc(w.failures, isCause) {
		return
	}
	for _, other := range w.workers {
		saysWhy := errors.Is(err, other.cause) || strings.Contains(err.Error(), "another branch has failed")
		if other.overAt.Before(asked) && wasOpenedSince(other.overAt) {
			continue
		}
		if other != w && other.mayHaveEndedInside() && errors.Is(err, context.Canceled) && saysWhy {
			w.counts["others told of a cancellation"]++
			return
		}
	}
	w.breaks("worker %d returns %v, and nobody has failed so", w.number, err)
}

// mayHaveEndedInside returns true if the context of the worker, or of a branch, may have
// ended while it had the sink.
func (w *worker) mayHaveEndedInside() bool {
	return slices.ContainsFunc(w.ends, func(e end) bool {
		return e.isInside || !w.inSink.Before(e.at) || w.returned.Equal(e.at) || slices.ContainsFunc(w.changed, e.at.Equal)
	})
}
