package funnel

import (
	"errors"
	"fmt"
	"slices"

	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
)

// The methods in this file change settings of the whole pipeline. They must not be called on a
// part that is added to a pipeline.

// settings are the settings of the whole pipeline.
type settings struct {
	isSet   bool
	queue   func(*settings) *DLQ
	queueID string
	logger  *log.CtxLogger
	metrics *Metrics
	name    string // in the metrics
	timer   metrics.Timer
	wraps   []func(id string, d Destination) Destination
	options []WorkerOption
}

// DeadLetters sends nacked records to a dead-letter queue, see [NewDLQ]. Without it, any
// nack stops the worker. A threshold above a size that is not 0 is an error: the two
// numbers are swapped. For a queue that takes any number of nacks, both are 0.
func (p *Pipeline) DeadLetters(id string, d Destination, windowSize, windowNackThreshold int) *Pipeline {
	if p.whole.queue != nil {
		return p.fail(errors.New("there are two dead-letter queues"))
	}
	switch {
	case windowSize < 0 || windowNackThreshold < 0:
		return p.fail(fmt.Errorf("the dead-letter queue %s has a window of %d records and a threshold of %d, which must not be negative", quote(id), windowSize, windowNackThreshold))
	case windowSize > 0 && windowNackThreshold > windowSize:
		return p.fail(fmt.Errorf("the dead-letter queue %s has a window of %d records and a threshold of %d, which is more: are they swapped?", quote(id), windowSize, windowNackThreshold))
	}
	return p.set(func(s *settings) {
		s.queueID = id
		s.queue = func(s *settings) *DLQ {
			var m ConnectorMetrics
			if s.metrics != nil {
				m = s.metrics.DLQ(s.name, id)
			}
			return NewDLQ(id, s.wrap(id, d), s.log(), m, windowSize, windowNackThreshold)
		}
	})
}

// Logger sets the logger of the worker and of all tasks. By default nothing is logged.
func (p *Pipeline) Logger(logger log.CtxLogger) *Pipeline {
	return p.set(func(s *settings) { s.logger = &logger })
}

// Metrics makes all sources, processors and destinations report metrics, under the name of
// the pipeline, and with the ID of the task as the name of the plugin. By default there are
// no metrics.
func (p *Pipeline) Metrics(m *Metrics, pipelineName string) *Pipeline {
	return p.set(func(s *settings) { s.metrics, s.name = m, pipelineName })
}

// Timer sets the timer of the worker, see [NewWorker].
func (p *Pipeline) Timer(timer metrics.Timer) *Pipeline {
	return p.set(func(s *settings) { s.timer = timer })
}

// Options adds options of the worker.
func (p *Pipeline) Options(opts ...WorkerOption) *Pipeline {
	return p.set(func(s *settings) { s.options = append(s.options, opts...) })
}

// WrapDestinations replaces each destination, including that of the dead-letter queue, with
// the result of wrap, for example
//
//	func(_ string, d funnel.Destination) funnel.Destination {
//		return funnel.NewRetryDestination(d, funnel.DestinationRetry{})
//	}
//
// A second call wraps the results of the first one.
func (p *Pipeline) WrapDestinations(wrap func(id string, d Destination) Destination) *Pipeline {
	if wrap == nil {
		return p.fail(errors.New("the function that wraps destinations is nil"))
	}
	return p.set(func(s *settings) { s.wraps = append(s.wraps, wrap) })
}

// set changes the settings.
func (p *Pipeline) set(change func(*settings)) *Pipeline {
	p.whole.isSet = true
	change(&p.whole)
	return p
}

// clone returns a copy that can be added to.
func (s settings) clone() settings {
	s.wraps, s.options = slices.Clone(s.wraps), slices.Clone(s.options)
	return s
}

func (s *settings) log() log.CtxLogger {
	if s.logger == nil {
		return log.Nop()
	}
	return *s.logger
}

func (s *settings) connector(id string, t connector.Type) ConnectorMetrics {
	if s.metrics == nil {
		return nil
	}
	return s.metrics.Connector(s.name, id, t)
}

func (s *settings) wrap(id string, d Destination) Destination {
	for _, wrap := range s.wraps {
		d = wrap(id, d)
	}
	return d
}
