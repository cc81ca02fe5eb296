package runner_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conduitio/funnel/runner"
)

// browser returns the command of a browser, or skips the test.
func browser(t *testing.T) string {
	t.Helper()
	names := []string{"chromium", "chromium-browser", "google-chrome"}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skipf("no browser is installed: none of %s is in PATH", strings.Join(names, ", "))
	return ""
}

// browse starts a browser, which loads the page. The returned function ends the browser, unless
// it has ended by itself, and returns its output.
func browse(t *testing.T, args ...string) (end func() (stdout, stderr string)) {
	t.Helper()
	path := browser(t)
	dir, err := os.MkdirTemp("", "browser")
	want(t, err)
	// A child of the browser may still write there: a directory that is left is no failure.
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	cmd := exec.CommandContext(ctx, path, append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--enable-logging=stderr", "--user-data-dir=" + dir,
	}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "no_proxy=127.0.0.1")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	want(t, cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	isDumping := slices.Contains(args, "--dump-dom")
	return func() (string, string) {
		t.Helper()
		if !isDumping { // then it ends by itself
			cancel()
		}
		err := <-done
		cancel()
		if err != nil && isDumping {
			t.Fatalf("%s: %v\n%s", path, err, stderr.String())
		}
		return stdout.String(), stderr.String()
	}
}

// paths records the paths of requests.
type paths struct {
	http.Handler
	mu  sync.Mutex
	all []string
	got chan string // if not nil, gets the paths, too
}

func (p *paths) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.Handler.ServeHTTP(w, r)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, r.URL.Path)
	if p.got != nil {
		p.got <- r.URL.Path
	}
}

func (p *paths) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.all)
}

// The page reloads every 5 s.
func TestHandler_browserRefreshes(t *testing.T) {
	browser(t)
	g := newGroup(t)
	p := &paths{Handler: http.StripPrefix("/pipelines/", g.Handler()), got: make(chan string, 100)}
	server := httptest.NewServer(p)
	defer server.Close()
	end := browse(t, server.URL+"/pipelines/")
	deadline := time.After(time.Minute)
	for load := range 3 {
		begun := time.Now()
		select {
		case path := <-p.got:
			if path != "/pipelines/" {
				t.Errorf("the page asked for %s", path)
			}
		case <-deadline:
			_, logged := end()
			t.Fatalf("the page was loaded only %d times: %s", load, logged)
		}
		if d := time.Since(begun); load > 0 && d < 4*time.Second {
			t.Errorf("the page was loaded again after %v", d)
		}
	}
	if _, logged := end(); strings.Contains(logged, "Content Security Policy") {
		t.Errorf("the page breaks its own policy: %s", logged)
	}
}

// A browser finds no markup in hostile texts.
func TestHandler_browserHostile(t *testing.T) {
	browser(t)
	w := newWorld(t, runner.WithStopTimeout(time.Second, time.Second))
	for _, text := range hostile {
		w.add(text, func(context.Context) (runner.Parts, error) { return runner.Parts{}, fmt.Errorf("%s", text) },
			runner.WithRestart(runner.Restart{InitialInterval: time.Hour, MaxInterval: time.Hour})) // none while it ends
		for w.status(text).LastError == "" {
			time.Sleep(time.Millisecond)
		}
	}
	p := &paths{Handler: w.Handler()}
	server := httptest.NewServer(p)
	defer server.Close()
	document, logged := browse(t, "--dump-dom", server.URL+"/index.html")()
	for tag, n := range map[string]int{"<script": 0, "<img": 0, "<!--": 0, "<style": 1, "<table": 1, "<tr": 1 + len(hostile)} {
		if got := strings.Count(document, tag); got != n {
			t.Errorf("%d times %q, want %d: %s", got, tag, n, document)
		}
	}
	for _, word := range []string{"<title>▲ Pipelines</title>", "&lt;script&gt;document.title=", `\x1b[31m`} {
		if !strings.Contains(document, word) {
			t.Errorf("the document lacks %q", word)
		}
	}
	if all := p.seen(); len(all) != 1 {
		t.Errorf("the page asked for %q", all)
	}
	if strings.Contains(logged, "Content Security Policy") {
		t.Errorf("the page breaks its own policy: %s", logged)
	}
	want(t, w.end())
}
