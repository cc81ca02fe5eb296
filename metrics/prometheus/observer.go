package prometheus

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/metrics"
)

// events are the families that count the events of workers.
type events struct {
	records, deadLetters, batchErrors  metrics.LabeledCounter
	taskRecords, taskErrors, divisions metrics.LabeledCounter
	sizes                              metrics.LabeledHistogram
	durations                          metrics.LabeledTimer
}

func newEvents(r *registry) *events {
	ofPipeline, ofTask := []string{"pipeline_name"}, []string{"pipeline_name", "task"}
	with := func(labels []string, more string) []string { return append(labels[:len(labels):len(labels)], more) }
	return &events{
		records: r.NewCounter(metrics.Desc{
			Name:   "funnel_records_total",
			Help:   "Number of records by outcome: source records that were read, acked or dead_lettered, and copies that were filtered, nacked or retried.",
			Labels: with(ofPipeline, "outcome"),
		}),
		deadLetters: r.NewCounter(metrics.Desc{
			Name:   "funnel_dead_letters_total",
			Help:   "Number of dead letters that were written, by result: confirmed by the queue, or failed.",
			Labels: with(ofPipeline, "result"),
		}),
		batchErrors: r.NewCounter(metrics.Desc{
			Name:   "funnel_batch_errors_total",
			Help:   "Number of batches that have ended with an error, which stops the worker.",
			Labels: ofPipeline,
		}),
		sizes: r.NewHistogram(metrics.Desc{
			Name:    "funnel_batch_records",
			Help:    "Number of source records in a batch.",
			Labels:  ofPipeline,
			Buckets: []float64{1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000},
		}),
		durations: r.NewTimer(metrics.Desc{
			Name:    "funnel_batch_duration_seconds",
			Help:    "Time from the read of a batch to its end, in seconds.",
			Labels:  ofPipeline,
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
		taskRecords: r.NewCounter(metrics.Desc{
			Name:   "funnel_task_records_total",
			Help:   "Number of copies of records by flow. Unless the task fails or settles its batch, in + added = out + filtered + nacked + retried.",
			Labels: with(ofTask, "flow"),
		}),
		taskErrors: r.NewCounter(metrics.Desc{
			Name:   "funnel_task_errors_total",
			Help:   "Number of calls of a task that have ended with an error.",
			Labels: ofTask,
		}),
		divisions: r.NewCounter(metrics.Desc{
			Name:   "funnel_task_divisions_total",
			Help:   "Number of times that a batch was divided into parts after a task.",
			Labels: ofTask,
		}),
	}
}

// Observer returns an observer that counts the events of the workers of a pipeline, see
// [funnel.WithObserver]. The workers of a pipeline may share an observer, at the same time or
// one after the other. Observers for the same name add to the same counters.
//
// Each batch costs some atomic additions, two readings of the clock, and an allocation for
// the context that holds the time when the batch was read.
func (e *Exporter) Observer(pipeline string) funnel.Observer {
	f := e.events
	o := &observer{
		pipeline: pipeline, events: f,
		read:         f.records.WithValues(pipeline, "read"),
		acked:        f.records.WithValues(pipeline, "acked"),
		deadLettered: f.records.WithValues(pipeline, "dead_lettered"),
		filtered:     f.records.WithValues(pipeline, "filtered"),
		nacked:       f.records.WithValues(pipeline, "nacked"),
		retried:      f.records.WithValues(pipeline, "retried"),
		confirmed:    f.deadLetters.WithValues(pipeline, "confirmed"),
		failed:       f.deadLetters.WithValues(pipeline, "failed"),
		batchErrors:  f.batchErrors.WithValues(pipeline),
		sizes:        f.sizes.WithValues(pipeline),
		durations:    f.durations.WithValues(pipeline),
	}
	o.tasks.Store(&map[string]*taskCounters{})
	return o
}

// observer counts the events of the workers of a pipeline.
type observer struct {
	pipeline string
	events   *events

	read, acked, deadLettered, filtered, nacked, retried metrics.Counter
	confirmed, failed, batchErrors                       metrics.Counter

	sizes     metrics.Histogram
	durations metrics.Timer

	adding sync.Mutex                               // held to add a task
	tasks  atomic.Pointer[map[string]*taskCounters] // replaced as a whole
}

// taskCounters are the counters of a task.
type taskCounters struct {
	in, added, out, filtered, nacked, retried metrics.Counter
	errors, divisions                         metrics.Counter
}

// task returns the counters of a task.
func (o *observer) task(id string) *taskCounters {
	if t, ok := (*o.tasks.Load())[id]; ok {
		return t
	}
	o.adding.Lock()
	defer o.adding.Unlock()
	if t, ok := (*o.tasks.Load())[id]; ok {
		return t
	}
	flow := func(name string) metrics.Counter { return o.events.taskRecords.WithValues(o.pipeline, id, name) }
	t := &taskCounters{
		in: flow("in"), added: flow("added"), out: flow("out"),
		filtered: flow("filtered"), nacked: flow("nacked"), retried: flow("retried"),
		errors:    o.events.taskErrors.WithValues(o.pipeline, id),
		divisions: o.events.divisions.WithValues(o.pipeline, id),
	}
	tasks := maps.Clone(*o.tasks.Load())
	tasks[id] = t
	o.tasks.Store(&tasks)
	return t
}

// add adds n to a counter, unless it is 0.
func add(c metrics.Counter, n int) {
	if n != 0 {
		c.Inc(float64(n))
	}
}

// batchContext holds when a batch was read.
type batchContext struct {
	context.Context
	observer *observer
	readAt   time.Time
}

// batchKey finds the batchContext of an observer in a context.
type batchKey struct{ *observer }

// Value returns the context itself for the key of its observer.
func (c *batchContext) Value(key any) any {
	if k, ok := key.(batchKey); ok && k.observer == c.observer {
		return c
	}
	return c.Context.Value(key)
}

// BatchRead counts the records of a batch, and starts the clock.
func (o *observer) BatchRead(ctx context.Context, e funnel.BatchRead) context.Context {
	add(o.read, e.Records)
	o.sizes.Observe(float64(e.Records))
	return &batchContext{Context: ctx, observer: o, readAt: time.Now()}
}

// TaskBegin does nothing.
func (o *observer) TaskBegin(ctx context.Context, _ funnel.TaskBegin) context.Context { return ctx }

// TaskDone counts what a task has done.
func (o *observer) TaskDone(_ context.Context, e funnel.TaskDone) {
	t := o.task(e.TaskID)
	add(t.in, e.In)
	add(t.added, e.Added)
	add(t.out, e.Out)
	add(t.filtered, e.Filtered)
	add(t.nacked, e.Nacked)
	add(t.retried, e.Retried)
	if e.Err != nil {
		t.errors.Inc(1)
	}
}

// BatchDivided counts a division.
func (o *observer) BatchDivided(_ context.Context, e funnel.BatchDivided) {
	o.task(e.TaskID).divisions.Inc(1)
}

// DeadLettersWritten counts dead letters.
func (o *observer) DeadLettersWritten(_ context.Context, e funnel.DeadLettersWritten) {
	add(o.deadLettered, e.Confirmed)
	add(o.confirmed, e.Confirmed)
	add(o.failed, e.Records-e.Confirmed)
}

// RecordsAcked counts acks.
func (o *observer) RecordsAcked(_ context.Context, e funnel.RecordsAcked) {
	add(o.acked, e.Records)
}

// BatchDone counts the outcomes of the copies of a batch, and stops the clock.
func (o *observer) BatchDone(ctx context.Context, e funnel.BatchDone) {
	add(o.filtered, e.Filtered)
	add(o.nacked, e.Nacked)
	add(o.retried, e.Retried)
	if e.Err != nil {
		o.batchErrors.Inc(1)
	}
	if c, ok := ctx.Value(batchKey{o}).(*batchContext); ok {
		o.durations.UpdateSince(c.readAt)
	}
}
