// Package life holds what all sources of files share, whatever the format: a session from Open
// to Teardown, and how far it was read and acked.
package life

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/lock"
)

// Session is the state of a source from Open to Teardown. Only one goroutine uses it at a time.
type Session interface {
	Read(ctx context.Context) ([]opencdc.Record, error)
	Close() error
}

// Life opens, reads and closes the sessions of a source. [New] makes one. Any goroutine may
// call its methods at any time: one of them uses the session, and the others wait.
type Life struct {
	name    string
	session Session     // nil if the source is not open; guarded by inUse
	inUse   *lock.Mutex // held while Open, Read or Teardown uses the session

	mu        sync.Mutex
	isTorn    bool                    // Teardown was called after the last Open
	teardowns int                     // pending calls of Teardown
	cancel    context.CancelCauseFunc // ends a pending Open or Read, or nil
}

// New returns the life of a source that is not open. Its errors contain the name.
func New(name string) *Life {
	return &Life{name: name, inUse: lock.New()}
}

// tornDown is the error of calls after Teardown.
type tornDown struct{ name string }

func (e tornDown) Error() string { return fmt.Sprintf("the %s was torn down", e.name) }

// Ended returns an error if a context has ended, and otherwise nil. If Teardown has ended the
// context, the error says so. Otherwise it wraps both the context's error and its cause.
func Ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if err == nil {
		return nil
	}
	if _, isTorn := cause.(tornDown); isTorn || cause == err {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// Open calls open to make a session, and returns its error unchanged. If there is a session
// already, Open returns an error. The context that open gets ends with ctx and at Teardown.
func (l *Life) Open(ctx context.Context, open func(context.Context) (Session, error)) error {
	ctx, end, err := l.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if l.session != nil {
		return fmt.Errorf("the %s is open already", l.name)
	}
	l.mu.Lock()
	l.isTorn = false
	l.mu.Unlock()
	session, err := open(ctx)
	if err != nil {
		return err
	}
	l.session = session
	return nil
}

// Read reads from the session. The context that the session gets ends with ctx and at
// Teardown. Read puts the name before each error, unless it is [io.EOF] or that context has
// ended.
func (l *Life) Read(ctx context.Context) ([]opencdc.Record, error) {
	if err := Ended(ctx); err != nil {
		return nil, err
	}
	ctx, end, err := l.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	l.mu.Lock()
	isTorn := l.isTorn
	l.mu.Unlock()
	switch {
	case isTorn:
		return nil, tornDown{l.name}
	case l.session == nil:
		return nil, fmt.Errorf("the %s is not open", l.name)
	}
	records, err := l.session.Read(ctx)
	if err != nil && err != io.EOF && Ended(ctx) == nil {
		err = fmt.Errorf("%s: %w", l.name, err)
	}
	return records, err
}

// Teardown ends a pending Open or Read, waits until it has returned, and closes the session.
// If no call is pending, it closes the session even if ctx has ended.
func (l *Life) Teardown(ctx context.Context) error {
	l.mu.Lock()
	l.isTorn = true
	l.teardowns++
	if l.cancel != nil {
		l.cancel(tornDown{l.name})
	}
	l.mu.Unlock()
	err := l.inUse.Lock(ctx)
	l.mu.Lock()
	l.teardowns--
	l.mu.Unlock()
	if err != nil {
		return fmt.Errorf("a call of the %s is still pending: %w", l.name, Ended(ctx))
	}
	defer l.inUse.Unlock()
	if l.session == nil {
		return nil
	}
	session := l.session
	l.session = nil
	return session.Close()
}

// begin waits until no other call uses the session, and returns a context that ends with ctx
// and at Teardown. The caller must call end after it has used the session.
func (l *Life) begin(ctx context.Context) (inner context.Context, end func(), err error) {
	if l.inUse.Lock(ctx) != nil {
		return nil, nil, Ended(ctx)
	}
	inner, cancel := context.WithCancelCause(ctx)
	l.mu.Lock()
	l.cancel = cancel
	if l.teardowns > 0 { // it came before there was a call to cancel
		cancel(tornDown{l.name})
	}
	l.mu.Unlock()
	return inner, func() {
		l.mu.Lock()
		l.cancel = nil
		l.mu.Unlock()
		cancel(nil)
		l.inUse.Unlock()
	}, nil
}
