package fake

import (
	"context"
	"sync"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
)

// Task is a custom task made of functions.
type Task struct {
	Name    string
	OnDo    func(context.Context, *funnel.Batch) error
	OnOpen  func() error
	OnClose func() error
}

// ID returns the name.
func (t *Task) ID() string { return t.Name }

// Open calls OnOpen.
func (t *Task) Open(context.Context) error {
	if t.OnOpen != nil {
		return t.OnOpen()
	}
	return nil
}

// Close calls OnClose.
func (t *Task) Close(context.Context) error {
	if t.OnClose != nil {
		return t.OnClose()
	}
	return nil
}

// Do calls OnDo.
func (t *Task) Do(ctx context.Context, b *funnel.Batch) error { return t.OnDo(ctx, b) }

// FirstTask is a custom first task that wraps a SourceTask.
type FirstTask struct {
	*funnel.SourceTask
	// Then is called with the records of each read.
	Then func(context.Context, *funnel.Batch) error
}

// NewFirstTask returns a first task for the source.
func NewFirstTask(s funnel.Source, then func(context.Context, *funnel.Batch) error) *FirstTask {
	return &FirstTask{SourceTask: funnel.NewSourceTask("source", s, log.Nop(), nil), Then: then}
}

// Do reads and calls Then.
func (f *FirstTask) Do(ctx context.Context, b *funnel.Batch) error {
	err := f.SourceTask.Do(ctx, b)
	if f.Then != nil && b.HasActiveRecords() {
		if thenErr := f.Then(ctx, b); thenErr != nil {
			return thenErr
		}
	}
	return err
}

// Nothing is a Do that does nothing.
func Nothing(context.Context, *funnel.Batch) error { return nil }

// Returning returns a Do that returns the error.
func Returning(err error) func(context.Context, *funnel.Batch) error {
	return func(context.Context, *funnel.Batch) error { return err }
}

// Meeting returns a function that waits until it has been called n times. The tasks
// that call it are then at work at the same time.
func Meeting(n int) func() {
	var missing sync.WaitGroup
	missing.Add(n)
	return func() {
		missing.Done()
		missing.Wait()
	}
}
