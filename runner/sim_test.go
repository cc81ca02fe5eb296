package runner_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/runner"
)

var (
	simSeed  = flag.Uint64("seed", 1, "the first seed of the simulations")
	simCount = flag.Int("lives", 150, "how many simulations")
)

// edges is the documented graph of the states.
var edges = map[runner.State][]runner.State{
	runner.Stopped:    {runner.Starting},
	runner.Starting:   {runner.Running, runner.Draining, runner.Recovering, runner.Degraded, runner.Stuck},
	runner.Running:    {runner.Draining},
	runner.Draining:   {runner.Stopped, runner.Done, runner.Recovering, runner.Degraded, runner.Stuck},
	runner.Recovering: {runner.Starting, runner.Stopped},
	runner.Degraded:   {runner.Starting, runner.Stopped},
	runner.Stuck:      {runner.Stopped, runner.Degraded, runner.Done},
	runner.Done:       {runner.Starting},
}

var simNames = []string{"a", "b", "c"}

// sim is a group whose pipelines do anything at random.
type sim struct {
	t       *testing.T
	rand    *rand.Rand
	mu      sync.Mutex // of rand
	g       *runner.Group
	release chan struct{} // ends what hangs

	starts, ends map[string]int // by the transitions
	alive        map[string]*atomic.Int32
	begun        map[string]*atomic.Int32 // runs that Build began
	last         map[string]runner.State
}

func (s *sim) n(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.IntN(n)
}

// act does something at random, where a call of a connector would do its work.
func (s *sim) act(ctx context.Context, where string) error {
	switch s.n(60) {
	case 0, 1, 2:
		return fmt.Errorf("%s failed", where)
	case 3:
		return funnel.FatalError(errors.New("fatal"))
	case 4:
		panic(where)
	case 5:
		runtime.Goexit()
	case 6: // hangs, whatever the context
		<-s.release
		return errors.New("released")
	case 7, 8: // hangs until the context ends
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.release:
		}
	case 9, 10, 11:
		time.Sleep(time.Duration(s.n(20_000)) * time.Millisecond)
	case 12:
		s.call(context.Background(), false)
	}
	return nil
}

// lag is the lag of a source.
func (s *sim) lag(ctx context.Context) (int64, time.Duration, error) {
	return int64(s.n(5) - 1), time.Duration(s.n(100)) * time.Second, s.act(ctx, "lag")
}

// call calls a method of the group.
func (s *sim) call(ctx context.Context, mayWait bool) {
	name := simNames[s.n(len(simNames))]
	ctx, cancel := context.WithTimeout(ctx, time.Duration(1+s.n(30_000))*time.Millisecond)
	defer cancel()
	if !mayWait {
		cancel()
	}
	begun := time.Now()
	var err error
	switch s.n(9) {
	case 0:
		err = s.g.Start(name)
	case 1:
		err = s.g.Stop(ctx, name)
	case 2:
		err = s.g.Restart(ctx, name)
	case 3:
		err = s.g.Remove(ctx, name)
	case 4, 5:
		err = s.g.Add(name, s.build(name), s.options()...)
	case 6:
		_, err = s.g.Lag(ctx, name)
	case 7:
		err = s.g.RunInstead(ctx, name, s.build(name))
		begun = time.Now() // it may take as long as a run does
	default:
		s.g.Status()
	}
	if d := time.Since(begun); d > graceful+cancelled {
		s.t.Errorf("a call took %v", d)
	}
	for _, known := range []error{
		nil, runner.ErrUnknown, runner.ErrExists, runner.ErrRunning, runner.ErrStopped, runner.ErrStuck,
		runner.ErrClosed, context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, known) {
			return
		}
	}
	// Otherwise it must be the error of the run.
}

func (s *sim) options() []runner.PipelineOption {
	r := runner.Restart{Attempts: 1 + s.n(5), Window: time.Duration(1+s.n(100)) * time.Second, Healthy: 5 * time.Second}
	opts := []runner.PipelineOption{runner.WithRestart(r)}
	if s.n(4) == 0 {
		opts = append(opts, runner.WithoutAutoStart())
	}
	if s.n(3) == 0 {
		opts = append(opts, runner.WithClassifier(func(error) runner.Class {
			switch s.n(12) {
			case 0:
				panic("classifier")
			case 1:
				runtime.Goexit()
			}
			return runner.Class(s.n(4))
		}))
	}
	return opts
}

