package measure

import "runtime"

// Heap returns how many bytes live on the heap.
func Heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools held goes with the second one
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
