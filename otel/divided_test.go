package otel_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"
	"go.opentelemetry.io/otel/trace"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// way is the way of the records through a tree: each call of a task, with its records and
// whether it divided them.
type way struct {
	funnel.NopObserver
	mu    sync.Mutex
	calls []*wayCall
	last  map[string]*wayCall // by task
}

type wayCall struct {
	node      string // the path of its task in the tree, such as 0.1.0
	ids       []string
	span      trace.SpanID
	isDivided bool
}

// add adds a call, from within the task.
func (w *way) add(ctx context.Context, node string, b *funnel.Batch) {
	c := &wayCall{node: node, span: trace.SpanContextFromContext(ctx).SpanID()}
	for _, rec := range b.ActiveRecords() {
		c.ids = append(c.ids, rec.Metadata["id"])
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, c)
	w.last[node] = c
}

func (w *way) BatchDivided(_ context.Context, e funnel.BatchDivided) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.last[e.TaskID]; c != nil {
		c.isDivided = true
	}
}

// want returns the span that call i links to: the last call before it that divided the batch
// and had one of its records, or its record before a split.
func (w *way) want(i int) trace.SpanID {
	c := w.calls[i]
	for _, d := range slices.Backward(w.calls[:i]) {
		if !d.isDivided || !isWithin(c.node, d.node) {
			continue
		}
		if slices.ContainsFunc(d.ids, func(id string) bool { return isWithin(c.ids[0], id) }) {
			return d.span
		}
	}
	return trace.SpanID{}
}

// isWithin returns true if a path equals another one, or continues it.
func isWithin(path, other string) bool {
	return path == other || strings.HasPrefix(path, other+".")
}

// randomTree returns a tree of tasks, each of which answers at random. Retries are answered
// in the end.
func (w *way) randomTree(rng *rand.Rand, path string, depth int, j *fake.Journal) *funnel.TaskNode {
	node := fake.Custom(path, nil)
	choices := rand.New(rand.NewPCG(rng.Uint64(), 0)) // of this task alone, whatever others do
	mayNack, rounds := rng.IntN(2) == 0, 0
	node.Task.(*fake.Task).OnDo = func(ctx context.Context, b *funnel.Batch) error {
		w.add(ctx, path, b)
		rounds++
		for i := len(b.ActiveRecords()) - 1; i >= 0; i-- {
			switch rec := b.ActiveRecords()[i]; choices.IntN(8) {
			case 0:
				b.Filter(i)
			case 1:
				if mayNack {
					b.Nack(i, fake.ErrTest)
				}
			case 2, 3:
				if rounds%4 != 0 {
					b.Retry(i)
				}
			case 4:
				if len(rec.Metadata["id"]) < 9 {
					b.SplitRecord(i, []opencdc.Record{piece(rec, 0), piece(rec, 1)})
				}
			}
		}
		return nil
	}
	if depth == 0 {
		fake.Chain(node, fake.To(fake.NewDestination(j, "to "+path)))
		return node
	}
	var next []*funnel.TaskNode
	for i := range 1 + rng.IntN(3) {
		next = append(next, w.randomTree(rng, fmt.Sprint(path, ".", i), depth-1, j))
	}
	return fake.Fork(node, next...)
}

// piece returns a piece of a record. Its ID continues the ID of the record.
func piece(rec opencdc.Record, n int) opencdc.Record {
	rec = rec.Clone()
	rec.Metadata["id"] += fmt.Sprint(".", n)
	return rec
}

// In any tree, with and without whole batches, each call of a task links to the call by which
// its records were last divided from others, and to nothing else.
func TestObserver_randomTrees(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			j, tr, w := &fake.Journal{}, newTracing(), &way{last: map[string]*wayCall{}}
			var records []opencdc.Record
			for i := range 2 + rng.IntN(8) {
				rec := fake.Records(fmt.Sprint(i))[0]
				rec.Metadata = opencdc.Metadata{"id": fmt.Sprint(i)}
				records = append(records, rec)
			}
			opts := []funnel.WorkerOption{funnel.WithObserver(w), funnel.WithObserver(tr.observer(t))}
			if rng.IntN(2) == 0 {
				opts = append(opts, funnel.WithWholeBatches())
			}
			first := fake.From(fake.NewSource(j, fake.Read{Records: records}))
			fake.Chain(first, w.randomTree(rng, "0", rng.IntN(4), j))
			fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, fake.DLQ(j), opts...)))
			links := map[trace.SpanID]trace.SpanID{}
			for _, s := range tr.Ended() {
				if len(s.Links()) > 1 {
					t.Fatalf("seed %d: %s has several links", seed, s.Name())
				}
				for _, l := range s.Links() {
					links[s.SpanContext().SpanID()] = l.SpanContext.SpanID()
				}
			}
			for i, c := range w.calls {
				if got, want := links[c.span], w.want(i); got != want {
					t.Fatalf("seed %d: call %d, of task %s with %v, links to %v, not to %v", seed, i, c.node, c.ids, got, want)
				}
			}
		})
	}
}
