package reuse_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"unsafe"
	"weak"

	"github.com/conduitio/funnel/internal/reuse"
)

// kept returns what the buffer keeps, over its capacity, and leaves the buffer as
// it is.
func kept[T any](b reuse.Buffer[T]) []T { // a copy
	s := b.Take(0)
	return s[:cap(s)]
}

// round needs n elements: half of them at once, the others by append.
func round(b *reuse.Buffer[*int], n int) {
	s := b.Take((n + 1) / 2)
	for range n {
		s = append(s, new(int))
	}
	b.Put(s)
}

func isSame[T any](a, b []T) bool {
	return unsafe.SliceData(a) == unsafe.SliceData(b)
}

func TestBuffer_take(t *testing.T) {
	var b reuse.Buffer[*int]
	if s := b.Take(0); s != nil {
		t.Errorf("nothing is kept, and %v was taken", s)
	}
	b.Put(nil)
	for _, n := range []int{1, 10, 3, 100, 99, 1_000, 0} {
		before := kept(b)
		s := b.Take(n)
		if len(s) != 0 || cap(s) < n {
			t.Errorf("Take(%d) has returned length %d, capacity %d", n, len(s), cap(s))
		}
		if len(before) >= n && !isSame(s, before) {
			t.Errorf("Take(%d) has made a slice, and there was one with capacity %d", n, len(before))
		}
		b.Put(s)
		if !isSame(s, kept(b)) {
			t.Errorf("what was put after Take(%d) is not kept", n)
		}
	}
}

// What append has moved is kept where it is.
func TestBuffer_moved(t *testing.T) {
	var b reuse.Buffer[*int]
	s := append(b.Take(2), make([]*int, 200)...)
	b.Put(s)
	if !isSame(s, kept(b)) || len(kept(b)) != cap(s) {
		t.Error("the memory that append has made is not kept")
	}
}

// The larger memory is kept, wherever it comes from.
func TestBuffer_larger(t *testing.T) {
	var b reuse.Buffer[*int]
	large := make([]*int, 1, 50)
	b.Put(large)
	small := []*int{new(int)}
	b.Put(small)
	if !isSame(large, kept(b)) || len(kept(b)) != 50 {
		t.Error("the smaller memory is kept")
	}
	if small[0] != nil {
		t.Error("what was put is not clear")
	}
}

// Between Take and Put the memory belongs to the caller.
func TestBuffer_notPutBack(t *testing.T) {
	var b reuse.Buffer[*int]
	b.Put(b.Take(100))
	first, second := b.Take(100), b.Take(100)
	if isSame(first, second) {
		t.Error("the same memory was taken twice")
	}
	b.Put(nil) // the round fails
	if third := b.Take(100); isSame(third, first) || isSame(third, second) {
		t.Error("memory was taken that was not put back")
	}
}

// Neither small rounds before the memory was lost or given up count for the next
// memory, nor what was asked for in a round before.
func TestBuffer_countsAnew(t *testing.T) {
	var b reuse.Buffer[*int]
	b.Put(b.Take(1_000))
	for range 10 {
		b.Put(nil)
	}
	b.Take(1_000)
	b.Put(nil) // the memory is lost
	for range 3 {
		b.Put(make([]*int, 0, 1_000)) // the first small round
		for range 30 {
			b.Put(nil)
		}
		if kept(b) == nil {
			t.Fatal("given up after 31 small rounds")
		}
		b.Put(nil)
		if kept(b) != nil {
			t.Fatal("kept after 32 small rounds")
		}
	}
}

func TestBuffer_givesUp(t *testing.T) {
	const large = 1_000
	for name, small := range map[string]func(*reuse.Buffer[*int]){
		"skip":         func(b *reuse.Buffer[*int]) { b.Put(nil) },
		"take nothing": func(b *reuse.Buffer[*int]) { b.Put(b.Take(0)) },
		"take one":     func(b *reuse.Buffer[*int]) { round(b, 1) },
		"quarter":      func(b *reuse.Buffer[*int]) { round(b, large/4-1) },
	} {
		t.Run(name, func(t *testing.T) {
			var b reuse.Buffer[*int]
			b.Put(b.Take(large))
			for i := range 31 {
				small(&b)
				if len(kept(b)) != large {
					t.Fatalf("given up after %d small rounds", i+1)
				}
			}
			round(&b, large/4) // begins the count anew
			for i := range 31 {
				small(&b)
				if len(kept(b)) != large {
					t.Fatalf("given up after %d small rounds", i+1)
				}
			}
			small(&b)
			if kept(b) != nil {
				t.Fatal("kept after 32 small rounds")
			}
			if s := b.Take(10); cap(s) != 10 {
				t.Errorf("Take(10) has made capacity %d", cap(s))
			}
		})
	}
}

