package position_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/position"
)

// coalescing runs a test in a bubble, with a source that saves once for three records or
// after a second.
func coalescing(t *testing.T, test func(t *testing.T, w *world, s funnel.Source)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		s := w.source(position.WithCoalescing(3, time.Second))
		must(t, s.Open(ctx))
		w.take()
		test(t, w, s)
		w.mu.Lock()
		if w.isClaimed {
			t.Error("the position is still claimed")
		}
		w.mu.Unlock()
		w.check(t)
	})
}

func TestCoalescing_count(t *testing.T) {
	coalescing(t, func(t *testing.T, w *world, s funnel.Source) {
		must(t, ack(s, "1"), ack(s, "2"))
		synctest.Wait()
		w.want(t, "")
		must(t, ack(s, "3"))
		synctest.Wait()
		w.want(t, "save 3, ack 1 2 3")
		must(t, ack(s, "4 5 6 7"))
		synctest.Wait()
		w.want(t, "save 7, ack 4 5 6 7")
		must(t, s.Teardown(ctx))
		w.want(t, "teardown, release")
	})
}

func TestCoalescing_period(t *testing.T) {
	coalescing(t, func(t *testing.T, w *world, s funnel.Source) {
		time.Sleep(10 * time.Second)
		must(t, ack(s, "1"))
		time.Sleep(900 * time.Millisecond)
		must(t, ack(s, "2"))
		synctest.Wait()
		w.want(t, "")
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		w.want(t, "save 2, ack 1 2")
		must(t, ack(s, "3"))
		time.Sleep(999 * time.Millisecond)
		synctest.Wait()
		w.want(t, "")
		time.Sleep(time.Millisecond)
		synctest.Wait()
		w.want(t, "save 3, ack 3")
		must(t, s.Teardown(ctx))
	})
}

// TestCoalescing_periodDuringSave counts the period of what comes during a save from then.
func TestCoalescing_periodDuringSave(t *testing.T) {
	coalescing(t, func(t *testing.T, w *world, s funnel.Source) {
		on, isHanging, goOn := hanging("save 3")
		w.on = on
		must(t, ack(s, "1 2 3"))
		<-isHanging
		must(t, ack(s, "4"))
		time.Sleep(600 * time.Millisecond)
		close(goOn)
		synctest.Wait()
		w.want(t, "save 3, ack 1 2 3")
		time.Sleep(400 * time.Millisecond)
		synctest.Wait()
		w.want(t, "save 4, ack 4")
		must(t, s.Teardown(ctx))
	})
}

// TestCoalescing_sourceOwnsTheSlice adds a position while those before it are saved. The
// source then appends to the slice of its Ack.
func TestCoalescing_sourceOwnsTheSlice(t *testing.T) {
	coalescing(t, func(t *testing.T, w *world, s funnel.Source) {
		on, isHanging, goOn := hanging("save 3")
		w.on = on
		must(t, ack(s, "1"), ack(s, "2"), ack(s, "3"))
		<-isHanging
		must(t, ack(s, "4"))
		close(goOn)
		synctest.Wait()
		must(t, s.Teardown(ctx))
		w.want(t, "save 3, ack 1 2 3, save 4, ack 4, teardown, release")
	})
}

func TestCoalescing_teardownSavesTheRest(t *testing.T) {
	coalescing(t, func(t *testing.T, w *world, s funnel.Source) {
		must(t, ack(s, "1"), s.Teardown(ctx), s.Teardown(ctx))
		w.want(t, "save 1, ack 1, teardown, release")
		must(t, s.Open(ctx), s.Teardown(ctx))
		w.want(t, "claim, load, make 1, open, teardown, release")
	})
}

