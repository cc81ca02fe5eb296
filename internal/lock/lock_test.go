package lock_test

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/funnel/internal/lock"
)

func mustLock(t *testing.T, m *lock.Mutex) {
	t.Helper()
	if err := m.Lock(t.Context()); err != nil {
		t.Fatalf("Lock: %v", err)
	}
}

// ended returns a context that has ended.
func ended(t testing.TB) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// mustBeFree checks in a synctest bubble that m is as New returns it: free, with
// nothing left that lets a waiter through.
func mustBeFree(t *testing.T, m *lock.Mutex) {
	t.Helper()
	if !m.TryLock() {
		t.Error("the lock is held")
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	var err error
	isDone := false
	go func() {
		err = m.Lock(ctx)
		isDone = true
	}()
	synctest.Wait()
	if isDone {
		t.Errorf("a held lock does not make one wait: %v", err)
	}
	cancel()
	synctest.Wait()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("giving up: %v", err)
	}
	m.Unlock()
}

func TestMutex_tryLock(t *testing.T) {
	m := lock.New()
	for range 3 {
		if !m.TryLock() {
			t.Fatal("a free lock cannot be locked")
		}
		if m.TryLock() {
			t.Fatal("a held lock was locked")
		}
		m.Unlock()
	}
}

// A free lock is locked even if the context has ended; a held one is not.
func TestMutex_endedContext(t *testing.T) {
	m := lock.New()
	for range 3 {
		if err := m.Lock(ended(t)); err != nil {
			t.Fatalf("Lock of a free lock: %v", err)
		}
		if err := m.Lock(ended(t)); !errors.Is(err, context.Canceled) {
			t.Fatalf("Lock of a held lock: %v", err)
		}
		m.Unlock()
	}
}

func TestMutex_deadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := lock.New()
		mustLock(t, m)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if err := m.Lock(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Lock: %v", err)
		}
		if passed := time.Since(start); passed != time.Minute {
			t.Errorf("Lock has waited for %v", passed)
		}
		m.Unlock()
		mustBeFree(t, m)
	})
}

func TestMutex_unlockOfUnlocked(t *testing.T) {
	m := lock.New()
	for range 3 {
		func() {
			defer func() {
				if v := recover(); v != "lock: Unlock of a Mutex that is not locked" {
					t.Errorf("Unlock of a free lock: panic %v", v)
				}
			}()
			m.Unlock()
		}()
		mustLock(t, m) // the lock is as it was
		if m.TryLock() {
			t.Fatal("a held lock was locked")
		}
		m.Unlock()
	}
}

// Waiting is durable, and ends in the order in which it began.
func TestMutex_inOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := lock.New()
		mustLock(t, m)
		var order []int
		for i := range 5 {
			ctx := t.Context()
			if i == 2 {
				ctx = context.Background() // whose channel is nil
			}
			go func() {
				if err := m.Lock(ctx); err != nil {
					t.Errorf("Lock: %v", err)
				}
				order = append(order, i)
			}()
			synctest.Wait()
		}
		for i := range 5 {
			if len(order) != i {
				t.Fatalf("after %d unlocks %v were let in", i, order)
			}
			m.Unlock()
			if m.TryLock() {
				t.Error("someone has overtaken who waits")
			}
			synctest.Wait()
		}
		if !slices.Equal(order, []int{0, 1, 2, 3, 4}) {
			t.Errorf("the order was %v", order)
		}
		m.Unlock()
		mustBeFree(t, m)
	})
}

// A loop that locks again at once does not keep others out.
func TestMutex_loop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := lock.New()
		var isIn atomic.Bool
		mustLock(t, m)
		go func() {
			if err := m.Lock(t.Context()); err != nil {
				t.Errorf("Lock: %v", err)
			}
			isIn.Store(true)
			m.Unlock()
		}()
		synctest.Wait()
		for round := 1; !isIn.Load(); round++ {
			if round > 2 {
				t.Fatal("a loop keeps a waiter out")
			}
			m.Unlock()
			mustLock(t, m)
			time.Sleep(time.Second)
		}
		m.Unlock()
	})
}

