package position

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// TrackOption is an option of [Track].
type TrackOption interface{ apply(*trackConfig) error }

type trackConfig struct {
	records int // 0 without coalescing
	period  time.Duration
}

type trackOption func(*trackConfig) error

func (o trackOption) apply(c *trackConfig) error { return o(c) }

// WithCoalescing lets one save stand for many records. A save is due when this many acked
// positions wait for it, or when the first of them has waited for the period. records must be
// at least 1, and the period positive. Without this option, each Ack saves.
//
// A goroutine of its own saves, and then acks the inner source, which must allow
// [funnel.Source.Ack] during Read. Ack only adds its positions to those that wait. At most
// records-1 positions and those of one Ack wait, besides as many that are being saved. While
// there is no room, Ack waits, until its context ends.
//
// If a save fails, so does each later Ack. A pending Read of the inner source is ended
// through its context, and Read returns the error of the save, so that an idle source does
// not hide it. An error of the inner source's Ack has the same effect, except that [io.EOF]
// ends no Read. If no Ack has returned the error, Teardown does. If the store or the inner
// source panics, the next Ack, Read or Teardown panics with a [*funnel.PanicError].
//
// What is given up: after a crash, records that were acked but not saved are read again.
func WithCoalescing(records int, period time.Duration) TrackOption {
	return trackOption(func(c *trackConfig) error {
		switch {
		case records < 1:
			return fmt.Errorf("cannot save the position once for %d records: at least 1 is needed", records)
		case period <= 0:
			return fmt.Errorf("cannot save the position with the period %v: it must be positive", period)
		}
		c.records, c.period = records, period
		return nil
	})
}

// Track makes a source durable. It wraps an inner source that can begin at a position, and
// returns a source that resumes after the last record whose position was saved. The store
// keeps the position under id, which is also the ID of the returned source.
//
// Open claims the position, loads it, and calls the function open with it, which makes the
// inner source. The position is nil if none was ever saved. Otherwise it is the last one that
// was saved, and the inner source must begin after its record. The function open owns the
// position. Open then opens the inner source. If anything fails, Open releases the claim.
// Open can be called again after Teardown, and makes a new inner source each time.
//
// Ack saves the last of its positions, and then acks the inner source, on the goroutine of
// the caller. So a queue or a replication slot behind the inner source is told only of what
// is saved. If the save fails, Ack returns the error and does not ack the inner source.
// Errors of the inner source are returned as they are. See [WithCoalescing] for fewer saves.
//
// Teardown first saves what is not saved yet, because a save has failed or is still to come,
// and acks the inner source accordingly, unless it has failed to ack before. Even if that
// fails, it then tears the inner source down. It releases the claim once everything is saved
// and the inner source is torn down. It joins all errors. If Teardown fails, it can be called
// again, and repeats only what has failed: the save, the teardown of the inner source, or the
// release. The inner source is not acked once its teardown has begun.
//
// If the claim was lost ([ErrFenced]), the error of the save is fatal: another pipeline has
// the position, or somebody has removed it. Teardown then gives up what was not saved.
//
// After a crash, the records whose positions were not saved are read again: those of the
// batch in flight and, with coalescing, those that waited for a save.
//
// Read passes its context on unchanged, unless positions are coalesced. Errors returns the
// channel of the inner source, or nil before the first Open. Invalid arguments make Open
// fail. If the inner source is a [funnel.ChannelSource], it does not learn the outcomes of
// its records. The returned source has a method Unwrap() [funnel.Source], for hosts that look
// for further methods of the inner source.
func Track(id string, store Store, open func(opencdc.Position) (funnel.Source, error), opts ...TrackOption) funnel.Source {
	t := &tracked{id: id, store: store, open: open}
	t.err = t.configure(opts)
	return t
}

// tracked is what Track returns.
type tracked struct {
	id     string
	store  Store
	open   func(opencdc.Position) (funnel.Source, error)
	config trackConfig
	err    error // what is wrong with the arguments

	leftover Claim // a claim that Open could not release

	mu      sync.Mutex
	session *session // of the last Open that has succeeded, or nil
}

// configure applies the options, and checks the arguments.
func (t *tracked) configure(opts []TrackOption) error {
	switch {
	case isNil(t.store):
		return fmt.Errorf("the store for the position of source %s is nil", quote(t.id))
	case t.open == nil:
		return fmt.Errorf("the function that opens source %s is nil", quote(t.id))
	}
	for i, opt := range opts {
		if isNil(opt) {
			return fmt.Errorf("option %d of source %s is nil", i, quote(t.id))
		}
		if err := opt.apply(&t.config); err != nil {
			return fmt.Errorf("source %s: %w", quote(t.id), err)
		}
	}
	return nil
}