// build returns a Build that checks that there is only one run at a time.
func (s *sim) build(name string) runner.Build {
	return func(ctx context.Context) (runner.Parts, error) {
		s.begun[name].Add(1)
		use := func(f func(context.Context, string) error) func(context.Context, string) error {
			return func(ctx context.Context, where string) error {
				s.alive[name].Add(1)
				defer s.alive[name].Add(-1)
				return f(ctx, where)
			}
		}
		act := use(s.act)
		run := s.begun[name].Load()
		check := func(where string) {
			now := s.begun[name].Load()
			if where == "Teardown" && s.alive[name].Load() == 0 {
				return // between two runs, what an earlier one could not close is closed again
			}
			if now != run {
				s.t.Errorf("%s of run %d of %s was called in run %d", where, run, name, now)
			}
		}
		if n := s.alive[name].Load(); n != 0 {
			s.t.Errorf("%d calls of %s are pending when it is built", n, name)
		}
		if err := act(ctx, "build"); err != nil {
			return runner.Parts{}, err
		}
		var parts runner.Parts
		n := 1 + s.n(3)
		var sink *funnel.Sink
		if n > 1 && s.n(2) == 0 {
			root := &funnel.TaskNode{Task: funnel.NewDestinationTask("out", s.destination(act, check), nop, nil)}
			var err error
			if sink, err = funnel.NewSink(root); err != nil {
				return parts, err
			}
			parts.Sinks = append(parts.Sinks, sink)
		}
		for range n {
			p := funnel.From("in", &lagging{s.source(act, check), s.lag})
			if sink != nil {
				p = p.Into(sink)
			} else {
				p = p.To("out", s.destination(act, check))
			}
			if s.n(2) == 0 {
				p.Options(funnel.WithStats())
			}
			if s.n(3) == 0 {
				p.Options(funnel.WithReadAhead(3))
			}
			w, err := p.Worker()
			if err != nil {
				return parts, err
			}
			parts.Workers = append(parts.Workers, w)
		}
		return parts, nil
	}
}

func (s *sim) source(act func(context.Context, string) error, check func(string)) *source {
	src := newSource()
	src.OnOpen = func(ctx context.Context) error { check("Open"); return act(ctx, "open") }
	n := 0
	src.OnRead = func(ctx context.Context) ([]opencdc.Record, error) {
		check("Read")
		switch s.n(20) {
		case 0:
			src.Background <- errors.New("background")
			return src.wait(ctx)
		case 1:
			return nil, io.EOF
		case 2, 3, 4, 5:
			return src.wait(ctx)
		}
		if err := act(ctx, "read"); err != nil {
			return nil, err
		}
		time.Sleep(time.Second)
		n++
		return records(fmt.Sprint(n)), nil
	}
	src.OnAck = func(ctx context.Context, _ []opencdc.Position) error { check("Ack"); return act(ctx, "ack") }
	src.OnTeardown = func(ctx context.Context) error { check("Teardown"); return act(ctx, "teardown") }
	return src
}

func (s *sim) destination(act func(context.Context, string) error, check func(string)) *destination {
	d := newDestination()
	d.OnOpen = func(ctx context.Context) error { check("Open"); return act(ctx, "open") }
	d.OnWrite = func(ctx context.Context, _ []opencdc.Record) error {
		check("Write")
		if s.n(40) == 0 {
			d.Background <- errors.New("background")
			d.Background = make(chan error, 1)
		}
		return act(ctx, "write")
	}
	d.OnTeardown = func(ctx context.Context) error { check("Teardown"); return act(ctx, "teardown") }
	return d
}

