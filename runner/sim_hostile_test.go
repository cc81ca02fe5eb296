package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/runner"
)

// This simulation looks at a group from outside, as an operator does: through its pages,
// its transitions and its results. All functions of the host fail at random, also some that
// always work in the other simulation: Errors, Lag, the texts of errors, and the teardown of
// work in the background.

// hostileHost is a host whose functions fail at random.
type hostileHost struct {
	real    bool // there is no bubble
	mu      sync.Mutex
	rand    *rand.Rand
	release chan struct{} // closed to end what hangs
	calm    atomic.Bool   // nothing fails anymore
	builds  sync.Map      // by name, how many calls of Build are pending
}

func (h *hostileHost) n(n int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rand.IntN(n)
}

func (h *hostileHost) ms(n int) time.Duration {
	d := time.Duration(h.n(n)) * time.Millisecond
	if h.real {
		d /= 200
	}
	return d
}

// strike fails at random, where a function of the host would do its work.
func (h *hostileHost) strike(ctx context.Context, where string) error {
	if h.calm.Load() {
		return nil
	}
	switch h.n(60) {
	case 0:
		return fmt.Errorf("%s failed <b>\x00\xff", where)
	case 1:
		return funnel.FatalError(fmt.Errorf("%s failed for good", where))
	case 2:
		panic(fmt.Sprintf("%s panicked", where))
	case 3:
		runtime.Goexit()
	case 4: // ignore the context for a while
		time.Sleep(h.ms(40000))
	case 5:
		if h.n(6) == 0 {
			<-h.release
		}
	case 6:
		select {
		case <-ctx.Done():
		case <-h.release:
		}
		return ctx.Err()
	case 7:
		return context.Canceled
	case 8:
		time.Sleep(h.ms(3000))
	}
	return nil
}

// hostileConnector is the common part of sources and destinations. Its Teardown waits for its
// work in the background, which waits until its errors are received.
type hostileConnector struct {
	h      *hostileHost
	name   string
	isOpen atomic.Bool
	down   chan struct{}
	errs   chan error
	left   int
	acks   []connector.DestinationAck
	bg     sync.WaitGroup
}

func (c *hostileConnector) ID() string { return c.name }
func (c *hostileConnector) Errors() <-chan error {
	if c.h.n(80) == 0 && !c.h.calm.Load() {
		panic("Errors")
	}
	return c.errs
}

func (c *hostileConnector) Open(ctx context.Context) error {
	if err := c.h.strike(ctx, "open"); err != nil {
		return err
	}
	c.isOpen.Store(true)
	if c.h.n(8) == 0 && !c.h.calm.Load() {
		c.bg.Go(func() {
			select {
			case <-time.After(c.h.ms(20000)):
			case <-c.down:
			}
			for range c.h.n(3) {
				select {
				case c.errs <- errors.New("background"):
				case <-c.h.release:
				}
			}
		})
	}
	return nil
}

