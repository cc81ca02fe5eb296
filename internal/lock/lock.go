// Package lock provides a mutual exclusion lock whose waiters give up when their
// context ends.
package lock

import (
	"context"
	"runtime"
	"sync/atomic"
)

// One number is the whole state: 0 if the lock is free, 1 if it is held, 1+n if it is
// held and n goroutines stand in line. Each goroutine in line waits for a token. Unlock
// frees the lock only if the line is empty. Otherwise it takes one goroutine off the
// line and sends the token, which is the lock: the number stays above 0, and the
// goroutine that receives the token holds the lock.
//
// Why no goroutine waits in vain, even if others give up: call a goroutine a waiter
// from when it joins the line until it receives a token or leaves the line.
//
//   - At most one token exists. Only the holder sends one, and it stops being the
//     holder when it takes a goroutine off the line. So the channel, with room for
//     one token, never blocks the sender.
//   - The number of waiters is the length of the line plus the number of tokens,
//     sent or about to be. Joining adds one to both sides. Unlock moves one from
//     the line to the tokens. Receiving the token, or leaving the line, takes one
//     from both sides. All changes to the line are changes to the one number, so
//     they happen one after the other.
//   - A waiter that gives up leaves the line if it is not empty, even if a token
//     exists. In that case there is one more waiter than the line is long, so another
//     one is left to receive the token. A token is not meant for a particular waiter.
//   - If it finds the line empty, there is one token and one waiter, itself. No other
//     goroutine can receive this token, so this one does: it got the lock just as its
//     context ended. It may have to wait for the sender, which waits for nobody.
//
// The lock is handed over rather than freed for everyone, because a goroutine that
// locks again soon after unlocking is faster than one that must wake up. Otherwise a
// waiter might never get the lock from a loop that sleeps while it holds it. The price
// is that the lock is idle while the next holder wakes up, so goroutines line up that
// would otherwise not have had to wait. So a goroutine yields a few times before it
// joins the line, which gives a short critical section time to end.

// The states of a mutex.
const (
	free int32 = 0
	held int32 = 1 // held+n: held, with n goroutines in line
)

// yields is how often a goroutine lets others run before it joins the line.
const yields = 4

// Mutex is a mutual exclusion lock, made by New. Locking and unlocking it costs two
// atomic operations, as with a [sync.Mutex], and allocates nothing. It is not tied to a
// goroutine: one may lock it and another unlock it.
//
// Waiting goroutines get the lock in the order in which they began to block. None
// overtakes them, so a Mutex under constant contention is slower than a sync.Mutex:
// each handover wakes a goroutine.
type Mutex struct {
	state atomic.Int32
	token chan struct{}
}

// New returns a mutex that is not locked.
func New() *Mutex {
	return &Mutex{token: make(chan struct{}, 1)}
}

// Lock locks m, and waits while it is locked. If the context ends first, Lock returns
// the context's error and leaves m as if Lock had not been called. A free mutex is
// locked even if the context has ended.
func (m *Mutex) Lock(ctx context.Context) error {
	if m.TryLock() {
		return nil
	}
	return m.wait(ctx)
}

// TryLock locks m if it is free, and returns true if it was.
func (m *Mutex) TryLock() bool {
	return m.state.CompareAndSwap(free, held)
}

// Unlock unlocks m, and panics if it is not locked. If goroutines wait, one of
// them holds the lock when Unlock returns.
func (m *Mutex) Unlock() {
	if !m.state.CompareAndSwap(held, free) {
		m.handOver()
	}
}

// wait locks m like Lock.
func (m *Mutex) wait(ctx context.Context) error {
	for range yields {
		runtime.Gosched()
		if m.TryLock() {
			return nil
		}
	}
	if !m.join() {
		return nil
	}
	select {
	case <-m.token:
		return nil
	case <-ctx.Done():
	}
	if m.leave() {
		return ctx.Err()
	}
	<-m.token
	return nil
}

// join joins the line. It returns false if the lock was free and is now held by the
// caller.
func (m *Mutex) join() bool {
	return m.state.Add(1) > held
}

// leave leaves the line. It returns false if the line is empty.
func (m *Mutex) leave() bool {
	for {
		s := m.state.Load()
		if s <= held {
			return false
		}
		if m.state.CompareAndSwap(s, s-1) {
			return true
		}
	}
}

// handOver gives the lock to the first goroutine in line, or frees it if the line is
// empty.
func (m *Mutex) handOver() {
	for {
		s := m.state.Load()
		if s == free {
			panic("lock: Unlock of a Mutex that is not locked")
		}
		if m.state.CompareAndSwap(s, s-1) {
			if s > held {
				m.token <- struct{}{}
			}
			return
		}
	}
}

// IsLocked returns true if someone holds m.
func (m *Mutex) IsLocked() bool {
	return m.state.Load() != free
}
