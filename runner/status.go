package runner

import (
	"fmt"
	"sync"
	"time"

	"github.com/conduitio/funnel"
)

// Status says how a pipeline is doing. The texts of errors are valid UTF-8, at most 2,048
// bytes long, and hold no stacks; names and IDs are as the host has given them. All may hold
// HTML, so whoever shows them must escape them.
type Status struct {
	Name  string    `json:"name"`
	State State     `json:"state"`
	Since time.Time `json:"since"`
	// ShouldRun is true if the pipeline was started, at least by [Group.Run], or will be, and
	// was not stopped since then, neither by the host nor with the group.
	ShouldRun bool `json:"should_run"`
	// Cause is why the pipeline is in its state, or empty.
	Cause string `json:"cause,omitempty"`
	// Attempt is how many runs in a row have failed since the host started the pipeline or
	// since a healthy run, the present one included. Next is when the next run begins, or
	// zero unless the pipeline is recovering.
	Attempt int       `json:"attempt"`
	Next    time.Time `json:"next,omitzero"`
	// Restarts is how often the pipeline was restarted after a failure since it was added.
	Restarts uint64 `json:"restarts"`
	// LastError is the last error of a run, and LastErrorAt when it was found. They stay
	// when the pipeline has recovered.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// Records are the counts of all runs since the pipeline was added.
	Records Records `json:"records"`
	// LastAck is when records were last acked, zero if never, see [funnel.Stats].
	LastAck time.Time `json:"last_ack,omitzero"`
	// Rate is the number of records acked per second over the last 10 s of a running
	// pipeline, or since it runs.
	Rate float64 `json:"acked_per_second"`
	// Tasks are what the workers are doing with the batches in flight, if they were made
	// with [funnel.WithStats], and which parts are being opened or closed.
	Tasks []TaskStatus `json:"tasks,omitempty"`
}

// Records are counts of records, see [funnel.Stats]. They are sums over all workers.
type Records struct {
	Read         uint64 `json:"read"`
	Acked        uint64 `json:"acked"`
	DeadLettered uint64 `json:"dead_lettered"`
	Filtered     uint64 `json:"filtered"`
	Nacked       uint64 `json:"nacked"`
	Retried      uint64 `json:"retried"`
	Batches      uint64 `json:"batches"`
	// InFlight and Waiting are those of the current run.
	InFlight int `json:"in_flight"`
	Waiting  int `json:"waiting"`
}

// TaskStatus says what a part of a pipeline is doing.
type TaskStatus struct {
	// Worker is the index of the worker, or -1 if it is not a worker.
	Worker int `json:"worker"`
	// ID is the ID of the task, or empty if it is the whole worker.
	ID string `json:"id,omitempty"`
	// Activity is what it does, such as "working" or "acking records" (see
	// [funnel.TaskStats]), "opening", "stopping" or "closing".
	Activity string `json:"activity"`
	// Since is when the activity began, or zero if that is unknown.
	Since time.Time `json:"since,omitzero"`
}

func (t TaskStatus) text(now time.Time) string {
	var text string
	if t.Worker >= 0 {
		text = fmt.Sprintf("worker %d: ", t.Worker)
	}
	if t.ID != "" {
		text += fmt.Sprintf("task %q is ", t.ID)
	}
	text += t.Activity
	if !t.Since.IsZero() {
		text += fmt.Sprintf(" for %v", now.Sub(t.Since).Round(time.Millisecond))
	}
	return text
}

// The rate is measured over samples, which the actor takes.
const (
	samplePeriod = time.Second
	sampleCount  = 10
)

type sample struct {
	at    time.Time
	acked uint64
}

// snapshot is what others see of a pipeline. Nothing that can hang is called under its
// lock.
type snapshot struct {
	mu      sync.Mutex
	status  Status // without what workers say
	past    Records
	lastAck time.Time // in earlier runs
	run     *run
	samples []sample // of a running pipeline, the oldest first
}

func (s *snapshot) init(now time.Time, shouldRun bool) {
	s.status = Status{State: Stopped, Since: now, ShouldRun: shouldRun}
}

// expect says whether the pipeline should run.
func (s *snapshot) expect(shouldRun bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.ShouldRun = shouldRun
}

// change takes over a transition, and the text of its cause.
func (s *snapshot) change(t *Transition, cause string, m *machine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &s.status
	st.State, st.Since, st.Cause = t.To, t.At, cause
	st.Attempt, st.Next, st.Restarts = m.attempt, m.next, m.restarts
	if t.Cause != nil {
		st.LastError, st.LastErrorAt = cause, t.At
	}
	s.samples = nil
	if t.To == Running {
		r, _ := s.counts()
		s.samples = []sample{{t.At, r.Acked}}
	}
}

// setRun adds the counts of the last run to those of the past.
func (s *snapshot) setRun(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.past, s.lastAck = s.counts()
	s.past.InFlight, s.past.Waiting = 0, 0
	s.run = r
}

// sample remembers how many records are acked, and how many runs in a row have failed.
func (s *snapshot) sample(now time.Time, attempt int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Attempt = attempt
	r, _ := s.counts()
	if len(s.samples) >= sampleCount {
		s.samples = append(s.samples[:0], s.samples[1:]...)
	}
	s.samples = append(s.samples, sample{now, r.Acked})
}

// counts returns the counts of all runs. Worker.Stats does not wait for connectors.
func (s *snapshot) counts() (Records, time.Time) {
	all, lastAck := s.past, s.lastAck
	if s.run == nil {
		return all, lastAck
	}
	for _, w := range s.run.workers() {
		st := w.Stats()
		all.Read += st.Read
		all.Acked += st.Acked
		all.DeadLettered += st.DeadLettered
		all.Filtered += st.Filtered
		all.Nacked += st.Nacked
		all.Retried += st.Retried
		all.Batches += st.Batches
		all.InFlight += st.InFlight
		all.Waiting += st.Waiting
		if st.LastAck.After(lastAck) {
			lastAck = st.LastAck
		}
	}
	return all, lastAck
}

func (s *snapshot) get(now time.Time) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	st.Records, st.LastAck = s.counts()
	if len(s.samples) > 0 {
		first := s.samples[0]
		if d := now.Sub(first.at).Seconds(); d > 0 && st.Records.Acked > first.acked {
			st.Rate = float64(st.Records.Acked-first.acked) / d
		}
	}
	if s.run != nil {
		st.Tasks = s.run.tasks(st.State == Stuck)
	}
	return st
}

// workers returns the workers, once they are built.
func (r *run) workers() []*funnel.Worker {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*funnel.Worker, len(r.members))
	for i, m := range r.members {
		all[i] = m.worker
	}
	return all
}

// Status returns the status of all pipelines, in the order of their names. It never waits
// for a pipeline, and works before and after [Group.Run], too.
func (g *Group) Status() []Status {
	g.mu.Lock()
	pipelines := g.sorted()
	g.mu.Unlock()
	all := make([]Status, len(pipelines))
	for i, p := range pipelines {
		all[i] = p.status.get(time.Now())
		all[i].Name = p.name
	}
	return all
}

// StatusOf returns the status of a pipeline, or [ErrUnknown].
func (g *Group) StatusOf(name string) (Status, error) {
	g.mu.Lock()
	p := g.pipelines[name]
	g.mu.Unlock()
	if p == nil {
		return Status{}, fmt.Errorf("%w %q", ErrUnknown, name)
	}
	s := p.status.get(time.Now())
	s.Name = name
	return s, nil
}
