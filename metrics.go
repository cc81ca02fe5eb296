package funnel

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/jsonsize"
	"github.com/conduitio/funnel/metrics"
)

// ConnectorMetrics observes the records that pass through a source, a destination or
// the DLQ.
//
// An implementation may have a method Enabled() bool. While it returns false, the
// engine does not call Observe, nor read the clock for it.
type ConnectorMetrics interface {
	// Observe is called after each read, and after each write once all its acks have
	// arrived, with the records and the time when the read or write began. It runs on
	// the goroutine that called the connector, and must neither keep nor change the
	// records. It is not called without records.
	Observe(records []opencdc.Record, start time.Time)
}

// ProcessorMetrics observes the calls of a processor.
//
// An implementation may have a method Enabled() bool, see [ConnectorMetrics].
type ProcessorMetrics interface {
	// Observe is called after each call of a processor that gave an answer, with the
	// number of records answered and the time when the call began.
	Observe(recordsNum int, start time.Time)
}

var (
	_ ConnectorMetrics = ConnectorMetricsImpl{}
	_ ConnectorMetrics = NoOpConnectorMetrics{}
	_ ProcessorMetrics = ProcessorMetricsImpl{}
	_ ProcessorMetrics = NoOpProcessorMetrics{}
)

// Metrics makes the metrics of connectors, processors and DLQs. They report to one
// [metrics.Set], with one observation per record:
//
//	conduit_connector_bytes                         the record's size
//	conduit_connector_execution_duration_seconds    the time it took
//	conduit_processor_execution_duration_seconds
//	conduit_dlq_bytes
//	conduit_dlq_execution_duration_seconds
//
// Connectors are labelled by pipeline_name, plugin and type (source or destination),
// processors by pipeline_name and processor, DLQs by pipeline_name and plugin. The size
// of a record is the number of bytes in its key and payload: the length of raw data, or
// of the JSON of structured data. The time of a record is the time of the call divided
// by the number of its records.
//
// Metrics is safe for concurrent use.
type Metrics struct {
	connectorBytes metrics.LabeledHistogram
	connectorTimer metrics.LabeledTimer
	processorTimer metrics.LabeledTimer
	dlqBytes       metrics.LabeledHistogram
	dlqTimer       metrics.LabeledTimer
}

// NewMetrics returns Metrics that report to the registries of set, including those
// registered later. A nil set counts as [metrics.Default].
func NewMetrics(set *metrics.Set) *Metrics {
	if set == nil {
		set = metrics.Default
	}
	connectorLabels := []string{"pipeline_name", "plugin", "type"}
	processorLabels := []string{"pipeline_name", "processor"}
	dlqLabels := []string{"pipeline_name", "plugin"}
	return &Metrics{
		connectorBytes: set.NewHistogram(metrics.Desc{
			Name:    "conduit_connector_bytes",
			Help:    "Number of bytes in the key and payload of a record that a connector read or wrote.",
			Labels:  connectorLabels,
			Buckets: byteBuckets(),
		}),
		connectorTimer: set.NewTimer(metrics.Desc{
			Name:   "conduit_connector_execution_duration_seconds",
			Help:   "Time that a connector took to read or write a record, in seconds.",
			Labels: connectorLabels,
		}),
		processorTimer: set.NewTimer(metrics.Desc{
			Name:   "conduit_processor_execution_duration_seconds",
			Help:   "Time that a processor took for a record, in seconds.",
			Labels: processorLabels,
		}),
		dlqBytes: set.NewHistogram(metrics.Desc{
			Name:    "conduit_dlq_bytes",
			Help:    "Number of bytes in the key and payload of a record that was written to a dead-letter queue.",
			Labels:  dlqLabels,
			Buckets: byteBuckets(),
		}),
		dlqTimer: set.NewTimer(metrics.Desc{
			Name:   "conduit_dlq_execution_duration_seconds",
			Help:   "Time that a dead-letter queue took to write a record, in seconds.",
			Labels: dlqLabels,
		}),
	}
}

// byteBuckets returns the powers of two from 1 KiB to 2 MiB.
func byteBuckets() []float64 {
	const kib = 1 << 10
	var buckets []float64
	for size := kib; size <= 2*kib*kib; size *= 2 {
		buckets = append(buckets, float64(size))
	}
	return buckets
}

// Connector returns the metrics of a source or destination.
func (m *Metrics) Connector(pipelineName, pluginName string, connType connector.Type) ConnectorMetricsImpl {
	values := []string{pipelineName, pluginName, connType.String()}
	return ConnectorMetricsImpl{
		bytes: m.connectorBytes.WithValues(values...),
		timer: m.connectorTimer.WithValues(values...),
		sizes: &valueBuffer{},
	}
}

// Processor returns the metrics of a processor.
func (m *Metrics) Processor(pipelineName, plugin string) ProcessorMetricsImpl {
	return ProcessorMetricsImpl{timer: m.processorTimer.WithValues(pipelineName, plugin)}
}

// DLQ returns the metrics of a DLQ.
func (m *Metrics) DLQ(pipelineName, plugin string) ConnectorMetrics {
	return ConnectorMetricsImpl{
		bytes: m.dlqBytes.WithValues(pipelineName, plugin),
		timer: m.dlqTimer.WithValues(pipelineName, plugin),
		sizes: &valueBuffer{},
	}
}

// NewConnectorMetrics returns the metrics of a source or destination, which
// report to [metrics.Default]. See [NewMetrics] for another set.
func NewConnectorMetrics(pipelineName, pluginName string, connType connector.Type) ConnectorMetricsImpl {
	return NewMetrics(nil).Connector(pipelineName, pluginName, connType)
}

