package runner

import (
	"testing"
	"time"
)

// If the process was suspended beyond both bounds, the run is cancelled first, and then has the
// full time to end.
func TestRun_suspended(t *testing.T) {
	r := &run{bounds: bounds{graceful: time.Hour, cancelled: time.Minute}}
	r.prepare(t.Context())
	hard := r.stop()
	defer r.softTimer.Stop()
	if d := time.Until(hard); d < time.Hour {
		t.Errorf("the hard bound is in %v", d)
	}
	begun := time.Now() // as if this was after the hard bound
	if d := r.stuckAt().Sub(begun); d < time.Minute || d > 2*time.Minute {
		t.Errorf("it is stuck after %v, want a minute", d)
	}
	if r.ctx.Err() == nil {
		t.Error("it was not cancelled")
	}
	if at := r.stuckAt(); at != r.stuckAt() {
		t.Error("the bound moves on")
	}
}
