package funnel

import (
	"context"
	"fmt"
	"slices"
)

// state is the state of a resource.
type state int

const (
	stateNew  state = iota // never opened, or failed to open
	stateOpen              // has to be closed; closing it may have failed before
	stateClosed
)

// resource is something that must be closed once it is open. Errors of open and close
// name it.
type resource struct {
	state state
	open  func(context.Context) error
	close func(context.Context) error
}

// taskResource returns the resource of a task.
func taskResource(id string, task Task) *resource {
	return &resource{
		open: func(ctx context.Context) error {
			if err := task.Open(ctx); err != nil {
				return taskError(id, fmt.Errorf("failed to open: %w", err))
			}
			return nil
		},
		close: func(ctx context.Context) error {
			if err := task.Close(ctx); err != nil {
				return taskError(id, fmt.Errorf("failed to close: %w", err))
			}
			return nil
		},
	}
}

// closeIfOpen closes the resource if it is open. If that fails, it stays open.
func (r *resource) closeIfOpen(ctx context.Context) error {
	if r.state != stateOpen {
		return nil
	}
	if err := r.close(ctx); err != nil {
		return err
	}
	r.state = stateClosed
	return nil
}

// openAll opens resources in order. If one of them fails, panics or ends the goroutine,
// openAll closes those in closing that are open, in that order. It joins all errors, and
// panics if something has panicked. Before it closes anything after an error, it calls
// onError, unless that is nil.
func openAll(ctx context.Context, all, closing []*resource, onError func(error)) (err error) {
	var failed outcome
	isOpen := false
	defer func() {
		if isOpen {
			return
		}
		if value := recover(); value != nil {
			failed.add(nil, newPanicError(value))
		}
		closeEach(ctx, closing, &failed)
		err = failed.result()
	}()
	for _, r := range all {
		if err := r.open(ctx); err != nil {
			failed.add(err, nil)
			if onError != nil {
				onError(err)
			}
			return nil // the deferred call closes everything and sets the error
		}
		r.state = stateOpen
	}
	isOpen = true
	return nil
}

// closeAll closes the resources that are open, and joins their errors. It panics if one
// of them panics.
func closeAll(ctx context.Context, all []*resource) error {
	var failed outcome
	closeEach(ctx, all, &failed)
	return failed.result()
}

// closeEach closes the resources that are open, one after the other. If one of them
// ends the goroutine, it still closes those after it.
func closeEach(ctx context.Context, all []*resource, failed *outcome) {
	if len(all) == 0 {
		return
	}
	defer closeEach(ctx, all[1:], failed)
	failed.try(func() error { return all[0].closeIfOpen(ctx) })
}

// reversed returns the resources in reverse order.
func reversed(all []*resource) []*resource {
	all = slices.Clone(all)
	slices.Reverse(all)
	return all
}
