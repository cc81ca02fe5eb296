package prometheus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// worldRecords are the records of the world by outcome.
const worldRecords = `
# HELP funnel_records_total Number of records by outcome: source records that were read, acked or dead_lettered, and copies that were filtered, nacked or retried.
# TYPE funnel_records_total counter
funnel_records_total{outcome="acked",pipeline_name="shop"} 6
funnel_records_total{outcome="dead_lettered",pipeline_name="shop"} 3
funnel_records_total{outcome="filtered",pipeline_name="shop"} 1
funnel_records_total{outcome="nacked",pipeline_name="shop"} 5
funnel_records_total{outcome="read",pipeline_name="shop"} 6
funnel_records_total{outcome="retried",pipeline_name="shop"} 2
`

// The counters of a run agree with its stats, and count by task.
func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, registry := newExporter(t)
		w := newWorld(t, e)
		fake.WantNoError(t, fake.RunWorker(t, w))
		err := testutil.GatherAndCompare(registry, strings.NewReader(worldRecords+`
# HELP funnel_dead_letters_total Number of dead letters that were written, by result: confirmed by the queue, or failed.
# TYPE funnel_dead_letters_total counter
funnel_dead_letters_total{pipeline_name="shop",result="confirmed"} 3
funnel_dead_letters_total{pipeline_name="shop",result="failed"} 0
# HELP funnel_batch_errors_total Number of batches that have ended with an error, which stops the worker.
# TYPE funnel_batch_errors_total counter
funnel_batch_errors_total{pipeline_name="shop"} 0
# HELP funnel_batch_records Number of source records in a batch.
# TYPE funnel_batch_records histogram
funnel_batch_records_bucket{pipeline_name="shop",le="1"} 1
funnel_batch_records_bucket{pipeline_name="shop",le="3"} 3
funnel_batch_records_bucket{pipeline_name="shop",le="10"} 3
funnel_batch_records_bucket{pipeline_name="shop",le="30"} 3
funnel_batch_records_bucket{pipeline_name="shop",le="100"} 3
funnel_batch_records_bucket{pipeline_name="shop",le="300"} 3
funnel_batch_records_bucket{pipeline_name="shop",le="1000"} 3
funnel_batch_records_bucket{pipeline_name="shop",le="3000"} 3
funnel_batch_records_bucket{pipeline_name="shop",le="10000"} 3
funnel_batch_records_bucket{pipeline_name="shop",le="30000"} 3
funnel_batch_records_bucket{pipeline_name="shop",le="100000"} 3
funnel_batch_records_bucket{pipeline_name="shop",le="+Inf"} 3
funnel_batch_records_sum{pipeline_name="shop"} 6
funnel_batch_records_count{pipeline_name="shop"} 3
# HELP funnel_task_errors_total Number of calls of a task that have ended with an error.
# TYPE funnel_task_errors_total counter
funnel_task_errors_total{pipeline_name="shop",task="b"} 0
funnel_task_errors_total{pipeline_name="shop",task="failing"} 1
funnel_task_errors_total{pipeline_name="shop",task="out"} 0
funnel_task_errors_total{pipeline_name="shop",task="p"} 0
`), "funnel_records_total", "funnel_dead_letters_total", "funnel_batch_errors_total", "funnel_batch_records", "funnel_task_errors_total")
		if err != nil {
			t.Error(err)
		}
		flows := make(map[string]float64)
		for _, m := range gather(t, registry)["funnel_task_records_total"].GetMetric() {
			flows[m.GetLabel()[2].GetValue()+" "+m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
		}
		for flow, n := range map[string]float64{
			// p gets 6 records, and 4 twice more; it filters 1, nacks 2 and makes three of 3.
			"p in": 8, "p added": 2, "p out": 6, "p filtered": 1, "p nacked": 1, "p retried": 2,
			"out in": 6, "out out": 6, "b in": 6, "b out": 2, "b nacked": 4,
		} {
			if flows[flow] != n {
				t.Errorf("%s: %v, want %v", flow, flows[flow], n)
			}
		}
	})
}

