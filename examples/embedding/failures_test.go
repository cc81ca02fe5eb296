package embedding_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/runner"
)

var errAway = errors.New("connection refused")

// failures are the rows that need no process of their own. The pipeline is "orders".
var failures = []failure{
	{"A connector fails now and then", func(w *world, p *parts) {
		calls := 0
		p.set(faults{onWrite: func(context.Context, []opencdc.Record) error {
			if calls++; calls <= 2 {
				return errAway
			}
			return nil
		}})
		w.start(p)
		w.after(time.Second)
		w.wantProbes(200, 503)
		w.after(time.Minute)
		w.status("orders", runner.Running)
		w.wantProbes(200, 200)
	}},
	{"A connector fails each time", func(w *world, p *parts) {
		p.set(faults{onWrite: func(context.Context, []opencdc.Record) error { return errAway }})
		w.start(p)
		w.after(4 * time.Minute)
		w.status("orders", runner.Recovering)
		w.after(3 * time.Minute)
		w.status("orders", runner.Degraded)
		w.wantProbes(200, 503)
		p.set(faults{})
		w.startAgain()
	}},
	{"An error is fatal", func(w *world, p *parts) {
		p.set(faults{onWrite: func(context.Context, []opencdc.Record) error { return errLogin }})
		w.start(p, patient()...)
		w.after(2 * time.Second)
		if s := w.status("orders", runner.Degraded); s.Restarts != 0 {
			w.t.Errorf("there were %d restarts", s.Restarts)
		}
		p.set(faults{})
		w.startAgain()
	}},
	{"A connector or processor panics", func(w *world, p *parts) {
		p.set(faults{onCheck: func(r opencdc.Record) error { return []error{nil}[len(r.Position)] }})
		w.start(p)
		w.after(5 * time.Second)
		if !strings.Contains(w.logs.String(), "failures_test.go") {
			w.t.Error("the stack is not in the log")
		}
		for _, page := range []string{"status.json", "index.html", "readyz"} {
			if _, body := w.get(page); strings.Contains(body, "failures_test.go") {
				w.t.Errorf("the stack is on the page %s: %s", page, body)
			}
		}
		w.after(10 * time.Minute)
		w.status("orders", runner.Degraded)
		p.set(faults{})
		w.startAgain()
	}},
	{"A destination hangs", func(w *world, p *parts) {
		p.set(faults{onWrite: func(ctx context.Context, _ []opencdc.Record) error { <-ctx.Done(); return ctx.Err() }})
		w.start(p)
		w.after(10 * time.Minute)
		w.status("orders", runner.Running)
		w.wantProbes(200, 200)
		if strings.Contains(w.logs.String(), `"WARN"`) {
			w.t.Errorf("there is a line in the log: %s", w.logs.String())
		}
		w.wantText("index.html", "table is working")
		p.set(faults{})
		began := time.Now()
		want(w.t, w.group.Restart(w.t.Context(), "orders"))
		if d := time.Since(began); d != 20*time.Second {
			w.t.Errorf("it took %v", d)
		}
		w.after(time.Minute)
		w.status("orders", runner.Running)
	}},
	{"… and ignores its context", func(w *world, p *parts) {
		freed := make(chan struct{})
		p.set(faults{onWrite: func(context.Context, []opencdc.Record) error { <-freed; return nil }})
		w.start(p)
		time.Sleep(10 * time.Minute)
		if err := w.group.Restart(w.t.Context(), "orders"); !errors.Is(err, runner.ErrStuck) {
			w.t.Errorf("Restart: %v", err)
		}
		w.look()
		w.wantProbes(503, 503)
		if err := w.group.Start("orders"); !errors.Is(err, runner.ErrStuck) {
			w.t.Errorf("Start: %v", err)
		}
		if err := w.end(); !errors.Is(err, runner.ErrStuck) {
			w.t.Errorf("Run: %v", err)
		}
		close(freed)
		w.restartProcess(p)
	}},
	{"A source hangs in Read when stopped", func(w *world, p *parts) {
		freed := make(chan struct{})
		p.set(faults{onRead: func(context.Context) error { <-freed; return errors.New("freed") }})
		w.start(p)
		w.after(time.Minute)
		w.wantProbes(200, 200)
		w.forget()
		began := time.Now()
		err := w.end()
		w.look()
		if d := time.Since(began); !errors.Is(err, runner.ErrStuck) || d != 24*time.Second {
			w.t.Errorf("Run returned %v after %v", err, d)
		}
		close(freed)
		w.restartProcess(p)
	}},
	{"A record is nacked", func(w *world, p *parts) {
		p.set(faults{onCheck: func(r opencdc.Record) error {
			if string(r.Position) == "3" {
				return errors.New("no price")
			}
			return nil
		}})
		w.start(p)
		w.after(time.Minute)
		w.status("orders", runner.Running)
		if !slices.Equal(p.dead(), []string{"3"}) {
			w.t.Errorf("the letters are %v", p.dead())
		}
	}},
	{"A poisoned record fails its whole batch", func(w *world, p *parts) {
		p.set(faults{onWrite: func(_ context.Context, recs []opencdc.Record) error {
			if string(recs[0].Position) == "3" {
				return errors.New("value too long")
			}
			return nil
		}})
		w.start(p)
		w.after(3500 * time.Millisecond)
		w.status("orders", runner.Recovering)
		w.after(20 * time.Minute)
		if s := w.status("orders", runner.Degraded); s.Records.Acked != 2 {
			w.t.Errorf("%d records were acked", s.Records.Acked)
		}
		// The processor refuses the record now, so it goes to the dead-letter queue.
		p.set(faults{onCheck: func(r opencdc.Record) error {
			if string(r.Position) == "3" {
				return errors.New("value too long")
			}
			return nil
		}})
		w.startAgain()
		if !slices.Equal(p.dead(), []string{"3"}) {
			w.t.Errorf("the letters are %v", p.dead())
		}
	}},
	{"The nack threshold is exceeded", func(w *world, p *parts) {
		p.n = 100
		p.set(faults{onCheck: func(opencdc.Record) error { return errors.New("no price") }})
		w.start(p)
		w.after(45 * time.Second)
		w.status("orders", runner.Running)
		w.after(45 * time.Second)
		if s := w.status("orders", runner.Degraded); s.Records.DeadLettered != 50 {
			w.t.Errorf("%d records were dead-lettered", s.Records.DeadLettered)
		}
		p.set(faults{})
		w.startAgain()
	}},
	{"The dead-letter queue fails", func(w *world, p *parts) {
		p.set(faults{
			onCheck: func(opencdc.Record) error { return errors.New("no price") },
			onDead:  func(context.Context, []opencdc.Record) error { return errAway },
		})
		w.start(p)
		w.after(2 * time.Second)
		w.status("orders", runner.Degraded)
		p.set(faults{})
		w.startAgain()
	}},
	{"The disk is full", func(w *world, p *parts) {
		p.set(faults{onWrite: func(context.Context, []opencdc.Record) error {
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				return &os.PathError{Op: "write", Path: "/dev/full", Err: syscall.ENOSPC}
			}
			defer full.Close()
			_, err = full.WriteString("a line")
			return err
		}})
		w.start(p)
		w.after(1500 * time.Millisecond)
		w.status("orders", runner.Recovering)
		w.after(20 * time.Minute)
		w.status("orders", runner.Degraded)
		p.set(faults{})
		w.startAgain()
	}},
	{"Positions cannot be saved", func(w *world, p *parts) {
		w.start(p)
		w.after(1500 * time.Millisecond)
		w.breakDisk()
		w.after(30 * time.Second)
		w.disk.SetHook(nil)
		w.after(2 * time.Minute)
		w.status("orders", runner.Running)
		if n := len(p.written()); n != p.n { // the next run has repeated the save
			w.t.Errorf("%d records were written: %v", n, p.written())
		}
	}},
	{"A stored position is removed, or taken over", func(w *world, p *parts) {
		w.start(p)
		w.after(1500 * time.Millisecond)
		files, err := os.ReadDir(w.dir)
		want(w.t, err)
		for _, f := range files {
			want(w.t, os.Remove(w.dir+"/"+f.Name()))
		}
		w.after(30 * time.Second)
		if s := w.status("orders", runner.Degraded); s.Restarts != 0 {
			w.t.Errorf("there were %d restarts", s.Restarts)
		}
		w.startAgain()
		if n := count(p.written(), "1"); n != 2 {
			w.t.Errorf("record 1 was written %d times", n)
		}
	}},
	{"A stored position is damaged", func(w *world, p *parts) {
		w.start(p)
		w.after(time.Minute)
		want(w.t, w.group.Stop(w.t.Context(), "orders"))
		files, err := os.ReadDir(w.dir)
		want(w.t, err)
		for _, f := range files {
			want(w.t, os.WriteFile(w.dir+"/"+f.Name(), make([]byte, 100), 0o600))
		}
		want(w.t, w.group.Start("orders"))
		w.after(time.Second)
		if s := w.status("orders", runner.Degraded); s.Restarts != 0 {
			w.t.Errorf("there were %d restarts", s.Restarts)
		}
		for _, f := range files {
			want(w.t, os.Remove(w.dir+"/"+f.Name()))
		}
		w.startAgain()
		if n := count(p.written(), "1"); n != 2 {
			w.t.Errorf("record 1 was written %d times", n)
		}
	}},
	{"Two instances share a position", func(w *world, p *parts) {
		w.start(p)
		w.after(time.Second)
		other, q := newWorldAt(w.t, w.positions), numbers(p.n)
		other.start(q)
		other.after(5 * time.Second)
		other.wantProbes(200, 503)
		w.texts = append(w.texts, other.texts...)
		w.series = append(w.series, other.series...)
		want(w.t, w.end())
		other.after(time.Minute)
		other.status("orders", runner.Running)
		want(w.t, other.end())
		p.take(q)
		if n := len(p.written()); n != p.n {
			w.t.Errorf("%d records were written: %v", n, p.written())
		}
	}},
	{"The pipeline falls behind", func(w *world, p *parts) {
		p.set(faults{onWrite: func(context.Context, []opencdc.Record) error { time.Sleep(90 * time.Second); return nil }})
		w.start(p)
		w.after(10 * time.Minute)
		w.status("orders", runner.Running)
		w.wantProbes(200, 200)
		p.set(faults{})
		w.after(2 * time.Minute)
	}},
	{"The configuration is wrong at the start", func(w *world, p *parts) {
		p.set(faults{onBuild: func() error { return errors.New("no table is named") }})
		err := w.add(p.flow("orders"))
		if err == nil {
			w.t.Error("the pipeline was added")
		}
		w.texts = append(w.texts, fmt.Sprint(err))
		p.set(faults{})
		w.start(p)
		w.after(time.Minute)
	}},
	{"… or in a later run", func(w *world, p *parts) {
		w.start(p)
		w.after(time.Second)
		p.set(faults{onBuild: func() error { return errors.New("no table is named") }})
		want(w.t, w.group.Restart(w.t.Context(), "orders"))
		w.after(time.Second)
		p.set(faults{})
		w.after(time.Minute)
		w.status("orders", runner.Running)
	}},
}

// count returns how often a number was written.
func count(written []string, number string) (n int) {
	for _, s := range written {
		if s == number {
			n++
		}
	}
	return n
}
