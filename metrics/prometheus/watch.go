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

// Watch adds gauges for the pipelines whose names and stats the function yields. Each scrape
// calls the function, on any goroutine, and several scrapes may call it at the same time. It
// must not block. The gauges of a pipeline that it no longer yields disappear.
//
// The function may yield the workers of a pipeline one by one, under the same name. The
// numbers of records in flight, waiting records and skipped branches are then added up, the
// last ack is the latest one, and the window is the one that is closest to refusing a nack.
// The same holds if Watch is called several times, for example once for each group of
// pipelines: each call adds a function, and none removes one.
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

// watched collects the gauges of the pipelines that Watch was told of.
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
		of("funnel_waiting_records", "Number of source records that were read ahead and wait for their batch.",
			always(func(s *funnel.Stats) int { return s.Waiting })),
		of("funnel_skipped_branches", "Number of best-effort branches that the worker has given up.",
			always(func(s *funnel.Stats) int { return s.SkippedBranches })),
		of("funnel_last_ack_age_seconds", "Time since the end of the last batch in which records were acked, in seconds; absent before there was one.",
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

// now returns the stats of each pipeline. A panic in a function of the host, which would
// end the process here, becomes an error.
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
				merge(known, &s)
			} else {
				pipelines[name] = &s
			}
		}
	}
	return pipelines, nil
}

// merge adds the stats of another worker of a pipeline.
func merge(all, s *funnel.Stats) {
	all.InFlight += s.InFlight
	all.Waiting += s.Waiting
	all.SkippedBranches += s.SkippedBranches
	if s.LastAck.After(all.LastAck) {
		all.LastAck = s.LastAck
	}
	if fullness(s.Window) > fullness(all.Window) {
		all.Window = s.Window
	}
}

// fullness says how close a window is to refusing a nack: from 0 if it is empty to 1 if it
// is full, 2 once it refuses, and -1 if there is no window.
func fullness(w funnel.NackWindow) float64 {
	switch {
	case w.Size == 0:
		return -1
	case w.Refusing:
		return 2
	case w.Threshold == 0:
		return 1
	default:
		return float64(w.Nacks) / float64(w.Threshold)
	}
}
