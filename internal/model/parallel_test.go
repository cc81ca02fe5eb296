package model

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"
)

// fakeConcurrent is a processor that works on several parts of a batch at the same
// time, each as a fakeProcessor of its own.
type fakeConcurrent struct {
	nodePart
	mu      sync.Mutex
	running int
	parts   []*fakeProcessor // those that have begun together
}

// roundTime is how long it takes until all parts of a batch have begun for sure.
const roundTime = time.Millisecond

func (p *fakeConcurrent) IsConcurrent() bool { return true }

func (p *fakeConcurrent) Open(context.Context) error {
	p.w.opened(p.id)
	return nil
}

func (p *fakeConcurrent) Teardown(context.Context) error {
	p.check()
	p.w.closed(p.id)
	return nil
}

func (p *fakeConcurrent) Process(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
	one := p.begin(recs)
	defer p.end()
	time.Sleep(roundTime)
	p.meet(one)
	return one.Process(ctx, recs)
}

// begin makes the processor for a part.
func (p *fakeConcurrent) begin(recs []opencdc.Record) *fakeProcessor {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == 0 {
		p.check()
		p.parts = nil
		p.count++
	}
	p.running++
	one := &fakeProcessor{nodePart: newNodePart(p.w, p.n)}
	one.attempts, one.count, one.began = p.attempts, p.count-1, p.w.now()
	if len(recs) > 0 {
		one.first = formOf(recs[0]).id
	}
	one.rand = rand.New(rand.NewPCG(hash(p.w.tree.seed, p.id, one.first), uint64(p.count)))
	p.parts = append(p.parts, one)
	return one
}

// meet tells a part about the others. With some seeds a fault is one of the last
// part only.
func (p *fakeConcurrent) meet(one *fakeProcessor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	one.together, one.follows = len(p.parts), one != p.parts[0]
	one.isSpared = p.w.tree.seed%2 == 1 && slices.ContainsFunc(p.parts, func(other *fakeProcessor) bool {
		return compareLineage(other.first, one.first) > 0
	})
}

func (p *fakeConcurrent) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
}

// check checks the results of the last round.
func (p *fakeConcurrent) check() {
	for _, one := range p.parts {
		one.check()
	}
}