func TestBuffer_smallIsKept(t *testing.T) {
	var b reuse.Buffer[*int]
	b.Put(b.Take(63))
	for range 1_000 {
		b.Put(nil)
	}
	if len(kept(b)) != 63 {
		t.Error("63 elements were given up")
	}
	b.Put(b.Take(64))
	for range 1_000 {
		b.Put(nil)
	}
	if kept(b) != nil {
		t.Error("64 and more elements are kept for ever")
	}
}

// What each round asks for is kept even if the rounds do not use it, as the next
// one would have to make it again.
func TestBuffer_askedFor(t *testing.T) {
	var b reuse.Buffer[*int]
	for range 100 {
		b.Put(append(b.Take(1_000), new(int)))
	}
	if len(kept(b)) != 1_000 {
		t.Error("given up, though each round has asked for all of it")
	}
}

// TestBuffer_histories plays random rounds, and looks at what is kept after each.
func TestBuffer_histories(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		var b reuse.Buffer[*int]
		var needed []int       // by each round
		var since []int        // needed since the memory is kept
		limit := 1 + int(seed) // of what a round needs
		for range 600 {
			if rnd.IntN(40) == 0 {
				limit = 1 << rnd.IntN(13)
			}
			before, need := kept(b), 0
			if rnd.IntN(4) == 0 {
				b.Put(nil)
			} else {
				asked, used := rnd.IntN(limit), rnd.IntN(limit)
				need = max(asked, used)
				s := b.Take(asked)
				if len(s) != 0 || cap(s) < asked {
					t.Fatalf("seed %d: Take(%d) has returned length %d, capacity %d", seed, asked, len(s), cap(s))
				}
				if asked <= len(before) && !isSame(s, before) {
					t.Fatalf("seed %d: Take(%d) does not return what is kept, %d elements", seed, asked, len(before))
				}
				for range used {
					s = append(s, new(int))
				}
				if !isSame(s, before) {
					since = nil
				}
				b.Put(s)
				before = s[:cap(s)]
			}
			needed, since = append(needed, need), append(since, need)
			after := kept(b)

			isSmall := func(rounds []int) bool {
				return len(rounds) > 0 && slices.Max(rounds) < len(before)/4
			}
			wantGone := len(before) >= 64 && len(since) >= 32 && isSmall(since[len(since)-32:])
			switch {
			case wantGone && after != nil:
				t.Fatalf("seed %d, round %d: %d elements are kept after 32 small rounds", seed, len(needed), len(after))
			case !wantGone && !(isSame(before, after) && len(before) == len(after)):
				t.Fatalf("seed %d, round %d: %d elements were given up, now %d", seed, len(needed), len(before), len(after))
			}
			if n := len(needed); n >= 33 {
				if most := max(63, 4*slices.Max(needed[n-33:])+4); len(after) > most {
					t.Fatalf("seed %d, round %d: %d elements are kept, want at most %d", seed, n, len(after), most)
				}
			}
			if i := slices.IndexFunc(after, func(p *int) bool { return p != nil }); i >= 0 {
				t.Fatalf("seed %d, round %d: element %d of %d is not clear", seed, len(needed), i, len(after))
			}
			if after == nil {
				since = nil
			}
		}
	}
}

type (
	flat struct {
		a int
		_ [2]struct {
			_ float64
			_ uintptr
		}
		_ [0]*int
	}
	nested struct {
		a int
		_ [2]struct{ _ string }
	}
)

// isCleared returns whether a buffer clears what is put. The value is not zero.
func isCleared[T any](value T) bool {
	var b reuse.Buffer[T]
	b.Put([]T{value})
	var zero T
	return fmt.Sprint(kept(b)[0]) == fmt.Sprint(zero)
}

