package system_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// chance decides what a processor does with a record, by the record alone,
// whatever the order of the calls.
type chance struct {
	seed  uint64
	name  string
	mu    sync.Mutex
	asked map[string]int
}

// process is a processor that does with each record what chance has it do. It
// leaves a record unanswered twice at most, and returns no more results than it
// has answers for.
func (c *chance) process(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
	results := make([]sdk.ProcessedRecord, len(recs))
	last := 0
	for i, rec := range recs {
		if results[i] = c.decide(rec); results[i] != nil {
			last = i
		}
	}
	return results[:last+1]
}

func (c *chance) decide(rec opencdc.Record) sdk.ProcessedRecord {
	c.mu.Lock()
	defer c.mu.Unlock()
	position := string(rec.Position)
	c.asked[position]++
	n := c.asked[position]
	hash := fnv.New64a()
	fmt.Fprintln(hash, c.name, position, n)
	switch x := rand.New(rand.NewPCG(c.seed, hash.Sum64())).IntN(20); {
	case x < 3 && n < 3:
		return nil
	case x == 3:
		return sdk.FilterRecord{}
	case x == 4:
		return fake.Fail(rec)
	case x > 4 && x < 9:
		return fake.Pieces(rec, x-5)
	default:
		rec.Position = opencdc.Position(position + "'")
		rec.Metadata[c.name] = "seen"
		return sdk.SingleRecord(rec)
	}
}

// A pipeline with parallel processors does what it does with the processors
// themselves.
func TestParallelProcessor_likeThePlainOne(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 0))
		workers := []int{1 + rng.IntN(6), 1 + rng.IntN(6)}
		sizes := []int{1 + rng.IntN(30), 1 + rng.IntN(12), 1 + rng.IntN(30)}
		pipeline := func(t *testing.T, decorate func(fake.Processor, int) funnel.Processor) (lines []string, written []opencdc.Record) {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				source, n := fake.NewSource(j), 0
				for _, size := range sizes {
					recs := fake.Numbered(n + size)[n:]
					source.Reads = append(source.Reads, fake.Read{Records: recs})
					n += size
				}
				out, dlq := fake.NewDestination(j, "out"), fake.NewDestination(j, "dlq")
				out.Refuse["3''"], out.Refuse["8a'"] = fake.ErrTest, fake.ErrTest
				nodes := []*funnel.TaskNode{fake.From(source)}
				for i, name := range []string{"first", "second"} {
					c := &chance{seed: seed, name: name, asked: make(map[string]int)}
					nodes = append(nodes, fake.Node(funnel.NewProcessorTask(name, decorate(c.process, workers[i]), log.Nop(), nil)))
				}
				fake.WantNoError(t, fake.Run(t, fake.Queue(dlq), append(nodes, fake.To(out))...))
				lines, written = j.Lines(""), out.Written
			})
			return lines, written
		}
		wantLines, wantWritten := pipeline(t, func(p fake.Processor, _ int) funnel.Processor { return p })
		lines, written := pipeline(t, func(p fake.Processor, workers int) funnel.Processor { return fake.Parallel(t, p, workers) })
		if !slices.Equal(lines, wantLines) || !reflect.DeepEqual(written, wantWritten) {
			t.Fatalf("seed %d, batches of %v, %v workers: calls\n  %s\nwant\n  %s",
				seed, sizes, workers, strings.Join(lines, "\n  "), strings.Join(wantLines, "\n  "))
		}
	}
}
