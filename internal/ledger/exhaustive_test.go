package ledger_test

import (
	"math/rand/v2"
	"testing"
)

// opsFor returns all that can be done to a ledger of a size, with up to two
// copies at a time, wrong and right.
func opsFor(size int) []op {
	var ops []op
	for from := -1; from <= size+1; from++ {
		for to := from - 1; to <= size+1; to++ {
			inside := 0 <= from && from <= to && to <= size
			for k := range 3 {
				if !inside && k != 1 || from == to && k == 2 {
					continue // as good as with one copy
				}
				ops = append(ops, op{"retain", from, to, k}, op{"settle", from, to, k})
			}
		}
		ops = append(ops, op{name: "nack", from: from})
	}
	for k := 1; k <= size; k++ {
		ops = append(ops, op{name: "release", k: k})
	}
	ops = append(ops, op{name: "reset", k: size}, op{name: "reset", k: max(size-1, 0)}, op{name: "reset", k: size + 1})
	return append(ops, op{"retain", 0, size, -1}, op{"settle", 0, size, -1})
}

// TestLedger_everySequence does every sequence of so many ops to ledgers of each
// small size. An op that changes nothing ends a sequence early: what could come
// after it is done without it as well.
func TestLedger_everySequence(t *testing.T) {
	for size, length := range []int{4, 5, 4, 3, 3} {
		if testing.Short() || raceEnabled {
			length--
		}
		ops, n := opsFor(size), 0
		path := make([]op, 0, length)
		var extend func()
		extend = func() {
			for _, o := range ops {
				if o.name == "nack" {
					o.k = len(path) + 1 // tells it from other nacks
				}
				path = append(path, o)
				n++
				if check(t, size, path) && len(path) < length {
					extend()
				}
				path = path[:len(path)-1]
			}
		}
		extend()
		t.Logf("%d sequences of up to %d ops on %d slots", n, length, size)
	}
}

// TestLedger_longSequences does random sequences that are too long to do all of
// them.
func TestLedger_longSequences(t *testing.T) {
	sequences := 20_000
	if testing.Short() || raceEnabled {
		sequences = 2_000
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range sequences {
		size := rnd.IntN(7)
		ops := make([]op, 1+rnd.IntN(40))
		for i := range ops {
			from := rnd.IntN(size + 1)
			o := op{from: from, to: from + rnd.IntN(size-from+1), k: 1 + rnd.IntN(3)}
			switch dice := rnd.IntN(100); {
			case dice < 15:
				o.name = "retain"
			case dice < 60:
				o.name = "settle"
				o.k -= rnd.IntN(2)
			case dice < 80:
				o.name, o.k = "nack", i+1
			case dice < 97:
				o.name = "release"
			default:
				o.name, o.k = "reset", size+rnd.IntN(2)
			}
			ops[i] = o
		}
		check(t, size, ops)
	}
}
