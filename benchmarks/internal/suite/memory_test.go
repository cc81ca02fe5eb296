package suite_test

import (
	"testing"

	"github.com/conduitio/funnel/benchmarks/internal/suite"
)

// A worker keeps what its largest batch needs, however many batches there were.
func TestMemory(t *testing.T) {
	bytes, err := suite.Memory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const slack = 64 << 10
	for i := range bytes {
		if bytes[i] > bytes[0]+slack {
			t.Errorf("%d bytes after %d batches, %d after %d", bytes[i], suite.MemoryBatches[i], bytes[0], suite.MemoryBatches[0])
		}
	}
}
