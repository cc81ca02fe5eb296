package gate_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/conduitio/funnel/internal/gate"
)

func mustEnter(t *testing.T, g *gate.Gate) {
	t.Helper()
	if !g.Enter(1) {
		t.Fatal("the gate is closed")
	}
}

func TestGate_openUntilClosed(t *testing.T) {
	g := gate.New()
	for range 3 {
		mustEnter(t, g)
		g.Leave()
	}
	if g.IsClosed() {
		t.Error("the gate is closed before Close")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 { // nobody is inside, so there is nothing to wait for
		if err := g.Close(ended); err != nil {
			t.Errorf("Close: %v", err)
		}
		if !g.IsClosed() || g.Enter(1) {
			t.Error("the gate is open after Close")
		}
		<-g.Closed()
	}
}

func TestGate_closeWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate.New()
		mustEnter(t, g)
		isDone := false
		go func() {
			if err := g.Close(t.Context()); err != nil {
				t.Errorf("Close: %v", err)
			}
			isDone = true
		}()
		synctest.Wait()
		if isDone || g.IsClosed() {
			t.Error("Close has not waited for who is inside")
		}
		g.Leave()
		if !g.IsClosed() || g.Enter(1) {
			t.Error("one can enter again while someone waits to close")
		}
		<-g.Closed()
		synctest.Wait()
		if !isDone {
			t.Error("Close does not return")
		}
	})
}

func TestGate_closeGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate.New()
		for range 3 {
			mustEnter(t, g)
			ctx, cancel := context.WithCancel(t.Context())
			var err error
			go func() { err = g.Close(ctx) }()
			synctest.Wait()
			cancel()
			synctest.Wait()
			if !errors.Is(err, context.Canceled) || g.IsClosed() {
				t.Errorf("Close has returned %v, closed %v", err, g.IsClosed())
			}
			select {
			case <-g.Closed():
				t.Error("the gate says that it is closed")
			default:
			}
			g.Leave()
		}
		if err := g.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// A Close that has given up has not closed the gate, however late.
func TestGate_gaveUp(t *testing.T) {
	for i := range 30_000 {
		g := gate.New()
		mustEnter(t, g)
		ctx, cancel := context.WithCancel(t.Context())
		var err error
		var parties sync.WaitGroup
		parties.Go(func() { err = g.Close(ctx) })
		for range i % 300 { // a while
			g.IsClosed()
		}
		parties.Go(cancel)
		for range i / 300 % 300 {
			g.IsClosed()
		}
		g.Leave()
		parties.Wait()
		if isClosed := !g.Enter(1); isClosed != (err == nil) || isClosed != g.IsClosed() {
			t.Fatalf("round %d: Close has returned %v, and the gate is closed: %t", i, err, isClosed)
		}
	}
}

// However passing, giving up and closing meet, nobody is inside once Close has
// returned nil, and nobody waits forever.
func TestGate_races(t *testing.T) {
	for range 2_000 {
		g := gate.New()
		var inside atomic.Bool
		var parties sync.WaitGroup
		parties.Go(func() {
			for g.Enter(1) {
				inside.Store(true)
				inside.Store(false)
				g.Leave()
			}
		})
		parties.Go(func() {
			for {
				ctx, cancel := context.WithCancel(t.Context())
				parties.Go(cancel)
				err := g.Close(ctx)
				if err == nil {
					break
				}
			}
			if inside.Load() || !g.IsClosed() {
				t.Error("someone is inside a gate that Close has closed")
			}
		})
		parties.Wait()
	}
}
