//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
)

// customers are customers who remember how their orders were answered.
type customers struct {
	stop func() // returns when all have left

	mu      sync.Mutex
	answers map[int][]string // IDs by status; 0 is no answer
}

// newCustomers lets n customers order at an address. One of ten orders is invalid.
func newCustomers(t *testing.T, n int, addr string) *customers {
	c := &customers{answers: map[int][]string{}}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				c.order(addr, fmt.Sprintf("%d-%d", i, k))
			}
		})
	}
	c.stop = func() { cancel(); all.Wait() }
	t.Cleanup(c.stop)
	return c
}

func (c *customers) order(addr, id string) {
	body := fmt.Sprintf(`{"id":%q,"item":"apple","count":1}`, id)
	if rand.IntN(10) == 0 {
		body = fmt.Sprintf(`{"id":%q,"item":"apple"}`, id)
	}
	status := 0
	if resp, err := http.Post("http://"+addr+"/orders", "application/json", strings.NewReader(body)); err == nil {
		status = resp.StatusCode
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	c.mu.Lock()
	c.answers[status] = append(c.answers[status], id)
	c.mu.Unlock()
	if status != http.StatusAccepted {
		time.Sleep(5 * time.Millisecond) // there may be no service
	}
}

func (c *customers) count(status int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.answers[status])
}

// wait waits until there are n more answers of a status.
func (c *customers) wait(t *testing.T, n, status int) {
	t.Helper()
	n += c.count(status)
	for deadline := time.Now().Add(time.Minute); c.count(status) < n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("there are %d answers of status %d, want %d", c.count(status), status, n)
		}
	}
}

// check checks that the orders that were accepted are in the totals, and those that were
// refused are dead letters.
func (c *customers) check(t *testing.T, p *process, dir string) {
	t.Helper()
	c.stop()
	orders := ids(t, filepath.Join(dir, "orders", "orders.jsonl"))
	letters := ids(t, filepath.Join(dir, "refused", "intake.jsonl"))
	p.see("totals", 200, fmt.Sprintf(`^%d orders, %.2f in all\n$`, len(orders), 0.4*float64(len(orders))))
	priced := ids(t, filepath.Join(dir, "priced", "priced.jsonl"))
	for status, want := range map[int][2]map[string]bool{202: {orders, priced}, 422: {letters, letters}} {
		for _, id := range c.answers[status] {
			if !want[0][id] || !want[1][id] {
				t.Errorf("order %s was answered with %d, but it is not stored", id, status)
			}
		}
	}
	for id := range orders {
		if letters[id] || slices.Contains(c.answers[422], id) {
			t.Errorf("order %s is stored and refused", id)
		}
	}
}

// ids returns the IDs of the orders in a file of records or of dead letters.
func ids(t *testing.T, path string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for line := range bytes.Lines(text) {
		var rec opencdc.Record
		if err := json.Unmarshal(line, &rec); err != nil {
			t.Fatalf("%s holds %q: %v", path, line, err)
		}
		var content struct{ Payload struct{ After []byte } }
		if data, ok := rec.Payload.After.(opencdc.StructuredData); ok { // a dead letter
			if err := json.Unmarshal(data.Bytes(), &content); err != nil {
				t.Fatalf("%s holds %q: %v", path, line, err)
			}
		} else {
			content.Payload.After = rec.Payload.After.Bytes()
		}
		var o order
		if err := json.Unmarshal(content.Payload.After, &o); err != nil {
			t.Fatalf("%s holds %q: %v", path, line, err)
		}
		all[o.ID] = true
	}
	return all
}

