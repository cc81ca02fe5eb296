package funnel_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// What the function returns is what Read returns.
func TestSourceFunc_read(t *testing.T) {
	recs := fake.Numbered(2)
	reads := []fake.Read{{Records: recs}, {}, {Err: fake.ErrTest}, {Records: recs[1:], Err: io.EOF}}
	calls := 0
	s := funnel.SourceFunc(func(context.Context) ([]opencdc.Record, error) {
		calls++
		return reads[calls-1].Records, reads[calls-1].Err
	})
	for i, want := range reads { // without Open, as a host may do
		got, err := s.Read(t.Context())
		if err != want.Err || len(got) != len(want.Records) || len(got) > 0 && &got[0] != &want.Records[0] {
			t.Errorf("read %d: %v, %v", i, got, err)
		}
	}
	fake.WantNoError(t, s.Ack(t.Context(), nil))
	if s.ID() != "" || s.Errors() != nil {
		t.Errorf("ID: %q, Errors: %v", s.ID(), s.Errors())
	}
}

// Teardown ends the context of a pending read, and reads fail until the next Open.
func TestSourceFunc_teardown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s := funnel.SourceFunc(func(ctx context.Context) ([]opencdc.Record, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		})
		for range 2 {
			fake.WantNoError(t, s.Open(ctx))
			var pending error
			go func() { _, pending = s.Read(ctx) }()
			synctest.Wait()
			if pending != nil {
				t.Fatalf("the read has ended: %v", pending)
			}
			fake.WantNoError(t, s.Teardown(ctx))
			synctest.Wait()
			fake.WantError(t, pending, nil, "torn down")
			_, err := s.Read(ctx)
			fake.WantError(t, err, nil, "torn down")
			fake.WantNoError(t, s.Teardown(ctx))
		}
		if ctx.Err() != nil {
			t.Error("the context of the caller has ended")
		}
	})
}

// The context of the function ends with that of Read, and has its values and cause.
func TestSourceFunc_contextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := funnel.SourceFunc(func(ctx context.Context) ([]opencdc.Record, error) {
			<-ctx.Done()
			if ctx.Value(fake.ContextKey{}) != "value" {
				t.Error("the context has lost its values")
			}
			return nil, context.Cause(ctx)
		})
		ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), fake.ContextKey{}, "value"))
		go cancel(fake.ErrTest)
		if _, err := s.Read(ctx); err != fake.ErrTest {
			t.Errorf("Read: %v", err)
		}
	})
}

// uncomparable is a context that panics when it is compared.
type uncomparable struct {
	context.Context
	_ []int
}

// As long as Read gets the same context, so does the function, and nothing is allocated.
// The context for another one ends, so that contexts do not pile up.
func TestSourceFunc_sameContext(t *testing.T) {
	var got context.Context
	s := funnel.SourceFunc(func(ctx context.Context) ([]opencdc.Record, error) {
		got = ctx
		return nil, ctx.Err()
	})
	read := func(ctx context.Context) context.Context {
		t.Helper()
		_, err := s.Read(ctx)
		fake.WantNoError(t, err)
		return got
	}
	first, second := t.Context(), context.WithValue(t.Context(), fake.ContextKey{}, 2)
	if n := testing.AllocsPerRun(100, func() { _, _ = s.Read(first) }); n > 0 {
		t.Errorf("a read makes %v allocations", n)
	}
	a := read(first)
	if read(first) != a {
		t.Error("the context has changed")
	}
	b := read(second)
	if a.Err() == nil || b.Value(fake.ContextKey{}) != 2 {
		t.Error("the context did not change with that of Read")
	}
	fake.WantNoError(t, s.Open(first))
	if b.Err() == nil {
		t.Error("a context has survived Open")
	}
	c := read(first)
	u := uncomparable{Context: first}
	d := read(u)
	if e := read(u); c.Err() == nil || d.Err() == nil || e.Err() != nil {
		t.Error("each read with a context that cannot be compared needs a new context")
	}
}

// A worker stops gracefully while a read is pending, and leaves no goroutine behind.
func TestSourceFunc_stop(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		reads := 0
		s := funnel.SourceFunc(func(ctx context.Context) ([]opencdc.Record, error) {
			if reads++; reads == 1 {
				return fake.Numbered(2), nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		})
		w := fake.NewWorker(t, fake.Chain(fake.From(s), fake.Out(j)), nil, opts...)
		fake.WantNoError(t, w.Open(t.Context()))
		done := fake.Start(t.Context(), w)
		synctest.Wait()
		fake.WantNoError(t, w.Stop(t.Context()))
		(<-done).Want(t, nil)
		fake.WantNoError(t, w.Close(t.Context()))
		j.Want(t, "out", "out 0 1")
	})
}

// A nil function is an error of NewWorker that names the task, of Open and of Read.
func TestSourceFunc_nil(t *testing.T) {
	s := funnel.SourceFunc(nil)
	_, err := funnel.NewWorker(fake.Chain(fake.From(s), fake.Out(&fake.Journal{})), nil, log.Nop(), nil)
	fake.WantError(t, err, nil, "read function", "nil")
	fake.WantTask(t, err, "source")
	fake.WantError(t, s.Open(t.Context()), nil, "read function")
	if _, err := s.Read(t.Context()); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("Read: %v", err)
	}
}