func TestCoalescing_ackWaitsForRoom(t *testing.T) {
	coalescing(t, func(t *testing.T, w *world, s funnel.Source) {
		on, isHanging, goOn := hanging("save 2")
		w.on = on
		must(t, ack(s, "1 2"))
		<-isHanging // after a second
		must(t, ack(s, "3 4"), ack(s, "5"))
		short, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := s.Ack(short, positions("6")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with three positions that wait, Ack returned %v", err)
		}
		done := make(chan error, 1)
		go func() { done <- ack(s, "6") }()
		synctest.Wait()
		select {
		case err := <-done:
			t.Errorf("with three positions that wait, Ack returned %v", err)
		default:
		}
		close(goOn)
		must(t, <-done)
		synctest.Wait()
		w.want(t, "save 2, ack 1 2, save 5, ack 3 4 5")
		must(t, s.Teardown(ctx))
		w.want(t, "save 6, ack 6, teardown, release")
	})
}

func TestCoalescing_teardownEndsAWaitingAck(t *testing.T) {
	coalescing(t, func(t *testing.T, w *world, s funnel.Source) {
		on, isHanging, goOn := hanging("save 3")
		w.on = on
		must(t, ack(s, "1 2 3"))
		<-isHanging
		must(t, ack(s, "4 5 6"))
		acked, done := make(chan error, 1), make(chan error, 1)
		go func() { acked <- ack(s, "7") }()
		synctest.Wait()
		go func() { done <- s.Teardown(ctx) }()
		if err := <-acked; err == nil {
			t.Error("Ack returned nil")
		}
		close(goOn)
		must(t, <-done)
		w.want(t, "save 3, ack 1 2 3, save 6, ack 4 5 6, teardown, release")
	})
}

// TestCoalescing_failures says what becomes of a failure of the saver.
func TestCoalescing_failures(t *testing.T) {
	for _, test := range []struct {
		failing  string
		calls    string
		teardown string // while the call no longer fails
	}{
		{"save 3", "save 3", "save 3, ack 1 2 3, teardown, release"},
		{"ack 1 2 3", "save 3, ack 1 2 3", "teardown, release"},
	} {
		t.Run(test.failing, func(t *testing.T) {
			fail := func(t *testing.T, w *world, s funnel.Source) {
				w.failing(test.failing)
				must(t, ack(s, "1 2 3"))
				synctest.Wait()
				w.want(t, test.calls)
				w.failing()
			}
			t.Run("Ack", func(t *testing.T) {
				coalescing(t, func(t *testing.T, w *world, s funnel.Source) {
					fail(t, w, s)
					wantFailures(t, ack(s, "4"), test.failing)
					wantFailures(t, ack(s, "4"), test.failing)
					must(t, s.Teardown(ctx))
					w.want(t, test.teardown)
				})
			})
			t.Run("Teardown", func(t *testing.T) {
				coalescing(t, func(t *testing.T, w *world, s funnel.Source) {
					fail(t, w, s)
					wantFailures(t, s.Teardown(ctx), test.failing)
					w.want(t, test.teardown)
					must(t, s.Teardown(ctx))
					w.want(t, "")
				})
			})
			t.Run("pending Read", func(t *testing.T) {
				coalescing(t, func(t *testing.T, w *world, s funnel.Source) {
					read := make(chan error, 1)
					go func() {
						_, err := s.Read(ctx)
						read <- err
					}()
					synctest.Wait()
					fail(t, w, s)
					wantFailures(t, <-read, test.failing)
					_, err := s.Read(ctx)
					wantFailures(t, err, test.failing)
					wantFailures(t, s.Teardown(ctx), test.failing) // the worker may have ignored the Read
				})
			})
			t.Run("waiting Ack", func(t *testing.T) {
				coalescing(t, func(t *testing.T, w *world, s funnel.Source) {
					isHanging, goOn := make(chan struct{}, 1), make(chan struct{})
					w.on = func(_ context.Context, call string) error {
						if call != test.failing {
							return nil
						}
						isHanging <- struct{}{}
						<-goOn
						return failure(call)
					}
					must(t, ack(s, "1 2 3"))
					<-isHanging
					must(t, ack(s, "4 5 6"))
					acked := make(chan error, 1)
					go func() { acked <- ack(s, "7") }()
					synctest.Wait()
					close(goOn)
					wantFailures(t, <-acked, test.failing)
					w.take()
					w.failing()
					must(t, s.Teardown(ctx))
					if test.failing == "save 3" {
						w.want(t, "save 6, ack 1 2 3 4 5 6, teardown, release")
					} else {
						w.want(t, "save 6, teardown, release") // an ack after one that failed would be out of order
					}
				})
			})
			t.Run("panic", func(t *testing.T) {
				coalescing(t, func(t *testing.T, w *world, s funnel.Source) {
					w.on = when(test.failing, func() error { panic("oh no") })
					must(t, ack(s, "1 2 3"))
					synctest.Wait()
					w.take()
					w.failing()
					for what, call := range map[string]func() error{
						"Read": func() error { _, err := s.Read(ctx); return err },
						"Ack":  func() error { return ack(s, "4") },
					} {
						if err, ok := panics(t, call).(*funnel.PanicError); !ok || err.Value != "oh no" {
							t.Errorf("%s panics with %v", what, err)
						}
					}
					must(t, s.Teardown(ctx))
					w.want(t, test.teardown)
				})
			})
			t.Run("panic, seen by Teardown", func(t *testing.T) {
				coalescing(t, func(t *testing.T, w *world, s funnel.Source) {
					w.on = when(test.failing, func() error { panic("oh no") })
					must(t, ack(s, "1 2 3"))
					synctest.Wait()
					w.take()
					w.failing()
					panics(t, func() error { return s.Teardown(ctx) })
					w.want(t, test.teardown)
					must(t, s.Teardown(ctx))
				})
			})
			t.Run("Goexit", func(t *testing.T) {
				coalescing(t, func(t *testing.T, w *world, s funnel.Source) {
					w.on = when(test.failing, exit)
					must(t, ack(s, "1 2 3"))
					synctest.Wait()
					w.failing()
					if err := ack(s, "4"); !errors.Is(err, funnel.ErrGoexit) {
						t.Errorf("Ack returned %v", err)
					}
					must(t, s.Teardown(ctx))
				})
			})
		})
	}
}

