package nackwindow_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/conduitio/funnel/internal/nackwindow"
)

// ring is the naive window: the last outcomes, one by one.
type ring struct {
	size, threshold int
	nacked          []bool // true for a nack, the last outcome last
}

func newRing(size, threshold int) *ring {
	return &ring{size: max(size, 0), threshold: max(threshold, 0)}
}

func (r *ring) add(isNack bool, n int) {
	for range n {
		r.nacked = append(r.nacked, isNack)
		if len(r.nacked) > r.size {
			r.nacked = r.nacked[1:]
		}
	}
}

// tolerates adds one nack after the other to a copy of the ring.
func (r *ring) tolerates(n int) int {
	if r.size == 0 {
		return n
	}
	copied := &ring{r.size, r.threshold, slices.Clone(r.nacked)}
	for i := range n {
		copied.add(true, 1)
		nacks := 0
		for _, isNack := range copied.nacked {
			if isNack {
				nacks++
			}
		}
		if nacks > r.threshold {
			return i
		}
	}
	return n
}

// nacks returns the number of nacks that a window remembers.
func (r *ring) nacks() int {
	if r.threshold == 0 || r.threshold >= r.size {
		return 0
	}
	nacks := 0
	for _, isNack := range r.nacked {
		if isNack {
			nacks++
		}
	}
	return min(nacks, r.threshold)
}

// op is a run of outcomes.
type op struct {
	nack bool
	n    int
}

func (o op) String() string {
	if o.nack {
		return fmt.Sprintf("Nack(%d)", o.n)
	}
	return fmt.Sprintf("Ack(%d)", o.n)
}

// check does ops to a window and a ring, and compares what they tolerate after
// each op.
func check(t *testing.T, size, threshold int, ops []op) {
	t.Helper()
	w, r := nackwindow.New(size, threshold), newRing(size, threshold)
	for i := -1; i < len(ops); i++ {
		if i >= 0 {
			if ops[i].nack {
				w.CountNacks(ops[i].n)
			} else {
				w.CountAcks(ops[i].n)
			}
			r.add(ops[i].nack, ops[i].n)
		}
		if got, want := w.Nacks(), r.nacks(); got != want {
			t.Fatalf("size %d, threshold %d, %v: %d nacks, want %d", size, threshold, ops[:i+1], got, want)
		}
		for n := range max(size, 0) + 3 {
			if got, want := w.Tolerates(n), r.tolerates(n); got != want {
				t.Fatalf("size %d, threshold %d, %v: %d of %d nacks are tolerated, want %d",
					size, threshold, ops[:i+1], got, n, want)
			}
		}
	}
}

// TestWindow_everySequence does every sequence of so many runs to small windows.
func TestWindow_everySequence(t *testing.T) {
	length := 4
	if testing.Short() {
		length = 3
	}
	ops := []op{{false, 0}, {false, 1}, {false, 2}, {true, 0}, {true, 1}, {true, 2}, {true, 3}}
	sequences := 0
	for size := -1; size <= 5; size++ {
		for threshold := -1; threshold <= 6; threshold++ {
			path := make([]op, 0, length)
			var extend func()
			extend = func() {
				if len(path) == length {
					sequences++
					check(t, size, threshold, path)
					return
				}
				for _, o := range ops {
					path = append(path, o)
					extend()
					path = path[:len(path)-1]
				}
			}
			extend()
		}
	}
	t.Logf("%d sequences of %d runs", sequences, length)
}

// TestWindow_everyHistory does every sequence of single outcomes that is long
// enough to fill a small window three times.
func TestWindow_everyHistory(t *testing.T) {
	for size := 1; size <= 4; size++ {
		for threshold := 0; threshold <= size; threshold++ {
			length := 3 * size
			ops := make([]op, length)
			for bits := range 1 << length {
				for i := range ops {
					ops[i] = op{nack: bits>>i&1 == 1, n: 1}
				}
				check(t, size, threshold, ops)
			}
		}
	}
}

func TestWindow_longSequences(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		size := 1 + rnd.IntN(40)
		threshold := rnd.IntN(size + 2)
		ops := make([]op, 60)
		for i := range ops {
			ops[i] = op{nack: rnd.IntN(2) == 0, n: rnd.IntN(8)}
			if rnd.IntN(20) == 0 {
				ops[i].n = size - 1 + rnd.IntN(3)
			}
		}
		check(t, size, threshold, ops)
	}
}

// A host asks how many of its nacks are tolerated and records as many, or fewer.
func TestWindow_recordsWhatIsTolerated(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for range 3_000 {
		size, threshold := rnd.IntN(8), rnd.IntN(8)
		w, r := nackwindow.New(size, threshold), newRing(size, threshold)
		for range 30 {
			n := rnd.IntN(6)
			tolerated := w.Tolerates(n)
			if want := r.tolerates(n); tolerated != want {
				t.Fatalf("size %d, threshold %d: %d of %d nacks are tolerated, want %d", size, threshold, tolerated, n, want)
			}
			k := rnd.IntN(tolerated + 1)
			w.CountNacks(k)
			r.add(true, k)
			if left := w.Tolerates(n - k); left != min(tolerated, n)-k {
				t.Fatalf("size %d, threshold %d: after %d of %d tolerated nacks %d are left", size, threshold, k, tolerated, left)
			}
			acks := rnd.IntN(4)
			w.CountAcks(acks)
			r.add(false, acks)
		}
	}
}