// NewProcessorMetrics returns the metrics of a processor, which report to
// [metrics.Default]. See [NewMetrics] for another set.
func NewProcessorMetrics(pipelineName, plugin string) ProcessorMetricsImpl {
	return NewMetrics(nil).Processor(pipelineName, plugin)
}

// NewDLQMetrics returns the metrics of a DLQ, which report to
// [metrics.Default]. See [NewMetrics] for another set.
func NewDLQMetrics(pipelineName string, plugin string) ConnectorMetrics {
	return NewMetrics(nil).DLQ(pipelineName, plugin)
}

// NewConnectorMetricsFrom returns metrics for a connector or DLQ that use a timer and a
// histogram of the host. The timer observes the time of each record, the histogram its
// size in bytes, like those of [Metrics]. If one is nil, the other one still observes.
func NewConnectorMetricsFrom(timer metrics.Timer, bytes metrics.Histogram) ConnectorMetricsImpl {
	var m ConnectorMetricsImpl
	if !isNil(timer) {
		m.timer = timer
	}
	if !isNil(bytes) {
		m.bytes = bytes
		m.sizes = &valueBuffer{}
	}
	return m
}

// NewProcessorMetricsFrom returns metrics for a processor that use a timer of the host.
// The timer observes the time of each record, like that of [Metrics]. If it is nil,
// nothing is observed.
func NewProcessorMetricsFrom(timer metrics.Timer) ProcessorMetricsImpl {
	var m ProcessorMetricsImpl
	if !isNil(timer) {
		m.timer = timer
	}
	return m
}

// ConnectorMetricsImpl is the [ConnectorMetrics] that [Metrics] and
// [NewConnectorMetricsFrom] make. The zero value observes nothing.
type ConnectorMetricsImpl struct {
	bytes metrics.Histogram
	timer metrics.Timer
	sizes *valueBuffer // nil in the zero value
}

// Enabled reports whether anyone reads the observations.
func (m ConnectorMetricsImpl) Enabled() bool {
	return metrics.Enabled(m.timer) || metrics.Enabled(m.bytes)
}

// Observe observes the size of each record and its share of the time since start. It
// allocates nothing for records of ordinary types, and does nothing if there are no
// records or the metrics are not enabled.
func (m ConnectorMetricsImpl) Observe(records []opencdc.Record, start time.Time) {
	observeDuration(m.timer, len(records), start)
	if !metrics.Enabled(m.bytes) {
		return
	}
	bytes := metrics.Resolve(m.bytes)
	if len(records) == 1 || m.sizes == nil {
		for i := range records {
			bytes.Observe(float64(jsonsize.Record(&records[i])))
		}
		return
	}
	sizes := m.sizes.take()
	for chunk := range slices.Chunk(records, maxValues) {
		for i := range chunk {
			sizes[i] = float64(jsonsize.Record(&chunk[i]))
		}
		metrics.ObserveAll(bytes, sizes[:len(chunk)])
	}
	m.sizes.giveBack(sizes)
}

// ProcessorMetricsImpl is the [ProcessorMetrics] that [Metrics] and
// [NewProcessorMetricsFrom] make. The zero value observes nothing.
type ProcessorMetricsImpl struct {
	timer metrics.Timer
}

// Enabled reports whether anyone reads the observations.
func (m ProcessorMetricsImpl) Enabled() bool {
	return metrics.Enabled(m.timer)
}

// Observe observes, once per record, the record's share of the time since start. It
// does nothing if there are no records or the metrics are not enabled.
func (m ProcessorMetricsImpl) Observe(recordsNum int, start time.Time) {
	observeDuration(m.timer, recordsNum, start)
}

// observeDuration observes, n times, the n-th part of the time since start.
func observeDuration(timer metrics.Timer, n int, start time.Time) {
	if n <= 0 || !metrics.Enabled(timer) {
		return
	}
	share := max(time.Since(start), 0) / time.Duration(n) // a start in the future counts as now
	metrics.UpdateN(metrics.Resolve(timer), share, n)
}

// valueBuffer keeps memory for the values of several observations between calls. A call
// allocates its own memory while another call uses that of the buffer.
type valueBuffer struct {
	unused atomic.Pointer[[maxValues]float64] // nil while a call uses it, and before the first
}

// maxValues is the largest number of values that are observed at once.
const maxValues = 256

// take returns memory for values. The caller gives it back after use.
func (b *valueBuffer) take() *[maxValues]float64 {
	if values := b.unused.Swap(nil); values != nil {
		return values
	}
	return new([maxValues]float64)
}

func (b *valueBuffer) giveBack(values *[maxValues]float64) { b.unused.Store(values) }

// enablement does what [metrics.Enabled] does for one metric, but looks up the method
// only once.
type enablement struct {
	metric interface{ Enabled() bool } // nil if the metric is always enabled
}

func enablementOf(metric any) enablement {
	m, _ := metric.(interface{ Enabled() bool })
	return enablement{m}
}

// now returns true if the metric is enabled at this time.
func (l enablement) now() bool {
	return l.metric == nil || l.metric.Enabled()
}

// NoOpConnectorMetrics is a [ConnectorMetrics] that observes nothing.
type NoOpConnectorMetrics struct{}

// Observe does nothing.
func (NoOpConnectorMetrics) Observe([]opencdc.Record, time.Time) {}

// Enabled returns false.
func (NoOpConnectorMetrics) Enabled() bool { return false }

// NoOpProcessorMetrics is a [ProcessorMetrics] that observes nothing.
type NoOpProcessorMetrics struct{}

// Observe does nothing.
func (NoOpProcessorMetrics) Observe(int, time.Time) {}

// Enabled returns false.
func (NoOpProcessorMetrics) Enabled() bool { return false }
