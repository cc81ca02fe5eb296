package partition_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/funnel/internal/partition"
)

// naive divides records in the obvious way.
type naive struct {
	lanes int
	turn  int
}

func (n *naive) divide(keys []string) [][]int {
	load := make([]int, n.lanes)
	laneOf := make([]int, len(keys))
	records := make(map[string]int)
	var order []string
	for i, key := range keys {
		if key == "" {
			laneOf[i] = n.turn % n.lanes
			load[laneOf[i]]++
			n.turn++
			continue
		}
		if records[key] == 0 {
			order = append(order, key)
		}
		records[key]++
	}
	slices.SortStableFunc(order, func(a, b string) int { return records[b] - records[a] })
	for _, key := range order {
		least := slices.Index(load, slices.Min(load))
		load[least] += records[key]
		for i := range keys {
			if keys[i] == key {
				laneOf[i] = least
			}
		}
	}
	divided := make([][]int, n.lanes)
	for i, lane := range laneOf {
		divided[lane] = append(divided[lane], i)
	}
	return divided
}

// divide divides records with these keys and returns the lanes.
func divide(p *partition.Partition, lanes int, keys []string) [][]int {
	p.Divide(len(keys), func(i int) string { return keys[i] })
	divided := make([][]int, lanes)
	for lane := range lanes {
		divided[lane] = p.Lane(lane)
	}
	return divided
}

// check divides records with the keys of each round and compares the result with that
// of the naive way.
func check(t *testing.T, lanes int, rounds ...[]string) {
	t.Helper()
	p, n := partition.New(lanes), &naive{lanes: lanes}
	for _, keys := range rounds {
		got, want := divide(p, lanes, keys), n.divide(keys)
		if !slices.EqualFunc(got, want, slices.Equal) {
			t.Fatalf("%d lanes, keys %q: got %v, want %v", lanes, keys, got, want)
		}
	}
}

// word returns n letters of the alphabet as keys; the letter "-" is no key.
func word(alphabet string, n, code int) []string {
	keys := make([]string, n)
	for i := range keys {
		if letter := alphabet[code%len(alphabet)]; letter != '-' {
			keys[i] = string(letter)
		}
		code /= len(alphabet)
	}
	return keys
}

// Small rounds of every kind, each followed by another one, are divided as in the naive
// way.
func TestPartition_exhaustive(t *testing.T) {
	const alphabet = "-abc"
	for lanes := 1; lanes <= 4; lanes++ {
		for n, codes := 0, 1; n <= 6; n, codes = n+1, codes*len(alphabet) {
			for code := range codes {
				check(t, lanes, word(alphabet, n, code), []string{"", "b", "", "a", "b"})
			}
		}
	}
}

// Random rounds are divided as in the naive way.
func TestPartition_random(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 0))
		lanes := 1 + rng.IntN(20)
		var rounds [][]string
		for range 1 + rng.IntN(5) {
			keys := make([]string, rng.IntN(300))
			different := 1 + rng.IntN(len(keys)+20)
			for i := range keys {
				if k := rng.IntN(1 + rng.IntN(different)); k > 0 { // small numbers are frequent
					keys[i] = fmt.Sprint(k)
				}
			}
			rounds = append(rounds, keys)
		}
		check(t, lanes, rounds...)
	}
}

// The fullest lane has at most a third more records than in the best division.
func TestPartition_balance(t *testing.T) {
	const most = 5 // records of a key, plus 1
	for code := range most * most * most * most * most {
		var keys []string
		var records []int
		for i, c := 0, code; i < 5; i, c = i+1, c/most {
			records = append(records, c%most)
			keys = append(keys, slices.Repeat([]string{string(rune('a' + i))}, c%most)...)
		}
		for lanes := 2; lanes <= 3; lanes++ {
			fullest := 0
			for _, lane := range divide(partition.New(lanes), lanes, keys) {
				fullest = max(fullest, len(lane))
			}
			if best := best(records, make([]int, lanes)); 3*fullest > 4*best {
				t.Errorf("%v records on %d lanes: the fullest lane has %d, it could have %d", records, lanes, fullest, best)
			}
		}
	}
}

// best returns how many records the fullest lane has in the best division of keys with
// these numbers of records.
func best(records, load []int) int {
	if len(records) == 0 {
		return slices.Max(load)
	}
	least := -1
	for lane := range load {
		load[lane] += records[0]
		if b := best(records[1:], load); least < 0 || b < least {
			least = b
		}
		load[lane] -= records[0]
	}
	return least
}

// distinct returns n keys.
func distinct(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprint("key ", i)
	}
	return keys
}

// Many keys with a record each are divided evenly.
func TestPartition_distinctKeys(t *testing.T) {
	for _, lanes := range []int{1, 2, 7, 16, 1000, 1001} {
		for _, lane := range divide(partition.New(lanes), lanes, distinct(1000)) {
			if n := len(lane); n < 1000/lanes || n > (1000+lanes-1)/lanes {
				t.Errorf("%d lanes: one has %d records", lanes, n)
			}
		}
	}
}

// The key function is called once for each record, in order.
func TestPartition_asks(t *testing.T) {
	var asked []int
	partition.New(3).Divide(5, func(i int) string { asked = append(asked, i); return "key" })
	if !slices.Equal(asked, []int{0, 1, 2, 3, 4}) {
		t.Errorf("asked for the keys of %v", asked)
	}
}

// Before the first round all lanes are empty.
func TestPartition_new(t *testing.T) {
	p := partition.New(3)
	for lane := range 3 {
		if got := p.Lane(lane); len(got) != 0 {
			t.Errorf("lane %d has %v", lane, got)
		}
	}
}

// Appending to a lane changes no other lane.
func TestPartition_laneIsClipped(t *testing.T) {
	p := partition.New(2)
	lanes := divide(p, 2, distinct(4))
	_ = append(lanes[0], 17)
	if !slices.Equal(p.Lane(1), []int{1, 3}) {
		t.Errorf("lane 1 has %v", p.Lane(1))
	}
}

// A round in which the function for the key panics leaves nothing behind.
func TestPartition_keyPanics(t *testing.T) {
	p := partition.New(2)
	func() {
		defer func() {
			if value := recover(); value != "no key" {
				t.Errorf("Divide panicked with %v", value)
			}
		}()
		p.Divide(9, func(i int) string {
			if i == 5 {
				panic("no key")
			}
			return "a"
		})
	}()
	want := (&naive{lanes: 2}).divide([]string{"b", "a", "b"})
	if got := divide(p, 2, []string{"b", "a", "b"}); !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A round that is no larger than those before allocates nothing.
func TestPartition_allocations(t *testing.T) {
	keys := distinct(1000)
	p := partition.New(16)
	key := func(i int) string { return keys[i] }
	if got := testing.AllocsPerRun(100, func() { p.Divide(len(keys), key) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// heap returns the number of bytes in use.
func heap() int64 {
	var stats runtime.MemStats
	for range 2 {
		runtime.GC()
	}
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// The memory of a large round is given back, and no key is kept.
func TestPartition_memory(t *testing.T) {
	const spare = 1 << 18
	p := partition.New(16)
	before := heap()
	divide(p, 16, distinct(100_000))
	for range 100 {
		divide(p, 16, distinct(1))
	}
	if left := heap() - before; left > spare {
		t.Errorf("%d bytes are left of a large round", left)
	}
	divide(p, 16, []string{strings.Repeat("a", 1<<20), strings.Repeat("b", 1<<20)})
	if left := heap() - before; left > spare {
		t.Errorf("%d bytes are left of two large keys", left)
	}
	runtime.KeepAlive(p)
}
