package funnel

import (
	"context"
	"sync"
)

// laneErrors passes the background errors of all lanes on to the host, once the host has
// asked for them. The zero value is ready for use, by any number of goroutines.
type laneErrors struct {
	mu      sync.Mutex
	lanes   []lane         // while they are open
	out     chan error     // nil until the host asks for it
	passing sync.WaitGroup // a goroutine for each lane
	quit    chan struct{}  // ends the goroutines
}

// resource returns the errors of the lanes as a resource, which is opened after the lanes
// and closed after them.
func (e *laneErrors) resource(lanes []lane) *resource {
	return &resource{
		open: func(context.Context) error {
			e.mu.Lock()
			defer e.mu.Unlock()
			if e.out != nil {
				e.begin(lanes, e.out)
			}
			e.lanes = lanes
			return nil
		},
		close: func(context.Context) error {
			e.mu.Lock()
			defer e.mu.Unlock()
			if e.out != nil {
				close(e.quit)
				e.passing.Wait()
			}
			e.lanes = nil
			return nil
		},
	}
}

// channel returns the channel of the errors.
func (e *laneErrors) channel() <-chan error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.out == nil {
		out := make(chan error)
		e.begin(e.lanes, out)
		e.out = out
	}
	return e.out
}

// firstLane returns the destination of lane 0, or nil if it is not open.
func (e *laneErrors) firstLane() Destination {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.lanes) == 0 {
		return nil
	}
	return e.lanes[0].to
}

// begin starts to pass on the errors of the lanes. The caller holds the lock.
func (e *laneErrors) begin(lanes []lane, out chan<- error) {
	var channels []<-chan error
	for i := range lanes {
		channels = append(channels, lanes[i].to.Errors())
	}
	quit := make(chan struct{})
	for _, in := range channels {
		e.passing.Go(func() { passOn(in, out, quit) })
	}
	e.quit = quit
}

// passOn passes on errors until there are no more or quit is closed.
func passOn(in <-chan error, out chan<- error, quit <-chan struct{}) {
	for {
		select {
		case err, ok := <-in:
			if !ok {
				return
			}
			select {
			case out <- err:
			case <-quit:
				return
			}
		case <-quit:
			return
		}
	}
}
