package prometheus_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"strings"

	"github.com/conduitio/conduit-commons/opencdc"
	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/metrics/prometheus"
)

// A pipeline reads three records, one of which is refused; then its metrics are gathered.
func Example() {
	registry := client.NewRegistry()
	e, err := prometheus.New(registry)
	if err != nil {
		fmt.Println(err)
		return
	}
	nowhere := funnel.DestinationFunc(func(context.Context, []opencdc.Record) error { return nil })
	noBlanks := funnel.Map(func(r opencdc.Record) (opencdc.Record, error) {
		if r.Key == nil {
			return r, errors.New("the key is missing")
		}
		return r, nil
	})
	pipeline := funnel.From("orders", funnel.SliceSource(
		opencdc.Record{Key: opencdc.RawData("a")}, opencdc.Record{}, opencdc.Record{Key: opencdc.RawData("b")},
	)).
		Through("no blanks", noBlanks).
		To("table", nowhere).
		DeadLetters("refused", nowhere, 100, 5)
	worker, err := e.Instrument(pipeline, "shop").Worker()
	if err != nil {
		fmt.Println(err)
		return
	}
	err = e.Watch(func() iter.Seq2[string, funnel.Stats] {
		return maps.All(map[string]funnel.Stats{"shop": worker.Stats()})
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := worker.Run(context.Background()); err != nil {
		fmt.Println(err)
		return
	}

	// A service would serve the registry with promhttp.HandlerFor.
	families, err := registry.Gather()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range families {
		switch name := f.GetName(); {
		case name == "conduit_connector_bytes", name == "conduit_pipeline_execution_duration_seconds":
			fmt.Println(name, "has", len(f.GetMetric()), "histograms")
		case name == "funnel_records_total", name == "funnel_dead_letters_total", strings.HasPrefix(name, "funnel_nack_window"):
			if _, err := expfmt.MetricFamilyToText(os.Stdout, f); err != nil {
				fmt.Println(err)
			}
		}
	}

	// Output:
	// conduit_connector_bytes has 2 histograms
	// conduit_pipeline_execution_duration_seconds has 1 histograms
	// # HELP funnel_dead_letters_total Number of dead letters that were written, by result: confirmed by the queue, or failed.
	// # TYPE funnel_dead_letters_total counter
	// funnel_dead_letters_total{pipeline_name="shop",result="confirmed"} 1
	// funnel_dead_letters_total{pipeline_name="shop",result="failed"} 0
	// # HELP funnel_nack_window_nacks Number of nacks in the window of the dead-letter queue.
	// # TYPE funnel_nack_window_nacks gauge
	// funnel_nack_window_nacks{pipeline_name="shop"} 1
	// # HELP funnel_nack_window_refusing 1 if the window of the dead-letter queue has refused a nack, otherwise 0.
	// # TYPE funnel_nack_window_refusing gauge
	// funnel_nack_window_refusing{pipeline_name="shop"} 0
	// # HELP funnel_nack_window_size_records Number of outcomes that the window of the dead-letter queue holds.
	// # TYPE funnel_nack_window_size_records gauge
	// funnel_nack_window_size_records{pipeline_name="shop"} 100
	// # HELP funnel_nack_window_threshold_records Number of nacks that the window of the dead-letter queue tolerates.
	// # TYPE funnel_nack_window_threshold_records gauge
	// funnel_nack_window_threshold_records{pipeline_name="shop"} 5
	// # HELP funnel_records_total Number of records by outcome: source records that were read, acked or dead_lettered, and copies that were filtered, nacked or retried.
	// # TYPE funnel_records_total counter
	// funnel_records_total{outcome="acked",pipeline_name="shop"} 3
	// funnel_records_total{outcome="dead_lettered",pipeline_name="shop"} 1
	// funnel_records_total{outcome="filtered",pipeline_name="shop"} 0
	// funnel_records_total{outcome="nacked",pipeline_name="shop"} 1
	// funnel_records_total{outcome="read",pipeline_name="shop"} 3
	// funnel_records_total{outcome="retried",pipeline_name="shop"} 0
}
