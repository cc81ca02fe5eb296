package suite

import (
	"context"
	"errors"

	"github.com/conduitio/funnel/benchmarks/internal/fake"
	"github.com/conduitio/funnel/benchmarks/internal/measure"
	"github.com/conduitio/funnel/benchmarks/internal/pipeline"
)

// MemoryCase is the name of the case that measures the memory of a worker.
const MemoryCase = "memory"

// MemoryBatches are the numbers of batches after which memory is measured. Ten batches
// have each size once.
var MemoryBatches = []int{10, 10_000}

// Memory returns how many bytes a worker keeps after each number of MemoryBatches. The
// batches have mixed sizes up to 1,000; their records are filtered, split, nacked and
// sent to two destinations.
func Memory(ctx context.Context) (bytes []int64, err error) {
	spec := pipeline.Spec{
		Sizes: []int{1, 50, 1_000, 5, 200, 1, 10, 300, 2, 30},
		Process: []pipeline.Step{
			pipeline.FailPercent(1), pipeline.FilterOdd, pipeline.SplitInTwo,
		},
		Destinations: 2,
		HasDLQ:       true,
	}
	gate := fake.NewGate()
	p := spec.Build(gate)
	before := measure.Heap()
	s, err := measure.Start(ctx, Engine, gate, Runner(Engine, p))
	if err != nil {
		return nil, err
	}
	done := 0
	for _, n := range MemoryBatches {
		if _, err := s.Run(n - done - 1); err != nil {
			return nil, errors.Join(err, s.Stop())
		}
		done = n
		bytes = append(bytes, measure.Heap()-before)
	}
	return bytes, s.Stop()
}
