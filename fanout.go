package funnel

import (
	"context"
	"slices"
	"sync"

	"github.com/conduitio/funnel/internal/gap"
)

// fanOut sends batches down the branches that start at the next nodes of a node.
// It belongs to one worker and one node, so one batch at a time is on its
// branches, and what it needs for them is used again for the next one.
type fanOut struct {
	worker     *Worker
	branches   []branch
	goroutines sync.WaitGroup // of the branches, from the first batch on
	walking    sync.WaitGroup // branches that a batch is on

	// The context of the branches ends when one of them fails, or with the worker,
	// or with that of before the branches.
	ctx    context.Context
	cancel context.CancelCauseFunc
	before context.Context

	mu     sync.Mutex
	failed outcome // the first error, then the others that do not follow from it
}

// branch is one way out of a fan-out.
type branch struct {
	node    *TaskNode
	batch   Batch
	notes   notes
	start   chan struct{} // gets a value when the batch is to start
	running *TaskNode     // whose task has the batch, or had it last
	walk    func() error
	ended   func(err error, panicked *PanicError)
}

// newFanOut returns the fan-out behind a node.
func (w *Worker) newFanOut(node *TaskNode) *fanOut {
	f := &fanOut{worker: w, branches: make([]branch, len(node.Next))}
	for i, next := range node.Next {
		b := &f.branches[i]
		b.node, b.start = next, make(chan struct{}, 1)
		b.walk = func() error { return f.walk(b) }
		b.ended = func(err error, panicked *PanicError) { f.ended(b, err, panicked) }
	}
	return f
}

// do sends a batch down the branches, at the same time, and waits for all of
// them. Each has a goroutine, which is kept for the next batch, with its grown
// stack.
//
// Then it releases what is done, unless it is on a branch itself, a branch has
// panicked, or has failed in releasing it itself.
//
// If one of them fails the context of the others ends, and the error is that of
// the one that has failed first, with what else went wrong on others. A panic on
// a branch comes back as a panic here. A fan-out that has failed is not used
// again.
func (f *fanOut) do(ctx context.Context, b *Batch, isBranch bool) error {
	b.origin.ledger.Share()
	if err := b.retain(len(f.branches) - 1); err != nil {
		return err
	}
	if f.ctx == nil {
		f.before = ctx
		f.ctx, f.cancel = context.WithCancelCause(ctx)
		for i := range f.branches {
			f.goroutines.Go(f.branches[i].serve)
		}
	}
	if err := f.divide(b); err != nil {
		return err
	}
	f.walking.Add(len(f.branches))
	for i := range f.branches {
		f.branches[i].start <- struct{}{}
	}
	f.walking.Wait()
	err := f.failed.result()
	switch {
	case isBranch || err != nil && b.origin.hasFailed:
		return err
	case err == nil:
		return f.worker.release(ctx, b.origin)
	default: // what is finished on all branches is released all the same
		return also(err, func() error { return f.worker.release(ctx, b.origin) })
	}
}

// end ends the goroutines and the context of the branches.
func (f *fanOut) end() {
	if f.ctx == nil {
		return
	}
	for i := range f.branches {
		close(f.branches[i].start)
	}
	f.goroutines.Wait()
	f.cancel(nil)
}

// serve takes batches to the end of the branch.
func (b *branch) serve() {
	for range b.start {
		guard(b.walk, b.ended)
	}
}

// walk takes the batch of a branch to its end.
func (f *fanOut) walk(b *branch) error {
	err := f.worker.walk(f.ctx, step{node: b.node, batch: &b.batch, toDo: true}, b)
	b.batch = Batch{}
	b.notes.clear()
	return err
}

// ended notes how a branch has ended.
func (f *fanOut) ended(b *branch, err error, panicked *PanicError) {
	defer f.walking.Done()
	if err == nil && panicked == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cancel(errOtherBranch)
	isFirst := len(f.failed.errs) == 0 && f.failed.panicked == nil
	before := []error{context.Canceled, f.before.Err(), context.Cause(f.before)}
	switch {
	case err == ErrGoexit: // and its goroutine is gone
		f.failed.add(f.worker.taskError(b.running, err), nil)
	case isFirst || err == nil:
		f.failed.add(err, panicked)
	case isOnly(err, context.Canceled, errOtherBranch): // it follows from the failure of another branch
	case f.before.Err() != nil && len(f.failed.errs) > 0 && isOnly(f.failed.errs[0], before...):
		f.failed.errs[0] = err // the other one only passed on what came from further up
	default:
		f.failed.add(err, nil)
	}
}

// divide gives each branch a batch of the same copies, of which none sees what
// another one does.
func (f *fanOut) divide(b *Batch) error {
	owner := -1 // the branch that gets the records as they are, if all of them may write
	for i := range f.branches {
		if f.branches[i].node.onlyReads() {
			owner = -1
			break
		}
		owner = i
	}
	recs, tracks := b.recs.All(), b.tracks.All()
	for i := range f.branches {
		to := &f.branches[i]
		to.batch = *b
		to.notes.begin(b.notes)
		to.batch.notes, to.batch.shelf, to.batch.pieceBuffer = &to.notes, nil, nil
		to.batch.recs = gap.Of(recs)
		to.batch.tracks = gap.Of(slices.Clone(tracks))
		if i != owner && !to.node.onlyReads() {
			if err := to.batch.detach(); err != nil {
				return f.worker.taskError(to.node, err)
			}
		}
	}
	return nil
}
