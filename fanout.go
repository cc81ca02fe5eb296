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
	goroutines sync.WaitGroup // of the branches but the last one, from the first batch on
	running    sync.WaitGroup // branches that a batch is on

	// The context of the branches ends when one of them fails, or with the worker,
	// or with that of before the branches.
	ctx    context.Context
	cancel context.CancelCauseFunc
	before context.Context

	mu       sync.Mutex
	errs     []error // the first one, and others that do not follow from it
	panicked *PanicError
}

// branch is one way out of a fan-out.
type branch struct {
	node  *TaskNode
	batch Batch
	notes notes
	start chan struct{} // gets a value when the batch is to start, nil for the last branch
	run   func()        // takes the batch to the end of the branch and notes how that has ended
}

// newFanOut returns the fan-out behind a node.
func (w *Worker) newFanOut(node *TaskNode) *fanOut {
	f := &fanOut{worker: w, branches: make([]branch, len(node.Next))}
	for i, next := range node.Next {
		b := &f.branches[i]
		b.node = next
		if i < len(node.Next)-1 {
			b.start = make(chan struct{}, 1)
		}
		walk := func() error { return f.walk(b) }
		ended := func(err error, panicked *PanicError) { f.ended(b, err, panicked) }
		b.run = func() { guard(walk, ended) }
	}
	return f
}

// do sends a batch down the branches, at the same time, and waits for all of
// them. The last one takes place on this goroutine, which saves waking another
// one; the others keep theirs, with the stacks that these have grown to.
//
// Then it releases what is done, unless it is on a branch itself, a branch has
// panicked, or has failed in releasing it itself.
//
// If one of them fails the context of the others ends, and the error is that of
// the one that has failed first, with what else went wrong on others. A panic on
// a branch comes back as a panic here. A fan-out that has failed is not used
// again.
func (f *fanOut) do(ctx context.Context, b *Batch, isBranch bool) (err error) {
	b.origin.ledger.Share()
	if err := b.retain(len(f.branches) - 1); err != nil {
		return err
	}
	last := len(f.branches) - 1
	if f.ctx == nil {
		f.before = ctx
		f.ctx, f.cancel = context.WithCancelCause(ctx)
		for i := range last {
			f.goroutines.Go(f.branches[i].serve)
		}
	}
	f.divide(b)
	f.running.Add(len(f.branches))
	for i := range last {
		f.branches[i].start <- struct{}{}
	}
	isOver := false
	defer func() { // also if the last branch ends this goroutine
		f.running.Wait()
		if f.panicked != nil {
			panic(f.panicked)
		}
		err = joinErrors(f.errs...)
		if !isBranch && (err == nil || !b.origin.hasFailed) {
			err = joinErrors(err, f.worker.release(ctx, b.origin)) // also if a branch has failed
		}
		if !isOver {
			panic(branchesError{err})
		}
	}()
	f.branches[last].run()
	isOver = true
	return nil
}

// end ends the goroutines and the context of the branches.
func (f *fanOut) end() {
	if f.ctx == nil {
		return
	}
	for i := range len(f.branches) - 1 {
		close(f.branches[i].start)
	}
	f.goroutines.Wait()
	f.cancel(nil)
}

// serve runs the branch whenever a batch is to start.
func (b *branch) serve() {
	for range b.start {
		b.run()
	}
}

// walk takes the batch of a branch to its end.
func (f *fanOut) walk(b *branch) error {
	err := f.worker.walk(f.ctx, step{node: b.node, batch: &b.batch, toDo: true}, true)
	b.batch = Batch{}
	b.notes.reset(nil)
	return err
}

// ended notes how a branch has ended.
func (f *fanOut) ended(b *branch, err error, panicked *PanicError) {
	defer f.running.Done()
	if err == nil && panicked == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cancel(errOtherBranch)
	switch {
	case panicked != nil:
		if f.panicked == nil { // only one of them can come back
			f.panicked = panicked
		}
	case err == errGoexit:
		f.errs = append(f.errs, taskError(b.node.id(), err))
	case len(f.errs) == 0:
		f.errs = append(f.errs, err)
	case isOnly(err, context.Canceled):
	case f.before.Err() != nil && isOnly(f.errs[0], context.Canceled):
		f.errs[0] = err // the other one only passed on what came from further up
	default:
		f.errs = append(f.errs, err)
	}
}

// divide gives each branch a batch of the same copies, of which none sees what
// another one does.
func (f *fanOut) divide(b *Batch) {
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
		to.notes.reset(b.notes)
		to.batch.notes, to.batch.shelf = &to.notes, nil
		to.batch.recs = gap.Of(recs)
		to.batch.tracks = gap.Of(slices.Clone(tracks))
		if i != owner && !to.node.onlyReads() {
			to.batch.detach()
		}
	}
}
