package embedding_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/disk/disktest"
	"github.com/conduitio/funnel/internal/positionfs"
	"github.com/conduitio/funnel/position"
	"github.com/conduitio/funnel/runner"
)

// world is a host in a bubble, with connectors that a test can break. Its pipelines read
// numbers, check them, and collect them in tables.
type world struct {
	*host
	t        *testing.T
	registry *client.Registry
	spans    *tracetest.InMemoryExporter
	logs     buffer
	cancel   context.CancelFunc
	done     chan error
	texts    []string // of logs, pages and probes, as far as looked at
	series   []string // that were not 0
	isEnded  bool

	disk *disktest.FS // of the positions
	dir  string       // where they are
}

// newWorld returns a host whose group does not run yet. Its positions are on a disk of its own.
func newWorld(t *testing.T) *world {
	t.Helper()
	root := t.TempDir()
	disk, dir := disktest.New(t, root), filepath.Join(root, "positions")
	store, err := position.NewFiles(dir, positionfs.With(disk))
	want(t, err)
	w := newWorldAt(t, store)
	w.disk, w.dir = disk, dir
	return w
}

// newWorldAt returns a host that keeps its positions in the store.
func newWorldAt(t *testing.T, store position.Store) *world {
	t.Helper()
	w := &world{t: t, registry: client.NewRegistry(), spans: tracetest.NewInMemoryExporter(), done: make(chan error, 1)}
	var err error
	w.host, err = newHost(slog.NewJSONHandler(&w.logs, nil), w.registry,
		sdktrace.NewTracerProvider(sdktrace.WithSyncer(w.spans)), store)
	want(t, err)
	return w
}

// run runs the group until end is called.
func (w *world) run() {
	ctx, cancel := context.WithCancel(w.t.Context())
	w.cancel = cancel
	go func() { w.done <- w.group.Run(ctx) }()
	synctest.Wait()
}

// end ends the group, and returns what its Run returns.
func (w *world) end() error {
	w.isEnded = true
	w.cancel()
	err := <-w.done
	if err != nil {
		w.texts = append(w.texts, err.Error())
	}
	return err
}

// after lets time pass, and looks at everything.
func (w *world) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
	w.look()
}

// breakDisk lets no position be saved.
func (w *world) breakDisk() {
	w.disk.SetHook(func(c disktest.Call) error {
		if c.Kind == disktest.Write || c.Kind == disktest.Open && c.Created {
			return &os.PathError{Op: string(c.Kind), Path: c.Name, Err: syscall.EIO}
		}
		return nil
	})
}

// forget forgets what was looked at.
func (w *world) forget() { w.texts, w.series = nil, nil }

// look keeps what can be seen of the host now.
func (w *world) look() {
	w.t.Helper()
	for _, page := range []string{"livez", "readyz", "status.json", "index.html"} {
		code, body := w.get(page)
		w.texts = append(w.texts, page+" "+strconv.Itoa(code), body)
	}
	w.texts = append(w.texts, w.logs.String())
	rec := httptest.NewRecorder()
	promhttp.HandlerFor(w.registry, promhttp.HandlerOpts{}).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(rec.Body.String()) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") && !strings.HasSuffix(line, " 0") {
			w.series = append(w.series, line)
		}
	}
}

// get gets a page.
func (w *world) get(page string) (code int, body string) {
	rec := httptest.NewRecorder()
	w.group.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/"+page, nil))
	return rec.Code, rec.Body.String()
}

// wantText checks that a page holds a text.
func (w *world) wantText(page, text string) {
	w.t.Helper()
	if _, body := w.get(page); !strings.Contains(body, text) {
		w.t.Errorf("%s lacks %q: %s", page, text, body)
	}
}

// status returns the status of a pipeline, and fails if it is not in the state.
func (w *world) status(name string, state runner.State) runner.Status {
	w.t.Helper()
	s, err := w.group.StatusOf(name)
	want(w.t, err)
	if s.State != state {
		w.t.Errorf("pipeline %s is %v (%s), want %v", name, s.State, s.Cause, state)
	}
	return s
}

// wantProbes checks the status codes of livez and readyz.
func (w *world) wantProbes(live, ready int) {
	w.t.Helper()
	if code, body := w.get("livez"); code != live {
		w.t.Errorf("livez is %d %q, want %d", code, body, live)
	}
	if code, body := w.get("readyz"); code != ready {
		w.t.Errorf("readyz is %d %q, want %d", code, body, ready)
	}
}

// start adds the pipeline "orders", and runs the group.
func (w *world) start(p *parts, opts ...runner.PipelineOption) {
	w.t.Helper()
	want(w.t, w.add(p.flow("orders"), opts...))
	w.run()
}

// startAgain starts the pipeline "orders", and gives it time for all records.
func (w *world) startAgain() {
	w.t.Helper()
	want(w.t, w.group.Start("orders"))
	w.after(3 * time.Minute)
	w.status("orders", runner.Running)
}

