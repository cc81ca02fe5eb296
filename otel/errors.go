package otel

import (
	"errors"
	"strings"

	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/conduitio/funnel"
)

var (
	errAborted     = errors.New("a panic or runtime.Goexit has ended the batch")
	errNotReturned = errors.New("the task has not returned: a panic or runtime.Goexit has ended it")
)

// maxErrorText is the maximum length of the text of an error in a span, in bytes.
const maxErrorText = 1_024

// setError sets the status of a span, and adds an event with the error, unless it is nil.
func setError(span trace.Span, err error) {
	if err == nil {
		return
	}
	text, kind := describe(err)
	span.SetStatus(codes.Error, text)
	span.SetAttributes(semconv.ErrorTypeKey.String(kind))
	span.AddEvent(semconv.ExceptionEventName, trace.WithAttributes(semconv.ExceptionMessage(text), semconv.ExceptionType(kind)))
}

// describe returns the text of an error, as valid UTF-8 and not too long, and its type. A
// TaskError wraps every error of a task, so its type is skipped for the type of the error in
// it. A panic in a method of the error does not end the worker.
func describe(err error) (text, kind string) {
	text, kind = "a method of the error panics", semconv.ErrorTypeOther.Value.AsString()
	defer func() { _ = recover() }()
	text = boundedText(err.Error())
	var task *funnel.TaskError
	if errors.As(err, &task) && task.Err != nil {
		err = task.Err
	}
	return text, semconv.ErrorType(err).Value.AsString()
}

// boundedText returns the beginning of a text, as valid UTF-8.
func boundedText(text string) string {
	const more = "…"
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText-len(more)], "") + more
	}
	return strings.ToValidUTF8(text, "?")
}
