package embedding_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	client "github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector/file"
	"github.com/conduitio/funnel/position"
)

// The environment of a process that is a service: the directory of its files, and how it
// breaks.
const (
	serviceDir   = "EMBEDDING_SERVICE_DIR"
	serviceFault = "EMBEDDING_SERVICE_FAULT"
)

const (
	lineCount  = 10_000
	batchCount = 100         // lines
	timeLimit  = time.Minute // of a process
)

func TestMain(m *testing.M) {
	dir := os.Getenv(serviceDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := service(dir, os.Getenv(serviceFault)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// service copies lines from one file to another. It prints the address of its pages.
func service(dir, fault string) error {
	positions, err := position.NewFiles(filepath.Join(dir, "positions"))
	if err != nil {
		return err
	}
	registry := client.NewRegistry()
	h, err := newHost(slog.NewJSONHandler(os.Stderr, nil), registry, noop.NewTracerProvider(), positions)
	if err != nil {
		return err
	}
	err = h.add(flow{
		name: "orders",
		from: func(from opencdc.Position) (funnel.Source, error) {
			return file.NewSource(filepath.Join(dir, "in"), file.JSONLines, from, file.WithFollow(), file.WithBatch(batchCount, 1<<20))
		},
		check: funnel.Map(func(r opencdc.Record) (opencdc.Record, error) {
			breakIn(fault)
			return r, nil
		}),
		to: func() (funnel.Destination, error) {
			return file.NewDestination(filepath.Join(dir, "out"), file.JSONLines)
		},
		refused: func() (funnel.Destination, error) {
			return file.NewDestination(filepath.Join(dir, "refused"), file.Records)
		},
	})
	if err != nil {
		return err
	}
	pages, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(pages.Addr())
	return h.serve(registry, pages)
}

// breakIn breaks the process at its first record.
func breakIn(fault string) {
	switch fault {
	case "memory":
		limitMemory()
		runtime.KeepAlive(make([]byte, 4<<30)) // Go's own memory runs out, not that of the race detector
	case "hang":
		select {}
	case "goroutine":
		go func() { panic("nobody recovers here") }()
		select {}
	}
}

// processFailures are the rows of the table that need a process.
var processFailures = []failure{
	{"`kill -9`", func(w *world, _ *parts) {
		dir := newDir(w.t)
		for range 3 {
			s := startService(w.t, dir, "")
			before := s.lines()
			s.until("some lines are written", func() bool { return s.lines() > before+10 })
			s.signal(syscall.SIGKILL)
			w.texts = append(w.texts, s.wait())
		}
		s := startService(w.t, dir, "")
		s.untilAllWritten()
		w.texts = append(w.texts, s.stop())
		s.wantLines(3 * batchCount)
	}},
	{"`kill -STOP`, or a paused machine", func(w *world, _ *parts) {
		dir := newDir(w.t)
		s := startService(w.t, dir, "")
		s.until("it runs", func() bool { return s.get("readyz") == "200 ready\n" })
		s.signal(syscall.SIGSTOP)
		s.until("it is silent", func() bool { return strings.Contains(s.get("livez"), "Timeout") })
		other := startService(w.t, dir, "")
		other.until("it cannot claim", func() bool { return strings.Contains(other.get("status.json"), "is claimed already") })
		w.texts = append(w.texts, other.get("status.json"))
		if !strings.Contains(other.get("status.json"), `"state": "recovering"`) {
			w.t.Error("the other process is not recovering")
		}
		other.stop()
		s.signal(syscall.SIGCONT)
		s.untilAllWritten()
		s.stop()
		s.wantLines(0)
	}},
	{"Out of memory", func(w *world, _ *parts) { endsBy(w, "memory") }},
	{"A goroutine of a connector panics", func(w *world, _ *parts) { endsBy(w, "goroutine") }},
}

// endsBy starts a service that a fault ends, and then one without it, which writes the rest.
func endsBy(w *world, fault string) {
	dir := newDir(w.t)
	s := startService(w.t, dir, fault)
	w.texts = append(w.texts, s.wait())
	s = startService(w.t, dir, "")
	s.untilAllWritten()
	s.stop()
	s.wantLines(batchCount)
}

// A signal stops the service gracefully: nothing is written twice. Its pages include the
// metrics.
func TestSignal(t *testing.T) {
	dir := newDir(t)
	s := startService(t, dir, "")
	s.until("some lines are written", func() bool { return s.lines() > 10 })
	s.stop()
	if n := s.lines(); n == lineCount {
		t.Log("all lines were written before the signal")
	}
	s = startService(t, dir, "")
	s.untilAllWritten()
	for page, text := range map[string]string{
		"metrics": `funnel_records_total{outcome="acked",pipeline_name="orders"}`,
		"readyz":  "200 ready\n",
		"":        "<h1>Pipelines</h1>",
	} {
		if got := s.get(page); !strings.Contains(got, text) {
			t.Errorf("the page %q lacks %q: %s", page, text, got)
		}
	}
	s.stop()
	s.wantLines(0)
}

// The second signal does not wait for what hangs.
func TestSecondSignal(t *testing.T) {
	s := startService(t, newDir(t), "hang")
	s.until("it hangs", func() bool { return strings.Contains(s.get(""), "check is working") })
	s.signal(syscall.SIGTERM)
	s.until("it stops", func() bool { return strings.Contains(s.get("readyz"), "the group is closed") })
	began := time.Now()
	for isOver := false; !isOver; { // the first signal may not be handled entirely
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.ended:
			isOver = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	if got := s.wait(); !strings.HasPrefix(got, "exit code 143\n") || time.Since(began) > 15*time.Second {
		t.Errorf("the service has ended after %v: %s", time.Since(began), got)
	}
}

// newDir returns a directory with an input.
func newDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var in bytes.Buffer
	for i := range lineCount {
		fmt.Fprintf(&in, "{\"n\":%d}\n", i)
	}
	want(t, os.WriteFile(filepath.Join(dir, "in"), in.Bytes(), 0o600))
	return dir
}

// process is a service in a process of its own.
type process struct {
	t       *testing.T
	dir     string
	cmd     *exec.Cmd
	output  buffer
	address string
	ended   chan struct{}
}

func startService(t *testing.T, dir, fault string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
	p := &process{t: t, dir: dir, cmd: exec.CommandContext(ctx, os.Args[0]), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), serviceDir+"="+dir, serviceFault+"="+fault)
	stdout, err := p.cmd.StdoutPipe()
	want(t, err)
	p.cmd.Stderr = &p.output
	want(t, p.cmd.Start())
	t.Cleanup(func() {
		cancel() // kills it, also while it is stopped
		<-p.ended
	})
	_, err = fmt.Fscanln(stdout, &p.address)
	go func() {
		_, _ = io.Copy(&p.output, stdout)
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	if err != nil {
		t.Fatalf("the service does not start: %v %s", err, p.output.String())
	}
	return p
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	want(p.t, p.cmd.Process.Signal(s))
}

// wait waits until the process has ended, and returns its exit code, as a shell does, and its
// output.
func (p *process) wait() string {
	<-p.ended
	code := p.cmd.ProcessState.ExitCode()
	if s, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		code = 128 + int(s.Signal())
	}
	return fmt.Sprintf("exit code %d\n%s", code, p.output.String())
}

// stop ends the process by SIGTERM.
func (p *process) stop() string {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	text := p.wait()
	if !strings.HasPrefix(text, "exit code 0\n") {
		p.t.Errorf("the service was stopped: %s", text)
	}
	return text
}

// get gets a page, and returns its status code and text, or an error.
func (p *process) get(page string) string {
	c := http.Client{Timeout: 2 * time.Second}
	defer c.CloseIdleConnections()
	res, err := c.Get("http://" + p.address + "/" + page)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", res.StatusCode, body)
}

// until waits until a condition holds.
func (p *process) until(what string, holds func() bool) {
	p.t.Helper()
	deadline := time.Now().Add(timeLimit)
	for !holds() {
		if time.Now().After(deadline) {
			p.t.Fatalf("in vain: %s: %s", what, p.output.String())
		}
		select {
		case <-p.ended:
			p.t.Fatalf("the service has ended: %s", p.wait())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (p *process) out() []byte {
	text, err := os.ReadFile(filepath.Join(p.dir, "out"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		p.t.Fatal(err)
	}
	return text
}

func (p *process) lines() int { return bytes.Count(p.out(), []byte("\n")) }

func (p *process) untilAllWritten() {
	p.t.Helper()
	last := fmt.Appendf(nil, "{\"n\":%d}\n", lineCount-1)
	p.until("all is written", func() bool { return bytes.HasSuffix(p.out(), last) })
}

// wantLines checks that each line was written, and at most this many again.
func (p *process) wantLines(again int) {
	p.t.Helper()
	seen := make(map[string]bool)
	n := 0
	for line := range bytes.Lines(p.out()) {
		seen[string(line)] = true
		n++
	}
	if len(seen) != lineCount || n > lineCount+again {
		p.t.Errorf("%d lines were written, %d different ones, want %d and at most %d again", n, len(seen), lineCount, again)
	}
}

// limitMemory lets the process have 256 MiB of addresses more than it has.
func limitMemory() {
	var pages uint64
	text, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(text), &pages)
	}
	if err == nil {
		limit := pages*uint64(os.Getpagesize()) + 256<<20
		err = syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: limit, Max: limit})
	}
	if err != nil {
		panic(err)
	}
}
