package fake

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// ErrTest is the error of most tests.
var ErrTest = errors.New("test error")

// ErrOf returns the error of the record at a position. It wraps ErrTest.
func ErrOf(position string) error { return fmt.Errorf("%w of %s", ErrTest, position) }

// WantNoError fails the test if there is an error.
func WantNoError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("unexpected error: %v", err)
	}
}

// WantError fails the test if err is not want, or if its text lacks one of the
// words. A nil want stands for any error.
func WantError(t testing.TB, err, want error, words ...string) {
	t.Helper()
	if err == nil {
		t.Error("there is no error")
		return
	}
	if want != nil && !errors.Is(err, want) {
		t.Errorf("error %q is not %q", err, want)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
	}
}

// WantFatal fails the test if the error is fatal and want is false, or the other way
// round.
func WantFatal(t testing.TB, err error, want bool) {
	t.Helper()
	if funnel.IsFatalError(err) != want {
		t.Errorf("the error is fatal: %t, want %t: %v", !want, want, err)
	}
}

// WantTask fails the test unless the error names the task, once.
func WantTask(t testing.TB, err error, id string) {
	t.Helper()
	found := taskErrors(err)
	if len(found) != 1 || found[0].TaskID != id {
		t.Errorf("the error names the tasks %v, want %s once: %v", found, id, err)
	}
	var first *funnel.TaskError
	if errors.As(err, &first) && first.Error() != fmt.Sprintf("task %q: %v", id, first.Err) {
		t.Errorf("the text of the error is %q", first)
	}
}

// taskErrors returns the TaskErrors in the tree of an error.
func taskErrors(err error) []*funnel.TaskError {
	var found []*funnel.TaskError
	if e, ok := err.(*funnel.TaskError); ok {
		found = append(found, e)
	}
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			found = append(found, taskErrors(err)...)
		}
	case interface{ Unwrap() error }:
		found = append(found, taskErrors(e.Unwrap())...)
	}
	return found
}

// WantLines fails the test if the lines differ.
func WantLines(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// WantNack fails the test unless the dead letter names the task and the cause.
func WantNack(t testing.TB, letter opencdc.Record, taskID, cause string) {
	t.Helper()
	id, _ := letter.Metadata.GetConduitDLQNackNodeID()
	err, _ := letter.Metadata.GetConduitDLQNackError()
	if id != taskID || err != cause && err != "the record was "+cause {
		t.Errorf("record %q was nacked by %q with %q, want %q with %q", letter.Position, id, err, taskID, cause)
	}
}

// ContextKey is the key of a value by which a test recognizes its context.
type ContextKey struct{}
