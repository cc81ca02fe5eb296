package turn_test

import (
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/funnel/internal/turn"
)

// The turn is handed over in the order of asking, skipping those that have given up.
func TestQueue_order(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q turn.Queue
		if err := q.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
		var got, want []int
		var mu sync.Mutex
		for i := range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				if q.Take(ctx) == nil {
					mu.Lock()
					got = append(got, i)
					mu.Unlock()
					q.Give()
				}
			}()
			synctest.Wait() // until it waits
			if i%3 == 0 {
				cancel()
				synctest.Wait()
			} else {
				defer cancel()
				want = append(want, i)
			}
		}
		q.Give()
		synctest.Wait()
		if !slices.Equal(got, want) {
			t.Errorf("the order is %v, want %v", got, want)
		}
		if err := q.Take(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A goroutine that takes the turn again at once does not overtake one that waits.
func TestQueue_handsOver(t *testing.T) {
	var q turn.Queue
	var last, taken int
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 1_000 {
				if err := q.Take(t.Context()); err != nil {
					t.Error(err)
				}
				last, taken = i, taken+1
				q.Give()
			}
		})
	}
	wg.Wait()
	if taken != 4_000 {
		t.Errorf("%d turns, the last one of %d", taken, last)
	}
}

// A context that has ended gets no turn, even if it is free or comes at the same time,
// and does not keep it from others.
func TestQueue_endedContext(t *testing.T) {
	var q turn.Queue
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.Take(ended); err != context.Canceled {
		t.Errorf("got %v", err)
	}
	for range 2_000 {
		if err := q.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if q.Take(ctx) == nil {
				q.Give()
			}
		})
		wg.Go(cancel)
		if rand.IntN(2) == 0 {
			runtime.Gosched()
		}
		q.Give()
		wg.Wait()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := q.Take(ctx); err != nil {
		t.Errorf("the turn was lost: %v", err)
	}
}

// TryTake takes the turn only if it is free.
func TestQueue_tryTake(t *testing.T) {
	var q turn.Queue
	if !q.TryTake() || q.TryTake() {
		t.Error("the turn was not free, or free twice")
	}
	q.Give()
	if err := q.Take(t.Context()); err != nil || q.TryTake() {
		t.Errorf("the turn was not given back, or is free twice: %v", err)
	}
}

func BenchmarkQueue(b *testing.B) {
	ctx := b.Context()
	b.Run("free", func(b *testing.B) {
		var q turn.Queue
		for b.Loop() {
			_ = q.Take(ctx)
			q.Give()
		}
	})
	b.Run("4 that always wait", func(b *testing.B) {
		var q turn.Queue
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range b.N / 4 {
					_ = q.Take(ctx)
					q.Give()
				}
			})
		}
		wg.Wait()
	})
}
