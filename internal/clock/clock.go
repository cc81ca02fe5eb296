// Package clock lets a test choose the time of day. The context that a connector is opened
// with carries the clock, so the connector has no option for it that users would see.
package clock

import (
	"context"
	"time"
)

type key struct{}

// With returns a context that carries a clock. now may be called concurrently.
func With(ctx context.Context, now func() time.Time) context.Context {
	return context.WithValue(ctx, key{}, now)
}

// Of returns the clock of a context, which is [time.Now] unless there is another one.
func Of(ctx context.Context) func() time.Time {
	if now, ok := ctx.Value(key{}).(func() time.Time); ok {
		return now
	}
	return time.Now
}
