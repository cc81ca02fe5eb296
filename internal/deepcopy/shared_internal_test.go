package deepcopy

import (
	"math/big"
	"runtime"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
)

// TestRecord_SharedTwice copies levels that hold the level below twice. A walk
// that took every way would not end.
func TestRecord_SharedTwice(t *testing.T) {
	for name, wrap := range map[string]func(any) any{
		"maps":       func(v any) any { return map[string]any{"a": v, "b": v} },
		"data":       func(v any) any { return opencdc.StructuredData{"a": v, "b": v} },
		"slices":     func(v any) any { return []any{v, v} },
		"arrays":     func(v any) any { return [2]any{v, v} },
		"structs":    func(v any) any { return pair{v, v} },
		"pointers":   func(v any) any { return &pair{v, v} },
		"maps of 2":  func(v any) any { return map[string]pair{"a": {v, v}} },
		"slices of":  func(v any) any { m := map[string]any{"a": v}; return []map[string]any{m, m} },
		"any keys":   func(v any) any { return map[any]any{1: v, "b": v} },
		"two names":  func(v any) any { m := map[string]any{"a": v}; return []any{m, opencdc.StructuredData(m)} },
		"*interface": func(v any) any { p := &v; return [2]*any{p, p} },
	} {
		t.Run(name, func(t *testing.T) {
			for _, levels := range []int{5, 22, 60, 1000} {
				var v any = map[string]any{"bottom": []byte("x")}
				for range levels {
					v = wrap(v)
				}
				d := opencdc.StructuredData{"v": v}
				var copied opencdc.Data
				var err error
				allocs := testing.AllocsPerRun(1, func() { copied, err = Data(d) })
				if err != nil {
					t.Fatal(err)
				}
				if limit := float64(500 + 20*levels); allocs > limit {
					t.Errorf("%d levels: %v allocations, want at most %v", levels, allocs, limit)
				}
				if levels > 5 && !same(d, copied) {
					t.Errorf("%d levels: the copy does not share what the original shares", levels)
				}
				allocs = testing.AllocsPerRun(1, func() { err = CheckDepth(&opencdc.Record{Key: d}) })
				if limit := float64(500 + 20*levels); err != nil || allocs > limit {
					t.Errorf("%d levels: CheckDepth: %v, %v allocations, want at most %v", levels, err, allocs, limit)
				}
			}
		})
	}
}

// TestRecord_SharedOften copies something large that is held 40 times.
func TestRecord_SharedOften(t *testing.T) {
	const n = 1 << 18
	array := new([n]int64)
	for name, v := range map[string]any{
		"[]any":             make([]any, n),
		"[]byte":            make([]byte, n),
		"RawData":           opencdc.RawData(make([]byte, n)),
		"[]string":          make([]string, n),
		"[]int":             make([]int, n),
		"[][]int":           make([][]int, n),
		"[]struct{}":        make([]struct{}, 1<<40),
		"[]map[string]any":  make([]map[string]any, n),
		"*array":            array,
		"array":             *array,
		"array in a struct": struct{ A [n]int64 }{},
		"*big.Int":          new(big.Int).Lsh(big.NewInt(1), 8*n),
		"big.Int":           *new(big.Int).Lsh(big.NewInt(1), 8*n),
		"pointers":          []*[n]int64{array},
	} {
		t.Run(name, func(t *testing.T) {
			held := make([]any, 40)
			for i := range held {
				held[i] = v
			}
			d := opencdc.StructuredData{"v": held}
			bytes := bytesPerRun(func() {
				if _, err := Data(d); err != nil {
					t.Error(err)
				}
			})
			once := bytesPerRun(func() {
				if _, err := Data(opencdc.StructuredData{"v": v}); err != nil {
					t.Error(err)
				}
			})
			if bytes > once+100_000 {
				t.Errorf("%d bytes, of which a single one takes %d", bytes, once)
			}
			if allocs := testing.AllocsPerRun(1, func() {
				if err := CheckDepth(&opencdc.Record{Key: d}); err != nil {
					t.Error(err)
				}
			}); allocs > 100 {
				t.Errorf("CheckDepth: %v allocations", allocs)
			}
		})
	}
}

// bytesPerRun returns how many bytes f allocates.
func bytesPerRun(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
