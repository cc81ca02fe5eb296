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

// MemoryBatches are after how many batches the memory is measured. Ten are all
// sizes once.
var MemoryBatches = []int{10, 10_000}

// Memory measures how many bytes a worker keeps, by the number of batches. The
// batches are of mixed sizes up to 1,000, and all kinds of things happen to
// their records.
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
