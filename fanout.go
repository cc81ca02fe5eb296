package funnel

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/conduitio/funnel/internal/gap"
)

// fanOut sends batches down the branches that start at the next nodes of a node.
// It belongs to one worker and one node, so one batch at a time is on its
// branches, and what it needs for them is used again for the next one.
type fanOut struct {
	worker   *Worker
	branches []branch
	running  sync.WaitGroup

	// The context of the branches ends when one of them fails, or when the worker
	// does.
	ctx    context.Context
	cancel context.CancelFunc

	mu       sync.Mutex
	errs     []error // the first one, and others that do not follow from it
	panicked *PanicError
}

// branch is one way out of a fan-out.
type branch struct {
	node  *TaskNode
	batch Batch
	notes notes
	run   func() // takes the batch to the end of the branch and notes how that ends
}

// newFanOut returns the fan-out behind a node.
func (w *Worker) newFanOut(node *TaskNode) *fanOut {
	f := &fanOut{worker: w, branches: make([]branch, len(node.Next))}
	for i, next := range node.Next {
		b := &f.branches[i]
		b.node = next
		b.run = func() { f.run(b) }
	}
	return f
}

// do sends a batch down the branches, at the same time, and waits for all of
// them.
//
// If one of them fails the context of the others ends, and the error is that of
// the one that has failed first, with what else went wrong on others. A panic on
// a branch comes back as a panic here. A fan-out that has failed is not used
// again.
func (f *fanOut) do(ctx context.Context, b *Batch) error {
	b.origin.ledger.Share()
	if err := b.retain(len(f.branches) - 1); err != nil {
		return err
	}
	if f.ctx == nil {
		f.ctx, f.cancel = context.WithCancel(ctx)
	}
	f.divide(b)
	f.running.Add(len(f.branches))
	for i := range f.branches {
		go f.branches[i].run()
	}
	f.running.Wait()
	if f.panicked != nil {
		panic(f.panicked)
	}
	return joinErrors(f.errs...)
}

// end lets go of the context of the branches.
func (f *fanOut) end() {
	if f.cancel != nil {
		f.cancel()
	}
}

// run takes the batch of a branch to its end and notes how that ends.
func (f *fanOut) run(b *branch) {
	defer f.running.Done()
	isOver := false
	defer func() {
		if isOver {
			return
		}
		if value := recover(); value != nil {
			f.panic(value)
		} else {
			f.fail(taskError(b.node.id(), errGoexit))
		}
	}()
	err := f.worker.walk(f.ctx, step{node: b.node, batch: &b.batch, toDo: true}, true)
	b.batch, b.notes = Batch{}, nil
	isOver = true
	if err != nil {
		f.fail(err)
	}
}

func (f *fanOut) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.errs) == 0 || !errors.Is(err, context.Canceled) {
		f.errs = append(f.errs, err)
	}
	f.cancel()
}

// panic notes a panic, the first one of all branches.
func (f *fanOut) panic(value any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panicked == nil {
		f.panicked = newPanicError(value)
	}
	f.cancel()
}

// divide gives each branch a batch of the same copies, of which none sees what
// another one does.
func (f *fanOut) divide(b *Batch) {
	owner := -1 // the branch that gets the records as they are, if nobody else holds them
	if !b.held {
		for i := range f.branches {
			if f.branches[i].node.onlyReads() {
				owner = -1
				break
			}
			owner = i
		}
	}
	recs, tracks := b.recs.All(), b.tracks.All()
	for i := range f.branches {
		to := &f.branches[i]
		to.batch = *b
		to.notes = (*b.notes)[:len(*b.notes):len(*b.notes)]
		to.batch.notes, to.batch.shelf = &to.notes, nil
		to.batch.recs = gap.Of(recs)
		to.batch.tracks = gap.Of(slices.Clone(tracks))
		if i != owner && !to.node.onlyReads() {
			to.batch.detach()
		}
	}
}
