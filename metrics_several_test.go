package funnel_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/metrics"
)

// Every record is observed, however many there are at once, and in order.
func TestMetrics_manyRecords(t *testing.T) {
	for _, n := range []int{1, 2, 255, 256, 257, 1_000} {
		set, r := metrics.NewSet(), newMetricsRegistry()
		set.Register(histogramsOnly{r})
		source := funnel.NewMetrics(set).Connector("pipe", "plugin", connector.TypeSource)
		records, want := make([]opencdc.Record, n), make([]float64, n)
		for i := range records {
			records[i].Key, want[i] = opencdc.RawData(make([]byte, i%7)), float64(i%7)
		}
		source.Observe(records, time.Now())
		r.mustHave(t, map[string][]float64{"conduit_connector_bytes{pipeline_name=pipe,plugin=plugin,type=source}": want})
	}
}

// Metrics may be shared by connectors that are called at the same time.
func TestMetrics_concurrently(t *testing.T) {
	r := newMetricsRegistry()
	histogram := r.NewHistogram(metrics.Desc{Name: "h"}).WithValues()
	var mu sync.Mutex
	m := funnel.NewConnectorMetricsFrom(nil, lockedHistogram{&mu, histogram})
	records := make([]opencdc.Record, 300)
	for i := range records {
		records[i].Key = opencdc.RawData("12345")
	}
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			for range 50 {
				m.Observe(records, time.Now())
			}
		})
	}
	calls.Wait()
	r.mustHave(t, map[string][]float64{"h{}": slices.Repeat([]float64{5}, 4*50*len(records))})
}

// lockedHistogram is a histogram with a lock.
type lockedHistogram struct {
	mu *sync.Mutex
	metrics.Histogram
}

func (h lockedHistogram) Observe(value float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Histogram.Observe(value)
}

// The timer observes each record of an ack, however many there are, and in order.
func TestTimer_manyRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, timer := &fake.Journal{}, &fake.Timer{}
		recs := fake.Records(strings.Fields(strings.Repeat("r ", 700))...)
		for i := range recs {
			recs[i].Metadata.SetReadAt(time.Now().Add(-time.Duration(i)))
		}
		first := fake.Chain(fake.From(fake.NewSource(j, fake.Read{Records: recs})), fake.Out(j))
		fake.WantNoError(t, fake.RunWorker(t, fake.NewTimedWorker(t, first, nil, timer)))
		if len(timer.Observed) != len(recs) {
			t.Fatalf("%d durations", len(timer.Observed))
		}
		for i, d := range timer.Observed {
			if d != time.Duration(i) {
				t.Fatalf("record %d took %v", i, d)
			}
		}
	})
}