// Only elements that may hold pointers are cleared.
func TestBuffer_clears(t *testing.T) {
	for name, isCleared := range map[string]bool{
		"pointer":        isCleared(new(int)),
		"unsafe pointer": isCleared(unsafe.Pointer(new(int))),
		"string":         isCleared("s"),
		"slice":          isCleared([]int{1}),
		"map":            isCleared(map[int]int{1: 1}),
		"channel":        isCleared(make(chan int)),
		"function":       isCleared(func() {}),
		"interface":      isCleared[any](1),
		"error":          isCleared(fmt.Errorf("error")),
		"struct":         isCleared(nested{a: 1}),
		"array":          isCleared([2]any{1, 2}),
	} {
		if !isCleared {
			t.Errorf("%s: not cleared", name)
		}
	}
	for name, isCleared := range map[string]bool{
		"bool":    isCleared(true),
		"int":     isCleared(1),
		"byte":    isCleared(byte(1)),
		"uintptr": isCleared(uintptr(1)),
		"float":   isCleared(1.0),
		"complex": isCleared(1i),
		"struct":  isCleared(flat{a: 1}),
		"array":   isCleared([2]int32{1, 2}),
	} {
		if isCleared {
			t.Errorf("%s: cleared for nothing", name)
		}
	}
}

func TestBuffer_nothingInElements(t *testing.T) {
	var b reuse.Buffer[struct{}]
	for range 100 {
		b.Put(append(b.Take(100), struct{}{}))
		b.Put(nil)
	}
}

// What was in a slice can be collected once it was put, and the memory itself
// once it was given up.
func TestBuffer_garbage(t *testing.T) {
	var b reuse.Buffer[*[64]byte]
	s := b.Take(100)
	var pointers []weak.Pointer[[64]byte]
	for range 100 {
		p := new([64]byte)
		pointers = append(pointers, weak.Make(p))
		s = append(s, p)
	}
	memory := weak.Make(unsafe.SliceData(s))
	b.Put(s)
	s = nil
	runtime.GC()
	for i, p := range pointers {
		if p.Value() != nil {
			t.Fatalf("element %d is still referred to", i)
		}
	}
	if memory.Value() == nil {
		t.Fatal("the memory is gone though it is kept")
	}
	for range 32 {
		b.Put(nil)
	}
	runtime.GC()
	if memory.Value() != nil {
		t.Error("the memory is still referred to after it was given up")
	}
	runtime.KeepAlive(&b)
}

func TestBuffer_allocations(t *testing.T) {
	value := new(int)
	var b reuse.Buffer[*int]
	rounds := func(n int) {
		s := b.Take(n)
		for range n {
			s = append(s, value)
		}
		b.Put(s)
	}
	for _, n := range []int{0, 1, 63, 64, 10_000, 2_500} {
		rounds(n)
		if got := testing.AllocsPerRun(100, func() {
			rounds(n)
			b.Put(nil)
			rounds(n / 2)
		}); got != 0 {
			t.Errorf("%d elements: %v allocations", n, got)
		}
	}
}

// Rounds that grow one by one allocate rarely.
func TestBuffer_growth(t *testing.T) {
	var b reuse.Buffer[*int]
	allocations := 0
	for n := range 100_000 {
		before := kept(b)
		s := b.Take(n)
		if !isSame(s, before) {
			allocations++
		}
		b.Put(s)
	}
	if allocations > 60 {
		t.Errorf("%d allocations", allocations)
	}
	if n := len(kept(b)); n > 125_000 {
		t.Errorf("%d elements are kept, 100000 are needed", n)
	}
}

func BenchmarkBuffer(b *testing.B) {
	b.Run("skip, nothing kept", func(b *testing.B) {
		var buf reuse.Buffer[*int]
		for b.Loop() {
			buf.Put(nil)
		}
	})
	b.Run("skip, ten kept", func(b *testing.B) {
		var buf reuse.Buffer[*int]
		buf.Put(buf.Take(10))
		for b.Loop() {
			buf.Put(nil)
		}
	})
	b.Run("skip, much kept", func(b *testing.B) {
		var buf reuse.Buffer[*int]
		buf.Put(buf.Take(1_000))
		for i := 1; b.Loop(); i++ {
			if i%32 == 0 {
				buf.Put(buf.Take(1_000))
				continue
			}
			buf.Put(nil)
		}
	})
	value := new(int)
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("append %d pointers", n), func(b *testing.B) {
			b.ReportAllocs()
			var buf reuse.Buffer[*int]
			for b.Loop() {
				s := buf.Take(n)
				for range n {
					s = append(s, value)
				}
				buf.Put(s)
			}
		})
		b.Run(fmt.Sprintf("append %d numbers", n), func(b *testing.B) {
			b.ReportAllocs()
			var buf reuse.Buffer[int]
			for b.Loop() {
				s := buf.Take(n)
				for i := range n {
					s = append(s, i)
				}
				buf.Put(s)
			}
		})
	}
}
