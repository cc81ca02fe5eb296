package runner

import (
	"errors"
	"testing"
	"time"
)

var (
	epoch   = time.Unix(1_000_000, 0)
	errTest = errors.New("test error")
)

func newTestMachine(t *testing.T, r Restart) *machine {
	t.Helper()
	r.Jitter = -1
	r, err := r.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return newMachine("x", r, epoch)
}

// Every event in every state leads along an edge of the graph or nowhere, and each event leads
// to the right state.
func TestMachine_events(t *testing.T) {
	failed := ending{err: errTest, class: Transient}
	events := map[string]func(*machine) *Transition{
		"start":     func(m *machine) *Transition { return m.start(epoch) },
		"pauseOver": func(m *machine) *Transition { return m.pauseOver(epoch) },
		"opened":    func(m *machine) *Transition { return m.opened(epoch) },
		"stop":      func(m *machine) *Transition { return m.stop(epoch) },
		"winding":   func(m *machine) *Transition { return m.winding(epoch, errTest) },
		"stuck":     func(m *machine) *Transition { return m.stuck(epoch, ErrStuck) },
		"failed":    func(m *machine) *Transition { return m.ended(epoch, failed) },
		"fatal":     func(m *machine) *Transition { return m.ended(epoch, ending{err: errTest, class: Fatal}) },
		"finished":  func(m *machine) *Transition { return m.ended(epoch, ending{finished: true}) },
		"stopped": func(m *machine) *Transition {
			m.isStopping = true
			return m.ended(epoch, failed)
		},
	}
	for state, want := range map[State]map[string]State{
		Stopped:    {"start": Starting},
		Starting:   {"opened": Running, "stop": Draining, "stuck": Stuck, "failed": Recovering, "fatal": Degraded, "finished": Done, "stopped": Stopped},
		Running:    {"stop": Draining, "winding": Draining, "stuck": Stuck, "failed": Recovering, "fatal": Degraded, "finished": Done, "stopped": Stopped},
		Draining:   {"stuck": Stuck, "failed": Recovering, "fatal": Degraded, "finished": Done, "stopped": Stopped},
		Recovering: {"start": Starting, "pauseOver": Starting, "stop": Stopped},
		Degraded:   {"start": Starting, "stop": Stopped},
		Stuck:      {"failed": Degraded, "fatal": Degraded, "finished": Done, "stopped": Stopped},
		Done:       {"start": Starting},
	} {
		for name, event := range events {
			m := newTestMachine(t, Restart{})
			m.state, m.since = state, epoch
			tr := event(m)
			switch to, ok := want[name]; {
			case tr == nil && ok:
				t.Errorf("%s in %v: nothing, want %v", name, state, to)
			case tr == nil:
				if m.state != state {
					t.Errorf("%s in %v led to %v without a transition", name, state, m.state)
				}
			case !ok || tr.To != to || tr.From != state || m.state != to || tr.Pipeline != "x" || !tr.At.Equal(epoch):
				t.Errorf("%s in %v: %+v, want %v", name, state, tr, to)
			}
		}
	}
}

// life lets a run live for some time and fail. It returns the time after its end.
func life(m *machine, now time.Time, ranFor time.Duration) (*Transition, time.Time) {
	m.opened(now)
	now = now.Add(ranFor)
	m.winding(now, errTest)
	return m.ended(now, ending{err: errTest, class: Transient}), now
}

func TestMachine_pauses(t *testing.T) {
	m := newTestMachine(t, Restart{InitialInterval: time.Second, MaxInterval: 5 * time.Second, Multiplier: 2, Attempts: -1, Healthy: time.Minute})
	m.start(epoch)
	now := epoch
	for i, step := range []struct {
		ranFor, pause time.Duration
		attempt       int
	}{
		{0, 1, 1}, {0, 2, 2}, {59 * time.Second, 4, 3}, {0, 5, 4}, {0, 5, 5},
		{time.Minute, 1, 1}, {0, 2, 2},
	} {
		var tr *Transition
		tr, now = life(m, now, step.ranFor)
		if tr.To != Recovering || tr.Next.Sub(now) != step.pause*time.Second || tr.Attempt != step.attempt {
			t.Errorf("step %d: %+v", i, tr)
		}
		now = tr.Next
		if again := m.pauseOver(now); again.To != Starting || !again.Next.IsZero() || again.Attempt != step.attempt {
			t.Errorf("step %d: %+v", i, again)
		}
	}
	if m.restarts != 7 {
		t.Errorf("%d restarts", m.restarts)
	}
	m.ended(now, ending{err: errTest, class: Fatal})
	m.start(now)
	if tr, _ := life(m, now, 0); tr.Attempt != 1 || tr.Next.Sub(now) != time.Second {
		t.Errorf("after a start by the host: %+v", tr)
	}
}

