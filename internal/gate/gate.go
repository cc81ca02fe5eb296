// Package gate lets someone who passes all the time, at next to no cost, be
// stopped by someone who waits for the passage that is under way to end.
package gate

import (
	"context"
	"sync/atomic"
)

// Gate is open until it is closed, for good. One goroutine at a time passes
// through it, by Enter and Leave, while one at a time may close it.
type Gate struct {
	state  atomic.Int32
	left   chan struct{} // gets a value when who was awaited has left
	closed chan struct{} // is closed with the gate
}

// The states of a gate.
const (
	open    int32 = iota
	entered       // someone is inside
	awaited       // someone is inside, and someone waits to close
	closed
)

// New returns an open gate.
func New() *Gate {
	return &Gate{left: make(chan struct{}, 1), closed: make(chan struct{})}
}

// Enter returns true if the gate is open. Whoever has entered leaves before
// entering again.
func (g *Gate) Enter() bool {
	return g.state.CompareAndSwap(open, entered)
}

// Leave ends what Enter has begun. If someone waits to close the gate, it is
// closed from then on.
func (g *Gate) Leave() {
	for !g.state.CompareAndSwap(entered, open) {
		if g.state.CompareAndSwap(awaited, closed) { // else who waits has given up
			g.left <- struct{}{}
			return
		}
	}
}

// Close closes the gate, once nobody is inside. If the context ends while it
// waits for that, it returns the context's error, and the gate stays open as if
// Close had not been called. Closing a closed gate does nothing.
func (g *Gate) Close(ctx context.Context) error {
	for {
		switch g.state.Load() {
		case closed:
			return nil
		case open:
			if g.state.CompareAndSwap(open, closed) {
				close(g.closed)
				return nil
			}
		case entered:
			if g.state.CompareAndSwap(entered, awaited) {
				err := g.await(ctx)
				if err == nil {
					close(g.closed)
				}
				return err
			}
		}
	}
}

// await waits until who is inside has left, which closes the gate.
func (g *Gate) await(ctx context.Context) error {
	select {
	case <-g.left:
		return nil
	case <-ctx.Done():
	}
	if g.state.CompareAndSwap(awaited, entered) {
		return ctx.Err()
	}
	<-g.left // left at the same time
	return nil
}

// Closed returns a channel that is closed when Close has closed the gate.
func (g *Gate) Closed() <-chan struct{} {
	return g.closed
}

// IsClosed returns true once the gate is closed.
func (g *Gate) IsClosed() bool {
	return g.state.Load() == closed
}
