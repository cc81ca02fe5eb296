package pipeline

import (
	"context"
	"errors"
	"sync"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
)

// Engine runs pipelines in a worker of funnel. The zero value uses no metrics and no
// options.
type Engine struct {
	Metrics  *metrics.Set // what metrics report to, or nil for no metrics
	Options  []funnel.WorkerOption
	Logger   log.CtxLogger // the zero value logs nothing
	OverSink bool          // the destinations are a sink
}

// Run runs a pipeline until its source ends.
func (e Engine) Run(ctx context.Context, p *Pipeline) error {
	if e.OverSink {
		return e.RunTogether(ctx, p, p.Source)
	}
	w, err := e.Worker(p)
	if err != nil {
		return err
	}
	return runWorker(ctx, w)
}

// Worker returns a worker for a pipeline without a sink.
func (e Engine) Worker(p *Pipeline) (*funnel.Worker, error) {
	return e.worker(p, p.Source, e.destinations(p))
}

// RunTogether runs a pipeline for each source until all of them end. The destinations
// are a sink, which the workers share. There must be no processors if there are several
// sources.
func (e Engine) RunTogether(ctx context.Context, p *Pipeline, sources ...funnel.Source) error {
	roots := e.destinations(p)
	sink, err := funnel.NewSink(roots...)
	if err != nil {
		return err
	}
	if err := sink.Open(ctx); err != nil {
		return err
	}
	errs := make([]error, len(sources)+1)
	var workers sync.WaitGroup
	for i, source := range sources {
		w, err := e.worker(p, source, roots)
		if err != nil {
			return err
		}
		workers.Go(func() { errs[i] = runWorker(ctx, w) })
	}
	workers.Wait()
	errs[len(sources)] = sink.Close(ctx)
	return errors.Join(errs...)
}

// runWorker runs a worker until its source ends.
func runWorker(ctx context.Context, w *funnel.Worker) error {
	if err := w.Open(ctx); err != nil {
		return err
	}
	return errors.Join(w.Do(ctx), w.Close(ctx))
}

// worker returns a worker from a source through the processors to these destinations.
func (e Engine) worker(p *Pipeline, source funnel.Source, destinations []*funnel.TaskNode) (*funnel.Worker, error) {
	logger := e.Logger
	first := &funnel.TaskNode{Task: funnel.NewSourceTask(SourceID, source, logger, e.connector("source", connector.TypeSource))}
	last := first
	for i, processor := range p.Processors {
		node := &funnel.TaskNode{Task: funnel.NewProcessorTask(ProcessorID(i), processor, logger, e.processor(i))}
		last.Next = []*funnel.TaskNode{node}
		last = node
	}
	last.Next = destinations
	var dlq *funnel.DLQ
	if p.DLQ != nil {
		dlq = funnel.NewDLQ(DLQID, p.DLQ, logger, e.dlq(), 0, 0)
	}
	return funnel.NewWorker(first, dlq, logger, e.timer(), e.Options...)
}

// destinations returns the nodes of the destinations.
func (e Engine) destinations(p *Pipeline) []*funnel.TaskNode {
	var nodes []*funnel.TaskNode
	for i, destination := range p.Destinations {
		task := funnel.NewDestinationTask(DestinationID(i), destination, e.Logger, e.connector("destination", connector.TypeDestination))
		nodes = append(nodes, &funnel.TaskNode{Task: task})
	}
	return nodes
}

func (e Engine) connector(plugin string, kind connector.Type) funnel.ConnectorMetrics {
	if e.Metrics == nil {
		return nil
	}
	return funnel.NewMetrics(e.Metrics).Connector("benchmark", plugin, kind)
}

func (e Engine) processor(i int) funnel.ProcessorMetrics {
	if e.Metrics == nil {
		return nil
	}
	return funnel.NewMetrics(e.Metrics).Processor("benchmark", ProcessorID(i))
}

func (e Engine) dlq() funnel.ConnectorMetrics {
	if e.Metrics == nil {
		return nil
	}
	return funnel.NewMetrics(e.Metrics).DLQ("benchmark", "dlq")
}

func (e Engine) timer() metrics.Timer {
	if e.Metrics == nil {
		return nil
	}
	return e.Metrics.NewTimer(metrics.Desc{
		Name: "pipeline_execution_duration_seconds",
		Help: "Time from reading to acking a record, in seconds.",
	}).WithValues()
}
