package funnel

import (
	"context"
	"slices"
	"sync"

	"github.com/rs/zerolog"

	"github.com/conduitio/funnel/internal/batch"
	"github.com/conduitio/funnel/log"
)

// fanOut sends batches down the branches that start at the next nodes of a node: all
// records down each branch or, after a RouteTask, each record down one of them. It
// belongs to one node of one worker, so it has one batch at a time and is reused for
// the next one.
type fanOut struct {
	worker     *Worker
	branches   []branch
	isRoute    bool
	router     batch.Router
	routes     []batch.Branch // of the router, one for each branch
	goroutines sync.WaitGroup // one for each branch, from the first batch on
	busy       sync.WaitGroup // branches that have a batch

	siblings siblings // of the branches, from the first batch on; its context is theirs
}

// branch is one branch of a fan-out.
type branch struct {
	node    *TaskNode
	track   track
	batch   Batch
	infos   batch.CopyInfos
	walk    walk          // of the batch; after a failure, it has what is still open
	failure error         // of a best-effort branch
	exited  bool          // the failure has ended its goroutine
	skipped *bool         // a best-effort branch has failed before; shared by workers that share a sink
	start   chan struct{} // gets a value when there is a batch to walk
	run     func() error
	ended   func(err error, panicked *PanicError)
}

// newFanOut returns the fan-out of a node.
func (w *Worker) newFanOut(node *TaskNode) *fanOut {
	f := &fanOut{worker: w, branches: make([]branch, len(node.Next))}
	if _, f.isRoute = node.Task.(routed); f.isRoute {
		f.routes = make([]batch.Branch, len(node.Next))
	}
	for i, next := range node.Next {
		b := &f.branches[i]
		b.node, b.start, b.skipped = next, make(chan struct{}, 1), new(bool)
		if next.sink != nil && next.BestEffort {
			b.skipped = next.sink.skipped[next]
		}
		b.run = func() error { return f.runBranch(b) }
		b.ended = func(err error, panicked *PanicError) { f.ended(b, err, panicked) }
	}
	return f
}

// fork gives the copies of a batch to the branches that are not skipped.
func (f *fanOut) fork(b *Batch, dividedBy int) error {
	b.copies.Source().Ledger.Share()
	if f.isRoute {
		return lostRecords(f.routeCopies(b, dividedBy))
	}
	return lostRecords(f.forkCopies(b, dividedBy))
}

// forkCopies gives each branch all copies, and retains them.
func (f *fanOut) forkCopies(b *Batch, dividedBy int) error {
	n := 0
	for i := range f.branches {
		if !*f.branches[i].skipped {
			n++
		}
	}
	if err := b.copies.Retain(n - 1); err != nil {
		return err
	}
	for i := range f.branches {
		if to := &f.branches[i]; !*to.skipped {
			b.copies.Fork(&to.batch.copies, &to.infos)
			f.beginWalk(to, dividedBy)
		}
	}
	return nil
}

// routeCopies gives each copy to one branch.
func (f *fanOut) routeCopies(b *Batch, dividedBy int) error {
	for i := range f.branches {
		to := &f.branches[i]
		f.routes[i] = batch.Branch{}
		if !*to.skipped {
			f.routes[i] = batch.Branch{Copies: &to.batch.copies, Infos: &to.infos}
		}
	}
	if err := f.router.Route(&b.copies, f.routes); err != nil {
		return err
	}
	for i := range f.branches {
		if to := &f.branches[i]; !to.isIdle() {
			f.beginWalk(to, dividedBy)
		}
	}
	return nil
}

// beginWalk lets a branch that has copies begin with its first task.
func (f *fanOut) beginWalk(b *branch, dividedBy int) {
	if b.node.BestEffort {
		b.batch.copies.Forgive()
	}
	b.walk = walk{
		worker: f.worker, track: &b.track, onBranch: true,
		step: step{stage: stageTask, node: b.node, batch: &b.batch, dividedBy: dividedBy},
	}
}

// isIdle returns true if the branch has no copies of the batch.
func (b *branch) isIdle() bool { return b.batch.copies.Source() == nil }

// unshare gives branches records of their own, so that they do not see each other's
// changes. A branch that is a single destination only reads, so it shares the records,
// and any other branch gets copies. If no branch only reads, the last one keeps the
// originals. After a RouteTask the branches have different records.
func (f *fanOut) unshare() error {
	if f.isRoute {
		return nil
	}
	keeper := -1
	for i := range f.branches {
		switch b := &f.branches[i]; {
		case *b.skipped:
		case f.sharesWith(b):
			keeper = len(f.branches)
		case keeper < len(f.branches):
			keeper = i
		}
	}
	for i := range f.branches {
		b := &f.branches[i]
		if *b.skipped || i == keeper || f.sharesWith(b) {
			continue
		}
		if err := f.unshareBranch(b); err != nil {
			err = f.worker.taskError(b.node, err)
			if !b.node.BestEffort {
				return err
			}
			b.failure = err
		}
	}
	return nil
}