// Each batch is timed from its read to its end; each record to its ack.
func TestObserver_durations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, registry := newExporter(t)
		j := &fake.Journal{}
		w := fake.NewTimedWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2", "3")), fake.To(fake.SlowDestination(j, "out", time.Second))),
			nil, e.Timer("shop"), funnel.WithObserver(e.Observer("shop")))
		fake.WantNoError(t, fake.RunWorker(t, w))
		// The destination takes a second for each write.
		if h := histogramOf(t, registry, "funnel_batch_duration_seconds"); h.GetSampleCount() != 2 || h.GetSampleSum() != 2 {
			t.Errorf("batches: %v", h)
		}
		if h := histogramOf(t, registry, "conduit_pipeline_execution_duration_seconds"); h.GetSampleCount() != 3 || h.GetSampleSum() != 3 {
			t.Errorf("records: %v", h)
		}
	})
}

// The counters also count with read-ahead and with another observer, and the next worker
// continues them.
func TestObserver_shared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, registry := newExporter(t)
		o := e.Observer("shop")
		j := &fake.Journal{}
		for run := range 3 {
			first := fake.Chain(fake.From(fake.SourceOf(j, "1 2", "3")), fake.To(fake.SlowDestination(j, "out", time.Second)))
			opts := []funnel.WorkerOption{funnel.WithObserver(funnel.NopObserver{}), funnel.WithObserver(o), funnel.WithObserver(e.Observer("other"))}
			if run == 2 {
				opts = append(opts, funnel.WithReadAhead(10))
			}
			fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, nil, opts...)))
		}
		families := gather(t, registry)
		for _, m := range families["funnel_records_total"].GetMetric() {
			outcome := m.GetLabel()[0].GetValue()
			want := map[string]float64{"read": 9, "acked": 9}[outcome]
			if got := m.GetCounter().GetValue(); got != want {
				t.Errorf("%v %s, want %v", got, outcome, want)
			}
		}
		for _, m := range families["funnel_batch_duration_seconds"].GetMetric() {
			h := m.GetHistogram()
			if h.GetSampleSum() != float64(h.GetSampleCount()) || h.GetSampleCount() < 5 {
				t.Errorf("durations of %v", m)
			}
		}
	})
}

// slowObserver delays each batch before its tasks begin.
type slowObserver struct{ funnel.NopObserver }

func (slowObserver) BatchRead(ctx context.Context, _ funnel.BatchRead) context.Context {
	time.Sleep(time.Second)
	return ctx
}

// Observers of the same worker have clocks of their own.
func TestObserver_several(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, registry := newExporter(t)
		j := &fake.Journal{}
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.Out(j)), nil,
			funnel.WithObserver(e.Observer("a")), funnel.WithObserver(slowObserver{}), funnel.WithObserver(e.Observer("b")))
		fake.WantNoError(t, fake.RunWorker(t, w))
		got := gather(t, registry)["funnel_batch_duration_seconds"].GetMetric()
		if a, b := got[0].GetHistogram().GetSampleSum(), got[1].GetHistogram().GetSampleSum(); a != 1 || b != 0 {
			t.Errorf("the durations are %v and %v", a, b)
		}
	})
}

// Workers that share an observer do not mix up their clocks.
func TestObserver_atTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, registry := newExporter(t)
		o := e.Observer("shop")
		var done []<-chan fake.Ending
		for i := range 2 {
			j := &fake.Journal{}
			out := fake.SlowDestination(j, "out", time.Duration(1+i)*time.Second)
			w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1", "2")), fake.To(out)), nil, funnel.WithObserver(o))
			done = append(done, fake.Start(t.Context(), w))
		}
		for _, ended := range done {
			end := <-ended
			end.Want(t, nil)
		}
		if h := histogramOf(t, registry, "funnel_batch_duration_seconds"); h.GetSampleCount() != 4 || h.GetSampleSum() != 1+1+2+2 {
			t.Errorf("durations: %v", h)
		}
	})
}

