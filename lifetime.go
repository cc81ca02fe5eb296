package funnel

import (
	"context"
	"sync"
)

// lifetime ends the calls of a connector when it is torn down. The zero value is that of
// a connector that is used without Open. A lifetime is safe for concurrent use.
type lifetime struct {
	mu     sync.Mutex
	isOver bool

	parent context.Context // of ctx
	ctx    context.Context // for the calls, or nil
	cancel context.CancelCauseFunc
}

// begin is for Open.
func (l *lifetime) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isOver = false
	l.drop(nil)
}

// end is for Teardown. It ends the context of pending calls, and makes later ones fail.
func (l *lifetime) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isOver = true
	l.drop(errTornDown)
}

// context returns a context for a call that was given parent. It ends with parent, and
// with errTornDown as its cause when the lifetime ends. Consecutive calls with the same
// parent get the same context; the first call with another one ends it. If the lifetime
// is over, context returns errTornDown.
func (l *lifetime) context(parent context.Context) (context.Context, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isOver {
		return nil, errTornDown
	}
	if l.ctx == nil || !isSame(l.parent, parent) {
		l.drop(nil)
		l.parent = parent
		l.ctx, l.cancel = context.WithCancelCause(parent)
	}
	return l.ctx, nil
}

// drop ends the context, if there is one.
func (l *lifetime) drop(cause error) {
	if l.ctx == nil {
		return
	}
	l.cancel(cause)
	l.parent, l.ctx, l.cancel = nil, nil, nil
}

// isSame returns true if a and b are the same context. Contexts that cannot be compared
// never are.
func isSame(a, b context.Context) (is bool) {
	defer func() { _ = recover() }()
	return a == b
}
