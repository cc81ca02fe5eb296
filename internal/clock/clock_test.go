package clock_test

import (
	"context"
	"testing"
	"time"

	"github.com/conduitio/funnel/internal/clock"
)

func TestOf(t *testing.T) {
	before := time.Now()
	if now := clock.Of(t.Context())(); now.Before(before) || now.After(time.Now()) {
		t.Errorf("without a clock in the context it is %v, want about %v", now, before)
	}
	noon := time.Date(2024, 1, 1, 12, 0, 0, 0, time.UTC)
	ctx := clock.With(t.Context(), func() time.Time { return noon })
	ctx = context.WithoutCancel(ctx)
	if now := clock.Of(ctx)(); now != noon {
		t.Errorf("it is %v, want %v", now, noon)
	}
}
