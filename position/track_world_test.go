package position_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/position"
)

// world is a store and a source of the records 1, 2, ..., which write down all calls. A test
// decides what becomes of a call.
type world struct {
	records int                                          // that there are
	ends    bool                                         // after the last record, Read returns io.EOF
	on      func(ctx context.Context, call string) error // what a call does and returns

	mu        sync.Mutex
	calls     []string
	isClaimed bool
	saved     string // the stored position
	acked     []string
	open      int // sources that are open
	problems  []string
}

func (w *world) source(opts ...position.TrackOption) funnel.Source {
	return position.Track("orders", w, w.make, opts...)
}

// call writes a call down, and asks the test.
func (w *world) call(ctx context.Context, format string, args ...any) error {
	call := fmt.Sprintf(format, args...)
	w.mu.Lock()
	w.calls = append(w.calls, call)
	on := w.on
	w.mu.Unlock()
	if on != nil {
		return on(ctx, call)
	}
	return nil
}

// failing lets a call fail each time.
func (w *world) failing(calls ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.on = func(_ context.Context, call string) error {
		if slices.Contains(calls, call) {
			return failure(call)
		}
		return nil
	}
}

// failure is the error of a call that fails.
type failure string

func (f failure) Error() string { return string(f) + " has failed" }

// take returns the calls since the last time, except reads.
func (w *world) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := slices.DeleteFunc(w.calls, func(c string) bool { return strings.HasPrefix(c, "read") })
	w.calls = nil
	return strings.Join(calls, ", ")
}

func (w *world) want(t testing.TB, calls string) {
	t.Helper()
	if got := w.take(); got != calls {
		t.Errorf("the calls are\n\t%s\nwant\n\t%s", got, calls)
	}
}

