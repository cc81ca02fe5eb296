// Package turn lets goroutines take turns in the order in which they ask.
package turn

import (
	"container/list"
	"context"
	"sync"
)

// Queue gives one goroutine at a time the turn, in strict order of asking: unlike with a
// mutex, a goroutine that asks later is never served earlier. The zero value is ready
// for use.
//
// If nobody else wants the turn, taking and giving it locks and unlocks a mutex twice,
// and allocates nothing.
type Queue struct {
	mu      sync.Mutex
	isTaken bool
	waiting list.List // of chan struct{}, which get a value with the turn; in order of asking
}

// Take waits for the turn. If the context ends first, or has ended, Take returns its
// error, and the queue is as if Take had not been called.
func (q *Queue) Take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	place := q.ask()
	if place == nil {
		return nil
	}
	select {
	case <-place.Value.(chan struct{}):
	case <-ctx.Done():
		if q.leave(place) {
			return ctx.Err()
		}
	}
	if err := ctx.Err(); err != nil { // it ended at the same time
		q.Give()
		return err
	}
	return nil
}

// TryTake takes the turn, and returns true, if it is free.
func (q *Queue) TryTake() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.isTaken {
		return false
	}
	q.isTaken = true
	return true
}

// ask takes the turn and returns nil, or returns a place in the queue.
func (q *Queue) ask() *list.Element {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.isTaken {
		q.isTaken = true
		return nil
	}
	return q.waiting.PushBack(make(chan struct{}, 1))
}

// leave gives up a place in the queue. It returns false if the turn has come already.
func (q *Queue) leave(place *list.Element) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(place.Value.(chan struct{})) > 0 {
		return false
	}
	q.waiting.Remove(place)
	return true
}

// Give gives the turn to the goroutine that has waited longest, if there is one. The
// caller must have the turn.
func (q *Queue) Give() {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := q.waiting.Front()
	if first == nil {
		q.isTaken = false
		return
	}
	q.waiting.Remove(first).(chan struct{}) <- struct{}{}
}
