package sinks

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

var (
	firstSeed = flag.Uint64("seed", 1, "the first seed, 0 to take one from the clock")
	sinkCount = flag.Int("sinks", 0, "the number of sinks, 0 for some thousands or, with -short, some hundreds")
)

// Workers share a sink, and whatever happens to them, they keep the rules.
func TestSinks(t *testing.T) {
	seed, sinks := *firstSeed, *sinkCount
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	if sinks == 0 {
		sinks = 2_000
		if testing.Short() {
			sinks = 300
		}
	}
	counts := make(map[string]int)
	failed := 0
	for i := range sinks {
		o := draw(seed + uint64(i))
		isGood := t.Run(fmt.Sprintf("seed=%d", o.seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if report := o.live(t); report != "" {
					t.Error(report)
				}
			})
		})
		if !isGood {
			failed++
		}
		if failed == 10 {
			t.Fatal("too many seeds failed, the rest was not tried")
		}
		for what, n := range o.counts {
			counts[what] += n
		}
	}
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%8d %s", counts[what], what)
	}
	for _, what := range mustHappen {
		if counts[what] == 0 && sinks >= 1_000 {
			t.Errorf("it has never happened in %d sinks: %s", sinks, what)
		}
	}
}

// mustHappen is what happens to some in a thousand sinks, or the test shows too little.
var mustHappen = []string{
	"entered", "had to wait", "asked at the same time", "letters", "nack refused", "forgiven",
	"failed", "failed inside", "failed with best effort", "ended inside",
	"others told of the failure", "others told of a cancellation", "sink not open",
	"opened", "failed to open or close",
	"context ends: reading", "context ends: at work outside", "context ends: waiting for the sink",
	"context ends: inside the sink", "context ends: releasing", "ended with the context",
	"Stop gives up: reading", "Stop gives up: at work outside", "Stop gives up: waiting for the sink",
	"Stop gives up: inside the sink", "Stop gives up: releasing",
}
