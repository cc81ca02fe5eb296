package main

import (
	"math/rand/v2"
	"sync"
	"time"
)

// jumpingClock returns a clock that is often set forward or back, to at most three hours from
// the time of day. It may be called concurrently.
func jumpingClock(rng *rand.Rand) func() time.Time {
	var mu sync.Mutex
	jump := func() time.Duration { return time.Duration((2*rng.Float64() - 1) * float64(3*time.Hour)) }
	offset := jump()
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		if rng.IntN(20) == 0 {
			offset = jump()
		}
		return time.Now().Add(offset)
	}
}
