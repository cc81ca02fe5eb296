package funnel

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/deepcopy"
)

// The reasons for which the engine itself ends a worker or refuses to run one. The
// error that [Worker.Do] returns wraps one of them and says what happened and where.
// Errors of connectors and tasks are wrapped as they are.
var (
	// ErrEmptyPosition means that the source returned a record without a position.
	// Acking it would wipe the position from which the source resumes. The error is
	// fatal.
	ErrEmptyPosition = errors.New("empty position")
	// ErrNoProgress means that a task gave no answer for its records in too many
	// consecutive calls. The error is fatal.
	ErrNoProgress = errors.New("no progress")
	// ErrAckMismatch means that a destination acked a position other than the next one
	// due, or more records than were written.
	ErrAckMismatch = errors.New("the acks do not match the records")
	// ErrAcksStopped means that a destination returned no acks in five consecutive
	// calls.
	ErrAcksStopped = errors.New("the destination has stopped acking")
	// ErrNackThreshold means that the dead-letter queue refused a record because there
	// were too many nacks in its window. The error is fatal. With a threshold of 0 the
	// worker stops with the record's own error instead.
	ErrNackThreshold = errors.New("too many nacks")
	// ErrProcessorResults means that a processor returned no results, more results than
	// records, or a result of an unknown type.
	ErrProcessorResults = errors.New("invalid results")
	// ErrTooDeep means that a record is nested deeper than 10,000 levels and so cannot
	// be copied or made a dead letter. The error is fatal.
	ErrTooDeep = deepcopy.ErrTooDeep
	// ErrLostRecords means that records were not settled by the end of the pipeline, or
	// were settled more than once: a task changed the batch in a way that is not
	// allowed.
	ErrLostRecords = errors.New("records were lost by a task")
	// ErrGoexit means that a connector, processor or task ended a goroutine of the
	// engine with [runtime.Goexit], as a test that fails in a mock does.
	ErrGoexit = errors.New("the goroutine was ended by runtime.Goexit")
	// ErrAlreadyRan means that Do was called before. A worker runs once.
	ErrAlreadyRan = errors.New("a worker runs once: Do was called before")
	// ErrNotOpen means that the last call of Open failed, or that a sink was closed.
	ErrNotOpen = errors.New("not open")
	// ErrSinkFailed means that something went wrong inside a sink, see [Sink]. The error
	// also wraps the first error in the sink.
	ErrSinkFailed = errors.New("the sink has failed")
	// ErrNoRoute is the error with which a [RouteTask] nacks a record if it has neither a
	// case for the record nor a default.
	ErrNoRoute = errors.New("no route")
	// ErrNotDelivered is the error of [ChannelSource.Send] if the worker ends before the
	// record is acked, or if the source is closed.
	ErrNotDelivered = errors.New("not delivered")
)

// FatalError marks err as fatal: a restart would only fail again, so a host should not
// restart the pipeline. The result has the text of err and unwraps to it.
// FatalError(nil) is nil.
func FatalError(err error) error {
	if err == nil {
		return nil
	}
	return &fatalError{err: err}
}

// IsFatalError reports whether err, or an error that it wraps, is marked by
// [FatalError].
func IsFatalError(err error) bool {
	_, ok := find[*fatalError](err)
	return ok
}

type fatalError struct{ err error }

func (e *fatalError) Error() string { return fmt.Sprint(e.err) }
func (e *fatalError) Unwrap() error { return e.err }

// TaskError names the task that an error comes from. Each error of [Worker.Do],
// [Worker.Open] and [Worker.Close] that comes from a task wraps a *TaskError, which
// [errors.As] finds. The dead-letter queue is not a task: if a record cannot be written
// to it, TaskID names the task that nacked the record.
type TaskError struct {
	// TaskID is the ID of the task, as NewWorker found it.
	TaskID string
	// Err is the error of the task.
	Err error
}

// Error returns the ID of the task and the text of Err.
func (e *TaskError) Error() string { return fmt.Sprintf("task %q: %v", e.TaskID, e.Err) }

// Unwrap returns Err.
func (e *TaskError) Unwrap() error { return e.Err }

// taskError wraps an error with the ID of the task that it comes from. If it is the
// TaskError of a task inside this one, the ID replaces the inner one.
func taskError(id string, err error) error {
	if named, ok := err.(*TaskError); ok && named != nil {
		err = named.Err
	}
	if _, ok := find[*TaskError](err); ok {
		err = &innerError{err: err}
	}
	return &TaskError{TaskID: id, Err: err}
}

// innerError hides the [TaskError] in an error, but is otherwise like that error. A
// custom task may call another task, which is not in the pipeline, and return its error:
// callers that look for a TaskError want the error of the task in the pipeline.
type innerError struct{ err error }

func (e *innerError) Error() string        { return fmt.Sprint(e.err) }
func (e *innerError) Is(target error) bool { return errors.Is(e.err, target) }
func (e *innerError) As(target any) bool {
	_, isTask := target.(**TaskError)
	return !isTask && errors.As(e.err, target)
}

// PanicError is what [Worker.Do] panics with if a connector, processor or task panics
// on a goroutine other than that of Do, or if something else goes wrong too.
// [Worker.Open] and [Worker.Close] panic with one after they have tried to close
// everything.
type PanicError struct {
	// Value is the value of the original panic.
	Value any
	// Stack is the stack of the goroutine that panicked, as [runtime/debug.Stack]
	// formats it.
	Stack []byte
	// Err holds everything else that is known to have gone wrong, or is nil.
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

// newPanicError returns a PanicError for a recovered value, with the stack of this
// goroutine. A value that is a PanicError is returned as it is.
func newPanicError(value any) *PanicError {
	if err, ok := value.(*PanicError); ok && err != nil {
		return err
	}
	return &PanicError{Value: value, Stack: debug.Stack()}
}

// errNotWritten is why dead letters are not confirmed if writing them has not returned.
var errNotWritten = errors.New("a panic or runtime.Goexit has ended the write of dead letters")

// errOtherBranch is the cause of a branch's context when it ends because another branch
// has failed.
var errOtherBranch = errors.New("another branch has failed")

// errOtherLane is the cause of a lane's context when it ends because another lane has
// failed.
var errOtherLane = errors.New("another lane has failed")

// errTornDown is the error of a connector of this package that is used after Teardown, and
// the cause of the context that Teardown ends.
var errTornDown = errors.New("the connector was torn down")

// errNoCause is the error of a record that was nacked without an error.
var errNoCause = errors.New("the record was nacked without an error")

// sourceAckError marks an error of Source.Ack. If it is io.EOF, the next read says why.
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

// shownBytes is how many bytes an error or a log line shows of a text that is not our own.
const shownBytes = 64

// quotePosition formats a position for an error: quoted and, if it is long, cut short
// and with its length.
func quotePosition(p opencdc.Position) string { return quote(string(p)) }

// quote quotes a text and, if it is long, cuts it short and adds its length.
func quote(text string) string {
	if len(text) <= shownBytes {
		return strconv.Quote(text)
	}
	return fmt.Sprintf("%q... (%d bytes)", text[:shownBytes], len(text))
}

// shortPosition is quotePosition for log lines: unquoted, since the logger quotes fields.
func shortPosition(p opencdc.Position) string {
	if len(p) <= shownBytes {
		return string(p)
	}
	return fmt.Sprintf("%s... (%d bytes)", p[:shownBytes], len(p))
}

// lostRecords wraps an error of the ledger in ErrLostRecords: the counts after a task do not
// add up. It returns nil for nil.
func lostRecords(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrLostRecords, err)
}
