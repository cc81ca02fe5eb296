package runner

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/conduitio/funnel"
)

// Lagging is a source that knows how far it is behind. Its method Lag must return before the
// context ends. It is called while the worker runs, concurrently with the other methods of the
// source, perhaps even with Teardown. It is never called by two goroutines at the same time,
// even if the source serves several runs.
type Lagging interface {
	// Lag returns how many records are not acked yet, those to read included, and how old the
	// first of them is. A negative number means unknown.
	Lag(ctx context.Context) (records int64, behind time.Duration, err error)
}

// Lag is how far a source is behind.
type Lag struct {
	// Worker is the index of the worker, and Source the ID of its first task.
	Worker  int           `json:"worker"`
	Source  string        `json:"source"`
	Records int64         `json:"records"`
	Behind  time.Duration `json:"behind_nanoseconds"`
	// Error says why the lag is unknown, or is empty. It is made like the texts of a [Status].
	Error string `json:"error,omitempty"`
}

// maxLagTime is the longest time that Group.Lag waits.
const maxLagTime = 5 * time.Second

// lagCall is a call of Lag of a source. All that ask while it is pending get its result.
type lagCall struct {
	done chan struct{}
	lag  Lag
	err  error
}

// Lag asks the sources of a running pipeline for their lag, all at the same time. It waits
// until ctx ends, for at most 5 s. A source that has not answered by then gets an error, whose
// text may take another second ([WithErrorText]). Sources that are not [Lagging] are left out.
// If the pipeline is not running, Lag returns nothing. If a source ignores its context, it is
// not asked again before it has answered.
//
// The Lagging source is Worker.Source, or a source that this one wraps. A wrapper has a method
// Unwrap() funnel.Source, as those of [funnel.NewBatchingSource], [funnel.NewReplaySource] and
// position.Track do. Whether a source is Lagging is found out once in each run, after the
// workers are opened.
func (g *Group) Lag(ctx context.Context, name string) ([]Lag, error) {
	g.mu.Lock()
	p := g.pipelines[name]
	g.mu.Unlock()
	if p == nil {
		return nil, fmt.Errorf("%w %q", ErrUnknown, name)
	}
	p.status.mu.Lock()
	r, state := p.status.run, p.status.status.State
	p.status.mu.Unlock()
	if r == nil || state != Running {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, maxLagTime)
	defer cancel()
	asked, calls := p.askLag(r)
	all := make([]Lag, len(asked))
	var wg sync.WaitGroup
	for i, c := range calls {
		err := error(nil)
		select {
		case <-c.done:
			all[i], err = c.lag, c.err
		case <-ctx.Done():
			err = fmt.Errorf("no answer in time: %w", ctx.Err())
		}
		all[i].Worker, all[i].Source = asked[i].index, asked[i].sourceID
		if err != nil {
			wg.Go(func() { all[i].Error = p.statusText(err) })
		}
	}
	wg.Wait()
	return all, nil
}

// askLag asks the sources of a run that are Lagging. It waits for none.
func (p *pipeline) askLag(r *run) (asked []*member, calls []*lagCall) {
	r.mu.Lock()
	members := r.members
	r.mu.Unlock()
	for _, m := range members {
		if m.lagging != nil {
			asked, calls = append(asked, m), append(calls, p.lags.ask(r.ctx, m.lagging))
		}
	}
	return asked, calls
}

// laggingOf returns the source if it is Lagging, or else a source in it that is, or else nil.
func laggingOf(s funnel.Source) (l Lagging) {
	const limit = 100 // for a wrapper that returns itself
	_ = call(func() error {
		for range limit {
			if found, ok := s.(Lagging); ok {
				l = found
				if !reflect.ValueOf(l).Comparable() {
					l = &oneLagging{found}
				}
				return nil
			}
			w, ok := s.(interface{ Unwrap() funnel.Source })
			if !ok {
				return nil
			}
			s = w.Unwrap()
		}
		return nil
	})
	return l
}

// oneLagging makes a Lagging comparable that is not, for one run.
type oneLagging struct{ Lagging }

// lagCalls calls Lag of the sources of a pipeline: one call at a time for each source, even if
// it serves several runs.
type lagCalls struct {
	mu      sync.Mutex
	pending map[Lagging]*lagCall
}

// ask begins a call, unless one is pending. The context of the call ends with the run, not
// with the context of the first asker.
func (c *lagCalls) ask(run context.Context, l Lagging) *lagCall {
	c.mu.Lock()
	defer c.mu.Unlock()
	if asked := c.pending[l]; asked != nil {
		return asked
	}
	asked := &lagCall{done: make(chan struct{})}
	if run.Err() != nil {
		asked.err = context.Cause(run)
		close(asked.done)
		return asked
	}
	if c.pending == nil {
		c.pending = make(map[Lagging]*lagCall)
	}
	c.pending[l] = asked
	go func() {
		ctx, cancel := context.WithTimeout(run, maxLagTime)
		defer cancel()
		asked.err = call(func() (err error) {
			asked.lag.Records, asked.lag.Behind, err = l.Lag(ctx)
			return err
		})
		c.mu.Lock()
		delete(c.pending, l)
		c.mu.Unlock()
		close(asked.done)
	}()
	return asked
}
