package funnel_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
)

// ending is how Do has ended.
type ending struct {
	err      error
	panicked any
	exited   bool // by runtime.Goexit
}

// start calls Do and sends how it ends.
func start(ctx context.Context, w *funnel.Worker) <-chan ending {
	done := make(chan ending, 1)
	go func() {
		e := ending{exited: true}
		defer func() {
			if v := recover(); v != nil {
				e.panicked, e.exited = v, false
			}
			done <- e
		}()
		e.err = w.Do(ctx)
		e.exited = false
	}()
	return done
}

// want fails the test if Do has not returned an error that is what, or none if
// that is nil.
func (e ending) want(t *testing.T, what error, words ...string) {
	t.Helper()
	switch {
	case e.panicked != nil:
		t.Errorf("Do has panicked: %v", e.panicked)
	case e.exited:
		t.Error("the goroutine of Do was ended")
	case what == nil:
		wantNoError(t, e.err)
	default:
		wantError(t, e.err, what, words...)
	}
}

// pipeline is one whose first batch, record 1, is being written until goOn is
// closed, while 2 and 3 have been read ahead and another read is pending.
type pipeline struct {
	*journal
	source *strictSource
	out    *fakeDestination
	dlq    *funnel.DLQ
	first  *funnel.TaskNode // the source's, the destination comes behind it
	goOn   chan struct{}

	// pending is the read that is pending, until the teardown if it is nil.
	pending func(context.Context) ([]opencdc.Record, error)
	// result is what writing record 1 ends with.
	result func() error

	isReading bool // the read is pending
	worker    *funnel.Worker
}

// untilEnded is a read that ends with its context or the teardown.
func (p *pipeline) untilEnded(ctx context.Context) ([]opencdc.Record, error) {
	select {
	case <-ctx.Done():
	case <-p.source.torn:
	}
	return nil, errors.New("some error")
}

func newPipeline(t *testing.T) *pipeline {
	p := &pipeline{journal: &journal{}, goOn: make(chan struct{})}
	p.source = &strictSource{t: t, fakeSource: newSource(p.journal)}
	p.source.read = p.read
	p.out = newDestination(p.journal, "out")
	p.out.write = p.write
	p.dlq = queue(newDestination(p.journal, "dlq"))
	p.first = chain(from(p.source), to(p.out))
	return p
}

func (p *pipeline) read(ctx context.Context) ([]opencdc.Record, error) {
	p.add("read")
	switch n := len(p.all("read")); n {
	case 1:
		return records("1"), nil
	case 2:
		time.Sleep(time.Millisecond) // 1 is on its way by itself
		return records("2"), nil
	case 3:
		return records("3"), nil
	default:
		p.isReading = true
		defer func() { p.isReading = false }()
		if p.pending != nil {
			return p.pending(ctx)
		}
		<-p.source.torn
		return records("4"), errors.New("the source was torn down")
	}
}

func (p *pipeline) write(_ context.Context, recs []opencdc.Record) error {
	if string(recs[0].Position) == "1" {
		<-p.goOn
		if p.result != nil {
			return p.result()
		}
	}
	return nil
}

// start opens and starts the worker and waits until all that is to be read is.
func (p *pipeline) start(t *testing.T, ctx context.Context) <-chan ending {
	t.Helper()
	p.worker = newAhead(t, 100, p.first, p.dlq, nil)
	wantNoError(t, p.worker.Open(t.Context()))
	done := start(ctx, p.worker)
	time.Sleep(2 * time.Millisecond)
	synctest.Wait()
	if !p.isReading || p.flat("out") != "1" {
		t.Fatalf("a read is pending: %v, written: %s", p.isReading, p.flat("out"))
	}
	return done
}

// wantOver fails the test if a read is pending still, or if the source was not
// torn down so often.
func (p *pipeline) wantOver(t *testing.T, teardowns int) {
	t.Helper()
	if p.isReading {
		t.Error("a read is still pending")
	}
	if n := len(p.all("teardown")); n != teardowns {
		t.Errorf("there were %d teardowns, want %d", n, teardowns)
	}
}

