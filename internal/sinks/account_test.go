package sinks

import (
	"slices"
	"strings"
	"time"
)

// account is what has happened to a worker.
type account struct {
	isLinear bool // it has no branches of its own
	items    []*item
	acked    int    // how many of the items
	stage    string // what it is doing
	calls    int    // of parts of the sink that are under way

	returned time.Time // when the walk that enters the sink last came back from a part
	passed   time.Time // the same, not counting what is called to release records
	inSink   time.Time // when it last came back from a part of the sink

	ends        []end   // when its context, or that of its branches, may have ended
	faults      []fault // that Do must report
	maybe       []error // that Do may report
	isCancelled bool    // its context has ended
	isStopped   bool    // Stop has returned, without an error
	isDone      bool    // it has read all
	wasIdle     bool    // it had nothing more to do, and was closed

	isOver bool // Do has returned
	over   ending
	overAt time.Time
}

// item is a source record.
type item struct {
	through map[*part]map[string][]string // the copies that a part has done, and what it has let through
	entered map[string]int                // the copies that have entered the sink, by the number of its opening
	nacks   []nack
	stored  bool
}

// end is the end of a context.
type end struct {
	at       time.Time
	isInside bool // the worker had the sink
}

type nack struct {
	taskID, text string
}

// hasUnfinished returns true if copies of the worker have entered the sink, since it was
// opened, and have not come to its end.
func (w *worker) hasUnfinished() bool {
	for _, it := range w.items[w.acked:] {
		for position, opening := range it.entered {
			if opening != w.openings {
				continue
			}
			for _, root := range w.roots {
				if !it.isThrough(w, root, position) {
					return true
				}
			}
		}
	}
	return false
}

// isThrough returns true if a copy has come from a part to the ends behind it. A
// best-effort branch that has failed counts as done.
func (it *item) isThrough(w *worker, p *part, position string) bool {
	if p.bestEffort && (p.isEntering && w.mayHaveLostSink() || it.hasMissed(p, position)) {
		return true
	}
	out, isDone := it.through[p][position]
	if !isDone {
		return false
	}
	for _, next := range p.next {
		for _, position := range out {
			if !it.isThrough(w, next, position) {
				return false
			}
		}
	}
	return true
}

// hasMissed returns true if a best-effort branch has failed: for a branch of the sink,
// since the opening in which the copy, or the one that it was split from, has entered.
func (it *item) hasMissed(p *part, position string) bool {
	if p.worker != nil {
		return p.hasFailed
	}
	for entered, opening := range it.entered {
		if strings.HasPrefix(position, entered) && slices.Contains(p.failedIn, opening) {
			return true
		}
	}
	return false
}

// mayHaveLostSink returns true if a worker that enters the sink on a best-effort branch
// may skip it by now.
func (w *worker) mayHaveLostSink() bool {
	return w.isClosed || len(w.failures) > 0 || slices.ContainsFunc(w.workers, func(v *worker) bool { return len(v.ends) > 0 })
}

// mayHaveEnded returns true if the worker, or the branch on which it enters the sink, may
// have ended.
func (w *worker) mayHaveEnded() bool {
	return len(w.ends) > 0 || w.entry.forgiving != nil && w.mayHaveLostSink()
}