// when returns what happens in a call: the others succeed.
func when(call string, happens func() error) func(context.Context, string) error {
	return func(_ context.Context, c string) error {
		if c != call {
			return nil
		}
		return happens()
	}
}

func TestCoalescing_readKeepsItsError(t *testing.T) {
	coalescing(t, func(t *testing.T, w *world, s funnel.Source) {
		isReading, goOn := make(chan struct{}), make(chan struct{})
		w.on = func(_ context.Context, call string) error {
			switch call {
			case "save 3":
				return failure(call)
			case "read":
				close(isReading)
				<-goOn
				return failure(call)
			}
			return nil
		}
		read := make(chan error, 1)
		go func() {
			_, err := s.Read(ctx)
			read <- err
		}()
		<-isReading
		must(t, ack(s, "1 2 3"))
		synctest.Wait()
		close(goOn)
		wantFailures(t, <-read, "save 3", "read")
		w.failing()
		wantFailures(t, s.Teardown(ctx), "save 3")
	})
}

// TestCoalescing_readWhoseContextHasEnded says that, and what has failed.
func TestCoalescing_readWhoseContextHasEnded(t *testing.T) {
	coalescing(t, func(t *testing.T, w *world, s funnel.Source) {
		var inner context.Context
		isReading, goOn := make(chan struct{}), make(chan struct{})
		w.on = func(ctx context.Context, call string) error {
			switch call {
			case "save 3":
				return failure(call)
			case "read":
				inner = ctx
				close(isReading)
				<-goOn
				return ctx.Err()
			}
			return nil
		}
		readCtx, cancel := context.WithCancel(ctx)
		read := make(chan error, 1)
		go func() {
			_, err := s.Read(readCtx)
			read <- err
		}()
		<-isReading
		cancel()
		must(t, ack(s, "1 2 3"))
		synctest.Wait()
		close(goOn)
		err := <-read
		wantFailures(t, err, "save 3")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the error does not say that the context has ended: %v", err)
		}
		w.failing()
		wantFailures(t, s.Teardown(ctx), "save 3")
		if inner.Err() == nil {
			t.Error("the context of the read lives on")
		}
	})
}