// listen checks that the transitions are a path of the graph. One goroutine calls it.
func (s *sim) listen(tr runner.Transition) {
	from, ok := s.last[tr.Pipeline]
	if !ok || tr.From == runner.Stopped {
		from = runner.Stopped // a new pipeline of the same name begins like this
	}
	isNew := s.last[tr.Pipeline] != tr.From && tr.From == runner.Stopped // the old one was removed
	if tr.From != from && !isNew || !slices.Contains(edges[tr.From], tr.To) {
		s.t.Errorf("%s went from %v (said to be %v) to %v", tr.Pipeline, from, tr.From, tr.To)
	}
	s.last[tr.Pipeline] = tr.To
	switch {
	case tr.To == runner.Starting:
		s.starts[tr.Pipeline]++
	case tr.To == runner.Running, tr.To == runner.Draining, tr.To == runner.Stuck:
	case tr.From != runner.Recovering && tr.From != runner.Degraded:
		s.ends[tr.Pipeline]++
	}
	if isBad := tr.To == runner.Recovering || tr.To == runner.Degraded || tr.To == runner.Stuck; isBad && tr.Cause == nil {
		s.t.Errorf("%s is %v without a cause", tr.Pipeline, tr.To)
	}
	switch s.n(30) {
	case 0:
		panic("listener")
	case 1:
		runtime.Goexit()
	case 2:
		s.call(context.Background(), true)
	case 3:
		s.call(context.Background(), false)
	}
}

func (s *sim) run() {
	for _, name := range simNames {
		s.alive[name], s.begun[name] = new(atomic.Int32), new(atomic.Int32)
	}
	reg, set := &registry{values: map[string]float64{}}, metrics.NewSet()
	set.Register(reg)
	g, err := runner.New(runner.WithStopTimeout(graceful, cancelled), runner.WithListener(s.listen), runner.WithMetrics(set))
	want(s.t, err)
	s.g = g
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	for range s.n(4) {
		s.call(ctx, true)
	}
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	var wg sync.WaitGroup
	for range 1 + s.n(4) {
		wg.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(time.Duration(s.n(20_000)) * time.Millisecond)
				s.call(ctx, true)
			}
		})
	}
	time.Sleep(time.Duration(s.n(300)) * time.Second)
	ended := time.Now()
	cancel()
	err = <-done
	if d := time.Since(ended); d > graceful+2*cancelled {
		s.t.Errorf("Run has ended after %v: %v", d, err)
	}
	isStuck := false
	for _, st := range g.Status() {
		switch st.State {
		case runner.Stuck:
			isStuck = true
		case runner.Stopped, runner.Degraded, runner.Done:
		default:
			s.t.Errorf("%s is %v after Run", st.Name, st.State)
		}
	}
	if isStuck && !errors.Is(err, runner.ErrStuck) { // a stuck run may have ended meanwhile
		s.t.Errorf("a pipeline is stuck, but Run returned %v", err)
	}
	wg.Wait()
	close(s.release)
	time.Sleep(time.Hour)
	synctest.Wait()
	for _, st := range g.Status() {
		switch st.State {
		case runner.Stopped, runner.Degraded, runner.Done:
		default:
			s.t.Errorf("%s is %v after all was released", st.Name, st.State)
		}
	}
	for _, name := range simNames {
		if behind, ok := reg.values[fmt.Sprintf("funnel_lag_seconds[%s]", name)]; ok && !math.IsNaN(behind) {
			s.t.Errorf("%s does not run, but is %v s behind", name, behind)
		}
		if s.starts[name] != s.ends[name] || int(s.begun[name].Load()) != s.starts[name] {
			s.t.Errorf("%s: %d starts, %d ends, %d runs", name, s.starts[name], s.ends[name], s.begun[name].Load())
		}
	}
}

// TestGroup_random lets pipelines fail, hang, panic and recover, while random methods are
// called from everywhere.
func TestGroup_random(t *testing.T) {
	for i := range *simCount {
		seed := *simSeed + uint64(i)
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sim{
					t: t, rand: rand.New(rand.NewPCG(seed, 1)), release: make(chan struct{}),
					starts: map[string]int{}, ends: map[string]int{},
					alive: map[string]*atomic.Int32{}, begun: map[string]*atomic.Int32{},
					last: map[string]runner.State{},
				}
				s.run()
			})
		})
		if !ok {
			return
		}
	}
}

var nop = log.Nop()
