package funnel

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
)

// fanOut sends a batch down branches that start at the nodes, at the same time,
// and waits for all of them.
//
// If one of them fails the context of the others ends, and the error is that of
// the one that has failed first, with what else went wrong on others. A panic on
// a branch comes back as a panic here.
func (w *Worker) fanOut(ctx context.Context, nodes []*TaskNode, b *Batch) error {
	if err := b.retain(len(nodes) - 1); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	j := join{cancel: cancel}
	var branches sync.WaitGroup
	for i, batch := range b.branches(nodes) {
		branches.Go(func() {
			j.run(nodes[i], func() error { return w.walkBranch(ctx, nodes[i], batch) })
		})
	}
	branches.Wait()
	if j.panicked != nil {
		panic(j.panicked)
	}
	return joinErrors(j.errs...)
}

// join is where branches meet again.
type join struct {
	cancel context.CancelFunc // tells the other branches that one has failed

	mu       sync.Mutex
	errs     []error // the first one, and others that do not follow from it
	panicked *PanicError
}

// run runs a branch and notes how it ends.
func (j *join) run(node *TaskNode, walk func() error) {
	isOver := false
	defer func() {
		if isOver {
			return
		}
		if value := recover(); value != nil {
			j.panic(value)
		} else {
			j.fail(taskError(node.id(), errors.New("the goroutine of the branch was ended by runtime.Goexit")))
		}
	}()
	err := walk()
	isOver = true
	if err != nil {
		j.fail(err)
	}
}

func (j *join) fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.errs) == 0 || !errors.Is(err, context.Canceled) {
		j.errs = append(j.errs, err)
	}
	j.cancel()
}

// panic notes a panic, the first one of all branches.
func (j *join) panic(value any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.panicked == nil {
		var ok bool
		if j.panicked, ok = value.(*PanicError); !ok {
			j.panicked = &PanicError{Value: value, Stack: debug.Stack()}
		}
	}
	j.cancel()
}

// branches returns a batch of the same copies for each of the nodes, of which
// none sees what another one does.
func (b *Batch) branches(nodes []*TaskNode) []*Batch {
	batches := make([]*Batch, len(nodes))
	owner := -1 // the branch that gets the records as they are, if nobody else holds them
	if !b.held {
		for i, node := range nodes {
			if node.onlyReads() {
				owner = -1
				break
			}
			owner = i
		}
	}
	for i, node := range nodes {
		batches[i] = b.branch()
		if i != owner && !node.onlyReads() {
			batches[i].detach()
		}
	}
	return batches
}
