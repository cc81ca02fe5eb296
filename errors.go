package funnel

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/deepcopy"
)

// The ways in which the engine itself ends a worker, or refuses to run one. An
// error that [Worker.Do] returns for one of them wraps it and says what happened
// and where. Errors of connectors and tasks are wrapped as they are.
var (
	// ErrEmptyPosition means that the source has returned a record without a
	// position: acking it would wipe the position from which the source resumes.
	// It is fatal.
	ErrEmptyPosition = errors.New("empty position")
	// ErrNoProgress means that a task has given no answer for its records in too
	// many calls in a row. It is fatal.
	ErrNoProgress = errors.New("no progress")
	// ErrAckMismatch means that a destination has acked a position other than the
	// next one, or more records than were written.
	ErrAckMismatch = errors.New("the acks do not match the records")
	// ErrAcksStopped means that a destination has returned no acks in five calls
	// in a row.
	ErrAcksStopped = errors.New("the destination has stopped acking")
	// ErrNackThreshold means that the dead-letter queue has refused a record,
	// because there were too many nacks in its window. It is fatal. With a
	// threshold of 0 the worker stops with the record's own error instead.
	ErrNackThreshold = errors.New("too many nacks")
	// ErrProcessorResults means that a processor has returned nothing, more
	// results than it was given records, or a result of an unknown kind.
	ErrProcessorResults = errors.New("invalid results")
	// ErrTooDeep means that a record is nested deeper than 10,000 levels, and
	// cannot be copied for a branch or made a dead letter. It is fatal.
	ErrTooDeep = deepcopy.ErrTooDeep
	// ErrLostRecords means that records were not settled at the end of the pipeline,
	// or were settled more than once: a task has changed the batch in a way that is
	// not allowed.
	ErrLostRecords = errors.New("records were lost by a task")
	// ErrGoexit means that a connector or task has ended a goroutine of the engine
	// with [runtime.Goexit], as a test that fails in a mock does.
	ErrGoexit = errors.New("the goroutine was ended by runtime.Goexit")
	// ErrAlreadyRan means that Do was called before. A worker runs once.
	ErrAlreadyRan = errors.New("a worker runs once: Do was called before")
	// ErrNotOpen means that the last call of Open has failed.
	ErrNotOpen = errors.New("the worker is not open: Open has failed")
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
	_, ok := find[*fatalError](err)
	return ok
}

// find is [errors.As], but does not trust the methods of err: if one of them
// panics, it finds nothing.
func find[E error](err error) (found E, ok bool) {
	defer func() { _ = recover() }()
	ok = errors.As(err, &found)
	return found, ok
}

type fatalError struct{ err error }

func (e *fatalError) Error() string { return fmt.Sprint(e.err) }
func (e *fatalError) Unwrap() error { return e.err }

// TaskError says which task an error comes from. Each error of [Worker.Do],
// [Worker.Open] and [Worker.Close] that comes from a task wraps one, which
// [errors.As] finds. The dead-letter queue is no task: if a record cannot be
// written to it, TaskID is that of the task that has nacked the record.
type TaskError struct {
	// TaskID is the ID of the task, as it was when the worker was made.
	TaskID string
	// Err is what has gone wrong.
	Err error
}

// Error returns the ID of the task and the text of Err.
func (e *TaskError) Error() string { return fmt.Sprintf("task %q: %v", e.TaskID, e.Err) }

// Unwrap returns Err.
func (e *TaskError) Unwrap() error { return e.Err }

// taskError wraps an error with the ID of the task that it comes from. If it is a
// TaskError already, that of a task inside this one, the ID replaces the inner one.
func taskError(id string, err error) error {
	if named, ok := err.(*TaskError); ok && named != nil {
		err = named.Err
	}
	if _, ok := find[*TaskError](err); ok {
		err = &innerError{err: err}
	}
	return &TaskError{TaskID: id, Err: err}
}

// innerError is an error further down that names a task already, such as one that
// the host's task has called itself. It is like that error, but no [TaskError] is
// found in it: who asks which task has failed means one of the pipeline.
type innerError struct{ err error }

func (e *innerError) Error() string        { return fmt.Sprint(e.err) }
func (e *innerError) Is(target error) bool { return errors.Is(e.err, target) }
func (e *innerError) As(target any) bool {
	_, isTask := target.(**TaskError)
	return !isTask && errors.As(e.err, target)
}

// PanicError is what [Worker.Do] panics with if a connector, processor or task has
// panicked on a goroutine other than that of Do, or if something else has gone
// wrong, too. [Worker.Open] and [Worker.Close] panic with one after they have tried
// to close everything.
type PanicError struct {
	// Value is what the code panicked with.
	Value any
	// Stack is the stack of its goroutine at that time, as [runtime/debug.Stack]
	// formats it.
	Stack []byte
	// Err is what else is known to have gone wrong, or nil.
	Err error
}

// Error returns the value, Err and the stack.
func (e *PanicError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("panic: %v\n\n%s", e.Value, e.Stack)
	}
	return fmt.Sprintf("panic: %v\nother errors: %v\n\n%s", e.Value, e.Err, e.Stack)
}

// Unwrap returns the value, if it is an error, and Err, if there is one.
func (e *PanicError) Unwrap() []error {
	var errs []error
	if err, ok := e.Value.(error); ok {
		errs = append(errs, err)
	}
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	return errs
}

// with returns a copy of e that holds err as well.
func (e *PanicError) with(err error) *PanicError {
	return &PanicError{Value: e.Value, Stack: e.Stack, Err: joinErrors(err, e.Err)}
}

// newPanicError returns the PanicError for a recovered value, with the stack of
// this goroutine. A value that is a PanicError is returned as it is.
func newPanicError(value any) *PanicError {
	if err, ok := value.(*PanicError); ok && err != nil {
		return err
	}
	return &PanicError{Value: value, Stack: debug.Stack()}
}

