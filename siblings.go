package funnel

import (
	"context"
	"sync"
)

// siblings are goroutines that each do a part of the same work. If one fails, the context
// that they share ends, so that the others end soon, too.
type siblings struct {
	ctx         context.Context // ends when one of them fails, when the owner cancels it, or with parent
	cancel      context.CancelCauseFunc
	parent      context.Context
	consequence error // the cause of ctx once one of them has failed

	mu     sync.Mutex
	failed outcome // the first error, then errors that are not its consequence
}

// begin makes the context. The owner must cancel it in the end.
func (s *siblings) begin(parent context.Context, consequence error) {
	s.parent, s.consequence = parent, consequence
	s.ctx, s.cancel = context.WithCancelCause(parent)
}

// fail records the failure of a sibling, by an error or a panic, and ends the context.
// The first failure stays first. A later error that is only a consequence of it is
// dropped. fail calls no method of an error without a guard.
func (s *siblings) fail(err error, panicked *PanicError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel(s.consequence)
	isFirst := len(s.failed.errs) == 0 && s.failed.panicked == nil
	fromAbove := []error{context.Canceled, s.parent.Err(), context.Cause(s.parent)}
	switch {
	case isFirst || err == nil:
		s.failed.add(err, panicked)
	case isOnly(err, context.Canceled, s.consequence):
	case s.parent.Err() != nil && len(s.failed.errs) > 0 && isOnly(s.failed.errs[0], fromAbove...):
		s.failed.errs[0] = err // the first one only passed on that parent has ended
	default:
		s.failed.add(err, nil)
	}
}