func (w *world) problem(format string, args ...any) {
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

func (w *world) Claim(ctx context.Context, id string) (position.Claim, error) {
	if err := w.call(ctx, "claim"); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isClaimed {
		return nil, position.ErrClaimed
	}
	w.isClaimed = true
	return &worldClaim{world: w}, nil
}

type worldClaim struct {
	world      *world
	isReleased bool
}

func (c *worldClaim) Load(ctx context.Context) (opencdc.Position, error) {
	if err := c.world.call(ctx, "load"); err != nil {
		return nil, err
	}
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	if c.world.saved == "" {
		return nil, nil
	}
	return opencdc.Position(c.world.saved), nil
}

func (c *worldClaim) Save(ctx context.Context, p opencdc.Position) error {
	w := c.world
	if err := w.call(ctx, "save %s", p); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.isReleased {
		w.problem("%s was saved after the release", p)
	}
	w.saved = string(p)
	return nil
}

func (c *worldClaim) Release(ctx context.Context) error {
	w := c.world
	if err := w.call(ctx, "release"); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.isReleased {
		w.problem("the claim was released twice")
	}
	if w.open > 0 {
		w.problem("the claim was released while the source is open")
	}
	c.isReleased, w.isClaimed = true, false
	return nil
}

// make makes the inner source.
func (w *world) make(p opencdc.Position) (funnel.Source, error) {
	if err := w.call(ctx, "make %s", string(p)); err != nil {
		return nil, err
	}
	n, _ := strconv.Atoi(string(p))
	return &worldSource{world: w, next: n + 1, due: n + 1, torn: make(chan struct{}), errs: make(chan error, 1)}, nil
}

type worldSource struct {
	world *world
	errs  chan error
	torn  chan struct{}

	mu        sync.Mutex
	next, due int
	isTorn    bool
}

func (s *worldSource) ID() string           { return "inner" }
func (s *worldSource) Errors() <-chan error { return s.errs }

func (s *worldSource) Open(ctx context.Context) error {
	if err := s.world.call(ctx, "open"); err != nil {
		return err
	}
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	s.world.open++
	return nil
}

func (s *worldSource) Read(ctx context.Context) ([]opencdc.Record, error) {
	if err := s.world.call(ctx, "read"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.isTorn {
		s.mu.Unlock()
		return nil, errors.New("read after the teardown")
	}
	if s.next <= s.world.records {
		defer s.mu.Unlock()
		record := opencdc.Record{Position: opencdc.Position(strconv.Itoa(s.next))}
		s.next++
		return []opencdc.Record{record}, nil
	}
	s.mu.Unlock()
	if s.world.ends {
		return nil, io.EOF
	}
	select {
	case <-s.torn:
		return nil, errors.New("the source was torn down")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Ack checks that each position is the next one, and is saved. It uses the slice as its
// own.
func (s *worldSource) Ack(ctx context.Context, positions []opencdc.Position) error {
	_ = append(positions, opencdc.Position("overwritten"))
	defer clear(positions)
	texts := make([]string, len(positions))
	for i, p := range positions {
		texts[i] = string(p)
	}
	w := s.world
	err := w.call(ctx, "ack %s", strings.Join(texts, " "))
	s.mu.Lock()
	defer s.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.isTorn {
		w.problem("%s was acked after the teardown", texts)
	}
	if err != nil {
		return err
	}
	saved, _ := strconv.Atoi(w.saved)
	for _, text := range texts {
		n, _ := strconv.Atoi(text)
		if n > saved {
			w.problem("%d was acked, and only %d is saved", n, saved)
		}
		if n != s.due {
			w.problem("%d was acked, and %d is due", n, s.due)
		}
		s.due = n + 1
	}
	w.acked = append(w.acked, texts...)
	return nil
}

func (s *worldSource) Teardown(ctx context.Context) error {
	s.mu.Lock()
	wasTorn := s.isTorn
	s.isTorn = true // no ack may come anymore, whatever becomes of the teardown
	s.mu.Unlock()
	if err := s.world.call(ctx, "teardown"); err != nil {
		return err
	}
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	s.world.open--
	if !isClosed(s.torn) {
		close(s.torn)
	} else if wasTorn {
		s.world.problem("the source was torn down twice")
	}
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// check fails the test if the calls were not as they must be.
func (w *world) check(t testing.TB) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.problems {
		t.Error(p)
	}
}

func positions(texts ...string) []opencdc.Position {
	all := make([]opencdc.Position, len(texts))
	for i, text := range texts {
		all[i] = opencdc.Position(text)
	}
	return all
}

// ack acks positions, separated by spaces.
func ack(s funnel.Source, texts string) error { return s.Ack(ctx, positions(strings.Fields(texts)...)) }

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// wantFailures fails the test unless the error wraps those of exactly these calls.
func wantFailures(t testing.TB, err error, calls ...string) {
	t.Helper()
	for _, call := range calls {
		if !errors.Is(err, failure(call)) {
			t.Errorf("the error does not say that %q has failed: %v", call, err)
		}
	}
	if err == nil == (len(calls) > 0) {
		t.Errorf("the error is %v", err)
	}
	if n := strings.Count(fmt.Sprint(err), "has failed"); n != len(calls) {
		t.Errorf("the error tells of %d failures instead of %d: %v", n, len(calls), err)
	}
}

// panics calls f, and returns the value that it panics with.
func panics(t testing.TB, f func() error) (value any) {
	t.Helper()
	defer func() {
		if value = recover(); value == nil {
			t.Error("it does not panic")
		}
	}()
	if err := f(); err != nil {
		t.Errorf("it returned %v instead of panicking", err)
	}
	return nil
}

// goexit calls f on a goroutine, which f ends.
func goexit(t testing.TB, f func()) {
	t.Helper()
	hasReturned := false
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
		hasReturned = true
	}()
	<-done
	if hasReturned {
		t.Error("the goroutine was not ended")
	}
}

var exit = func() error { runtime.Goexit(); return nil }
