package fake

import (
	"context"
	"errors"
	"testing"

	"github.com/conduitio/funnel"
)

// Ending is how a call ended.
type Ending struct {
	Err    error
	Panic  any
	Exited bool // by runtime.Goexit
}

// Start calls Do on a goroutine of its own and sends how it ends.
func Start(ctx context.Context, w *funnel.Worker) <-chan Ending {
	return Call(func() error { return w.Do(ctx) })
}

// Call calls the function on a goroutine of its own and sends how it ends.
func Call(f func() error) <-chan Ending {
	done := make(chan Ending, 1)
	go func() {
		e := Ending{Exited: true}
		defer func() {
			if v := recover(); v != nil {
				e.Panic, e.Exited = v, false
			}
			done <- e
		}()
		e.Err = f()
		e.Exited = false
	}()
	return done
}

// Want fails the test if the call did not return the error, or if the text of the
// error lacks one of the words. A nil want stands for no error.
func (e Ending) Want(t testing.TB, want error, words ...string) {
	t.Helper()
	switch {
	case e.Panic != nil:
		t.Errorf("the call panicked: %v", e.Panic)
	case e.Exited:
		t.Error("the goroutine of the call was ended")
	case want == nil:
		WantNoError(t, e.Err)
	default:
		WantError(t, e.Err, want, words...)
	}
}

// WantPanic fails the test if the call did not panic with a PanicError that holds
// the value and its stack.
func (e Ending) WantPanic(t testing.TB, value error) {
	t.Helper()
	err, ok := e.Panic.(*funnel.PanicError)
	if !ok || err.Value != value || !errors.Is(err, value) || len(err.Stack) == 0 {
		t.Errorf("the call ended with %+v, not with a panic", e)
	}
}

// WantExit fails the test if the call did not end its goroutine.
func (e Ending) WantExit(t testing.TB) {
	t.Helper()
	if !e.Exited {
		t.Errorf("the call ended with %+v", e)
	}
}

// PanicOf returns what the function panics with.
func PanicOf(f func()) (value any) {
	defer func() { value = recover() }()
	f()
	return nil
}
