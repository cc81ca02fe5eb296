package position

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// saver saves the positions of a session, and acks its inner source, on a goroutine of its
// own.
type saver struct {
	session *session
	records int
	period  time.Duration
	ctx     context.Context // of the saves
	cancel  context.CancelFunc

	due   chan struct{} // gets a value when a position has come
	quit  chan struct{} // closed when Teardown begins
	done  chan struct{} // closed when the goroutine has ended
	reads readContext

	// The lock of the session guards the fields below.
	changed    chan struct{} // closed when a waiting Ack may go on
	firstAt    time.Time     // when the first position came that waits
	err        error         // of a save, or of an ack of the inner source
	panicked   *funnel.PanicError
	isReported bool // Ack or Teardown has returned it
}

func newSaver(ctx context.Context, s *session, config trackConfig) *saver {
	v := &saver{
		session: s,
		records: config.records,
		period:  config.period,
		due:     make(chan struct{}, 1),
		quit:    make(chan struct{}),
		done:    make(chan struct{}),
		changed: make(chan struct{}),
	}
	v.ctx, v.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return v
}

// waiting returns how many positions wait. The caller holds the lock.
func (v *saver) waiting() int { return len(v.session.pending) - v.session.busy }

// wake lets each Ack that waits look again. The caller holds the lock.
func (v *saver) wake() {
	close(v.changed)
	v.changed = make(chan struct{})
}

// add adds positions, and waits until there is room for them.
func (v *saver) add(ctx context.Context, positions []opencdc.Position) error {
	for {
		changed, err := v.tryAdd(positions)
		if changed == nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tryAdd adds positions. If there is no room, it returns what to wait for.
func (v *saver) tryAdd(positions []opencdc.Position) (<-chan struct{}, error) {
	s := v.session
	s.mu.Lock()
	defer s.mu.Unlock()
	n := v.waiting()
	switch {
	case s.isOver:
		return nil, errTornDown
	case v.hasFailed():
		v.isReported = true
		return nil, v.fail()
	case n >= v.records:
		return v.changed, nil
	case n == 0:
		v.firstAt = time.Now()
	}
	s.pending = append(s.pending, positions...)
	select {
	case v.due <- struct{}{}:
	default:
	}
	return nil, nil
}

// run saves until Teardown begins or something fails.
func (v *saver) run() {
	defer close(v.done)
	defer v.cancel()
	err, hasReturned := error(nil), false
	defer func() {
		switch value := recover(); {
		case hasReturned:
			v.end(err, nil)
		case value == nil:
			v.end(funnel.ErrGoexit, nil)
		default:
			v.end(nil, newPanicError(value, nil))
		}
	}()
	for err == nil && v.collect() {
		err = v.save()
	}
	hasReturned = true
}

// collect waits until a save is due. It returns false once Teardown has begun.
func (v *saver) collect() bool {
	for !v.session.isTearingDown() {
		wait, isDue := v.untilDue()
		if isDue {
			return true
		}
		var isOver <-chan time.Time
		if wait > 0 {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			isOver = timer.C
		}
		select {
		case <-v.due:
		case <-isOver:
		case <-v.quit:
		}
	}
	return false
}

// untilDue returns whether a save is due, and otherwise when it will be, or 0 if no position
// waits.
func (v *saver) untilDue() (wait time.Duration, isDue bool) {
	v.session.mu.Lock()
	defer v.session.mu.Unlock()
	n := v.waiting()
	if n == 0 {
		return 0, false
	}
	wait = v.period - time.Since(v.firstAt)
	return wait, n >= v.records || wait <= 0
}

// save saves and acks what waits, unless Teardown does.
func (v *saver) save() error {
	s := v.session
	if err := s.saving.Lock(v.ctx); err != nil {
		return nil // Teardown has ended the context
	}
	defer s.saving.Unlock()
	if s.isTearingDown() {
		return nil
	}
	positions, err := s.save(v.ctx)
	if err != nil {
		return err
	}
	return s.ackSource(v.ctx, positions)
}

// end records why there are no more saves. That Teardown has overtaken a save that hung is
// no failure: Teardown repeats the save, or leaves the inner source without the ack.
func (v *saver) end(err error, panicked *funnel.PanicError) {
	s := v.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == errTornDown || s.isOver && v.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	v.err, v.panicked = err, panicked
	if !v.hasFailed() {
		return
	}
	v.wake()
	if v.err != io.EOF { // otherwise the next Read says why the stream of the source has closed
		v.reads.end(errNotSaved)
	}
}

// errNotSaved is the cause of the context of a Read that ends because a save has failed.
var errNotSaved = errors.New("the position could not be saved")

// hasFailed returns true if there are no more saves because something has failed. The
// caller holds the lock.
func (v *saver) hasFailed() bool { return v.err != nil || v.panicked != nil }

// fail returns the error, or panics. The caller holds the lock.
func (v *saver) fail() error {
	if v.panicked != nil {
		panic(v.panicked)
	}
	return v.err
}

// report returns the error, or panics, unless that was done.
func (v *saver) report() error {
	v.session.mu.Lock()
	defer v.session.mu.Unlock()
	if v.isReported {
		return nil
	}
	v.isReported = v.hasFailed()
	return v.fail()
}

// read reads the inner source with a context that ends when a save fails.
func (v *saver) read(parent context.Context) ([]opencdc.Record, error) {
	ctx := v.reads.context(parent)
	if context.Cause(ctx) == errNotSaved {
		return nil, v.failure(parent, nil)
	}
	records, err := v.session.source.Read(ctx)
	if err == nil || err == io.EOF && len(records) > 0 {
		return records, err // the next Ack says that a save has failed
	}
	return records, v.failure(parent, err)
}

// failure returns the error for Read, after a read of the inner source has returned err.
// parent is the context of Read.
func (v *saver) failure(parent context.Context, err error) error {
	v.session.mu.Lock()
	defer v.session.mu.Unlock()
	switch {
	case !v.hasFailed() || v.err == io.EOF:
		return err
	case err == nil || err == io.EOF || parent.Err() == nil && (errors.Is(err, context.Canceled) || errors.Is(err, errNotSaved)):
		return v.fail()
	default:
		return errors.Join(v.fail(), err)
	}
}

// readContext makes the contexts of reads, and ends them. Consecutive reads with the same
// context get the same one.
type readContext struct {
	mu     sync.Mutex
	cause  error // why the contexts have ended, or nil
	parent context.Context
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// context returns a context for a read that was given parent.
func (r *readContext) context(parent context.Context) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx != nil && isSame(r.parent, parent) {
		return r.ctx
	}
	if r.ctx != nil {
		r.cancel(nil)
	}
	r.parent = parent
	r.ctx, r.cancel = context.WithCancelCause(parent)
	if r.cause != nil {
		r.cancel(r.cause)
	}
	return r.ctx
}

// end ends the contexts.
func (r *readContext) end(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause == nil {
		r.cause = cause
	}
	if r.ctx != nil {
		r.cancel(cause)
	}
}

// isSame returns true if a and b are the same context. Contexts that cannot be compared
// never are.
func isSame(a, b context.Context) (is bool) {
	defer func() { _ = recover() }()
	return a == b
}