// Stop waits for the batch on its way, and drops what was read ahead, whatever
// the read returns that it ends. The read is ended by the teardown only.
func TestWithReadAhead_stop(t *testing.T) {
	for _, last := range []fakeRead{
		{}, {recs: records("4")}, {err: errTest}, {err: io.EOF}, {recs: records("4"), err: io.EOF}, {err: context.Canceled},
	} {
		for _, idle := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				p := newPipeline(t)
				p.pending = func(ctx context.Context) ([]opencdc.Record, error) {
					<-p.source.torn
					wantNoError(t, ctx.Err())
					return last.recs, last.err
				}
				p.source.teardown = func(context.Context) error { time.Sleep(time.Second); return nil }
				want := "1"
				done := p.start(t, t.Context())
				if idle {
					close(p.goOn)
					synctest.Wait()
					want = "1 2 3"
				}
				stopped := make(chan error)
				for range 2 {
					go func() { stopped <- p.worker.Stop(t.Context()) }()
				}
				if !idle {
					synctest.Wait()
					p.journal.want(t, []string{"ack", "teardown"})
					close(p.goOn)
				}
				wantNoError(t, <-stopped)
				wantNoError(t, <-stopped)
				(<-done).want(t, nil)
				p.wantFlat(t, want, "", want)
				p.wantOver(t, 1)
				wantNoError(t, p.worker.Stop(t.Context()))
				wantNoError(t, p.worker.Close(t.Context()))
				p.journal.want(t, []string{"teardown"}, "teardown source", "teardown dlq", "teardown out")
			})
		}
	}
}

// A worker that waits notices a stop also if the read that it ends returns
// nothing.
func TestWithReadAhead_stopEndsAnEmptyRead(t *testing.T) {
	for range 1000 { // the worker may hear of the read before it hears of the stop
		synctest.Test(t, func(t *testing.T) {
			s := newSource(&journal{})
			s.read = func(context.Context) ([]opencdc.Record, error) { <-s.torn; runtime.Gosched(); return nil, nil }
			w := newAhead(t, 1, chain(from(s), to(newDestination(s.journal, "out"))), nil, nil)
			done := start(t.Context(), w)
			synctest.Wait()
			wantNoError(t, w.Stop(t.Context()))
			(<-done).want(t, nil)
		})
	}
}

// After a Stop or Close that has given up, the worker runs on, and a failed read
// is a failure.
func TestWithReadAhead_stopLeavesNoTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipeline(t)
		fails := make(chan struct{})
		p.pending = func(context.Context) ([]opencdc.Record, error) { <-fails; return nil, errTest }
		done := p.start(t, t.Context())
		for _, stop := range []func(context.Context) error{p.worker.Stop, p.worker.Close} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := stop(ctx); err != context.DeadlineExceeded {
				t.Errorf("stopping has returned %v", err)
			}
		}
		close(p.goOn)
		synctest.Wait()
		p.wantFlat(t, "1 2 3", "", "1 2 3")
		close(fails)
		(<-done).want(t, errTest, `"source"`)
		p.wantOver(t, 0)
		wantNoError(t, p.worker.Stop(t.Context()))
		p.wantOver(t, 1)
		wantNoError(t, p.worker.Close(t.Context()))
	})
}

// A worker that was stopped before Do, or whose context has ended by then, reads
// nothing.
func TestWithReadAhead_doesNotBegin(t *testing.T) {
	for range 100 {
		p := newPipeline(t)
		w := newAhead(t, 1, p.first, nil, nil)
		wantNoError(t, w.Stop(t.Context()))
		wantNoError(t, w.Do(t.Context()))
		wantError(t, w.Do(t.Context()), nil, "once")

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w = newAhead(t, 1, p.first, nil, nil)
		if err := w.Do(ctx); err != context.Canceled {
			t.Errorf("Do: %v", err)
		}
		p.journal.want(t, nil)
		wantNoError(t, w.Close(t.Context()))
		p.journal.want(t, nil, "teardown source")
	}
}

// A teardown that fails is tried again by the next Stop or Close. The worker has
// stopped all the same once the read has returned.
func TestWithReadAhead_teardownFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipeline(t)
		unblock := make(chan struct{})
		p.pending = func(context.Context) ([]opencdc.Record, error) { <-unblock; return records("4"), nil }
		failing := errTest
		p.source.teardown = func(context.Context) error { return failing }
		done := p.start(t, t.Context())
		close(p.goOn)
		synctest.Wait()
		wantError(t, p.worker.Stop(t.Context()), errTest)
		wantError(t, p.worker.Stop(t.Context()), errTest)
		close(unblock)
		(<-done).want(t, nil)
		wantError(t, p.worker.Stop(t.Context()), errTest)
		failing = nil
		wantNoError(t, p.worker.Stop(t.Context()))
		p.wantFlat(t, "1 2 3", "", "1 2 3")
		p.wantOver(t, 4)
		wantNoError(t, p.worker.Close(t.Context()))
	})
}

