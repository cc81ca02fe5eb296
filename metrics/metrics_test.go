package metrics_test

import (
	"testing"

	"github.com/conduitio/funnel/metrics"
	"github.com/conduitio/funnel/metrics/noop"
)

type plain struct{}

type switchable bool

func (s switchable) Enabled() bool { return bool(s) }

func TestEnabled(t *testing.T) {
	var timer metrics.Timer
	for name, tc := range map[string]struct {
		metric any
		want   bool
	}{
		"nil":           {nil, false},
		"nil interface": {timer, false},
		"noop":          {noop.Timer{}, false},
		"no method":     {plain{}, true},
		"says yes":      {switchable(true), true},
		"says no":       {switchable(false), false},
	} {
		if got := metrics.Enabled(tc.metric); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}
