package pipeline

import (
	"context"
	"errors"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
)

// Engine runs pipelines in a worker of funnel. The zero value uses no metrics and no
// options.
type Engine struct {
	Metrics *metrics.Set // what metrics report to, or nil for no metrics
	Options []funnel.WorkerOption
}

// Run runs a pipeline until its source ends.
func (e Engine) Run(ctx context.Context, p *Pipeline) error {
	w, err := e.worker(p)
	if err != nil {
		return err
	}
	if err := w.Open(ctx); err != nil {
		return err
	}
	return errors.Join(w.Do(ctx), w.Close(ctx))
}

func (e Engine) worker(p *Pipeline) (*funnel.Worker, error) {
	logger := log.Nop()
	first := &funnel.TaskNode{Task: funnel.NewSourceTask(SourceID, p.Source, logger, e.connector("source", connector.TypeSource))}
	last := first
	for i, processor := range p.Processors {
		node := &funnel.TaskNode{Task: funnel.NewProcessorTask(ProcessorID(i), processor, logger, e.processor(i))}
		last.Next = []*funnel.TaskNode{node}
		last = node
	}
	for i, destination := range p.Destinations {
		task := funnel.NewDestinationTask(DestinationID(i), destination, logger, e.connector("destination", connector.TypeDestination))
		last.Next = append(last.Next, &funnel.TaskNode{Task: task})
	}
	var dlq *funnel.DLQ
	if p.DLQ != nil {
		dlq = funnel.NewDLQ(DLQID, p.DLQ, logger, e.dlq(), 0, 0)
	}
	return funnel.NewWorker(first, dlq, logger, e.timer(), e.Options...)
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