// Failures count: of a task, of the queue, and of the batch. Without nacks that the queue
// has confirmed, nothing is acked.
func TestObserver_failures(t *testing.T) {
	errAway := errors.New("away")
	for _, c := range []struct {
		name          string
		queue         func(*fake.Destination)
		out           func(*fake.Destination)
		confirmed     float64
		failed, tasks float64
	}{
		{"the queue refuses one of two", func(d *fake.Destination) { d.Refuse["2"] = errAway }, nil, 1, 1, 0},
		{"the queue is away", func(d *fake.Destination) {
			d.OnWrite = func(context.Context, []opencdc.Record) error { return errAway }
		}, nil, 0, 2, 0},
		{"the destination is away", nil, func(d *fake.Destination) {
			d.OnWrite = func(context.Context, []opencdc.Record) error { return errAway }
		}, 2, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, registry := newExporter(t)
			j := &fake.Journal{}
			queue, out := fake.NewDestination(j, "dlq"), fake.NewDestination(j, "out")
			if c.queue != nil {
				c.queue(queue)
			}
			if c.out != nil {
				c.out(out)
			}
			p := fake.ByPosition(fake.Answers{"1": fake.Fail, "2": fake.Fail})
			w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2 3")), fake.Through("p", p), fake.To(out)),
				fake.Queue(queue), funnel.WithObserver(e.Observer("shop")))
			if err := fake.RunWorker(t, w); !errors.Is(err, errAway) {
				t.Errorf("the error is %v", err)
			}
			families := gather(t, registry)
			letters := families["funnel_dead_letters_total"].GetMetric()
			if got := letters[0].GetCounter().GetValue(); got != c.confirmed {
				t.Errorf("%v confirmed, want %v", got, c.confirmed)
			}
			if got := letters[1].GetCounter().GetValue(); got != c.failed {
				t.Errorf("%v failed, want %v", got, c.failed)
			}
			if got := families["funnel_records_total"].GetMetric()[1].GetCounter().GetValue(); got != c.confirmed {
				t.Errorf("%v dead-lettered, want %v", got, c.confirmed)
			}
			if got := families["funnel_batch_errors_total"].GetMetric()[0].GetCounter().GetValue(); got != 1 {
				t.Errorf("%v batch errors", got)
			}
			errors := 0.0
			for _, m := range families["funnel_task_errors_total"].GetMetric() {
				errors += m.GetCounter().GetValue()
			}
			if errors != c.tasks {
				t.Errorf("%v task errors, want %v", errors, c.tasks)
			}
		})
	}
}

// A division counts for the task after which the batch was divided.
func TestObserver_divisions(t *testing.T) {
	e, registry := newExporter(t)
	j := &fake.Journal{}
	p := fake.ByPosition(fake.Answers{"2": fake.Fail})
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2 3")), fake.Through("p", p), fake.Out(j)),
		fake.DLQ(j), funnel.WithObserver(e.Observer("shop")))
	fake.WantNoError(t, fake.RunWorker(t, w))
	got := fmt.Sprint(gather(t, registry)["funnel_task_divisions_total"].GetMetric())
	if !strings.Contains(got, `value:"p"`) || !strings.Contains(got, "counter:{value:1") {
		t.Errorf("divisions: %s", got)
	}
}

// What a host nacks from outside counts as dead-lettered and acked.
func TestObserver_fromOutside(t *testing.T) {
	e, registry := newExporter(t)
	j := &fake.Journal{}
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j)), fake.Out(j)), fake.DLQ(j), funnel.WithObserver(e.Observer("shop")))
	fake.WantNoError(t, w.Nack(t.Context(), funnel.NewBatch(fake.Records("1", "2")), "task"))
	got := make(map[string]float64)
	for _, m := range gather(t, registry)["funnel_records_total"].GetMetric() {
		got[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
	}
	if got["acked"] != 2 || got["dead_lettered"] != 2 || got["read"] != 0 {
		t.Errorf("counted %v", got)
	}
}
