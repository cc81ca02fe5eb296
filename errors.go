package funnel

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
)

// FatalError marks err as one after which a restart would only fail again: a
// host that restarts its pipelines should not. The text stays that of err, which
// can be unwrapped. FatalError(nil) is nil.
func FatalError(err error) error {
	if err == nil {
		return nil
	}
	return &fatalError{err: err}
}

// IsFatalError reports whether err, or an error that it wraps, was marked by
// [FatalError].
func IsFatalError(err error) bool {
	var fatal *fatalError
	return errors.As(err, &fatal)
}

type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }
func (e *fatalError) Unwrap() error { return e.err }

// PanicError is what [Worker.Do] panics with after a connector, processor or
// task has panicked on another goroutine than that of Do: in a pipeline with
// branches, while the source was read ahead, or in a part of a batch that is
// processed in parallel.
type PanicError struct {
	// Value is what the code panicked with.
	Value any
	// Stack is the stack of its goroutine at that time, as [runtime/debug.Stack]
	// formats it.
	Stack []byte
}

// Error returns the value and the stack.
func (e *PanicError) Error() string {
	return fmt.Sprintf("panic on another goroutine: %v\n\n%s", e.Value, e.Stack)
}

// Unwrap returns the value, if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// newPanicError returns what a panic on another goroutine comes back as, with the
// stack of this goroutine, which has recovered the value.
func newPanicError(value any) *PanicError {
	if err, ok := value.(*PanicError); ok && err != nil {
		return err
	}
	return &PanicError{Value: value, Stack: debug.Stack()}
}

// errGoexit is the error of a goroutine that has not come to its end.
var errGoexit = errors.New("the goroutine was ended by runtime.Goexit")

// errOtherBranch is why the context of branches has ended, if one has failed.
var errOtherBranch = errors.New("another branch has failed")

// branchesError is what a fan-out panics with in place of returning the error, when
// its goroutine is being ended.
type branchesError struct{ err error }

// guard calls f and then ended with how f has ended: by returning an error or nil,
// by ending the goroutine, which cannot be stopped, or by a panic, which ends
// here. The error of a goroutine that is ended is that of the branches on it, or
// errGoexit.
func guard(f func() error, ended func(err error, panicked *PanicError)) {
	var err error
	hasReturned := false
	defer func() {
		switch value := recover().(type) {
		case nil:
			if !hasReturned {
				err = errGoexit
			}
			ended(err, nil)
		case branchesError:
			ended(value.err, nil)
		default:
			ended(nil, newPanicError(value))
		}
	}()
	err = f()
	hasReturned = true
}

// errNoCause is the error of a record that was nacked without one.
var errNoCause = errors.New("the record was nacked without an error")

// sourceAckError is an error of Source.Ack. The worker tells it from others,
// since io.EOF means that the source knows more.
type sourceAckError struct{ err error }

func (e *sourceAckError) Error() string {
	return fmt.Sprintf("failed to ack records in the source: %v", e.err)
}
func (e *sourceAckError) Unwrap() error { return e.err }

// joinErrors returns the errors that are not nil as one.
func joinErrors(errs ...error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// isOnly returns true if err is target, or wraps it, or joins only errors of which
// that is true.
func isOnly(err, target error) bool {
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		joined := e.Unwrap()
		return len(joined) > 0 && !slices.ContainsFunc(joined, func(err error) bool { return !isOnly(err, target) })
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return isOnly(inner, target)
		}
	}
	return errors.Is(err, target)
}

// taskError says which task an error comes from, once.
func taskError(id string, err error) error {
	if named, ok := err.(*namedError); ok && named.taskID == id {
		return err
	}
	return &namedError{taskID: id, err: err}
}

type namedError struct {
	taskID string
	err    error
}

func (e *namedError) Error() string { return fmt.Sprintf("task %q: %v", e.taskID, e.err) }
func (e *namedError) Unwrap() error { return e.err }