// freeAddr returns an address for services that follow each other.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A pipeline that hangs is stuck after the bounds, and the others stop. So is a dead-letter
// queue that hangs because somebody has stopped reading the log. That, and a slow client,
// cannot keep the process from ending either.
func TestFaults_hanging(t *testing.T) {
	t.Parallel()
	log, unread, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	defer unread.Close()
	const setSize = 1031 // F_SETPIPE_SZ
	syscall.Syscall(syscall.SYS_FCNTL, unread.Fd(), setSize, 4096)
	silent := startCommand(t, func(cmd *exec.Cmd) { cmd.Stderr = unread }, t.TempDir())
	silent.see("readyz", 200, "ready")
	for range 100 {
		silent.post("restart/totals", "") // fills the pipe
	}
	refused := dial(t, silent, "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n{")
	silent.see("status.json", 200, `(?s)"id": "refused",\s+"activity": "writing dead letters"`)
	silent.see("livez", 200, "live")

	dir := t.TempDir()
	p := start(t, dir)
	p.see("readyz", 200, "ready")
	slow := dial(t, p, "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
	if err := syscall.Mkfifo(filepath.Join(dir, "prices.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, text := p.post("restart/pricing", ""); status != http.StatusOK {
		t.Errorf("restart: got %d %s", status, text)
	}
	p.see("readyz", 503, `"pricing" is starting`)
	p.see("livez", 200, "live")
	p.order(`{"id":"1","item":"apple","count":1}`, 202)

	begun := time.Now()
	if err := silent.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	state := p.end(syscall.SIGTERM)
	if d := time.Since(begun); state.ExitCode() != 1 || d > 16*time.Second {
		t.Errorf("the service ends after %v with %v", d, state)
	}
	for _, want := range []string{
		`service: pipeline "pricing" is stuck: building the pipeline for `,
		`"pipeline is stopped","component":"runner","pipeline_name":"intake"`,
		`"pipeline is stopped","component":"runner","pipeline_name":"totals"`,
	} {
		if !strings.Contains(p.log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, p.log.String())
		}
	}
	for conn, want := range map[net.Conn]string{slow: "400 Bad Request", refused: "503 Service Unavailable"} {
		conn.SetReadDeadline(begun.Add(20 * time.Second))
		if answer, err := bufio.NewReader(conn).ReadString('\n'); !strings.Contains(answer, want) {
			t.Errorf("a client gets %q, error %v, want %s", answer, err, want)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- silent.cmd.Wait() }()
	select {
	case <-ended:
		if code := silent.cmd.ProcessState.ExitCode(); code != 1 {
			t.Errorf("without a reader of its log, the service ends with %d", code)
		}
	case <-time.After(20*time.Second - time.Since(begun)):
		t.Error("without a reader of its log, the service does not end")
	}
}

// dial sends a text to a service.
func dial(t *testing.T, p *process, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.Trim(strings.TrimPrefix(p.url, "http://"), "/"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

// kill -9 at any time loses no order, and restarts of intake do not either.
func TestFaults_killed(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), freeAddr(t)
	c := newCustomers(t, 10, addr)
	for range 10 {
		p := start(t, dir, "-addr", addr)
		c.wait(t, rand.IntN(100), http.StatusAccepted)
		p.end(syscall.SIGKILL)
	}
	p := start(t, dir, "-addr", addr)
	for range 20 {
		if status, text := p.post("restart/intake", ""); status != http.StatusOK {
			t.Fatalf("restart: got %d %s", status, text)
		}
		c.wait(t, 5, http.StatusAccepted)
	}
	c.check(t, p, dir)
}

// A process that is suspended continues where it was.
func TestFaults_suspended(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), freeAddr(t)
	p := start(t, dir, "-addr", addr)
	c := newCustomers(t, 10, addr)
	c.wait(t, 50, http.StatusAccepted)
	signal := func(s syscall.Signal) {
		if err := p.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	time.Sleep(time.Second)
	signal(syscall.SIGCONT)
	c.wait(t, 50, http.StatusAccepted)
	p.see("readyz", 200, "ready")
	signal(syscall.SIGSTOP)
	signal(syscall.SIGTERM)
	time.Sleep(time.Second)
	if state := p.end(syscall.SIGCONT); !state.Success() {
		t.Errorf("the service ends with %v: %s", state, p.log.String())
	}
	c.check(t, start(t, dir, "-addr", addr), dir)
}

// smallDisk has this program mount a small disk at a directory before it runs the service.
const smallDisk = "FUNNEL_SMALL_DISK"

func init() {
	dir := os.Getenv(smallDisk)
	if dir == "" {
		return
	}
	err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	if err == nil {
		err = syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("mode=700,size=%d", diskBytes))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mounting a tmpfs:", err)
		os.Exit(1)
	}
}

const diskBytes = 8 << 20

// A full disk stops what needs it, and all goes on when there is room again.
func TestFaults_fullDisk(t *testing.T) {
	t.Parallel()
	mount, addr := t.TempDir(), freeAddr(t)
	namespace := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	probe := exec.Command(os.Args[0], "-test.run", "^$")
	probe.Env = append(os.Environ(), smallDisk+"="+mount)
	probe.SysProcAttr = namespace
	if out, err := probe.CombinedOutput(); err != nil {
		t.Skipf("this machine does not let a process mount a disk: %v %s", err, out)
	}
	p := startCommand(t, func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, smallDisk+"="+mount)
		cmd.SysProcAttr = namespace
	}, filepath.Join(mount, "data"), "-addr", addr)
	disk := fmt.Sprintf("/proc/%d/root%s", p.cmd.Process.Pid, mount)
	ballast := filepath.Join(disk, "ballast")
	fill := func() { // as far as it goes
		os.WriteFile(ballast, make([]byte, diskBytes), 0o600)
	}
	p.see("readyz", 200, "ready")
	p.see("totals", 200, "^0 orders")

	// What is refused cannot be stored either, nor can what is beyond the last page.
	fill()
	if status, text := p.post("orders", `{"id":""}`); status != http.StatusServiceUnavailable || strings.Contains(text, mount) {
		t.Errorf("an order that cannot be stored: got %d %s", status, text)
	}
	p.see("status.json", 200, `(?s)"name": "intake",\s+"state": "recovering".*no space left on device`)
	p.see("metrics", 200, `funnel_pipeline_state{pipeline_name="intake",state="recovering"} 1`)
	p.see("livez", 200, "live")
	if status, text := p.post("restart/pricing", ""); status != http.StatusOK {
		t.Errorf("restart: got %d %s", status, text)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	p.see("readyz", 200, "ready")

	c := newCustomers(t, 5, addr)
	c.wait(t, 100, http.StatusAccepted)
	fill()
	c.wait(t, 10, http.StatusServiceUnavailable)
	p.see("readyz", 503, "intake")
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	c.wait(t, 100, http.StatusAccepted)
	p.see("readyz", 200, "ready")
	c.check(t, p, filepath.Join(disk, "data"))
	if state := p.end(syscall.SIGTERM); !state.Success() {
		t.Errorf("the service ends with %v: %s", state, p.log.String())
	}
}

// After a full disk, there are spans again.
func TestSpanFile(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "spans"))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if n, err := (spanFile{f}).Write([]byte("span")); n != 4 || err != nil {
		t.Errorf("got %d, error %v: the exporter would not write again", n, err)
	}
}