// sharesWith returns true if a branch may share records with others.
func (f *fanOut) sharesWith(b *branch) bool {
	return b.node.onlyReads() && f.worker.checks == nil
}

// unshareBranch gives a branch records of its own. For ownership checks they have
// positions of their own, too, but if they cannot be copied, a branch that only reads
// shares them.
func (f *fanOut) unshareBranch(b *branch) error {
	err := b.batch.unshare()
	if f.worker.checks == nil {
		return err
	}
	if err != nil && b.node.onlyReads() {
		b.batch.copies.Share()
		return nil
	}
	records := b.batch.copies.Records()
	for i := range records {
		records[i].Position = slices.Clone(records[i].Position)
	}
	return err
}

// join walks the batches of all branches at the same time and waits for them.
//
// If a branch fails, the context of the others ends, and join returns the error of the
// first branch that failed, joined with whatever else went wrong on the others. A panic
// on a branch becomes a panic here. A fan-out that has failed is not used again. If a
// best-effort branch fails, only that branch is not used again.
func (f *fanOut) join(ctx context.Context, c *counts) error {
	f.begin(ctx)
	for i := range f.branches {
		if b := &f.branches[i]; !b.isIdle() && b.failure == nil {
			f.busy.Add(1)
			b.start <- struct{}{}
		}
	}
	f.busy.Wait()
	for i := range f.branches {
		b := &f.branches[i]
		if b.failure != nil {
			f.siblings.failed.try(func() error { return f.skip(b) })
		}
		c.add(&b.track.counts)
	}
	if err := f.siblings.failed.result(); err != nil {
		return err // what is still open needs the memory of the router
	}
	f.router.Clear()
	return nil
}

// skip gives up a best-effort branch that has failed. It resets the branch and the
// fan-outs on it, since a branch of a sink goes on once the sink is opened again.
func (f *fanOut) skip(b *branch) error {
	failure := b.failure
	b.failure, *b.skipped = nil, true
	b.track.skipped++
	if err := lostRecords(b.walk.forgive()); err != nil {
		return err
	}
	b.reset()
	if b.exited {
		b.exited = false
		f.goroutines.Go(b.serve)
	}
	w := f.worker
	for node := range b.node.TaskNodes() {
		if len(node.Next) > 1 {
			w.fanOuts[node].renew()
		}
	}
	w.logger.Warn(f.siblings.ctx).Str(log.TaskIDField, w.ids[b.node]).Str(zerolog.ErrorFieldName, errorText(failure)).
		Msg("a best-effort branch has failed and is skipped from now on")
	return nil
}

// begin prepares for the first batch. It starts a goroutine for each branch and makes
// their context. Later batches use both again, with stacks that have grown. But with an
// observer, each batch has a context of its own.
func (f *fanOut) begin(ctx context.Context) {
	switch {
	case f.siblings.ctx == nil:
		for i := range f.branches {
			f.goroutines.Go(f.branches[i].serve)
		}
	case len(f.worker.observers) == 0:
		return
	default:
		f.siblings.cancel(nil)
	}
	f.siblings.begin(ctx, errOtherBranch)
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

// renew resets a fan-out, which may have failed, to its initial state.
func (f *fanOut) renew() {
	f.end()
	f.siblings, f.router = siblings{}, batch.Router{}
	for i := range f.branches {
		b := &f.branches[i]
		b.reset()
		b.failure, b.exited, b.start = nil, false, make(chan struct{}, 1)
	}
}

// serve takes each batch to the end of the branch.
func (b *branch) serve() {
	for range b.start {
		guard(b.run, b.ended)
	}
}

// reset removes the batch.
func (b *branch) reset() {
	b.walk = walk{}
	b.batch = Batch{}
	b.infos.Clear()
}

// runBranch takes the batch of a branch to its end.
func (f *fanOut) runBranch(b *branch) error {
	defer b.track.leave()
	err := b.walk.run(f.siblings.ctx)
	if err == nil {
		b.reset()
	}
	return err
}

// ended records how a branch ended. No guard is around it, so it calls no foreign code.
func (f *fanOut) ended(b *branch, err error, panicked *PanicError) {
	defer f.busy.Done()
	if err == ErrGoexit {
		b.exited, err = true, f.worker.taskError(b.walk.node, err)
	}
	switch {
	case err == nil && panicked == nil:
	case panicked == nil && b.node.BestEffort && f.siblings.ctx.Err() == nil:
		b.failure = err
	default:
		f.siblings.fail(err, panicked)
	}
}
