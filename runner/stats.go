package runner

import (
	"iter"

	"github.com/conduitio/funnel"
)

// Stats yields the name of each pipeline that has a run, and the sums of what its workers
// say of themselves, in the order of the names. The window is the one that is closest to
// refusing a nack, the tasks are those of all workers, and the last ack may be that of an
// earlier run. Stats never waits for a pipeline. It is made for the exporter of
// metrics/prometheus:
//
//	err := exporter.Watch(g.Stats)
func (g *Group) Stats() iter.Seq2[string, funnel.Stats] {
	return func(yield func(string, funnel.Stats) bool) {
		g.mu.Lock()
		pipelines := g.sorted()
		g.mu.Unlock()
		for _, p := range pipelines {
			if stats, ok := p.status.stats(); ok && !yield(p.name, stats) {
				return
			}
		}
	}
}

// stats returns the sums over the workers of the run, and false if there is no run.
func (s *snapshot) stats() (all funnel.Stats, ok bool) {
	s.mu.Lock()
	r := s.run
	all.LastAck = s.lastAck
	s.mu.Unlock()
	if r == nil {
		return all, false
	}
	for _, w := range r.workers() {
		addStats(&all, w.Stats())
	}
	return all, true
}

func addStats(all *funnel.Stats, s funnel.Stats) {
	all.Read += s.Read
	all.Acked += s.Acked
	all.DeadLettered += s.DeadLettered
	all.Filtered += s.Filtered
	all.Nacked += s.Nacked
	all.Retried += s.Retried
	all.Batches += s.Batches
	all.SkippedBranches += s.SkippedBranches
	all.InFlight += s.InFlight
	all.Waiting += s.Waiting
	if s.LastAck.After(all.LastAck) {
		all.LastAck = s.LastAck
	}
	if fullness(s.Window) > fullness(all.Window) {
		all.Window = s.Window
	}
	all.Tasks = append(all.Tasks, s.Tasks...)
}

// fullness says how close a window is to refusing a nack: from 0 if it is empty to 1 if it
// is full, 2 once it refuses, and -1 if there is no window.
func fullness(w funnel.NackWindow) float64 {
	switch {
	case w.Size == 0:
		return -1
	case w.Refusing:
		return 2
	case w.Threshold == 0:
		return 1
	default:
		return float64(w.Nacks) / float64(w.Threshold)
	}
}
