package host

import (
	"context"
	"errors"
	"sync"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
)

// Run runs the pipeline until all sources have ended, and returns all errors joined.
func (p *Pipeline) Run(ctx context.Context) error {
	logger := log.New(p.Logger.Logger).WithComponent(p.Logger.Component)
	metrics := funnel.NewConnectorMetricsFrom(&p.Metrics.Time, &p.Metrics.Bytes)
	var roots []*funnel.TaskNode
	for _, d := range p.Destinations {
		roots = append(roots, &funnel.TaskNode{Task: funnel.NewDestinationTask(d.ID(), funnel.FromDestination(d), logger, metrics)})
	}
	sink, err := funnel.NewSink(roots...)
	if err != nil {
		return err
	}
	if err := sink.Open(ctx); err != nil {
		return err
	}
	var running sync.WaitGroup
	errs := make([]error, len(p.Sources))
	for i, s := range p.Sources {
		first := &funnel.TaskNode{Task: funnel.NewSourceTask(s.ID(), s, logger, metrics), Next: roots}
		dlq := funnel.NewDLQ(s.ID()+" dead", funnel.FromDestination(p.Dead()), logger, metrics, 0, 0)
		w, err := funnel.NewWorker(first, dlq, logger, &p.Metrics.Time, funnel.WithFatalMark(Fatal, IsFatal))
		if err == nil {
			err = w.Open(ctx)
		}
		if errs[i] = err; err == nil {
			running.Go(func() { errs[i] = errors.Join(w.Do(ctx), w.Close(ctx)) })
		}
	}
	running.Wait()
	return errors.Join(append(errs, sink.Close(ctx))...)
}
