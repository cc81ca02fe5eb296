package runner

import (
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// machine decides what state a pipeline is in, and whether and when it is restarted. It has
// no clock and starts nothing: each method is told what has happened and when, and returns
// the transition that follows, or nil if there is none. It is not safe for concurrent use.
type machine struct {
	name   string
	policy Restart // with the defaults filled in
	pauses *backoff.ExponentialBackOff

	state      State
	since      time.Time
	cause      error
	attempt    int       // failed runs in a row
	next       time.Time // of the next restart, while recovering
	restarts   uint64
	failures   []time.Time // within the window, each followed by a restart
	isStopping bool        // the run was stopped
}

func newMachine(name string, policy Restart, now time.Time) *machine {
	return &machine{name: name, policy: policy, pauses: policy.pauses(), state: Stopped, since: now}
}

// ending is how a run has ended.
type ending struct {
	err      error // what went wrong
	forced   error // says that the run had to be cancelled, or nil
	class    Class // of err
	finished bool  // the sources have ended, and it was not stopped
}

// isOver returns true if there is no run.
func (m *machine) isOver() bool {
	switch m.state {
	case Starting, Running, Draining, Stuck:
		return false
	default:
		return true
	}
}

func (m *machine) to(now time.Time, state State, cause error) *Transition {
	t := &Transition{
		Pipeline: m.name, From: m.state, To: state, At: now, Cause: cause,
		Attempt: m.attempt, Next: m.next,
	}
	m.state, m.since, m.cause = state, now, cause
	return t
}

// start says that the host starts the pipeline. It returns nil if there is a run.
func (m *machine) start(now time.Time) *Transition {
	if !m.isOver() {
		return nil
	}
	m.attempt, m.failures = 0, nil
	m.pauses.Reset()
	return m.begin(now)
}

// pauseOver begins the restart that is due.
func (m *machine) pauseOver(now time.Time) *Transition {
	if m.state != Recovering {
		return nil
	}
	m.restarts++
	t := m.begin(now)
	t.isRestart = true
	return t
}

func (m *machine) begin(now time.Time) *Transition {
	m.next, m.isStopping = time.Time{}, false
	return m.to(now, Starting, nil)
}

// opened says that the workers run.
func (m *machine) opened(now time.Time) *Transition {
	if m.state != Starting {
		return nil
	}
	return m.to(now, Running, nil)
}

// stop says that the host stops the pipeline.
func (m *machine) stop(now time.Time) *Transition {
	m.checkHealth(now)
	switch m.state {
	case Starting, Running:
		m.isStopping = true
		return m.to(now, Draining, nil)
	case Draining, Stuck:
		m.isStopping = true
	case Recovering, Degraded:
		m.next = time.Time{}
		return m.to(now, Stopped, nil)
	}
	return nil
}

// winding says that the run winds up by itself: because of err, or because the sources have
// ended if err is nil.
func (m *machine) winding(now time.Time, err error) *Transition {
	if m.state != Running {
		return nil
	}
	m.checkHealth(now)
	return m.to(now, Draining, err)
}

// checkHealth counts failures anew if the run has been healthy. It returns true if it has.
func (m *machine) checkHealth(now time.Time) bool {
	if m.state != Running || now.Sub(m.since) < m.policy.Healthy {
		return false
	}
	m.attempt = 0
	m.pauses.Reset()
	return true
}

// stuck says that the run has not ended within its bounds.
func (m *machine) stuck(now time.Time, err error) *Transition {
	if m.isOver() || m.state == Stuck {
		return nil
	}
	return m.to(now, Stuck, err)
}

// ended says that the run is over, and all its connectors are closed.
func (m *machine) ended(now time.Time, e ending) *Transition {
	m.checkHealth(now)
	switch {
	case m.isOver():
		return nil
	case e.finished && e.err == nil:
		m.attempt = 0
		return m.to(now, Done, nil)
	case m.isStopping || e.err == nil:
		return m.to(now, Stopped, join(e.err, e.forced))
	}
	m.attempt++
	if m.state == Stuck || e.class == Fatal {
		return m.to(now, Degraded, e.err)
	}
	m.forget(now.Add(-m.policy.Window))
	if m.policy.Attempts > 0 && len(m.failures) >= m.policy.Attempts {
		return m.to(now, Degraded, &attemptsError{n: len(m.failures), window: m.policy.Window, err: e.err})
	}
	if m.policy.Attempts > 0 {
		m.failures = append(m.failures, now)
	}
	m.next = now.Add(m.pause())
	return m.to(now, Recovering, e.err)
}

// forget removes the failures up to a time.
func (m *machine) forget(until time.Time) {
	n := 0
	for n < len(m.failures) && !m.failures[n].After(until) {
		n++
	}
	m.failures = append(m.failures[:0], m.failures[n:]...)
}

func (m *machine) pause() time.Duration {
	pause := m.pauses.NextBackOff()
	if pause < 0 { // jitter was added to an interval of centuries
		return m.policy.MaxInterval
	}
	return pause
}

// attemptsError says that the attempts are used up. It wraps ErrAttempts and err.
type attemptsError struct {
	n      int
	window time.Duration
	err    error // of the last run
}

func (e *attemptsError) prefix() string {
	return fmt.Sprintf("%v: %d restarts within %v: ", ErrAttempts, e.n, e.window)
}

func (e *attemptsError) Error() string   { return e.prefix() + errorText(e.err) }
func (e *attemptsError) Unwrap() []error { return []error{ErrAttempts, e.err} }
