package prometheus_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	client "github.com/prometheus/client_golang/prometheus"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// wantGauges fails the test unless these are all gauges: name, pipeline and value.
func wantGauges(t *testing.T, g client.Gatherer, lines ...string) {
	t.Helper()
	var got []string
	for name, f := range gather(t, g) {
		if !strings.HasPrefix(name, "funnel_") || f.GetType().String() != "GAUGE" {
			continue
		}
		for _, m := range f.GetMetric() {
			got = append(got, fmt.Sprint(name, " ", m.GetLabel()[0].GetValue(), " ", m.GetGauge().GetValue()))
		}
	}
	slices.Sort(got)
	slices.Sort(lines)
	if !slices.Equal(got, lines) {
		t.Errorf("the gauges are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
}

func TestWatch_nil(t *testing.T) {
	e, _ := newExporter(t)
	wantText(t, e.Watch(nil), "nil function")
}

// The gauges follow a worker while it runs.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, registry := newExporter(t)
		j := &fake.Journal{}
		out := fake.NewDestination(j, "out")
		step := make(chan struct{})
		out.OnWrite = func(context.Context, []opencdc.Record) error { <-step; return nil }
		p := fake.ByPosition(fake.Answers{"2": fake.Fail})
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2 3", "4", "5 6")), fake.Through("p", p), fake.To(out)),
			fake.Window(fake.NewDestination(j, "dlq"), 50, 7), funnel.WithReadAhead(3))
		if err := e.Watch(statsOf(workersOf(w))); err != nil {
			t.Fatal(err)
		}
		window := func(nacks string) []string {
			return []string{
				"funnel_nack_window_size_records shop 50", "funnel_nack_window_threshold_records shop 7",
				"funnel_nack_window_nacks shop " + nacks, "funnel_nack_window_refusing shop 0", "funnel_skipped_branches shop 0",
			}
		}
		wantGauges(t, registry, append(window("0"), "funnel_in_flight_records shop 0", "funnel_waiting_records shop 0")...)
		done := fake.Start(t.Context(), w)
		synctest.Wait()
		wantGauges(t, registry, append(window("0"), "funnel_in_flight_records shop 3", "funnel_waiting_records shop 3")...)
		time.Sleep(time.Second)
		step <- struct{}{}
		step <- struct{}{}
		synctest.Wait()
		time.Sleep(2500 * time.Millisecond)
		wantGauges(t, registry, append(window("1"), "funnel_in_flight_records shop 3", "funnel_waiting_records shop 0",
			"funnel_last_ack_age_seconds shop 2.5")...)
		close(step)
		end := <-done
		end.Want(t, nil)
	})
}

// The gauges of a pipeline disappear when it is no longer yielded, and those of a window when
// there is none.
func TestWatch_disappears(t *testing.T) {
	e, registry := newExporter(t)
	all := map[string]funnel.Stats{"a": {InFlight: 1, Window: funnel.NackWindow{Size: 2, Refusing: true}}, "b": {}}
	if err := e.Watch(fixed(all)); err != nil {
		t.Fatal(err)
	}
	wantGauges(t, registry, "funnel_in_flight_records a 1", "funnel_waiting_records a 0", "funnel_skipped_branches a 0",
		"funnel_nack_window_size_records a 2", "funnel_nack_window_threshold_records a 0", "funnel_nack_window_nacks a 0",
		"funnel_nack_window_refusing a 1",
		"funnel_in_flight_records b 0", "funnel_waiting_records b 0", "funnel_skipped_branches b 0")
	delete(all, "a")
	wantGauges(t, registry, "funnel_in_flight_records b 0", "funnel_waiting_records b 0", "funnel_skipped_branches b 0")
	delete(all, "b")
	wantGauges(t, registry)
}

// Workers of the same pipeline are merged, whether one function yields them or several.
func TestWatch_severalWorkers(t *testing.T) {
	for _, functions := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			now := time.Now()
			time.Sleep(10 * time.Second)
			workers := []funnel.Stats{
				{InFlight: 1, LastAck: now.Add(2 * time.Second), Window: funnel.NackWindow{Size: 100, Threshold: 50, Nacks: 20}},
				{Waiting: 5, SkippedBranches: 1, LastAck: now.Add(4 * time.Second), Window: funnel.NackWindow{Size: 10, Threshold: 4, Nacks: 3}},
				{InFlight: 2, SkippedBranches: 1},
			}
			e, registry := newExporter(t)
			for i := range functions {
				err := e.Watch(func() iter.Seq2[string, funnel.Stats] {
					return func(yield func(string, funnel.Stats) bool) {
						for j, s := range workers {
							if j%functions == i && !yield("a", s) {
								return
							}
						}
					}
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			wantGauges(t, registry, "funnel_in_flight_records a 3", "funnel_waiting_records a 5", "funnel_skipped_branches a 2",
				"funnel_last_ack_age_seconds a 6", "funnel_nack_window_size_records a 10", "funnel_nack_window_threshold_records a 4",
				"funnel_nack_window_nacks a 3", "funnel_nack_window_refusing a 0")
		})
	}
}

// A window that refuses takes precedence over a fuller one, and a window without tolerance over
// one with room.
func TestWatch_fullestWindow(t *testing.T) {
	windows := []funnel.NackWindow{ // each is nearer to refusing than the one before
		{}, {Size: 9, Threshold: 4}, {Size: 8, Threshold: 4, Nacks: 1}, {Size: 7, Threshold: 3, Nacks: 1},
		{Size: 6}, {Size: 5, Threshold: 4, Nacks: 1, Refusing: true},
	}
	for i := range windows {
		for j := range i {
			for _, pair := range [][]funnel.NackWindow{{windows[i], windows[j]}, {windows[j], windows[i]}} {
				e, registry := newExporter(t)
				for _, w := range pair {
					if err := e.Watch(fixed(map[string]funnel.Stats{"a": {Window: w}})); err != nil {
						t.Fatal(err)
					}
				}
				got := gather(t, registry)["funnel_nack_window_size_records"].GetMetric()[0].GetGauge().GetValue()
				if got != float64(windows[i].Size) {
					t.Errorf("of %+v the window of size %v is shown", pair, got)
				}
			}
		}
	}
}

// A function that panics fails the scrape with an error, and nothing else. A nil sequence is
// empty.
func TestWatch_panics(t *testing.T) {
	e, registry := newExporter(t)
	fail := true
	err := e.Watch(func() iter.Seq2[string, funnel.Stats] {
		if fail {
			panic("the host has a bug")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = registry.Gather()
	wantText(t, err, "panic in the function given to Watch: the host has a bug")
	fail = false
	wantGauges(t, registry)
}

func TestWatch_invalidUTF8(t *testing.T) {
	e, registry := newExporter(t)
	if err := e.Watch(fixed(map[string]funnel.Stats{"a\xff": {InFlight: 1}, "a\xfe": {InFlight: 2}})); err != nil {
		t.Fatal(err)
	}
	wantGauges(t, registry, "funnel_in_flight_records a\ufffd 3", "funnel_waiting_records a\ufffd 0", "funnel_skipped_branches a\ufffd 0")
}

// The age of an ack is not negative after a clock was set back.
func TestWatch_ackInTheFuture(t *testing.T) {
	e, registry := newExporter(t)
	if err := e.Watch(fixed(map[string]funnel.Stats{"a": {LastAck: time.Now().Add(time.Hour)}})); err != nil {
		t.Fatal(err)
	}
	if got := gather(t, registry)["funnel_last_ack_age_seconds"].GetMetric()[0].GetGauge().GetValue(); got != 0 {
		t.Errorf("the age is %v", got)
	}
}
