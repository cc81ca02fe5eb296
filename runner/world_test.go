package runner_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/runner"
)

// source is a source made of functions. By default a read waits for the teardown.
type source struct {
	OnOpen, OnTeardown func(context.Context) error
	OnRead             func(context.Context) ([]opencdc.Record, error)
	OnAck              func(context.Context, []opencdc.Position) error
	Background         chan error
	tornDown           chan struct{}
	once               sync.Once
}

func newSource() *source {
	return &source{tornDown: make(chan struct{}), Background: make(chan error, 1)}
}

func (s *source) ID() string           { return "source" }
func (s *source) Errors() <-chan error { return s.Background }
func (s *source) Open(ctx context.Context) error {
	if s.OnOpen != nil {
		return s.OnOpen(ctx)
	}
	return nil
}

func (s *source) Read(ctx context.Context) ([]opencdc.Record, error) {
	if s.OnRead != nil {
		return s.OnRead(ctx)
	}
	return s.wait(ctx)
}

func (s *source) wait(ctx context.Context) ([]opencdc.Record, error) {
	select {
	case <-s.tornDown:
		return nil, errors.New("torn down")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *source) Ack(ctx context.Context, p []opencdc.Position) error {
	if s.OnAck != nil {
		return s.OnAck(ctx, p)
	}
	return nil
}

func (s *source) Teardown(ctx context.Context) error {
	defer s.once.Do(func() { close(s.tornDown) })
	if s.OnTeardown != nil {
		return s.OnTeardown(ctx)
	}
	return nil
}

// destination is a destination that acks everything.
type destination struct {
	OnOpen, OnTeardown func(context.Context) error
	OnWrite            func(context.Context, []opencdc.Record) error
	Background         chan error
	acks               []connector.DestinationAck
}

func newDestination() *destination { return &destination{Background: make(chan error, 1)} }

func (d *destination) ID() string           { return "out" }
func (d *destination) Errors() <-chan error { return d.Background }
func (d *destination) Open(ctx context.Context) error {
	if d.OnOpen != nil {
		return d.OnOpen(ctx)
	}
	return nil
}

func (d *destination) Write(ctx context.Context, recs []opencdc.Record) error {
	d.acks = nil
	for _, r := range recs {
		d.acks = append(d.acks, connector.DestinationAck{Position: r.Position})
	}
	if d.OnWrite != nil {
		return d.OnWrite(ctx, recs)
	}
	return nil
}

func (d *destination) Ack(context.Context) ([]connector.DestinationAck, error) { return d.acks, nil }

func (d *destination) Teardown(ctx context.Context) error {
	if d.OnTeardown != nil {
		return d.OnTeardown(ctx)
	}
	return nil
}

func records(positions ...string) []opencdc.Record {
	var all []opencdc.Record
	for _, p := range positions {
		all = append(all, opencdc.Record{Position: opencdc.Position(p)})
	}
	return all
}

// single returns the records at the first read and waits then.
func (s *source) single(positions ...string) *source {
	read := false
	s.OnRead = func(ctx context.Context) ([]opencdc.Record, error) {
		if !read {
			read = true
			return records(positions...), nil
		}
		return s.wait(ctx)
	}
	return s
}

// ending returns the records at the first read and ends then.
func (s *source) ending(positions ...string) *source {
	read := false
	s.OnRead = func(context.Context) ([]opencdc.Record, error) {
		if !read {
			read = true
			return records(positions...), nil
		}
		return nil, io.EOF
	}
	return s
}

func newWorker(s funnel.Source, d funnel.Destination) (*funnel.Worker, error) {
	return funnel.From("in", s).To("out", d).Options(funnel.WithStats()).Worker()
}

// build returns a Build of one worker, with connectors that change can change.
func build(change func(s *source, d *destination)) runner.Build {
	return runner.Single(func(context.Context) (*funnel.Worker, error) {
		s, d := newSource(), newDestination()
		if change != nil {
			change(s, d)
		}
		return newWorker(s, d)
	})
}

// world is a group that runs.
type world struct {
	*runner.Group
	t      *testing.T
	cancel context.CancelFunc
	done   chan error
	mu     sync.Mutex
	seen   []runner.Transition
}

const (
	graceful  = 10 * time.Second
	cancelled = 4 * time.Second
)

func newWorld(t *testing.T, opts ...runner.Option) *world {
	t.Helper()
	w := &world{t: t, done: make(chan error, 1)}
	opts = append([]runner.Option{
		runner.WithStopTimeout(graceful, cancelled),
		runner.WithListener(func(tr runner.Transition) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.seen = append(w.seen, tr)
		}),
	}, opts...)
	g, err := runner.New(opts...)
	want(t, err)
	w.Group = g
	ctx, cancel := context.WithCancel(t.Context())
	w.cancel = cancel
	go func() { w.done <- g.Run(ctx) }()
	return w
}

// end ends the group and returns what Run returns.
func (w *world) end() error {
	w.cancel()
	return <-w.done
}

func (w *world) add(name string, b runner.Build, opts ...runner.PipelineOption) {
	w.t.Helper()
	want(w.t, w.Add(name, b, opts...))
}

// path returns the states that a pipeline has had, or those of all pipelines without a name.
func (w *world) path(name string) string {
	time.Sleep(0)
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, tr := range w.seen {
		if name == "" || tr.Pipeline == name {
			all = append(all, string(tr.To))
		}
	}
	return strings.Join(all, " ")
}

func (w *world) transitions() []runner.Transition {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

func (w *world) status(name string) runner.Status {
	w.t.Helper()
	s, err := w.StatusOf(name)
	want(w.t, err)
	return s
}

func (w *world) wantState(name string, state runner.State) {
	w.t.Helper()
	if s := w.status(name); s.State != state {
		w.t.Errorf("%s is %v (%s), want %v", name, s.State, s.Cause, state)
	}
}

func (w *world) wantPath(name, path string) {
	w.t.Helper()
	if got := w.path(name); got != path {
		w.t.Errorf("%s was %s, want %s", name, got, path)
	}
}

func want(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err, target error, words ...string) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("got error %v, want %v", err, target)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q lacks %q", err, word)
		}
	}
}

// buffer is a bytes.Buffer that is safe for concurrent use.
type buffer struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
