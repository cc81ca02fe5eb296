package runner

import (
	"context"
	"strings"
	"sync"
	"time"
)

// Overview is the status of a group and all its pipelines. As JSON it is the page status.json
// of [Group.Handler]. Its texts, including names, are valid UTF-8 and cut to 2,048 bytes. They
// may hold HTML and control characters.
type Overview struct {
	// At is the time of the overview.
	At    time.Time `json:"at"`
	Phase Phase     `json:"phase"`
	// Live is false if a pipeline is stuck.
	Live bool `json:"live"`
	// Ready is true while the group runs, no pipeline is stuck, and each pipeline that
	// should run ([Status].ShouldRun) is running or done.
	Ready bool `json:"ready"`
	// Pipelines are in the order of their names. It is never nil.
	Pipelines []PipelineOverview `json:"pipelines"`
}

// PipelineOverview is the status of a pipeline, and how far its sources are behind.
type PipelineOverview struct {
	Status
	// Lag is what [Group.Lag] returns.
	Lag []Lag `json:"lag,omitempty"`
}

// Phase is the phase of the life of a group.
type Phase string

// The phases.
const (
	PhaseNew     Phase = "new"     // Run has not begun
	PhaseRunning Phase = "running" // Run has begun
	PhaseClosed  Phase = "closed"  // the context of Run has ended
)

// Overview returns the status of all pipelines, and the lag of their sources. It asks all
// sources at the same time, as [Group.Lag] does: until ctx ends, for at most 5 s. It may be
// called at any time, like [Group.Status].
func (g *Group) Overview(ctx context.Context) Overview {
	o := g.overview()
	var wg sync.WaitGroup
	for i := range o.Pipelines {
		p := &o.Pipelines[i]
		name := p.Name
		if p.State == Running {
			wg.Go(func() { p.Lag, _ = g.Lag(ctx, name) }) // fails for a pipeline that was removed
		}
	}
	wg.Wait()
	for i := range o.Pipelines {
		o.Pipelines[i].clean()
	}
	return o
}

// overview returns an overview without the lag, and with names as they are.
func (g *Group) overview() Overview {
	g.mu.Lock()
	phase := PhaseNew
	switch {
	case g.isClosed:
		phase = PhaseClosed
	case g.ctx != nil:
		phase = PhaseRunning
	}
	g.mu.Unlock()
	all := g.Status()
	o := Overview{
		At: time.Now(), Phase: phase, Live: true, Ready: phase == PhaseRunning,
		Pipelines: make([]PipelineOverview, len(all)),
	}
	for i, s := range all {
		o.Pipelines[i].Status = s
		o.Live = o.Live && s.State != Stuck
		o.Ready = o.Ready && s.isReady()
	}
	return o
}

// isReady returns true if the pipeline is as it should be.
func (s *Status) isReady() bool {
	switch s.State {
	case Running, Done:
		return true
	case Stuck:
		return false
	default:
		return !s.ShouldRun
	}
}

// clean makes all texts valid and short.
func (p *PipelineOverview) clean() {
	p.Name = validText(p.Name)
	for i := range p.Tasks {
		t := &p.Tasks[i]
		t.ID, t.Activity = validText(t.ID), validText(t.Activity)
	}
	for i := range p.Lag {
		p.Lag[i].Source = validText(p.Lag[i].Source)
	}
}

// validText makes a text valid UTF-8, and cuts it if it is long.
func validText(text string) string {
	return shorten(strings.ToValidUTF8(text, "\uFFFD"))
}