// TestCoalescing_endsContextsOfReads ends them in Teardown.
func TestCoalescing_endsContextsOfReads(t *testing.T) {
	coalescing(t, func(t *testing.T, w *world, s funnel.Source) {
		var inner context.Context
		w.on = func(ctx context.Context, call string) error {
			if call == "read" {
				inner = ctx
				return failure(call)
			}
			return nil
		}
		_, err := s.Read(ctx)
		wantFailures(t, err, "read")
		if inner.Err() != nil {
			t.Error("the context has ended before Teardown")
		}
		must(t, s.Teardown(ctx))
		if inner.Err() == nil {
			t.Error("the context lives on")
		}
	})
}

// TestCoalescing_streamClosed returns io.EOF from Ack, and leaves it to Read to say why.
func TestCoalescing_streamClosed(t *testing.T) {
	coalescing(t, func(t *testing.T, w *world, s funnel.Source) {
		w.on = func(_ context.Context, call string) error {
			if strings.HasPrefix(call, "ack") {
				return io.EOF
			}
			return nil
		}
		readCtx, cancel := context.WithCancel(ctx)
		read := make(chan error, 1)
		go func() {
			_, err := s.Read(readCtx)
			read <- err
		}()
		must(t, ack(s, "1 2 3"))
		synctest.Wait()
		select {
		case err := <-read:
			t.Errorf("the pending Read returned %v", err)
		default:
		}
		if err := ack(s, "4"); err != io.EOF {
			t.Errorf("Ack returned %v, want io.EOF itself", err)
		}
		cancel()
		if err := <-read; err != context.Canceled {
			t.Errorf("the Read whose context has ended returned %v", err)
		}
		must(t, s.Teardown(ctx))
	})
}

// TestCoalescing_teardownIsInterrupted ends the context of Teardown during a save, which
// heeds its own.
func TestCoalescing_teardownIsInterrupted(t *testing.T) {
	coalescing(t, func(t *testing.T, w *world, s funnel.Source) {
		isHanging := make(chan struct{}, 1)
		w.on = func(ctx context.Context, call string) error {
			if call == "save 3" {
				isHanging <- struct{}{}
				<-ctx.Done()
				return fmt.Errorf("no save: %w", ctx.Err())
			}
			return nil
		}
		must(t, ack(s, "1 2 3"))
		<-isHanging
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := s.Teardown(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Teardown returned %v", err)
		}
		synctest.Wait()
		w.want(t, "save 3, teardown")
		w.failing()
		must(t, s.Teardown(ctx))
		w.want(t, "save 3, release")
	})
}

// TestTrack_contextsOfReads gives an inner source the same context again, so that it can
// keep what it has opened with it.
func TestTrack_contextsOfReads(t *testing.T) {
	type key struct{}
	parent := context.WithValue(ctx, key{}, "value")
	other, cancel := context.WithCancel(parent)
	defer cancel()
	for _, isCoalescing := range []bool{false, true} {
		var got []context.Context
		w := &world{}
		open := func(opencdc.Position) (funnel.Source, error) {
			return funnel.SourceFunc(func(ctx context.Context) ([]opencdc.Record, error) {
				got = append(got, ctx)
				return []opencdc.Record{{Position: opencdc.Position("1")}}, nil
			}), nil
		}
		var opts []position.TrackOption
		if isCoalescing {
			opts = append(opts, position.WithCoalescing(10, time.Hour))
		}
		s := position.Track("orders", w, open, opts...)
		must(t, s.Open(ctx))
		for _, c := range []context.Context{parent, parent, other} {
			if _, err := s.Read(c); err != nil {
				t.Fatal(err)
			}
		}
		if got[0] != got[1] || got[0] == got[2] || got[2].Value(key{}) != "value" {
			t.Error("the contexts of the reads are not those that were given")
		}
		if isCoalescing && got[0].Err() == nil {
			t.Error("the context of earlier reads lives on")
		}
		must(t, s.Teardown(ctx))
		if got[2].Err() == nil {
			t.Error("after Teardown the context of the reads lives on")
		}
	}
}
