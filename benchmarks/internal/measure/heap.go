package measure

import "runtime"

// Heap returns the number of live bytes on the heap.
func Heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC() // the second one frees what pools held
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