// errOtherBranch is why the context of branches has ended, if one has failed.
var errOtherBranch = errors.New("another branch has failed")

// errNoCause is the error of a record that was nacked without one.
var errNoCause = errors.New("the record was nacked without an error")

// guard calls f and then tells ended how f has ended. A returned error, or nil, is
// passed on. A panic stops here. If f ends the goroutine, which cannot be
// prevented, the error is ErrGoexit.
func guard(f func() error, ended func(err error, panicked *PanicError)) {
	err := ErrGoexit
	defer func() {
		if value := recover(); value != nil {
			ended(nil, newPanicError(value))
		} else {
			ended(err, nil)
		}
	}()
	err = f()
}

// outcome collects what has gone wrong in several places, so that no failure hides
// another. The zero value means that nothing has gone wrong.
type outcome struct {
	errs     []error
	panicked *PanicError // the first one, the others are among the errors
}

// add adds an error and a panic, which may both be nil.
func (o *outcome) add(err error, panicked *PanicError) {
	if err != nil {
		o.errs = append(o.errs, err)
	}
	switch {
	case panicked == nil:
	case o.panicked == nil:
		o.panicked = panicked
	default:
		o.errs = append(o.errs, panicked)
	}
}

// isFailure returns true if anything has gone wrong.
func (o *outcome) isFailure() bool { return len(o.errs) > 0 || o.panicked != nil }

// all returns everything as errors.
func (o *outcome) all() []error {
	if o.panicked == nil {
		return o.errs
	}
	return append([]error{o.panicked}, o.errs...)
}

// try calls f and adds its error or panic. If f ends the goroutine, it adds
// nothing.
func (o *outcome) try(f func() error) {
	defer func() {
		if value := recover(); value != nil {
			o.add(nil, newPanicError(value))
		}
	}()
	o.add(f(), nil)
}

// result returns the errors as one, and panics if there was a panic.
func (o *outcome) result() error {
	err := joinErrors(o.errs...)
	if o.panicked == nil {
		return err
	}
	if err != nil {
		panic(o.panicked.with(err))
	}
	panic(o.panicked)
}

// holding calls f. If f panics, the panic also holds err, an earlier error or nil.
func holding(err error, f func() error) error {
	if err != nil {
		defer func() {
			if value := recover(); value != nil {
				panic(newPanicError(value).with(err))
			}
		}()
	}
	return f()
}

// also calls f and returns its error joined to err, an earlier error or nil. If f
// panics, the panic holds err.
func also(err error, f func() error) error {
	return joinErrors(err, holding(err, f))
}

// sourceAckError is an error of Source.Ack. The worker tells it from others,
// since io.EOF means that the source knows more.
type sourceAckError struct{ err error }

func (e *sourceAckError) Error() string {
	return fmt.Sprintf("failed to ack records in the source: %v", e.err)
}
func (e *sourceAckError) Unwrap() error { return e.err }

// joinErrors returns the errors that are not nil as one.
func joinErrors(errs ...error) error {
	var last error
	n := 0
	for _, err := range errs {
		if err != nil {
			last = err
			n++
		}
	}
	if n <= 1 {
		return last
	}
	return errors.Join(errs...)
}

// contextError returns an error that wraps both the error of a context that has
// ended and its cause. It returns nil if the context has not ended.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if err == nil || cause == nil || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// withContextError returns err, joined to the error of the context if that has
// ended. If err says nothing else, the error of the context is returned alone.
func withContextError(ctx context.Context, err error) error {
	ended := contextError(ctx)
	if ended == nil {
		return err
	}
	if isOnly(err, ctx.Err(), context.Cause(ctx)) {
		return ended
	}
	return errors.Join(ended, err)
}

// isOnly returns true if err is, or wraps, one of the targets, or joins only such
// errors. It does not trust the methods of err: if one of them panics, err counts
// as something else.
func isOnly(err error, targets ...error) (is bool) {
	defer func() { _ = recover() }()
	switch e := err.(type) {
	case *innerError:
		return isOnly(e.err, targets...)
	case interface{ Unwrap() []error }:
		joined := e.Unwrap()
		return len(joined) > 0 && !slices.ContainsFunc(joined, func(err error) bool { return !isOnly(err, targets...) })
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return isOnly(inner, targets...)
		}
	}
	return isAny(err, targets...)
}

// isAny returns true if err is, or wraps, one of the targets. It does not trust the
// methods of err: if one of them panics, err counts as none of the targets.
func isAny(err error, targets ...error) (is bool) {
	defer func() { _ = recover() }()
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

// errorText returns the text of an error, even if its method Error panics.
func errorText(err error) (text string) {
	defer func() {
		if value := recover(); value != nil {
			text = fmt.Sprintf("an error of type %T, whose method Error panics: %v", err, value)
		}
	}()
	return err.Error()
}

// shownBytes is how much of a position is shown in an error or a log line.
const shownBytes = 64

// show returns a position as errors show it: quoted and, if it is long, cut to its
// beginning, with its length.
func show(p opencdc.Position) string {
	if len(p) <= shownBytes {
		return strconv.Quote(string(p))
	}
	return fmt.Sprintf("%q... (%d bytes)", p[:shownBytes], len(p))
}

// shorten is show for log lines, in which the logger quotes the fields.
func shorten(p opencdc.Position) string {
	if len(p) <= shownBytes {
		return string(p)
	}
	return fmt.Sprintf("%s... (%d bytes)", p[:shownBytes], len(p))
}

// lost wraps an error of the ledger, which does not agree with what a task has
// done, in ErrLostRecords. It returns nil for nil.
func lost(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrLostRecords, err)
}
