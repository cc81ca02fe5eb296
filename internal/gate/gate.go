// Package gate provides a gate that is cheap to pass, and whose closing waits until the
// passage under way has ended.
package gate

import (
	"context"
	"sync/atomic"
)

// Gate is open until it is closed, for good. One goroutine at a time may pass through
// it, by Enter and Leave, while one at a time may close it.
type Gate struct {
	state  atomic.Int32
	left   chan struct{} // gets a value when the goroutine that Close awaits has left
	closed chan struct{} // closed with the gate
}

// The states of a gate.
const (
	open    int32 = iota
	entered       // a goroutine is inside
	awaited       // a goroutine is inside, and Close waits for it
	closed
)

// New returns an open gate.
func New() *Gate {
	return &Gate{left: make(chan struct{}, 1), closed: make(chan struct{})}
}

// Enter returns true if the gate is open. Each Enter that returns true must be followed
// by Leave before the next Enter.
func (g *Gate) Enter() bool {
	return g.state.CompareAndSwap(open, entered)
}

// Leave ends what Enter began. If Close waits, the gate is closed from then on.
func (g *Gate) Leave() {
	for !g.state.CompareAndSwap(entered, open) {
		if g.state.CompareAndSwap(awaited, closed) { // otherwise Close has just given up
			g.left <- struct{}{}
			return
		}
	}
}

// Close closes the gate as soon as nobody is inside. If the context ends first, Close
// returns the context's error, and the gate stays open as if Close had not been called.
// Closing a closed gate does nothing.
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

// await waits until the goroutine inside leaves, which closes the gate.
func (g *Gate) await(ctx context.Context) error {
	select {
	case <-g.left:
		return nil
	case <-ctx.Done():
	}
	if g.state.CompareAndSwap(awaited, entered) {
		return ctx.Err()
	}
	<-g.left // it left at the same time
	return nil
}

// Closed returns a channel that is closed when Close closes the gate.
func (g *Gate) Closed() <-chan struct{} {
	return g.closed
}

// IsClosed returns true once the gate is closed.
func (g *Gate) IsClosed() bool {
	return g.state.Load() == closed
}
