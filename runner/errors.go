package runner

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/conduitio/funnel"
)

// The errors of a [Group]. Errors that concern a pipeline wrap one of them and name the
// pipeline.
var (
	// ErrUnknown means that there is no pipeline of that name.
	ErrUnknown = errors.New("unknown pipeline")
	// ErrExists means that there is a pipeline of that name already.
	ErrExists = errors.New("the pipeline exists already")
	// ErrRunning means that the pipeline is starting, running or draining.
	ErrRunning = errors.New("the pipeline is running")
	// ErrStopped means that another call stopped the pipeline while [Group.Restart] waited.
	ErrStopped = errors.New("the pipeline was stopped meanwhile")
	// ErrStuck means that a run of the pipeline does not end, see [StuckError].
	ErrStuck = errors.New("stuck")
	// ErrAttempts means that the restarts allowed by [Restart] are used up. The error also
	// wraps the error of the last run.
	ErrAttempts = errors.New("attempts used up")
	// ErrClosed means that the context of [Group.Run] has ended.
	ErrClosed = errors.New("the group is closed")
)

var (
	errStopped = errors.New("the pipeline is being stopped")
	errForced  = errors.New("cancelled: not done within the graceful bound")
	errOutside = errors.New("the worker was stopped, but not by the runner")
)

// StuckError says which parts of a pipeline do not end. It wraps [ErrStuck].
type StuckError struct {
	// Pipeline is the name of the pipeline.
	Pipeline string
	// Tasks are the parts that have not ended. If the workers were made with
	// [funnel.WithStats], they name the tasks that have the batch or are being opened or
	// closed.
	Tasks []TaskStatus
	// Err is the first error of the run, or nil if there was none: the host has stopped the
	// run, or its sources have ended.
	Err error

	now time.Time
}

// Error says what each of the tasks is doing, and for how long.
func (e *StuckError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pipeline %q is stuck: ", e.Pipeline)
	for i, t := range e.Tasks {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(t.text(e.now))
	}
	if e.Err != nil {
		fmt.Fprintf(&b, " (it should have ended because of: %s)", errorText(e.Err))
	}
	return b.String()
}

// Unwrap returns ErrStuck and Err.
func (e *StuckError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrStuck}
	}
	return []error{ErrStuck, e.Err}
}

// panicError wraps a panic. Its text does not hold the stack, unlike that of a
// [funnel.PanicError].
type panicError struct{ err *funnel.PanicError }

func (e *panicError) Error() string {
	text := fmt.Sprintf("panic: %v", e.err.Value) // fmt survives a panic of a method
	if e.err.Err != nil {
		text += fmt.Sprintf(" (other errors: %s)", errorText(e.err.Err))
	}
	return text
}

func (e *panicError) Unwrap() error { return e.err }

// call calls f on a goroutine of its own, and waits for it. It returns a panic or
// [runtime.Goexit] as an error.
func call(f func() error) error {
	done := make(chan error, 1)
	go func() {
		err := funnel.ErrGoexit // unless f returns or panics
		defer func() { done <- err }()
		defer func() {
			if value := recover(); value != nil {
				err = recovered(value)
			}
		}()
		err = f()
	}()
	return <-done
}

// recovered returns an error for the value of a panic, with the stack of this goroutine.
func recovered(value any) error {
	if err, ok := value.(*funnel.PanicError); ok && err != nil {
		return &panicError{err}
	}
	return &panicError{&funnel.PanicError{Value: value, Stack: debug.Stack()}}
}

// join joins the errors that are not nil. A single one is returned as it is.
func join(errs ...error) error {
	var last error
	n := 0
	for _, err := range errs {
		if err != nil {
			last = err
			n++
		}
	}
	if n < 2 {
		return last
	}
	return errors.Join(errs...)
}

// saysOnly returns true if err is or wraps one of the targets, or joins only errors that do.
// If a method of err panics, it returns false.
func saysOnly(err error, targets ...error) (is bool) {
	defer func() {
		if recover() != nil {
			is = false
		}
	}()
	for _, target := range targets {
		if err == target { // which may itself wrap something
			return true
		}
	}
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		joined := e.Unwrap()
		for _, err := range joined {
			if !saysOnly(err, targets...) {
				return false
			}
		}
		return len(joined) > 0
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return saysOnly(inner, targets...)
		}
	}
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// holds is [errors.Is], but returns false if a method of err panics.
func holds(err, target error) (is bool) {
	defer func() { _ = recover() }()
	return errors.Is(err, target)
}

// panicsIn returns all panics that err holds.
func panicsIn(err error) (all []*funnel.PanicError) {
	defer func() { _ = recover() }() // of a method of err
	if p, ok := err.(*funnel.PanicError); ok && p != nil {
		all = append(all, p)
	}
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			all = append(all, panicsIn(inner)...)
		}
	case interface{ Unwrap() error }:
		all = append(all, panicsIn(e.Unwrap())...)
	}
	return all
}