// TestMutex_everyOrder does, beside three waiters, every sequence of an unlock
// and of some of the waiters' contexts ending, with every choice of the places
// where the waiters get to run. On one processor, what is done between these
// places meets the waiters as one: some have given up and still stand in line
// when the lock is handed over.
func TestMutex_everyOrder(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const waiters, unlock = 3, 3
	sequences := 0
	for chosen := range 1 << waiters {
		ops := []int{unlock}
		for i := range waiters {
			if chosen>>i&1 == 1 {
				ops = append(ops, i)
			}
		}
		permute(ops, func(ops []int) {
			for pauses := range 1 << len(ops) {
				sequences++
				t.Run(fmt.Sprintf("%v pauses %b", ops, pauses), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { checkOrder(t, waiters, ops, pauses) })
				})
			}
		})
	}
	t.Logf("%d sequences", sequences)
}

// permute calls f with every order of the items.
func permute(items []int, f func([]int)) {
	var extend func(n int)
	extend = func(n int) {
		if n == len(items) {
			f(items)
			return
		}
		for i := n; i < len(items); i++ {
			items[n], items[i] = items[i], items[n]
			extend(n + 1)
			items[n], items[i] = items[i], items[n]
		}
	}
	extend(0)
}

// checkOrder does ops: each ends the context of a waiter, or unlocks if it is not
// the number of a waiter. After the ops whose bits are set in pauses all waiters
// run.
func checkOrder(t *testing.T, waiters int, ops []int, pauses int) {
	m := lock.New()
	mustLock(t, m)
	cancels := make([]context.CancelFunc, waiters)
	errs := make([]error, waiters)
	inside := 0
	var returned atomic.Int32
	for i := range waiters {
		var ctx context.Context
		ctx, cancels[i] = context.WithCancel(t.Context())
		go func() {
			errs[i] = m.Lock(ctx)
			returned.Add(1)
			if errs[i] != nil {
				return
			}
			if inside++; inside != 1 {
				t.Error("two hold the lock")
			}
			runtime.Gosched()
			inside--
			m.Unlock()
		}()
		synctest.Wait()
	}
	for i, op := range ops {
		if op < waiters {
			cancels[op]()
		} else {
			m.Unlock()
		}
		if pauses>>i&1 == 1 {
			synctest.Wait()
		}
	}
	synctest.Wait()
	if n := int(returned.Load()); n != waiters {
		t.Errorf("%d of %d waiters have returned", n, waiters)
	}
	for i, err := range errs {
		canBe := slices.Contains(ops, i)
		if err != nil && !(canBe && errors.Is(err, context.Canceled)) {
			t.Errorf("waiter %d: %v", i, err)
		}
	}
	mustBeFree(t, m)
	for _, cancel := range cancels {
		cancel()
	}
}

// However locking and giving up meet, one at a time is inside, and everybody
// returns.
func TestMutex_exclusion(t *testing.T) {
	for _, goroutines := range []int{2, 3, 8, 100} {
		t.Run(fmt.Sprint(goroutines), func(t *testing.T) {
			m := lock.New()
			locks, inside := 0, 0 // the race detector sees whether m guards them
			var got, gaveUp atomic.Int64
			var parties sync.WaitGroup
			for g := range goroutines {
				rnd := rand.New(rand.NewPCG(uint64(goroutines), uint64(g)))
				parties.Go(func() {
					for range 20_000 / goroutines {
						ctx, cancel := context.WithCancel(t.Context())
						switch rnd.IntN(4) {
						case 0:
							cancel()
						case 1:
							parties.Go(cancel)
						}
						if rnd.IntN(8) == 0 {
							if !m.TryLock() {
								cancel()
								continue
							}
						} else if err := m.Lock(ctx); err != nil {
							gaveUp.Add(1)
							cancel()
							continue
						}
						got.Add(1)
						locks++
						if inside++; inside != 1 {
							t.Error("two hold the lock")
						}
						if rnd.IntN(4) == 0 {
							runtime.Gosched()
						}
						inside--
						m.Unlock()
						cancel()
					}
				})
			}
			parties.Wait()
			if int64(locks) != got.Load() {
				t.Errorf("got the lock %d times, counted %d", got.Load(), locks)
			}
			if !m.TryLock() {
				t.Error("the lock is held when all have unlocked it")
			}
			t.Logf("got the lock %d times, gave up %d times", got.Load(), gaveUp.Load())
		})
	}
}

