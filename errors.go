package funnel

import (
	"errors"
	"fmt"
	"runtime/debug"
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

// sourceAckError is an error of Source.Ack. The worker tells it from others,
// since io.EOF means that the source knows more.
type sourceAckError struct{ err error }

func (e *sourceAckError) Error() string {
	return fmt.Sprintf("failed to ack records in the source: %v", e.err)
}
func (e *sourceAckError) Unwrap() error { return e.err }

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
