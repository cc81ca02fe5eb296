package deepcopy_test

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
)

func TestRecord_Random(t *testing.T) {
	seeds := uint64(2000)
	if raceEnabled {
		seeds = 500
	}
	for seed := range seeds {
		checkRandom(t, seed)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(checkRandom)
}

func checkRandom(t *testing.T, seed uint64) {
	t.Helper()
	build := func() any { return random(rand.New(rand.NewPCG(seed, 0)), 4) }
	original := build()
	copied := copyOf(original)
	if !reflect.DeepEqual(copied, original) {
		t.Fatalf("seed %d: copy differs:\n%#v\n%#v", seed, copied, original)
	}
	mustShareNothing(t, copied, original)
	scribble(copied)
	if !reflect.DeepEqual(original, build()) {
		t.Fatalf("seed %d: a change of the copy shows in the original: %#v", seed, original)
	}
}

// random makes a value of up to the given number of levels.
func random(r *rand.Rand, levels int) any {
	if levels == 0 {
		return randomLeaf(r)
	}
	n := r.IntN(4)
	switch r.IntN(13) {
	case 0:
		return randomMap(r, levels)
	case 1:
		return opencdc.StructuredData(randomMap(r, levels))
	case 2:
		s := make([]any, n, n+r.IntN(3))
		for i := range s {
			s[i] = random(r, levels-1)
		}
		return s
	case 3:
		s := make([]map[string]any, n)
		for i := range s {
			s[i] = randomMap(r, levels)
		}
		return s
	case 4:
		v := random(r, levels-1)
		return &v
	case 5:
		return [2]any{random(r, levels-1), random(r, levels-1)}
	case 6:
		m := make(map[any]any)
		for i := range n {
			m[i] = random(r, levels-1)
		}
		return m
	case 7:
		v := nested{ID: n, Any: random(r, levels-1), base: base{Labels: map[string]string{"n": fmt.Sprint(n)}}}
		v.Next = &nested{Any: random(r, levels-1)}
		v.Amount.SetInt64(r.Int64())
		return v
	case 8:
		return &embedsStructured{StructuredData: randomMap(r, levels), Extra: make([]int, n)}
	default:
		return randomLeaf(r)
	}
}

func randomMap(r *rand.Rand, levels int) map[string]any {
	if r.IntN(10) == 0 {
		return nil
	}
	m := make(map[string]any)
	for i := range r.IntN(4) {
		m[fmt.Sprint(i)] = random(r, levels-1)
	}
	return m
}

func randomLeaf(r *rand.Rand) any {
	n := r.IntN(4)
	leaves := []any{
		nil, n, int64(n), float64(n), "text", n == 0,
		make([]byte, n), opencdc.RawData(make([]byte, n)), make([]string, n), make([]int, n), make([][]byte, n),
		[]byte(nil), opencdc.RawData(nil), []string(nil), map[string]string(nil), (*int)(nil),
		map[string]string{"n": fmt.Sprint(n)}, opencdc.Metadata{"n": fmt.Sprint(n)},
		ptr(n), ptr("text"), time.Unix(int64(n), 0), ptr(time.Unix(int64(n), 0)),
		big.NewInt(int64(n)), *big.NewInt(r.Int64()), big.NewRat(1, int64(n)+1), big.NewFloat(float64(n)),
		words{"a", "b"}, named{"a": {n}}, ptr(opencdc.RawData("raw")),
	}
	return leaves[r.IntN(len(leaves))]
}
