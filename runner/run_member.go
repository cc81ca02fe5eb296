package runner

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/conduitio/funnel"
)

// doing says which call is pending, and since when. The zero value means none.
type doing struct{ at atomic.Pointer[TaskStatus] }

func (d *doing) set(worker int, activity string) {
	d.at.Store(&TaskStatus{Worker: worker, Activity: activity, Since: time.Now()})
}

func (d *doing) clear() { d.at.Store(nil) }

// noWorker is the index for calls that are not of a worker.
const noWorker = -1

// member is a worker in a run.
type member struct {
	index    int
	many     bool // there are several workers
	worker   *funnel.Worker
	sourceID string
	ctx      context.Context // of Do
	cancel   context.CancelCauseFunc
	done     chan struct{} // closed when Do has ended
	served   atomic.Bool   // Do has begun
	doing    doing         // the call that is pending, except Do
	gaveUp   atomic.Pointer[error]
	isOpen   bool    // opening has succeeded; only for the goroutine of the run
	lagging  Lagging // the source, or nil if it is not Lagging; set once the worker is open
}

func newMember(index, n int, w *funnel.Worker, ctx context.Context) *member {
	m := &member{index: index, many: n > 1, worker: w, done: make(chan struct{})}
	m.sourceID = idOf(w.FirstTask.Task)
	m.ctx, m.cancel = context.WithCancelCause(ctx)
	return m
}

// idOf returns the ID of a task, or "(unknown)" if its method panics. Call it only where a
// call of the host may hang.
func idOf(t funnel.Task) string {
	id := "(unknown)"
	_ = call(func() error { id = t.ID(); return nil })
	return id
}

// wrap names the worker, if there are several.
func (m *member) wrap(what string, err error) error {
	if m.many {
		return fmt.Errorf("worker %d: %s: %w", m.index, what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (m *member) isRunning() bool {
	select {
	case <-m.done:
		return false
	default:
		return m.served.Load()
	}
}

// run calls Do. It returns nil if Do only says that its context was cancelled: the caller that
// cancelled it has the reason.
func (m *member) run() error {
	m.served.Store(true)
	err := call(func() error { return m.worker.Do(m.ctx) })
	close(m.done)
	if err == nil || m.ctx.Err() != nil && saysOnly(err, m.ctx.Err(), context.Cause(m.ctx)) {
		return nil
	}
	if m.many {
		return fmt.Errorf("worker %d: %w", m.index, err)
	}
	return err
}

// stop stops the worker gracefully, until the bound. It returns an error if that failed,
// but not if the bound has passed.
func (m *member) stop(bound time.Time) error {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(m.ctx), bound)
	defer cancel()
	m.doing.set(m.index, "stopping")
	defer m.doing.clear()
	err := call(func() error { return m.worker.Stop(ctx) })
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && holds(err, ctx.Err()) {
		m.gaveUp.Store(&err)
		return nil
	}
	return m.wrap("failed to stop", err)
}

func (m *member) close(ctx context.Context) error {
	m.doing.set(m.index, "closing")
	defer m.doing.clear()
	defer m.cancel(nil)
	if err := call(func() error { return m.worker.Close(ctx) }); err != nil {
		return m.wrap("failed to close", err)
	}
	return nil
}

// tasks returns what the run is doing. With all, it includes workers that only read.
func (r *run) tasks(all bool) []TaskStatus {
	r.mu.Lock()
	members := r.members
	r.mu.Unlock()
	var tasks []TaskStatus
	if a := r.doing.at.Load(); a != nil {
		tasks = append(tasks, *a)
	}
	for _, m := range members {
		tasks = append(tasks, m.tasks(all)...)
	}
	if all && len(tasks) == 0 { // the methods of its errors are being called
		tasks = append(tasks, TaskStatus{Worker: noWorker, Activity: "ending"})
	}
	return tasks
}

func (m *member) tasks(withReads bool) []TaskStatus {
	var all []TaskStatus
	s := m.worker.Stats()
	for _, t := range s.Tasks {
		all = append(all, TaskStatus{Worker: m.index, ID: t.ID, Activity: string(t.Activity), Since: t.Since})
	}
	if m.isRunning() {
		if gaveUp := m.gaveUp.Load(); len(all) == 0 && s.InFlight > 0 {
			t := TaskStatus{Worker: m.index, Activity: fmt.Sprintf("working on %d records", s.InFlight)}
			if gaveUp != nil {
				t.Activity += fmt.Sprintf(" (%s)", errorText(*gaveUp))
			}
			all = append(all, t)
		}
	}
	if a := m.doing.at.Load(); a != nil && len(all) == 0 {
		all = append(all, *a)
	}
	if withReads && len(all) == 0 && m.isRunning() {
		all = append(all, TaskStatus{Worker: m.index, ID: m.sourceID, Activity: "reading"})
	}
	return all
}
