// Package clock lets tests choose the time of day. The clock is in the context with which a
// connector is opened, so no option for it is visible to users.
package clock

import (
	"context"
	"time"
)

type key struct{}

// With returns a context with a clock. now must be safe for concurrent use.
func With(ctx context.Context, now func() time.Time) context.Context {
	return context.WithValue(ctx, key{}, now)
}

// Of returns the clock of a context, or [time.Now] if it has none.
func Of(ctx context.Context) func() time.Time {
	if now, ok := ctx.Value(key{}).(func() time.Time); ok {
		return now
	}
	return time.Now
}