func TestMachine_window(t *testing.T) {
	m := newTestMachine(t, Restart{InitialInterval: 1, Attempts: 2, Window: 10 * time.Second})
	m.start(epoch)
	for i, step := range []struct {
		at time.Duration
		to State
	}{
		{0, Recovering}, {9, Recovering}, {10, Recovering}, {18, Degraded},
	} {
		tr, _ := life(m, epoch.Add(step.at*time.Second), 0)
		if tr.To != step.to || !errors.Is(tr.Cause, errTest) || errors.Is(tr.Cause, ErrAttempts) != (step.to == Degraded) {
			t.Errorf("failure %d: %+v", i, tr)
		}
		m.pauseOver(tr.Next)
	}
	if m.start(epoch); len(m.failures) != 0 {
		t.Error("a start by the host does not empty the window")
	}
}

func TestMachine_forced(t *testing.T) {
	m := newTestMachine(t, Restart{})
	m.start(epoch)
	m.stop(epoch)
	if tr := m.ended(epoch, ending{forced: errForced}); tr.To != Stopped || tr.Cause != errForced {
		t.Errorf("got %+v", tr)
	}
}

func TestMachine_hugePause(t *testing.T) {
	r, err := Restart{InitialInterval: 1<<63 - 1, Jitter: 1}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine("x", r, epoch)
	for range 100 {
		if p := m.pause(); p < 0 {
			t.Fatalf("the pause is %v", p)
		}
	}
}

func TestMachine_attempt(t *testing.T) {
	failed := ending{err: errTest, class: Transient}
	policy := Restart{InitialInterval: 1, Attempts: 2, Healthy: time.Minute}
	now := epoch

	m := newTestMachine(t, policy)
	m.start(now)
	if tr := m.ended(now, ending{err: errTest, class: Fatal}); tr.To != Degraded || tr.Attempt != 1 {
		t.Errorf("after a fatal error: %+v", tr)
	}
	m.start(now)
	for range 2 {
		m.ended(now, failed)
		m.pauseOver(now)
	}
	if tr := m.ended(now, failed); tr.To != Degraded || tr.Attempt != 3 {
		t.Errorf("after all attempts: %+v", tr)
	}

	m.start(now)
	m.ended(now, failed)
	m.pauseOver(now)
	m.opened(now)
	now = now.Add(time.Minute)
	if tr := m.stop(now); tr.To != Draining || tr.Attempt != 0 {
		t.Errorf("after a healthy run: %+v", tr)
	}
	m.ended(now, ending{})

	m.start(now)
	m.ended(now, failed)
	m.pauseOver(now)
	m.opened(now)
	m.winding(now, nil)
	if tr := m.ended(now, ending{finished: true}); tr.To != Done || tr.Attempt != 0 {
		t.Errorf("after the end of the sources: %+v", tr)
	}
}

// By default, pauses grow from a second to a minute, each up to 20 % shorter or longer. The
// 11th failure in 10 minutes degrades the pipeline. A minute of health begins the pauses anew.
func TestMachine_defaults(t *testing.T) {
	r, err := Restart{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	isRandom := false
	check := func(tr *Transition, now time.Time, about time.Duration) {
		t.Helper()
		pause := tr.Next.Sub(now)
		if tr.To != Recovering || pause < about*8/10 || pause > about*12/10 {
			t.Errorf("%v for %v, want about %v", tr.To, pause, about)
		}
		isRandom = isRandom || pause != about
	}
	for range 20 {
		m := newMachine("x", r, epoch)
		m.start(epoch)
		tr, now := life(m, epoch, 0)
		for _, about := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60, 60} {
			check(tr, now, about*time.Second)
			m.pauseOver(tr.Next)
			tr, now = life(m, tr.Next, 0)
		}
		if tr.To != Degraded || !errors.Is(tr.Cause, ErrAttempts) {
			t.Errorf("the 11th failure: %+v", tr)
		}

		m.start(now)
		for range 3 {
			tr, now = life(m, now, 0)
			m.pauseOver(tr.Next)
		}
		tr, now = life(m, now, time.Minute)
		check(tr, now, time.Second)
	}
	if !isRandom {
		t.Error("the pauses are not random")
	}
}