// Freeze lasts until Reset, which also forgets all nacks.
func TestWindow_reset(t *testing.T) {
	w := nackwindow.New(10, 3)
	for range 2 {
		w.CountNacks(5) // the ring is full, and begins anywhere
		w.Freeze()
		w.CountAcks(10)
		if !w.IsFrozen() || w.Tolerates(1) != 0 {
			t.Error("a frozen window tolerates a nack")
		}
		w.CountNacks(1)
		w.Reset()
		if w.IsFrozen() || w.Nacks() != 0 || w.Tolerates(4) != 3 {
			t.Errorf("after Reset: frozen %t, %d nacks, %d tolerated", w.IsFrozen(), w.Nacks(), w.Tolerates(4))
		}
		for range 3 {
			w.CountAcks(4)
			w.CountNacks(1)
		}
		if w.CountAcks(3); w.Nacks() != 2 {
			t.Errorf("%d nacks after Reset and 3 nacks, of which the first has left", w.Nacks())
		}
	}
}

// Other goroutines see a window that once was, or one with fewer nacks.
func TestWindow_concurrently(t *testing.T) {
	w := nackwindow.New(8, 3)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 20_000 {
			w.CountAcks(i % 5)
			w.CountNacks(w.Tolerates(i % 3))
			if i%1_000 == 999 {
				w.Freeze()
				w.Reset()
			}
		}
	}()
	for {
		if n := w.Nacks(); n < 0 || n > 3 {
			t.Fatalf("%d nacks", n)
		}
		_ = w.IsFrozen()
		select {
		case <-done:
			return
		default:
		}
	}
}

func TestWindow_off(t *testing.T) {
	for _, size := range []int{0, -1, math.MinInt} {
		for _, threshold := range []int{0, -1, 1, math.MaxInt} {
			w := nackwindow.New(size, threshold)
			for range 5 {
				if n := w.Tolerates(1_000_000); n != 1_000_000 {
					t.Errorf("size %d, threshold %d: %d of 1000000 nacks are tolerated", size, threshold, n)
				}
				w.CountNacks(1_000_000)
			}
		}
	}
}

func TestWindow_noneTolerated(t *testing.T) {
	for _, size := range []int{1, 5, math.MaxInt} {
		for _, threshold := range []int{0, -1, math.MinInt} {
			w := nackwindow.New(size, threshold)
			w.CountAcks(100)
			for range 3 {
				if n := w.Tolerates(2); n != 0 {
					t.Errorf("size %d, threshold %d: %d nacks are tolerated", size, threshold, n)
				}
				w.CountNacks(1) // tolerated or not
			}
		}
	}
}

// A threshold that the window cannot exceed tolerates everything.
func TestWindow_thresholdBeyondTheSize(t *testing.T) {
	for _, threshold := range []int{5, 6, math.MaxInt} {
		w := nackwindow.New(5, threshold)
		for range 3 {
			if n := w.Tolerates(1_000_000); n != 1_000_000 {
				t.Errorf("threshold %d: %d of 1000000 nacks are tolerated", threshold, n)
			}
			w.CountNacks(1_000_000)
		}
	}
}

// However many acks there are, they push the nacks out of the window.
func TestWindow_manyAcks(t *testing.T) {
	for _, acks := range []int{9, 1 << 31, 1 << 40, math.MaxInt - 1, math.MaxInt} {
		w := nackwindow.New(10, 2)
		for range 3 {
			w.CountNacks(2)
			if n := w.Tolerates(2); n != 0 {
				t.Errorf("%d nacks are tolerated in a window that is full of them", n)
			}
			w.CountAcks(acks)
			if n := w.Tolerates(3); n != 2 {
				t.Errorf("after %d acks %d nacks are tolerated, want 2", acks, n)
			}
		}
	}
}

// The window costs the memory of the nacks that it tolerates among others,
// whatever its size is.
func TestWindow_memory(t *testing.T) {
	for _, c := range []struct {
		size, threshold int
		most            uint64 // bytes
	}{
		{math.MaxInt, 10, 1 << 10},
		{1_000_000, 100, 4 << 10},
		{10, 0, 256},
		{0, math.MaxInt, 256},
		{100, 100, 256},
		{100, math.MaxInt, 256},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w := nackwindow.New(c.size, c.threshold)
		for range 100_000 {
			w.CountAcks(1_000)
			w.CountNacks(w.Tolerates(3))
			w.CountNacks(7)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > c.most+2<<10 { // others may allocate a little
			t.Errorf("size %d, threshold %d: the window costs %d bytes", c.size, c.threshold, n)
		}
	}
}
