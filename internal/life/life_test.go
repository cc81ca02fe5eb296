package life_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/life"
)

// session is a session whose Read returns the results one by one. When there are no more, it
// waits until the context ends.
type session struct {
	results  []error
	closings int
}

var errClosing = errors.New("closing failed")

func (s *session) Read(ctx context.Context) ([]opencdc.Record, error) {
	if len(s.results) == 0 {
		<-ctx.Done()
		return nil, life.Ended(ctx)
	}
	err := s.results[0]
	s.results = s.results[1:]
	return make([]opencdc.Record, 1), err
}

func (s *session) Close() error {
	s.closings++
	return errClosing
}

// open opens a session that returns the results.
func open(t *testing.T, l *life.Life, results ...error) *session {
	t.Helper()
	s := &session{results: results}
	must(t, l.Open(t.Context(), func(context.Context) (life.Session, error) { return s, nil }))
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func says(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Fatalf("got the error %v, want %s", err, want)
	}
}

func TestLife(t *testing.T) {
	ctx := t.Context()
	l := life.New("x source")
	_, err := l.Read(ctx)
	says(t, err, "the x source is not open")
	must(t, l.Teardown(ctx))
	_, err = l.Read(ctx)
	says(t, err, "the x source was torn down")
	for range 2 {
		s := open(t, l, nil, errors.New("damage"), io.EOF)
		err = l.Open(ctx, func(context.Context) (life.Session, error) {
			t.Error("opened twice")
			return nil, nil
		})
		says(t, err, "the x source is open already")
		records, err := l.Read(ctx)
		must(t, err)
		if len(records) != 1 {
			t.Fatalf("got %d records", len(records))
		}
		_, err = l.Read(ctx)
		says(t, err, "x source: damage")
		if _, err = l.Read(ctx); err != io.EOF {
			t.Fatalf("at the end Read returns %v", err)
		}
		if err := l.Teardown(ctx); err != errClosing {
			t.Fatalf("Teardown returns %v", err)
		}
		must(t, l.Teardown(ctx))
		if s.closings != 1 {
			t.Fatalf("the session was closed %d times", s.closings)
		}
	}
}

// When a session cannot be opened, there is none.
func TestLife_Open_fails(t *testing.T) {
	l := life.New("x source")
	want := errors.New("nothing there")
	if err := l.Open(t.Context(), func(context.Context) (life.Session, error) { return nil, want }); err != want {
		t.Fatalf("got the error %v", err)
	}
	_, err := l.Read(t.Context())
	says(t, err, "the x source is not open")
	must(t, l.Teardown(t.Context()))
}

// A context that has ended keeps Read away from the session, but not Teardown.
func TestLife_ended(t *testing.T) {
	l := life.New("x source")
	s := open(t, l, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the cause")
	cancel(cause)
	if _, err := l.Read(ctx); !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
		t.Fatalf("got the error %v", err)
	}
	if len(s.results) != 1 {
		t.Fatal("the session was read")
	}
	if err := l.Teardown(ctx); err != errClosing {
		t.Fatalf("Teardown returns %v", err)
	}
}

// Teardown ends a pending Open and a pending Read, and closes the session after that.
func TestLife_Teardown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := life.New("x source")
		result := make(chan error)
		go func() {
			result <- l.Open(t.Context(), func(ctx context.Context) (life.Session, error) {
				<-ctx.Done()
				return nil, life.Ended(ctx)
			})
		}()
		synctest.Wait()
		go func() { result <- l.Teardown(t.Context()) }()
		says(t, <-result, "the x source was torn down")
		must(t, <-result)

		open(t, l)
		go func() {
			_, err := l.Read(t.Context())
			result <- err
		}()
		synctest.Wait()
		go func() { result <- l.Teardown(t.Context()) }()
		says(t, <-result, "the x source was torn down")
		if err := <-result; err != errClosing {
			t.Fatalf("Teardown returns %v", err)
		}
	})
}

// deaf is a session whose Read does not end with its context.
type deaf struct{ release chan struct{} }

func (d deaf) Read(context.Context) ([]opencdc.Record, error) {
	<-d.release
	return nil, nil
}

func (d deaf) Close() error { return nil }

// Calls wait for a pending call, but no longer than their contexts allow.
func TestLife_waits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := life.New("x source")
		d := deaf{make(chan struct{})}
		must(t, l.Open(t.Context(), func(context.Context) (life.Session, error) { return d, nil }))
		read := make(chan error)
		go func() {
			_, err := l.Read(t.Context())
			read <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("the cause")
		torn, second := make(chan error), make(chan error)
		go func() { torn <- l.Teardown(ctx) }()
		go func() {
			_, err := l.Read(ctx)
			second <- err
		}()
		synctest.Wait()
		cancel(cause)
		says(t, <-torn, "a call of the x source is still pending: context canceled: the cause")
		says(t, <-second, "context canceled: the cause")
		close(d.release)
		must(t, <-read)
		must(t, l.Teardown(t.Context()))
	})
}

// hooked is a context whose Done calls a function.
type hooked struct {
	context.Context
	hook func()
}

func (c hooked) Done() <-chan struct{} {
	c.hook()
	return c.Context.Done()
}

// A Teardown ends an Open that has only just begun, too.
func TestLife_Teardown_early(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := life.New("source")
		var once sync.Once
		var torn error
		ctx := hooked{t.Context(), func() {
			once.Do(func() {
				go func() { torn = l.Teardown(context.Background()) }()
				synctest.Wait()
			})
		}}
		err := l.Open(ctx, func(ctx context.Context) (life.Session, error) {
			<-ctx.Done()
			return nil, life.Ended(ctx)
		})
		says(t, err, "the source was torn down")
		synctest.Wait()
		must(t, torn)
		open(t, l)
		_ = l.Teardown(context.Background())
	})
}
