package runner

import (
	"math"
	"time"

	"github.com/conduitio/funnel/metrics"
)

// lagPeriod is the interval at which the sources of a running pipeline are asked for their
// lag, for the metrics.
const lagPeriod = 10 * time.Second

// lagMeter keeps the gauges of the lag of a pipeline. The actor owns it. It waits for no
// source: it asks at one tick, and looks for the answers at later ones.
type lagMeter struct {
	calls   []*lagCall // not all of them are done
	next    time.Time  // when to ask again, and when to give up on the calls
	isKnown bool       // the gauges have a value
}

// tick asks the sources of the run if it is time, or looks for their answers.
func (m *lagMeter) tick(p *pipeline, now time.Time) {
	if f := p.g.metrics; f == nil || !metrics.Enabled(f.transitions.WithValues(p.name, string(Running))) {
		return
	}
	switch {
	case m.calls != nil:
		if records, behind, ok := m.answers(); ok {
			m.calls = nil
			m.set(p, records, behind)
		} else if !now.Before(m.next) {
			m.forget(p)
		}
	case !now.Before(m.next):
		_, m.calls = p.askLag(p.run)
		m.next = now.Add(lagPeriod)
	}
}

// answers returns how many records all sources are behind, and how long the slowest is. Both
// are NaN if a source failed, and records is NaN if a source does not know it. answers returns
// false until all sources have answered.
func (m *lagMeter) answers() (records, behind float64, ok bool) {
	for _, c := range m.calls {
		select {
		case <-c.done:
		default:
			return 0, 0, false
		}
		if c.err != nil {
			return math.NaN(), math.NaN(), true
		}
		behind = max(behind, c.lag.Behind.Seconds())
		if c.lag.Records < 0 {
			records = math.NaN()
		}
		records += float64(c.lag.Records)
	}
	return records, behind, true
}

// stop sets the gauges to unknown, since the pipeline does not run.
func (m *lagMeter) stop(p *pipeline) {
	m.forget(p)
	*m = lagMeter{}
}

// forget sets the gauges to unknown, unless they are.
func (m *lagMeter) forget(p *pipeline) {
	if m.isKnown {
		m.set(p, math.NaN(), math.NaN())
	}
}

func (m *lagMeter) set(p *pipeline, records, behind float64) {
	m.isKnown = !math.IsNaN(behind)
	f := p.g.metrics
	p.g.journal.add(func() {
		p.g.guard("failed to report metrics", p.name, func() {
			f.lagRecords.WithValues(p.name).Set(records)
			f.lagSeconds.WithValues(p.name).Set(behind)
		})
	})
}