// A directory that was removed is made again.
func TestFaults_removed(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	p := start(t, dir)
	p.see("readyz", 200, "ready")
	p.order(`{"id":"1","item":"apple","count":1}`, 202)
	p.see("totals", 200, "^1 orders")
	if err := os.Rename(dir, dir+" moved"); err != nil {
		t.Fatal(err)
	}
	p.order(`{"id":"2","item":"apple","count":1}`, 503)
	p.see("readyz", 503, "intake")
	p.see("readyz", 200, "ready")
	p.order(`{"id":"3","item":"apple","count":1}`, 202)
	p.see("totals", 200, "^2 orders")
}

// Clients that are slow, go away, or send what is no order are no trouble for others.
func TestFaults_clients(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	p.see("readyz", 200, "ready")
	const order = `{"id":"gone","item":"apple","count":1}`
	for range 50 {
		dial(t, p, "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
		dial(t, p, fmt.Sprintf("POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(order), order)).Close()
	}
	p.order("{\"id\":\"\xff\",\"item\":\"apple\",\"count\":1}", 422)
	p.order(`{"id":"\ud800","item":"apple","count":1}`, 422)
	p.order(strings.Repeat(" ", 1<<20)+order, 400)
	item := strings.Repeat("<", 64<<10-100) // each of them is stored as 8 bytes
	p.order(`{"id":"large","item":"`+item+`","count":1}`, 202)
	p.order(`{"id":"last","item":"apple","count":1}`, 202)
	p.see("totals", 200, "^[12] orders, 0.[48]0 in all\n$")
	p.see("status.json", 200, `(?s)"name": "pricing",\s+"state": "running".*"dead_lettered": 1,`)
	req, _ := http.NewRequest(http.MethodPost, p.url+"restart/totals", nil)
	req.Header.Set("Origin", "https://example.com")
	if status, _ := p.answer(http.DefaultClient.Do(req)); status != http.StatusForbidden {
		t.Errorf("a restart by another site: got %d", status)
	}
	if state := p.end(syscall.SIGTERM); !state.Success() {
		t.Errorf("the service ends with %v: %s", state, p.log.String())
	}
}

// Too many orders without a price degrade pricing, until a person has looked at them.
func TestFaults_deadLetters(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	p.see("readyz", 200, "ready")
	for i := range 11 {
		p.order(fmt.Sprintf(`{"id":"%d","item":"unicorn","count":1}`, i), 202)
	}
	p.see("status.json", 200, `(?s)"name": "pricing",\s+"state": "degraded".*too many nacks`)
	p.see("metrics", 200, `funnel_pipeline_state{pipeline_name="pricing",state="degraded"} 1`)
	p.see("readyz", 503, "pricing")
	p.see("livez", 200, "live")
	if status, text := p.post("restart/pricing", ""); status != http.StatusOK {
		t.Errorf("restart: got %d %s", status, text)
	}
	p.see("readyz", 200, "ready")
	p.see("status.json", 200, `(?s)"name": "pricing",\s+"state": "running".*"dead_lettered": 11,`)
}

// Two instances do not share a directory. The second one takes over when the first has ended.
func TestFaults_twoInstances(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := start(t, dir)
	first.see("readyz", 200, "ready")
	second := start(t, dir)
	second.see("status.json", 200, `(?s)"name": "intake",\s+"state": "recovering".*is written by another destination`)
	second.see("status.json", 200, `(?s)"name": "pricing",\s+"state": "recovering".*the position is claimed already`)
	first.order(`{"id":"1","item":"apple","count":1}`, 202)
	second.order(`{"id":"2","item":"apple","count":1}`, 503)
	if state := first.end(syscall.SIGTERM); !state.Success() {
		t.Errorf("the service ends with %v: %s", state, first.log.String())
	}
	second.see("readyz", 200, "ready")
	second.order(`{"id":"2","item":"apple","count":1}`, 202)
	second.see("totals", 200, "^2 orders")
	taken := exec.Command(os.Args[0], "-dir", t.TempDir(), "-addr", strings.Trim(strings.TrimPrefix(second.url, "http://"), "/"))
	taken.Env = append(os.Environ(), runsService+"=yes")
	if out, err := taken.CombinedOutput(); err == nil || !strings.Contains(string(out), "address already in use") {
		t.Errorf("a port that is taken: got %v %s", err, out)
	}
}
