package prometheus

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	client "github.com/prometheus/client_golang/prometheus"

	"github.com/conduitio/funnel"
)

// Watch exports gauges for the pipelines whose names and stats the function yields. Each scrape
// calls the function, on any goroutine; concurrent scrapes call it at the same time. It must
// not block. If it no longer yields a pipeline, the gauges of that pipeline disappear.
//
// The function may yield the workers of a pipeline one by one, under the same name. Their stats
// are added up by [funnel.Stats.Add]. So are the stats that several functions yield under one
// name: each call of Watch adds a function, for example of another group of pipelines. None can
// be removed.
//
// A panic of the function fails the scrape. Watch returns an error if the function is nil.
func (e *Exporter) Watch(stats func() iter.Seq2[string, funnel.Stats]) error {
	if stats == nil {
		return errors.New("prometheus: Watch of a nil function")
	}
	e.watched.mu.Lock()
	defer e.watched.mu.Unlock()
	e.watched.stats = append(e.watched.stats, stats)
	return nil
}

// watched collects the gauges of the pipelines that the functions given to Watch yield.
type watched struct {
	gauges []gauge

	mu    sync.Mutex
	stats []func() iter.Seq2[string, funnel.Stats]
}

// gauge describes a gauge that each pipeline has.
type gauge struct {
	desc *client.Desc
	// value returns false if the pipeline has no value.
	value func(s *funnel.Stats) (float64, bool)
}

func newWatched() *watched {
	always := func(value func(s *funnel.Stats) int) func(*funnel.Stats) (float64, bool) {
		return func(s *funnel.Stats) (float64, bool) { return float64(value(s)), true }
	}
	ofWindow := func(value func(w funnel.NackWindow) int) func(*funnel.Stats) (float64, bool) {
		return func(s *funnel.Stats) (float64, bool) { return float64(value(s.Window)), s.Window.Size > 0 }
	}
	of := func(name, help string, value func(s *funnel.Stats) (float64, bool)) gauge {
		return gauge{client.NewDesc(name, help, []string{"pipeline_name"}, nil), value}
	}
	return &watched{gauges: []gauge{
		of("funnel_in_flight_records", "Number of source records in the batch in flight.",
			always(func(s *funnel.Stats) int { return s.InFlight })),
		of("funnel_waiting_records", "Number of source records that were read ahead and are waiting for their batch.",
			always(func(s *funnel.Stats) int { return s.Waiting })),
		of("funnel_skipped_branches", "Number of best-effort branches that the current workers have given up.",
			always(func(s *funnel.Stats) int { return s.SkippedBranches })),
		of("funnel_last_ack_age_seconds", "Time since the end of the last batch in which records were acked, in seconds; absent before the first one.",
			func(s *funnel.Stats) (float64, bool) {
				return max(time.Since(s.LastAck), 0).Seconds(), !s.LastAck.IsZero()
			}),
		of("funnel_nack_window_size_records", "Number of outcomes that the window of the dead-letter queue holds.",
			ofWindow(func(w funnel.NackWindow) int { return w.Size })),
		of("funnel_nack_window_threshold_records", "Number of nacks that the window of the dead-letter queue tolerates.",
			ofWindow(func(w funnel.NackWindow) int { return w.Threshold })),
		of("funnel_nack_window_nacks", "Number of nacks in the window of the dead-letter queue.",
			ofWindow(func(w funnel.NackWindow) int { return w.Nacks })),
		of("funnel_nack_window_refusing", "1 if the window of the dead-letter queue has refused a nack, otherwise 0.",
			ofWindow(func(w funnel.NackWindow) int {
				if w.Refusing {
					return 1
				}
				return 0
			})),
	}}
}

// Describe describes the gauges.
func (w *watched) Describe(ch chan<- *client.Desc) {
	for _, g := range w.gauges {
		ch <- g.desc
	}
}

// Collect collects the gauges of the pipelines that exist now.
func (w *watched) Collect(ch chan<- client.Metric) {
	pipelines, err := w.now()
	if err != nil {
		ch <- client.NewInvalidMetric(w.gauges[0].desc, err)
		return
	}
	for name, s := range pipelines {
		for _, g := range w.gauges {
			if value, ok := g.value(s); ok {
				ch <- client.MustNewConstMetric(g.desc, client.GaugeValue, value, name)
			}
		}
	}
}

// now returns the stats of each pipeline. It returns a panic of a function of the host as an
// error, since it would end the process.
func (w *watched) now() (pipelines map[string]*funnel.Stats, err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("prometheus: panic in the function given to Watch: %v", value)
		}
	}()
	w.mu.Lock()
	functions := w.stats[:len(w.stats):len(w.stats)]
	w.mu.Unlock()
	pipelines = make(map[string]*funnel.Stats)
	for _, stats := range functions {
		seq := stats()
		if seq == nil {
			continue
		}
		for name, s := range seq {
			name = strings.ToValidUTF8(name, "\ufffd")
			if known, ok := pipelines[name]; ok {
				known.Add(s)
			} else {
				pipelines[name] = &s
			}
		}
	}
	return pipelines, nil
}
