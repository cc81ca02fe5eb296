package funnel

import (
	"context"
	"sync"

	"github.com/conduitio/funnel/internal/batch"
)

// fanOut sends batches down the branches that start at the next nodes of a node. It
// belongs to one node of one worker, so it has one batch at a time and is reused for
// the next one.
type fanOut struct {
	worker     *Worker
	branches   []branch
	goroutines sync.WaitGroup // one for each branch, from the first batch on
	busy       sync.WaitGroup // branches that have a batch

	siblings siblings // of the branches, from the first batch on; its context is theirs
}

// branch is one branch of a fan-out.
type branch struct {
	node  *TaskNode
	batch Batch
	infos batch.NackInfos
	walk  walk          // of the batch
	start chan struct{} // gets a value when there is a batch to walk
	run   func() error
	ended func(err error, panicked *PanicError)
}

// newFanOut returns the fan-out of a node.
func (w *Worker) newFanOut(node *TaskNode) *fanOut {
	f := &fanOut{worker: w, branches: make([]branch, len(node.Next))}
	for i, next := range node.Next {
		b := &f.branches[i]
		b.node, b.start = next, make(chan struct{}, 1)
		b.run = func() error { return f.runBranch(b) }
		b.ended = func(err error, panicked *PanicError) { f.ended(b, err, panicked) }
	}
	return f
}

// fork gives each branch a batch of the same copies, and retains them. Branches do not
// see each other's changes: a branch that is a single destination only reads, so it
// shares the records, and any other branch gets records of its own. If no branch only
// reads, the last one keeps the originals.
func (f *fanOut) fork(b *Batch) error {
	b.copies.Source().Ledger.Share()
	if err := lostRecords(b.copies.Retain(len(f.branches) - 1)); err != nil {
		return err
	}
	keeper := len(f.branches) - 1
	for i := range f.branches {
		if f.branches[i].node.onlyReads() {
			keeper = -1
		}
	}
	for i := range f.branches {
		to := &f.branches[i]
		b.copies.Fork(&to.batch.copies, &to.infos)
		if i == keeper || to.node.onlyReads() {
			continue
		}
		if err := to.batch.unshare(); err != nil {
			return f.worker.taskError(to.node, err)
		}
	}
	return nil
}

// join walks the batches of all branches at the same time and waits for them.
//
// If a branch fails, the context of the others ends, and join returns the error of the
// first branch that failed, joined to whatever else went wrong on others. A panic on a
// branch becomes a panic here. A fan-out that has failed is not used again.
func (f *fanOut) join(ctx context.Context) error {
	if f.siblings.ctx == nil {
		f.begin(ctx)
	}
	f.busy.Add(len(f.branches))
	for i := range f.branches {
		f.branches[i].start <- struct{}{}
	}
	f.busy.Wait()
	return f.siblings.failed.result()
}

// begin starts a goroutine for each branch. It serves later batches, too, with its grown
// stack.
func (f *fanOut) begin(ctx context.Context) {
	f.siblings.begin(ctx, errOtherBranch)
	for i := range f.branches {
		f.goroutines.Go(f.branches[i].serve)
	}
}

// end stops the goroutines and ends the context of the branches.
func (f *fanOut) end() {
	if f.siblings.ctx == nil {
		return
	}
	for i := range f.branches {
		close(f.branches[i].start)
	}
	f.goroutines.Wait()
	f.siblings.cancel(nil)
}

// serve takes each batch to the end of the branch.
func (b *branch) serve() {
	for range b.start {
		guard(b.run, b.ended)
	}
}

// runBranch takes the batch of a branch to the end.
func (f *fanOut) runBranch(b *branch) error {
	b.walk = walk{worker: f.worker, onBranch: true, step: step{stage: stageTask, node: b.node, batch: &b.batch}}
	err := b.walk.run(f.siblings.ctx)
	b.walk = walk{}
	b.batch = Batch{}
	b.infos.Clear()
	return err
}

// ended records how a branch ended. No guard is around it, so it calls no foreign code.
func (f *fanOut) ended(b *branch, err error, panicked *PanicError) {
	defer f.busy.Done()
	if err == ErrGoexit { // the branch has lost its goroutine
		err = f.worker.taskError(b.walk.node, err)
	}
	if err != nil || panicked != nil {
		f.siblings.fail(err, panicked)
	}
}
