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
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// Stop waits for the batch on its way, and drops what was read ahead, whatever
// the read returns that it ends. The read is ended by the teardown only.
func TestWithReadAhead_stop(t *testing.T) {
	for _, last := range []fake.Read{
		{}, {Records: fake.Records("4")}, {Err: fake.ErrTest}, {Err: io.EOF}, {Records: fake.Records("4"), Err: io.EOF}, {Err: context.Canceled},
	} {
		for _, idle := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				p := fake.NewBusy(t)
				p.Pending = func(ctx context.Context) ([]opencdc.Record, error) {
					<-p.Source.TornDown
					fake.WantNoError(t, ctx.Err())
					return last.Records, last.Err
				}
				p.Source.OnTeardown = func(context.Context) error { time.Sleep(time.Second); return nil }
				want := "1"
				done := p.StartReading(t, t.Context())
				if idle {
					close(p.GoOn)
					synctest.Wait()
					want = "1 2 3"
				}
				stopped := make(chan error)
				for range 2 {
					go func() { stopped <- p.Worker.Stop(t.Context()) }()
				}
				if !idle {
					synctest.Wait()
					p.Want(t, "ack teardown")
					close(p.GoOn)
				}
				fake.WantNoError(t, <-stopped)
				fake.WantNoError(t, <-stopped)
				(<-done).Want(t, nil)
				p.WantGiven(t, want, "", want)
				p.WantOver(t, 1)
				fake.WantNoError(t, p.Worker.Stop(t.Context()))
				fake.WantNoError(t, p.Worker.Close(t.Context()))
				p.Want(t, "teardown", "teardown source", "teardown dlq", "teardown out")
			})
		}
	}
}

// A worker that waits notices a stop also if the read that it ends returns
// nothing.
func TestWithReadAhead_stopEndsAnEmptyRead(t *testing.T) {
	for range 1000 { // the worker may hear of the read before it hears of the stop
		synctest.Test(t, func(t *testing.T) {
			s := fake.NewSource(&fake.Journal{})
			s.OnRead = func(context.Context) ([]opencdc.Record, error) { <-s.TornDown; runtime.Gosched(); return nil, nil }
			w := fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(fake.NewDestination(s.Journal, "out"))), nil, funnel.WithReadAhead(1))
			done := fake.Start(t.Context(), w)
			synctest.Wait()
			fake.WantNoError(t, w.Stop(t.Context()))
			(<-done).Want(t, nil)
		})
	}
}

// After a Stop or Close that has given up, the worker runs on, and a failed read
// is a failure.
func TestWithReadAhead_stopLeavesNoTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.NewBusy(t)
		fails := make(chan struct{})
		p.Pending = func(context.Context) ([]opencdc.Record, error) { <-fails; return nil, fake.ErrTest }
		done := p.StartReading(t, t.Context())
		for _, stop := range []func(context.Context) error{p.Worker.Stop, p.Worker.Close} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := stop(ctx); err != context.DeadlineExceeded {
				t.Errorf("stopping has returned %v", err)
			}
		}
		close(p.GoOn)
		synctest.Wait()
		p.WantGiven(t, "1 2 3", "", "1 2 3")
		close(fails)
		(<-done).Want(t, fake.ErrTest, `"source"`)
		p.WantOver(t, 0)
		fake.WantNoError(t, p.Worker.Stop(t.Context()))
		p.WantOver(t, 1)
		fake.WantNoError(t, p.Worker.Close(t.Context()))
	})
}

// A worker that was stopped before Do, or whose context has ended by then, reads
// nothing.
func TestWithReadAhead_doesNotBegin(t *testing.T) {
	for range 100 {
		p := fake.NewBusy(t)
		w := fake.NewWorker(t, p.First, nil, funnel.WithReadAhead(1))
		fake.WantNoError(t, w.Stop(t.Context()))
		fake.WantNoError(t, w.Do(t.Context()))
		fake.WantError(t, w.Do(t.Context()), nil, "once")

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w = fake.NewWorker(t, p.First, nil, funnel.WithReadAhead(1))
		if err := w.Do(ctx); err != context.Canceled {
			t.Errorf("Do: %v", err)
		}
		p.Want(t, "")
		fake.WantNoError(t, w.Close(t.Context()))
		p.Want(t, "", "teardown source")
	}
}

// A teardown that fails is tried again by the next Stop or Close. The worker has
// stopped all the same once the read has returned.
func TestWithReadAhead_teardownFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.NewBusy(t)
		unblock := make(chan struct{})
		p.Pending = func(context.Context) ([]opencdc.Record, error) { <-unblock; return fake.Records("4"), nil }
		failing := fake.ErrTest
		p.Source.OnTeardown = func(context.Context) error { return failing }
		done := p.StartReading(t, t.Context())
		close(p.GoOn)
		synctest.Wait()
		fake.WantError(t, p.Worker.Stop(t.Context()), fake.ErrTest)
		fake.WantError(t, p.Worker.Stop(t.Context()), fake.ErrTest)
		close(unblock)
		(<-done).Want(t, nil)
		fake.WantError(t, p.Worker.Stop(t.Context()), fake.ErrTest)
		failing = nil
		fake.WantNoError(t, p.Worker.Stop(t.Context()))
		p.WantGiven(t, "1 2 3", "", "1 2 3")
		p.WantOver(t, 4)
		fake.WantNoError(t, p.Worker.Close(t.Context()))
	})
}

