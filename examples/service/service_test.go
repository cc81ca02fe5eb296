package main

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const runsService = "FUNNEL_RUN_SERVICE"

// The tests run the service in a process of its own: this program again.
func TestMain(m *testing.M) {
	if os.Getenv(runsService) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// process is a running service.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	url string
	log bytes.Buffer

	pages map[string]string // that it says to open, by name
}

func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	return startCommand(t, func(*exec.Cmd) {}, dir, args...)
}

// startCommand starts a service with a command that prepare may change.
func startCommand(t *testing.T, prepare func(*exec.Cmd), dir string, args ...string) *process {
	t.Helper()
	p := &process{t: t, pages: map[string]string{}}
	p.cmd = exec.Command(os.Args[0], append([]string{"-addr", "localhost:0", "-dir", dir}, args...)...)
	p.cmd.Env = append(os.Environ(), runsService+"=yes")
	p.cmd.Stderr = &p.log
	prepare(p.cmd)
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() })
	late := time.AfterFunc(time.Minute, func() { p.cmd.Process.Kill() })
	defer late.Stop()
	for lines := bufio.NewScanner(stdout); len(p.pages) < 3; {
		if !lines.Scan() {
			t.Fatalf("the service ends with %v: %s", p.cmd.Wait(), p.log.String())
		}
		name, url, _ := strings.Cut(lines.Text(), " ")
		p.pages[name] = strings.TrimSpace(url)
	}
	p.url = p.pages["pipelines"]
	return p
}

// end sends a signal and waits for the end of the process.
func (p *process) end(signal syscall.Signal) *os.ProcessState {
	p.t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.t.Fatal(err)
	}
	state, err := p.cmd.Process.Wait()
	if err != nil {
		p.t.Fatal(err)
	}
	p.cmd.Wait() // so that the log is complete
	return state
}

// get returns the status and the text of a page.
func (p *process) get(path string) (status int, text string) {
	p.t.Helper()
	return p.answer(http.Get(p.url + path))
}

func (p *process) post(path, body string) (status int, text string) {
	p.t.Helper()
	return p.answer(http.Post(p.url+path, "application/json", strings.NewReader(body)))
}

func (p *process) answer(resp *http.Response, err error) (int, string) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// order posts an order and checks the status of the answer.
func (p *process) order(body string, want int) {
	p.t.Helper()
	if status, text := p.post("orders", body); status != want {
		p.t.Fatalf("order %s: got %d %s", body, status, text)
	}
}

// see loads a page until it has the status and matches the pattern.
func (p *process) see(path string, status int, pattern string) {
	p.t.Helper()
	want := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		got, text := p.get(path)
		if got == status && want.MatchString(text) {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s is %d %s\nwant %d %s", path, got, text, status, pattern)
		}
	}
}

func TestService(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	p.see("readyz", 200, "ready")
	p.order(`{"id":"1","item":"apple","count":5}`, 202)
	p.order(`{"id":"2","item":"bread","count":1}`, 202)
	p.order(`{"id":"1","item":"apple","count":5}`, 202) // again
	p.order(`{"id":"3","item":"apple"}`, 422)
	p.order(`{`, 422)
	p.order(`{"id":"4","item":"unicorn","count":1}`, 202)
	p.see("totals", 200, `^2 orders, 5.20 in all\n$`)
	p.see("status.json", 200, `(?s)"name": "pricing",\s+"state": "running".*"dead_lettered": 1,`)
	p.see("", 200, `(?s)<html.*intake.*pricing.*totals`)

	// Prices that cannot be read break pricing, and nothing else.
	prices := filepath.Join(dir, "prices.json")
	write(t, prices, `{"apple": 0.4,`)
	if status, text := p.post("restart/pricing", ""); status != 200 {
		t.Fatalf("restart: got %d %s", status, text)
	}
	p.see("status.json", 200, `(?s)"name": "pricing",\s+"state": "recovering".*prices.json: unexpected end of JSON input`)
	p.see("readyz", 503, "pricing")
	p.see("livez", 200, "")
	p.see("metrics", 200, `funnel_pipeline_state{pipeline_name="pricing",state="recovering"} 1`)
	p.order(`{"id":"5","item":"apple","count":1}`, 202)

	write(t, prices, `{"apple": 1}`)
	p.see("readyz", 200, "ready")
	p.see("totals", 200, `^3 orders, 6.20 in all\n$`)
	p.see("metrics", 200, `funnel_pipeline_restarts_total{pipeline_name="pricing"} [1-9]`)
	if status, _ := p.post("restart/other", ""); status != http.StatusConflict {
		t.Errorf("restart of an unknown pipeline: %d", status)
	}

	// A refused order is priced once it has a price.
	write(t, prices, `{"apple": 1, "unicorn": 9}`)
	if status, text := p.post("replay", ""); status != 200 {
		t.Fatalf("replay: got %d %s", status, text)
	}
	p.see("totals", 200, `^4 orders, 15.20 in all\n$`)
	p.see("readyz", 200, "ready")

	// What was stored survives kill -9.
	p.order(`{"id":"6","item":"apple","count":1}`, 202)
	p.end(syscall.SIGKILL)
	p = start(t, dir)
	p.see("totals", 200, `^5 orders, 16.20 in all\n$`)
	if state := p.end(syscall.SIGTERM); !state.Success() {
		t.Errorf("the service ends with %v: %s", state, p.log.String())
	}
	if n := strings.Count(p.log.String(), "pipeline is stopped"); n != 3 {
		t.Errorf("%d pipelines were stopped: %s", n, p.log.String())
	}
	wantIn(t, filepath.Join(dir, "refused", "intake.jsonl"), "an order needs an id")
	wantIn(t, filepath.Join(dir, "refused", "pricing.jsonl"), "has no price")
}

// The service says which pages to open.
func TestService_pages(t *testing.T) {
	p := start(t, t.TempDir())
	for name, word := range map[string]string{"pipelines": "<html", "metrics": "funnel_pipeline_state", "totals": "orders"} {
		status, text := p.answer(http.Get(p.pages[name]))
		if status != 200 || !strings.Contains(text, word) {
			t.Errorf("%s at %q: got %d %s", name, p.pages[name], status, text)
		}
	}
	p.end(syscall.SIGINT)
}

// Customers who order by themselves let all pages live.
func TestService_customers(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "-customers", "50", "-traces", "1")
	p.see("totals", 200, `^[1-9]\d\d orders`)
	p.see("metrics", 200, `funnel_records_total{outcome="acked",pipeline_name="totals"} [1-9]`)
	if state := p.end(syscall.SIGINT); !state.Success() {
		t.Errorf("the service ends with %v: %s", state, p.log.String())
	}
	wantIn(t, filepath.Join(dir, "spans.jsonl"), "process intake")
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func wantIn(t *testing.T, path, text string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(content), text) {
		t.Errorf("%s (error %v) does not have %q", path, err, text)
	}
}
