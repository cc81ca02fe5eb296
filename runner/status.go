package runner

import (
	"fmt"
	"sync"
	"time"

	"github.com/conduitio/funnel"
)

// Status says how a pipeline is doing. The texts of errors are valid UTF-8, at most 2,048
// bytes long, and hold no stacks. Names and IDs are as the host has given them. All texts may
// hold HTML: escape them before you show them on a page.
type Status struct {
	Name  string    `json:"name"`
	State State     `json:"state"`
	Since time.Time `json:"since"`
	// ShouldRun is true if the pipeline was started, or will be when [Group.Run] begins, and
	// neither the host nor the end of Run has stopped it since.
	ShouldRun bool `json:"should_run"`
	// Cause is the error that led to the state, or empty.
	Cause string `json:"cause,omitempty"`
	// Attempt is the number of failed runs in a row, as in [Transition]. It becomes 0 as soon
	// as the current run is healthy. Next is when the next run begins, or zero unless the
	// pipeline is recovering.
	Attempt int       `json:"attempt"`
	Next    time.Time `json:"next,omitzero"`
	// Restarts is the number of restarts after a failure since the pipeline was added.
	Restarts uint64 `json:"restarts"`
	// LastError is the last error of a run, and LastErrorAt is when it was found. They stay
	// after the pipeline has recovered.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// Records are the counts of all runs since the pipeline was added.
	Records Records `json:"records"`
	// LastAck is when records were last acked, or zero if none were; see [funnel.Stats].
	LastAck time.Time `json:"last_ack,omitzero"`
	// Rate is the number of records acked per second over the last 10 s, or since the pipeline
	// is running if that is shorter. It is 0 unless the pipeline is running.
	Rate float64 `json:"acked_per_second"`
	// Tasks are the parts of the pipeline that are being opened or closed, and the tasks that
	// have the batches in flight. Without [funnel.WithStats] a worker with a batch in flight
	// stands for its tasks.
	Tasks []TaskStatus `json:"tasks,omitempty"`
}

// Records are counts of records, as in [funnel.Stats], summed over all workers.
type Records struct {
	Read         uint64 `json:"read"`
	Acked        uint64 `json:"acked"`
	DeadLettered uint64 `json:"dead_lettered"`
	Filtered     uint64 `json:"filtered"`
	Nacked       uint64 `json:"nacked"`
	Retried      uint64 `json:"retried"`
	Batches      uint64 `json:"batches"`
	// InFlight and Waiting count records of the current run.
	InFlight int `json:"in_flight"`
	Waiting  int `json:"waiting"`
}

// TaskStatus says what a part of a pipeline is doing.
type TaskStatus struct {
	// Worker is the index of the worker, or -1 for a part outside the workers, such as a sink.
	Worker int `json:"worker"`
	// ID is the ID of the task, or empty if the part is not a task.
	ID string `json:"id,omitempty"`
	// Activity says what the part is doing, such as "working" or "acking records" (see
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

// snapshot is the view of a pipeline from outside. Nothing that can hang is called under its
// lock.
type snapshot struct {
	mu      sync.Mutex
	status  Status       // without the stats of the workers
	past    funnel.Stats // of earlier runs
	run     *run
	samples []sample // of a running pipeline, the oldest first
}

func (s *snapshot) init(now time.Time, shouldRun bool) {
	s.status = Status{State: Stopped, Since: now, ShouldRun: shouldRun}
}

// expect sets whether the pipeline should run.
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
		s.samples = []sample{{t.At, s.stats().Acked}}
	}
}

// setRun sets the run, or nil, after adding the counts of the last run to the past ones.
func (s *snapshot) setRun(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.past = s.stats()
	s.past.InFlight, s.past.Waiting, s.past.Tasks = 0, 0, nil
	s.run = r
}

// sample remembers how many records are acked, and how many runs in a row have failed.
func (s *snapshot) sample(now time.Time, attempt int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Attempt = attempt
	if len(s.samples) >= sampleCount {
		s.samples = append(s.samples[:0], s.samples[1:]...)
	}
	s.samples = append(s.samples, sample{now, s.stats().Acked})
}

// stats returns the stats of all runs. Worker.Stats does not wait for connectors.
func (s *snapshot) stats() funnel.Stats {
	all := s.past
	if s.run != nil {
		for _, w := range s.run.workers() {
			all.Add(w.Stats())
		}
	}
	return all
}

func (s *snapshot) get(now time.Time) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	all := s.stats()
	st.LastAck, st.Records = all.LastAck, Records{
		Read:         all.Read,
		Acked:        all.Acked,
		DeadLettered: all.DeadLettered,
		Filtered:     all.Filtered,
		Nacked:       all.Nacked,
		Retried:      all.Retried,
		Batches:      all.Batches,
		InFlight:     all.InFlight,
		Waiting:      all.Waiting,
	}
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
// for a pipeline, and also works before and after [Group.Run].
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