// Do returns while the teardown of a Stop hangs, if the read returns.
func TestWithReadAhead_teardownHangs(t *testing.T) {
	for _, readErr := range []error{nil, errTest} {
		synctest.Test(t, func(t *testing.T) {
			p := newPipeline(t)
			tearing, goOn := make(chan struct{}), make(chan struct{})
			p.pending = func(context.Context) ([]opencdc.Record, error) { <-tearing; return records("4"), readErr }
			p.source.teardown = func(context.Context) error { close(tearing); <-goOn; return nil }
			done, stopped := p.start(t, t.Context()), make(chan error)
			go func() { stopped <- p.worker.Stop(t.Context()) }()
			synctest.Wait()
			close(p.goOn)
			(<-done).want(t, nil)
			close(goOn)
			wantNoError(t, <-stopped)
			p.wantFlat(t, "1", "", "1")
			p.wantOver(t, 1)
		})
	}
}

// Close during Do first does what Stop does.
func TestWithReadAhead_close(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipeline(t)
		done, closed := p.start(t, t.Context()), make(chan error)
		go func() { closed <- p.worker.Close(t.Context()) }()
		synctest.Wait()
		p.journal.want(t, []string{"ack", "teardown"})
		close(p.goOn)
		wantNoError(t, <-closed)
		(<-done).want(t, nil)
		p.journal.want(t, []string{"ack", "teardown"}, "ack 1", "teardown source", "teardown dlq", "teardown out")
	})
}

// A first task of one's own is closed when Do has returned, also if that ends with
// an error at the same time, and if tearing the source down fails.
func TestWithReadAhead_closeWithACustomFirstTask(t *testing.T) {
	teardownErr := errors.New("teardown failed")
	for i := range 8 {
		closesFirst, result, failing := i%2 == 0, errTest, teardownErr
		if i&2 == 0 {
			failing = nil
		}
		if i&4 == 0 {
			result = nil
		}
		if result == nil && failing != nil {
			continue // nothing ends the read
		}
		synctest.Test(t, func(t *testing.T) {
			p := newPipeline(t)
			p.pending = p.untilEnded
			p.result = func() error { return result }
			p.source.teardown = func(context.Context) error { time.Sleep(time.Second); return failing }
			goOn := make(chan struct{})
			close(goOn)
			p.first.Task = &slowSource{SourceTask: funnel.NewSourceTask("source", p.source, log.Nop(), nil), journal: p.journal, goOn: goOn}
			done, closed := p.start(t, t.Context()), make(chan error)
			if !closesFirst {
				close(p.goOn)
				synctest.Wait()
			}
			go func() { closed <- p.worker.Close(t.Context()) }()
			if closesFirst {
				synctest.Wait()
				close(p.goOn)
			}
			if err := <-closed; !errors.Is(err, failing) {
				t.Errorf("Close: %v", err)
			}
			(<-done).want(t, result)
			p.journal.want(t, []string{"done", "close"}, "done first", "done first", "done first", "done first", "close first")
			failing = nil
			wantNoError(t, p.worker.Close(t.Context()))
			wantNoError(t, p.worker.Close(t.Context()))
		})
	}
}

// A source that returns nothing all the time does not keep a worker from ending.
func TestWithReadAhead_emptyReads(t *testing.T) {
	for _, stops := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			j := &journal{}
			s := newSource(j)
			s.read = func(context.Context) ([]opencdc.Record, error) { time.Sleep(time.Microsecond); return nil, nil }
			w := newAhead(t, 1, chain(from(s), to(newDestination(j, "out"))), nil, nil)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := start(ctx, w)
			time.Sleep(time.Millisecond)
			if stops {
				wantNoError(t, w.Stop(t.Context()))
				(<-done).want(t, nil)
			} else {
				cancel()
				(<-done).want(t, context.Canceled)
			}
			j.wantFlat(t, "", "", "")
		})
	}
}

// No read begins once the context of Do has ended.
func TestWithReadAhead_noReadAfterTheContext(t *testing.T) {
	s := newSource(&journal{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reads := 0
	s.read = func(context.Context) ([]opencdc.Record, error) {
		if reads++; reads == 3 {
			cancel()
		}
		return nil, nil
	}
	err := newAhead(t, 1, chain(from(s), to(newDestination(s.journal, "out"))), nil, nil).Do(ctx)
	if err != context.Canceled || reads != 3 {
		t.Errorf("Do has returned %v after %d reads", err, reads)
	}
}