// restartProcess runs another host with the same store, as after a restart of the process.
func (w *world) restartProcess(p *parts) {
	w.t.Helper()
	p.set(faults{})
	synctest.Wait() // what was stuck ends, as with the process
	next := newWorldAt(w.t, w.positions)
	next.start(p)
	next.after(time.Minute)
	next.status("orders", runner.Running)
	want(w.t, next.end())
}

// parts are the connectors of a pipeline of n numbers. They are healthy until a test breaks
// them.
type parts struct {
	n int

	mu      sync.Mutex
	faults  faults
	table   []string
	letters []string
}

// faults are functions that the connectors call first, and whose errors they return. Those
// that are nil are not called.
type faults struct {
	onBuild func() error
	onRead  func(context.Context) error
	onCheck func(opencdc.Record) error
	onWrite func(context.Context, []opencdc.Record) error
	onDead  func(context.Context, []opencdc.Record) error
}

func numbers(n int) *parts { return &parts{n: n} }

// set replaces all faults.
func (p *parts) set(f faults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = f
}

func (p *parts) get() faults {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults
}

// flow describes a pipeline of the parts.
func (p *parts) flow(name string) flow {
	return flow{
		name: name,
		from: func(from opencdc.Position) (funnel.Source, error) {
			next, err := strconv.Atoi(string(from))
			if len(from) > 0 && err != nil {
				return nil, err
			}
			return &numberSource{parts: p, next: next + 1, tornDown: make(chan struct{})}, nil
		},
		check: funnel.Map(func(r opencdc.Record) (opencdc.Record, error) {
			if onCheck := p.get().onCheck; onCheck != nil {
				return r, onCheck(r)
			}
			return r, nil
		}),
		to: func() (funnel.Destination, error) {
			if onBuild := p.get().onBuild; onBuild != nil {
				if err := onBuild(); err != nil {
					return nil, err
				}
			}
			return p.destination(&p.table, func() writer { return p.get().onWrite }), nil
		},
		refused: func() (funnel.Destination, error) {
			return p.destination(&p.letters, func() writer { return p.get().onDead }), nil
		},
	}
}

type writer func(context.Context, []opencdc.Record) error

// destination returns a destination that collects numbers.
func (p *parts) destination(all *[]string, fault func() writer) funnel.Destination {
	return funnel.DestinationFunc(func(ctx context.Context, recs []opencdc.Record) error {
		if f := fault(); f != nil {
			if err := f(ctx, recs); err != nil {
				return err
			}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, r := range recs {
			*all = append(*all, string(r.Position))
		}
		return nil
	})
}

// written returns what is in the table, and dead what is in the dead-letter queue.
func (p *parts) written() []string { return p.copyOf(&p.table) }
func (p *parts) dead() []string    { return p.copyOf(&p.letters) }

func (p *parts) copyOf(all *[]string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(*all)
}

// take adds what the other parts have written.
func (p *parts) take(other *parts) {
	table := other.written()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.table = append(p.table, table...)
}

// wantAll checks that the table and the letters have each number. They may have it again.
func (p *parts) wantAll(t *testing.T) {
	t.Helper()
	table, letters := p.written(), p.dead()
	for i := range p.n {
		if s := strconv.Itoa(i + 1); !slices.Contains(table, s) && !slices.Contains(letters, s) {
			t.Errorf("number %s is lost: the table has %v, the queue %v", s, table, letters)
		}
	}
}

// numberSource reads a number a second. After the last one it waits.
type numberSource struct {
	parts    *parts
	next     int
	tornDown chan struct{}
	once     sync.Once
}

func (s *numberSource) ID() string                                    { return "numbers" }
func (s *numberSource) Errors() <-chan error                          { return nil }
func (s *numberSource) Open(context.Context) error                    { return nil }
func (s *numberSource) Ack(context.Context, []opencdc.Position) error { return nil }

// Lag makes the source a runner.Lagging.
func (s *numberSource) Lag(context.Context) (records int64, behind time.Duration, err error) {
	return 12345, time.Hour, nil
}

func (s *numberSource) Teardown(context.Context) error {
	s.once.Do(func() { close(s.tornDown) })
	return nil
}
func (s *numberSource) Read(ctx context.Context) ([]opencdc.Record, error) {
	if onRead := s.parts.get().onRead; onRead != nil {
		if err := onRead(ctx); err != nil {
			return nil, err
		}
	}
	var due <-chan time.Time
	if s.next <= s.parts.n {
		due = time.After(time.Second)
	}
	select {
	case <-due:
		r := opencdc.Record{Position: opencdc.Position(strconv.Itoa(s.next))}
		s.next++
		return []opencdc.Record{r}, nil
	case <-s.tornDown:
		return nil, errors.New("torn down")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// buffer is a bytes.Buffer that is safe for concurrent use.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
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

// want ends the test if there is an error.
func want(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
