package runner

import (
	"iter"

	"github.com/conduitio/funnel"
)

// Stats yields the name of each pipeline that has a run, and the stats of its workers, added
// up by [funnel.Stats.Add], in the order of the names. The last ack may be from an earlier
// run; all else is from the current one. Stats never waits for a pipeline. It is made for the
// exporter of metrics/prometheus:
//
//	err := exporter.Watch(g.Stats)
func (g *Group) Stats() iter.Seq2[string, funnel.Stats] {
	return func(yield func(string, funnel.Stats) bool) {
		g.mu.Lock()
		pipelines := g.sorted()
		g.mu.Unlock()
		for _, p := range pipelines {
			if stats, ok := p.status.ofRun(); ok && !yield(p.name, stats) {
				return
			}
		}
	}
}

// ofRun returns the stats of the run, and false if there is none.
func (s *snapshot) ofRun() (all funnel.Stats, ok bool) {
	s.mu.Lock()
	r := s.run
	all.LastAck = s.past.LastAck
	s.mu.Unlock()
	if r == nil {
		return all, false
	}
	for _, w := range r.workers() {
		all.Add(w.Stats())
	}
	return all, true
}
