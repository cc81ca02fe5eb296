// Package gate provides a gate that is cheap to pass, and whose closing waits until the
// passage under way has ended.
package gate

import (
	"context"
	"math"
	"sync/atomic"
)

// Gate is open until it is closed, for good. One goroutine at a time may pass through it,
// by Enter and Leave, with a load that has a weight. Meanwhile one goroutine at a time
// may close it.
type Gate struct {
	state  atomic.Int64
	left   chan struct{} // gets a value when the goroutine that Close awaits has left
	closed chan struct{} // closed with the gate
}

// The states of a gate. A positive state is the weight of what is inside. A negative
// state other than closed is the negated weight of what is inside, while Close waits for
// it.
const (
	open   int64 = 0
	closed int64 = math.MinInt64
)

// New returns an open gate.
func New() *Gate {
	return &Gate{left: make(chan struct{}, 1), closed: make(chan struct{})}
}

// Enter returns true if the gate is open. Each Enter that returns true must be followed
// by Leave before the next Enter. The weight, at least 1, is what Inside returns until
// then.
func (g *Gate) Enter(weight int) bool {
	return g.state.CompareAndSwap(open, int64(weight))
}

// Leave ends what Enter began. If Close waits, the gate is closed from then on.
func (g *Gate) Leave() {
	for {
		s := g.state.Load()
		if s > 0 && g.state.CompareAndSwap(s, open) {
			return
		}
		if s < 0 && g.state.CompareAndSwap(s, closed) { // otherwise Close has just given up
			g.left <- struct{}{}
			return
		}
	}
}

// Inside returns the weight of what is inside, or 0.
func (g *Gate) Inside() int {
	s := g.state.Load()
	if s == closed {
		return 0
	}
	return int(max(s, -s))
}

// Close closes the gate as soon as nobody is inside. If the context ends first, Close
// returns the context's error, and the gate stays open as if Close had not been called.
// Closing a closed gate does nothing.
func (g *Gate) Close(ctx context.Context) error {
	for {
		switch s := g.state.Load(); {
		case s == closed:
			return nil
		case s == open:
			if g.state.CompareAndSwap(open, closed) {
				close(g.closed)
				return nil
			}
		case s > 0:
			if g.state.CompareAndSwap(s, -s) {
				err := g.await(ctx, s)
				if err == nil {
					close(g.closed)
				}
				return err
			}
		}
	}
}

// await waits until what is inside, which has this weight, leaves. That closes the gate.
func (g *Gate) await(ctx context.Context, weight int64) error {
	select {
	case <-g.left:
		return nil
	case <-ctx.Done():
	}
	if g.state.CompareAndSwap(-weight, weight) {
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