// Do returns while the teardown of a Stop hangs, if the read returns.
func TestWithReadAhead_teardownHangs(t *testing.T) {
	for _, readErr := range []error{nil, fake.ErrTest} {
		synctest.Test(t, func(t *testing.T) {
			p := fake.NewBusy(t)
			tearing, goOn := make(chan struct{}), make(chan struct{})
			p.Pending = func(context.Context) ([]opencdc.Record, error) { <-tearing; return fake.Records("4"), readErr }
			p.Source.OnTeardown = func(context.Context) error { close(tearing); <-goOn; return nil }
			done, stopped := p.StartReading(t, t.Context()), make(chan error)
			go func() { stopped <- p.Worker.Stop(t.Context()) }()
			synctest.Wait()
			close(p.GoOn)
			(<-done).Want(t, nil)
			close(goOn)
			fake.WantNoError(t, <-stopped)
			p.WantGiven(t, "1", "", "1")
			p.WantOver(t, 1)
		})
	}
}

// Close during Do first does what Stop does.
func TestWithReadAhead_close(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.NewBusy(t)
		done, closed := p.StartReading(t, t.Context()), make(chan error)
		go func() { closed <- p.Worker.Close(t.Context()) }()
		synctest.Wait()
		p.Want(t, "ack teardown")
		close(p.GoOn)
		fake.WantNoError(t, <-closed)
		(<-done).Want(t, nil)
		p.Want(t, "ack teardown", "ack 1", "teardown source", "teardown dlq", "teardown out")
	})
}

// A first task of one's own is closed when Do has returned, also if that ends with
// an error at the same time, and if tearing the source down fails.
func TestWithReadAhead_closeWithACustomFirstTask(t *testing.T) {
	teardownErr := errors.New("teardown failed")
	for i := range 8 {
		closesFirst, result, failing := i%2 == 0, fake.ErrTest, teardownErr
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
			p := fake.NewBusy(t)
			p.Pending = p.UntilEnded
			p.Result = func() error { return result }
			p.Source.OnTeardown = func(context.Context) error { time.Sleep(time.Second); return failing }
			goOn := make(chan struct{})
			close(goOn)
			p.First.Task = &slowSource{SourceTask: funnel.NewSourceTask("source", p.Source, log.Nop(), nil), Journal: p.Journal, goOn: goOn}
			done, closed := p.StartReading(t, t.Context()), make(chan error)
			if !closesFirst {
				close(p.GoOn)
				synctest.Wait()
			}
			go func() { closed <- p.Worker.Close(t.Context()) }()
			if closesFirst {
				synctest.Wait()
				close(p.GoOn)
			}
			if err := <-closed; !errors.Is(err, failing) {
				t.Errorf("Close: %v", err)
			}
			(<-done).Want(t, result)
			p.Want(t, "done close", "done first", "done first", "done first", "done first", "close first")
			failing = nil
			fake.WantNoError(t, p.Worker.Close(t.Context()))
			fake.WantNoError(t, p.Worker.Close(t.Context()))
		})
	}
}

// A source that returns nothing all the time does not keep a worker from ending.
func TestWithReadAhead_emptyReads(t *testing.T) {
	for _, stops := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			s := fake.NewSource(j)
			s.OnRead = func(context.Context) ([]opencdc.Record, error) { time.Sleep(time.Microsecond); return nil, nil }
			w := fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(fake.NewDestination(j, "out"))), nil, funnel.WithReadAhead(1))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := fake.Start(ctx, w)
			time.Sleep(time.Millisecond)
			if stops {
				fake.WantNoError(t, w.Stop(t.Context()))
				(<-done).Want(t, nil)
			} else {
				cancel()
				(<-done).Want(t, context.Canceled)
			}
			j.WantGiven(t, "", "", "")
		})
	}
}

// No read begins once the context of Do has ended.
func TestWithReadAhead_noReadAfterTheContext(t *testing.T) {
	s := fake.NewSource(&fake.Journal{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reads := 0
	s.OnRead = func(context.Context) ([]opencdc.Record, error) {
		if reads++; reads == 3 {
			cancel()
		}
		return nil, nil
	}
	err := fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(fake.NewDestination(s.Journal, "out"))), nil, funnel.WithReadAhead(1)).Do(ctx)
	if err != context.Canceled || reads != 3 {
		t.Errorf("Do has returned %v after %d reads", err, reads)
	}
}