func (c *hostileConnector) Read(ctx context.Context) ([]opencdc.Record, error) {
	if err := c.h.strike(ctx, "read"); err != nil {
		return nil, err
	}
	select {
	case <-time.After(c.h.ms(2000)):
	case <-c.down:
		return nil, errors.New("down")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c.left == 0 {
		return nil, io.EOF
	}
	c.left--
	return records("a", "b"), nil
}

func (c *hostileConnector) ackSource(ctx context.Context, p []opencdc.Position) error {
	return c.h.strike(ctx, "ack")
}
func (c *hostileConnector) Write(ctx context.Context, r []opencdc.Record) error {
	c.acks = nil
	for _, r := range r {
		c.acks = append(c.acks, connector.DestinationAck{Position: r.Position})
	}
	return c.h.strike(ctx, "write")
}

func (c *hostileConnector) Teardown(ctx context.Context) error {
	if err := c.h.strike(ctx, "teardown"); err != nil {
		return err
	}
	if c.isOpen.Swap(false) {
		close(c.down)
		c.bg.Wait()
	}
	return nil
}

type hostileSource struct{ *hostileConnector }

func (s hostileSource) Ack(ctx context.Context, p []opencdc.Position) error {
	return s.ackSource(ctx, p)
}
func (s hostileSource) Lag(ctx context.Context) (int64, time.Duration, error) {
	err := s.h.strike(ctx, "lag")
	return int64(s.h.n(5) - 1), s.h.ms(5000), err
}

type hostileDestination struct{ *hostileConnector }

func (s hostileDestination) Ack(ctx context.Context) ([]connector.DestinationAck, error) {
	return s.acks, s.h.strike(ctx, "dack")
}

// simulate lets a group live, and checks everything that is visible from outside.
func simulate(t *testing.T, seed uint64, real bool) {
	h := &hostileHost{real: real, rand: rand.New(rand.NewPCG(seed, 7)), release: make(chan struct{})}
	gr, ca := 5*time.Second, 2*time.Second
	if real {
		gr, ca = 40*time.Millisecond, 20*time.Millisecond
	}
	var mu sync.Mutex
	seen := map[string][]runner.Transition{}
	var g *runner.Group
	opts := []runner.Option{runner.WithStopTimeout(gr, ca), runner.WithListener(func(tr runner.Transition) {
		mu.Lock()
		all := seen[tr.Pipeline]
		if n := len(all); n > 0 && (all[n-1].To != tr.From || tr.At.Before(all[n-1].At)) && tr.From != runner.Stopped {
			t.Errorf("seed %d: %+v after %+v", seed, tr, all[n-1])
		}
		if !slices.Contains(edges[tr.From], tr.To) {
			t.Errorf("seed %d: illegal %+v", seed, tr)
		}
		switch tr.To {
		case runner.Recovering, runner.Degraded, runner.Stuck:
			if tr.Cause == nil {
				t.Errorf("seed %d: no cause %+v", seed, tr)
			}
		}
		if tr.Cause != nil && strings.Contains(tr.Cause.Error(), "not by the runner") {
			t.Errorf("seed %d: nobody else stops workers: %+v", seed, tr)
		}
		if tr.To == runner.Recovering && (!tr.Next.After(tr.At) || tr.Attempt == 0) {
			t.Errorf("seed %d: %+v", seed, tr)
		}
		seen[tr.Pipeline] = append(all, tr)
		mu.Unlock()
		switch h.n(12) {
		case 0:
			_, _ = g.StatusOf(tr.Pipeline)
			_ = g.Start(tr.Pipeline)
		case 1:
			if !h.calm.Load() {
				panic("listener")
			}
		case 2:
			ctx, c := context.WithTimeout(context.Background(), h.ms(2000))
			_ = g.Stop(ctx, tr.Pipeline)
			c()
		}
	})}
	if h.n(2) == 0 {
		opts = append(opts, runner.WithErrorText(func(string, error) string {
			_ = h.strike(context.Background(), "text")
			return "x"
		}))
	}
	var err error
	g, err = runner.New(opts...)
	want(t, err)
	builder := func(name string) runner.Build {
		v, _ := h.builds.LoadOrStore(name, new(atomic.Int32))
		one := v.(*atomic.Int32)
		return func(ctx context.Context) (runner.Parts, error) {
			if n := one.Add(1); n != 1 {
				t.Errorf("seed %d: %d runs of %s", seed, n, name)
			}
			defer one.Add(-1)
			if err := h.strike(ctx, "build"); err != nil {
				return runner.Parts{}, err
			}
			var p runner.Parts
			for i := range 1 + h.n(2) {
				mk := func(n string) *hostileConnector {
					return &hostileConnector{h: h, name: n, down: make(chan struct{}), errs: make(chan error, h.n(2)), left: h.n(30)}
				}
				opts := []funnel.WorkerOption{funnel.WithStats()}
				if h.n(3) == 0 {
					opts = append(opts, funnel.WithReadAhead(3))
				}
				w, err := funnel.From(fmt.Sprint("s", i), hostileSource{mk("s")}).To(fmt.Sprint("d", i), hostileDestination{mk("d")}).Options(opts...).Worker()
				if err != nil {
					return p, err
				}
				p.Workers = append(p.Workers, w)
			}
			switch h.n(50) {
			case 0:
				p.Workers = append(p.Workers, nil)
			case 1:
				p.Workers = nil
			case 2:
				p.Workers = append(p.Workers, p.Workers[0])
			}
			return p, nil
		}
	}
	add := func(name string) error {
		r := runner.Restart{InitialInterval: 10 + h.ms(2000), Attempts: 1 + h.n(6), Window: 10 + h.ms(60000), Healthy: 10 + h.ms(10000)}
		r.MaxInterval = r.InitialInterval * 8
		return g.Add(name, builder(name), runner.WithRestart(r), runner.WithClassifier(func(err error) runner.Class {
			_ = h.strike(context.Background(), "classify")
			return runner.Class(h.n(3))
		}))
	}
	names := []string{"a", "b<i>", "c\xff"}
	for _, n := range names[:2] {
		want(t, add(n))
	}
	page := g.Handler()
	call := func() {
		name := names[h.n(len(names))]
		ctx, cancel := context.WithTimeout(context.Background(), h.ms(15000))
		defer cancel()
		begin := time.Now()
		limit := 15 * time.Second
		switch h.n(13) {
		case 12:
			_ = g.RunInstead(ctx, name, builder(name))
		case 0:
			_ = g.Start(name)
			limit = 3 * time.Second
		case 1:
			_ = g.Stop(ctx, name)
		case 2:
			_ = g.Restart(ctx, name)
		case 3:
			_ = g.Remove(ctx, name)
		case 4, 5:
			_ = add(name)
		case 6:
			for _, s := range g.Status() {
				if s.Since.After(time.Now()) || s.State == runner.Recovering && s.Next.IsZero() {
					t.Errorf("seed %d: %+v", seed, s)
				}
			}
		case 7:
			for range g.Stats() {
			}
		case 8:
			_, _ = g.Lag(ctx, name)
			limit = 8 * time.Second
		default:
			rec := httptest.NewRecorder()
			path := []string{"/", "/livez", "/readyz", "/status.json"}[h.n(4)]
			page.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
			limit = 4 * time.Second
			if path == "/status.json" {
				var o runner.Overview
				if err := json.Unmarshal(rec.Body.Bytes(), &o); err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
				stuck, ready := false, o.Phase == runner.PhaseRunning
				for _, p := range o.Pipelines {
					stuck = stuck || p.State == runner.Stuck
					if p.ShouldRun && p.State != runner.Running && p.State != runner.Done {
						ready = false
					}
				}
				if o.Live == stuck || o.Ready != (ready && !stuck) {
					t.Errorf("seed %d: %s", seed, rec.Body)
				}
			}
			if strings.Contains(rec.Body.String(), "<i>") || strings.Contains(rec.Body.String(), ".go:") {
				if path != "/readyz" && path != "/livez" { // plain text
					t.Errorf("seed %d: %s", seed, rec.Body)
				}
			}
		}
		if took := time.Since(begin); took > limit && !real {
			t.Errorf("seed %d: a call took %v", seed, took)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	call()
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 30 {
				time.Sleep(h.ms(4000))
				call()
				if h.n(40) == 0 {
					if g.Run(context.Background()) == nil {
						t.Error("Run twice")
					}
				}
			}
		})
	}
	time.Sleep(h.ms(200000))
	begin := time.Now()
	cancel()
	runErr := <-done
	bound := gr + ca + ca + 5*time.Second
	if took := time.Since(begin); took > bound {
		t.Errorf("seed %d: Run took %v", seed, took)
	}
	h.calm.Store(true)
	var se *runner.StuckError
	isStuck := errors.As(runErr, &se)
	for _, s := range g.Status() {
		switch s.State {
		case runner.Starting, runner.Running, runner.Draining, runner.Recovering:
			t.Errorf("seed %d: after Run %+v", seed, s)
		case runner.Stuck:
			if !isStuck || len(s.Tasks) == 0 {
				t.Errorf("seed %d: stuck %v: %+v", seed, runErr, s)
			}
		}
		if s.ShouldRun && s.State != runner.Stuck && s.State != runner.Done && s.State != runner.Degraded {
			t.Errorf("seed %d: should run %+v", seed, s)
		}
	}
	if isStuck && (len(se.Tasks) == 0 || strings.HasSuffix(se.Error(), "stuck: ")) {
		t.Errorf("seed %d: %v", seed, runErr)
	}
	close(h.release)
	wg.Wait()
	if !real {
		time.Sleep(2 * time.Minute)
		for _, s := range g.Status() {
			if s.State == runner.Stuck {
				t.Errorf("seed %d: still stuck %+v", seed, s)
			}
		}
	}
	if g.Run(context.Background()) != runner.ErrClosed {
		t.Error("Run after Run")
	}
}

func TestGroup_hostile(t *testing.T) {
	for i := range uint64(*simCount) {
		synctest.Test(t, func(t *testing.T) { simulate(t, *simSeed+i, false) })
		if t.Failed() {
			return
		}
	}
}

// The same in real time, so that the race detector finds races that bubbles hide.
func TestGroup_hostileInRealTime(t *testing.T) {
	before := runtime.NumGoroutine()
	for i := range uint64(*simCount / 25) {
		simulate(t, *simSeed+i, true)
		if t.Failed() {
			return
		}
	}
	for range 1000 { // a slow machine needs some of them
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%d goroutines are left", runtime.NumGoroutine()-before)
}
