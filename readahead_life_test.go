package funnel_test

import (
	"context"
	"testing"

	"github.com/conduitio/funnel"
)

// ending is how Do has ended.
type ending struct {
	err      error
	panicked any
	exited   bool // by runtime.Goexit
}

// start calls Do and sends how it ends.
func start(ctx context.Context, w *funnel.Worker) <-chan ending {
	done := make(chan ending, 1)
	go func() {
		e := ending{exited: true}
		defer func() {
			if v := recover(); v != nil {
				e.panicked, e.exited = v, false
			}
			done <- e
		}()
		e.err = w.Do(ctx)
		e.exited = false
	}()
	return done
}

// want fails the test if Do has not returned an error that is what, or none if
// that is nil.
func (e ending) want(t *testing.T, what error, words ...string) {
	t.Helper()
	switch {
	case e.panicked != nil:
		t.Errorf("Do has panicked: %v", e.panicked)
	case e.exited:
		t.Error("the goroutine of Do was ended")
	case what == nil:
		wantNoError(t, e.err)
	default:
		wantError(t, e.err, what, words...)
	}
}
