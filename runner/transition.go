package runner

import (
	"sync"
	"time"
)

// State is the state of a pipeline. The documentation of the package has a diagram.
type State string

// The states.
const (
	Stopped    State = "stopped"    // not started yet, or stopped by the host
	Starting   State = "starting"   // the workers are being built and opened
	Running    State = "running"    // the workers run
	Draining   State = "draining"   // the workers finish the batches in flight, and are closed
	Recovering State = "recovering" // a run has failed; the next one begins after a pause
	Degraded   State = "degraded"   // a run has failed; the pipeline is not restarted
	Stuck      State = "stuck"      // a run does not end within the bounds
	Done       State = "done"       // the sources have no more records
)

var states = []State{Stopped, Starting, Running, Draining, Recovering, Degraded, Stuck, Done}

// String returns the name of the state.
func (s State) String() string { return string(s) }

// Transition is a change of the state of a pipeline.
type Transition struct {
	Pipeline string
	From, To State
	At       time.Time
	// Cause is the error that led to the transition, or nil if there was none.
	Cause error
	// Attempt is the number of failed runs in a row. It becomes 0 when the host starts the
	// pipeline, when a run is healthy ([Restart]), and when the sources have ended.
	Attempt int
	// Next is when the next run begins, if To is Recovering.
	Next time.Time

	isRestart bool // after a failure
}

// queue calls functions in order, one at a time. Its goroutine lives only while there are
// functions to call. These neither panic nor end the goroutine. The zero value is empty.
type queue struct {
	mu     sync.Mutex
	calls  []func()
	isBusy bool
	idle   chan struct{} // closed when the queue becomes empty; nil without a wait
}

// add adds a function. It does not wait.
func (q *queue) add(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls = append(q.calls, f)
	if !q.isBusy {
		q.isBusy = true
		go q.run()
	}
}

func (q *queue) run() {
	for {
		q.mu.Lock()
		if len(q.calls) == 0 {
			q.isBusy = false
			if q.idle != nil {
				close(q.idle)
				q.idle = nil
			}
			q.mu.Unlock()
			return
		}
		f := q.calls[0]
		q.calls[0] = nil
		q.calls = q.calls[1:]
		q.mu.Unlock()
		f()
	}
}

// wait waits until the queue is empty, at most until the channel is closed.
func (q *queue) wait(quit <-chan struct{}) {
	q.mu.Lock()
	if !q.isBusy {
		q.mu.Unlock()
		return
	}
	if q.idle == nil {
		q.idle = make(chan struct{})
	}
	idle := q.idle
	q.mu.Unlock()
	select {
	case <-idle:
	case <-quit:
	}
}