var (
	errTornDown = errors.New("the source was torn down")
	errNotOpen  = errors.New("the source was not opened")
)

// current returns the session, or nil.
func (t *tracked) current() *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.session
}

// ID returns the ID.
func (t *tracked) ID() string { return t.id }

// Unwrap returns the inner source, or nil before the first Open.
func (t *tracked) Unwrap() funnel.Source {
	if s := t.current(); s != nil {
		return s.source
	}
	return nil
}

// Errors returns the channel of the inner source.
func (t *tracked) Errors() <-chan error {
	if s := t.current(); s != nil {
		return s.source.Errors()
	}
	return nil
}

// Open begins a session at the saved position.
func (t *tracked) Open(ctx context.Context) error {
	if t.err != nil {
		return t.err
	}
	if err := t.finish(ctx); err != nil {
		return fmt.Errorf("source %s cannot be opened: %w", quote(t.id), err)
	}
	s, err := t.begin(ctx)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.session = s
	return nil
}

// finish ends what the last Open and Teardown have left.
func (t *tracked) finish(ctx context.Context) error {
	if err := t.releaseLeftover(ctx); err != nil {
		return err
	}
	s := t.current()
	switch {
	case s == nil:
		return nil
	case !s.isTearingDown():
		return errors.New("it was not torn down")
	}
	return s.tearDown(ctx)
}

// releaseLeftover releases the claim that Open could not release.
func (t *tracked) releaseLeftover(ctx context.Context) error {
	if t.leftover == nil {
		return nil
	}
	if err := t.leftover.Release(ctx); err != nil {
		return fmt.Errorf("failed to release its claim: %w", err)
	}
	t.leftover = nil
	return nil
}

// begin claims the position and opens the inner source. Unless it succeeds, it releases the
// claim.
func (t *tracked) begin(ctx context.Context) (s *session, err error) {
	claim, err := t.store.Claim(ctx, t.id)
	switch {
	case err != nil:
		return nil, fmt.Errorf("failed to claim the position of source %s: %w", quote(t.id), err)
	case isNil(claim):
		return nil, fmt.Errorf("failed to claim the position of source %s: the store returned no claim", quote(t.id))
	}
	defer func() {
		if s != nil {
			return
		}
		value := recover() // nil for Goexit too
		t.leftover = claim
		failed := t.releaseLeftover(context.WithoutCancel(ctx))
		if value != nil {
			panic(newPanicError(value, failed))
		}
		err = errors.Join(err, failed)
	}()
	p, err := claim.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("failed to load the position of source %s: %w", quote(t.id), err)
	}
	source, err := t.open(slices.Clip(p))
	switch {
	case err != nil:
		return nil, fmt.Errorf("failed to make source %s at position %s: %w", quote(t.id), quote(string(p)), err)
	case isNil(source):
		return nil, fmt.Errorf("failed to make source %s at position %s: the function returned no source", quote(t.id), quote(string(p)))
	}
	if err := source.Open(ctx); err != nil {
		return nil, err
	}
	return newSession(ctx, t.id, claim, source, t.config), nil
}

// Read reads the inner source.
func (t *tracked) Read(ctx context.Context) ([]opencdc.Record, error) {
	s := t.current()
	if s == nil {
		return nil, errNotOpen
	}
	return s.read(ctx)
}

// Ack saves the last position and acks the inner source.
func (t *tracked) Ack(ctx context.Context, positions []opencdc.Position) error {
	s := t.current()
	switch {
	case s == nil:
		return errNotOpen
	case len(positions) == 0:
		return nil
	case s.saver != nil:
		return s.saver.add(ctx, positions)
	default:
		return s.ack(ctx, positions)
	}
}

// Teardown ends the session. Without one it does nothing.
func (t *tracked) Teardown(ctx context.Context) error {
	s := t.current()
	if s == nil {
		return nil
	}
	return s.tearDown(ctx)
}

// isNil returns true for nil, and for a nil pointer, map, function or channel in an
// interface.
func isNil(value any) bool {
	if value == nil {
		return true
	}
	switch v := reflect.ValueOf(value); v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Func, reflect.Chan, reflect.Slice, reflect.Interface:
		return v.IsNil()
	default:
		return false
	}
}

// newPanicError returns a PanicError for a recovered value that also holds err.
func newPanicError(value any, err error) *funnel.PanicError {
	if p, ok := value.(*funnel.PanicError); ok && p != nil {
		return &funnel.PanicError{Value: p.Value, Stack: p.Stack, Err: errors.Join(p.Err, err)}
	}
	return &funnel.PanicError{Value: value, Stack: debug.Stack(), Err: err}
}