// A waiter gives up at about the time at which the lock is handed over. Another
// one, which does not give up, gets the lock in any case.
func TestMutex_giveUpAtUnlock(t *testing.T) {
	rounds := 30_000
	if testing.Short() {
		rounds = 3_000
	}
	outcomes := make(map[bool]int)
	for i := range rounds {
		m := lock.New()
		mustLock(t, m)
		ctx, cancel := context.WithCancel(t.Context())
		var err error
		var parties sync.WaitGroup
		parties.Go(func() {
			if err = m.Lock(ctx); err == nil {
				m.Unlock()
			}
		})
		if bits.OnesCount(uint(i))%2 == 0 {
			parties.Go(func() {
				if err := m.Lock(t.Context()); err != nil {
					t.Errorf("Lock: %v", err)
				}
				m.Unlock()
			})
		}
		for range i % 30 { // a while
			runtime.Gosched()
		}
		parties.Go(cancel)
		for range i / 30 % 300 {
			m.TryLock()
		}
		m.Unlock()
		parties.Wait()
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("round %d: Lock: %v", i, err)
		}
		if !m.TryLock() {
			t.Fatalf("round %d: the lock is held when all have unlocked it", i)
		}
		outcomes[err == nil]++
	}
	t.Logf("%d got the lock, %d gave up", outcomes[true], outcomes[false])
}

func TestMutex_allocations(t *testing.T) {
	m := lock.New()
	ctx, ended := t.Context(), ended(t)
	if n := testing.AllocsPerRun(100, func() {
		if err := m.Lock(ctx); err != nil {
			t.Error(err)
		}
		if m.TryLock() || m.Lock(ended) == nil {
			t.Error("a held lock was locked")
		}
		m.Unlock()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// channel is the lock that a channel with room for one value is.
type channel chan struct{}

func (c channel) Lock(ctx context.Context) error {
	select {
	case c <- struct{}{}:
		return nil
	default:
	}
	select {
	case c <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c channel) Unlock() { <-c }

func BenchmarkUncontended(b *testing.B) {
	guarded := 0
	b.Run("Mutex", func(b *testing.B) {
		m, ctx := lock.New(), b.Context()
		for b.Loop() {
			_ = m.Lock(ctx)
			guarded++
			m.Unlock()
		}
	})
	b.Run("sync.Mutex", func(b *testing.B) {
		var m sync.Mutex
		for b.Loop() {
			m.Lock()
			guarded++
			m.Unlock()
		}
	})
	b.Run("channel", func(b *testing.B) {
		m, ctx := make(channel, 1), b.Context()
		for b.Loop() {
			_ = m.Lock(ctx)
			guarded++
			m.Unlock()
		}
	})
}

// BenchmarkContended locks from four goroutines on each processor, and works ten
// times as long outside the lock as inside.
func BenchmarkContended(b *testing.B) {
	run := func(name string, lock, unlock func()) {
		b.Run(name, func(b *testing.B) {
			b.SetParallelism(4)
			guarded := 0
			b.RunParallel(func(pb *testing.PB) {
				own := 0
				for pb.Next() {
					lock()
					work(&guarded, 100)
					unlock()
					work(&own, 1_000)
				}
			})
		})
	}
	ctx := b.Context()
	m, c, mu := lock.New(), make(channel, 1), new(sync.Mutex)
	run("Mutex", func() { _ = m.Lock(ctx) }, m.Unlock)
	run("sync.Mutex", mu.Lock, mu.Unlock)
	run("channel", func() { _ = c.Lock(ctx) }, c.Unlock)
}

//go:noinline
func work(sum *int, n int) {
	for i := range n {
		*sum += i * i
	}
}
