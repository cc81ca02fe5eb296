package funnel_test

import (
	"context"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// A stop while a read is pending ends Do without an error, whatever the read
// returns.
func TestWorker_stopWhileReading(t *testing.T) {
	for _, readErr := range []error{context.Canceled, io.EOF, io.ErrUnexpectedEOF, fake.ErrTest, nil} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			source := fake.NewSource(j)
			reading := make(chan struct{}, 1)
			source.OnRead = func(context.Context) ([]opencdc.Record, error) {
				reading <- struct{}{}
				<-source.TornDown
				return fake.Records("1"), readErr // dropped
			}
			w := lifeOf(t, j, source, nil)
			fake.WantNoError(t, w.Open(t.Context()))
			done := make(chan error)
			go func() { done <- w.Do(t.Context()) }()
			<-reading
			fake.WantNoError(t, w.Stop(t.Context()))
			fake.WantNoError(t, <-done)
			fake.WantNoError(t, w.Stop(t.Context()))
			fake.WantNoError(t, w.Close(t.Context()))
			j.Want(t, "out ack teardown", "teardown source", "teardown dlq", "teardown out")
		})
	}
}

// Stop waits for the batch that is on its way.
func TestWorker_stopWhileProcessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		source := fake.SourceOf(j, "1", "2")
		source.Endless = true
		writing, goOn := make(chan struct{}), make(chan struct{})
		w := lifeOf(t, j, source, nil)
		out := fake.NewDestination(j, "out")
		out.OnWrite = func(context.Context, []opencdc.Record) error { writing <- struct{}{}; <-goOn; return nil }
		w = fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil)
		done, stopped := make(chan error), make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-writing

		// A stop that does not wait long enough leaves no trace.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Stop(ctx); err != context.DeadlineExceeded {
			t.Errorf("Stop: %v", err)
		}
		if err := w.Close(ctx); err != context.DeadlineExceeded {
			t.Errorf("Close: %v", err)
		}

		for range 3 {
			go func() { stopped <- w.Stop(t.Context()) }()
		}
		synctest.Wait()
		j.Want(t, "ack teardown")
		close(goOn)
		for range 3 {
			fake.WantNoError(t, <-stopped)
		}
		fake.WantNoError(t, <-done)
		j.Want(t, "ack teardown", "ack 1", "teardown source")
	})
}

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

// After a stop that has given up, a failed read is a failure.
func TestWorker_stopLeavesNoTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		source := fake.NewSource(j, fake.Read{Records: fake.Records("1")}, fake.Read{Err: fake.ErrTest})
		out := fake.NewDestination(j, "out")
		var w *funnel.Worker
		ctx, cancel := context.WithCancel(t.Context())
		out.OnWrite = func(context.Context, []opencdc.Record) error {
			go func() { time.Sleep(time.Second); cancel() }()
			if err := w.Stop(ctx); err != context.Canceled {
				t.Errorf("Stop: %v", err)
			}
			return nil
		}
		w = fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil)
		fake.WantError(t, w.Do(t.Context()), fake.ErrTest, `"source"`)
		j.Want(t, "ack teardown", "ack 1")
		fake.WantNoError(t, w.Close(t.Context()))
		j.Want(t, "ack teardown", "ack 1", "teardown source")
	})
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

// A stop whose context has ended does nothing while the worker runs. After it
// has run, there is nothing to wait for.
func TestWorker_stopWithAnEndedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		j := &fake.Journal{}
		source := fake.NewSource(j)
		source.Endless = true
		w := lifeOf(t, j, source, nil)
		fake.WantNoError(t, w.Open(t.Context()))
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Do(ctx) }()
		<-source.Reading
		if err := w.Stop(ended); err != context.Canceled {
			t.Errorf("Stop: %v", err)
		}
		j.Want(t, "teardown")
		end()
		if err := <-done; err != context.Canceled {
			t.Errorf("Do: %v", err)
		}
		fake.WantNoError(t, w.Stop(ended))
		fake.WantNoError(t, w.Close(ended))
		j.Want(t, "teardown", "teardown source", "teardown dlq", "teardown out")
	})
}

// A stop before Do makes it return at once, and one before Open does not keep
// the source from being torn down.
func TestWorker_stopEarly(t *testing.T) {
	for _, beforeOpen := range []bool{false, true} {
		j := &fake.Journal{}
		w := lifeOf(t, j, fake.SourceOf(j, "1"), nil)
		if beforeOpen {
			fake.WantNoError(t, w.Stop(t.Context()))
			j.Want(t, "")
		}
		fake.WantNoError(t, w.Open(t.Context()))
		fake.WantNoError(t, w.Stop(t.Context()))
		fake.WantNoError(t, w.Do(t.Context()))
		fake.WantNoError(t, w.Close(t.Context()))
		fake.WantNoError(t, w.Stop(t.Context()))
		j.Want(t, "out ack teardown", "teardown source", "teardown dlq", "teardown out")
	}
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

// A teardown that fails is tried again by the next Stop or Close, and the worker
// has stopped all the same.
func TestWorker_teardownFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		source := fake.NewSource(j)
		failing := map[string]error{"teardown source": fake.ErrTest}
		w := lifeOf(t, j, source, failing)
		reading := make(chan struct{})
		unblock := make(chan struct{})
		source.OnRead = func(context.Context) ([]opencdc.Record, error) {
			close(reading)
			<-unblock
			return fake.Records("1"), nil
		}
		fake.WantNoError(t, w.Open(t.Context()))
		done := make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-reading
		fake.WantError(t, w.Stop(t.Context()), fake.ErrTest)
		close(unblock)
		fake.WantNoError(t, <-done)
		fake.WantError(t, w.Stop(t.Context()), fake.ErrTest)
		clear(failing)
		fake.WantNoError(t, w.Close(t.Context()))
		fake.WantNoError(t, w.Close(t.Context()))
		j.Want(t, "out ack teardown",
			"teardown source", "teardown source", "teardown source", "teardown dlq", "teardown out")
	})
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

// A batch that was read is dropped, a failed read is no failure, and Do returns,
// even while the teardown hangs.
func TestWorker_teardownHangs(t *testing.T) {
	for _, readErr := range []error{nil, fake.ErrTest} {
		testTeardownHangs(t, readErr)
	}
}

func testTeardownHangs(t *testing.T, readErr error) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		source := fake.NewSource(j)
		reading, tearing, goOn := make(chan struct{}), make(chan struct{}), make(chan struct{})
		source.OnRead = func(context.Context) ([]opencdc.Record, error) {
			close(reading)
			<-tearing
			return fake.Records("1"), readErr
		}
		source.OnTeardown = func(context.Context) error { close(tearing); <-goOn; return nil }
		w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(fake.NewDestination(j, "out"))), nil)
		done, stopped := make(chan error), make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-reading
		go func() { stopped <- w.Stop(t.Context()) }()
		fake.WantNoError(t, <-done)
		close(goOn)
		fake.WantNoError(t, <-stopped)
		j.Want(t, "out ack")
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

// Stopping says that tearing the source down may have begun, and not before.
func TestWorker_Stopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		s := fake.SourceOf(j, "1")
		s.Endless = true
		var w *funnel.Worker
		s.OnTeardown = func(context.Context) error {
			if !w.Stopping() {
				t.Error("the source is torn down, and the worker is not stopping")
			}
			return nil
		}
		goOn := make(chan struct{})
		out := fake.NewDestination(j, "out")
		out.OnWrite = func(context.Context, []opencdc.Record) error { <-goOn; return nil }
		w = fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(out)), nil)
		done := fake.Start(t.Context(), w)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		fake.WantError(t, w.Stop(ctx), context.DeadlineExceeded)
		if w.Stopping() {
			t.Error("a Stop that gave up has left a trace")
		}
		close(goOn)
		<-s.Reading
		fake.WantNoError(t, w.Stop(t.Context()))
		(<-done).Want(t, nil)
		if !w.Stopping() {
			t.Error("the worker is stopped and not stopping")
		}
	})
}

// When Do tears the source down itself, the worker is stopping.
func TestWorker_StoppingWhenDoTearsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		s, out := fake.SourceOf(j, "1"), fake.NewDestination(j, "out")
		s.Endless = true
		out.OnWrite = func(context.Context, []opencdc.Record) error { <-s.Reading; return fake.ErrTest }
		var w *funnel.Worker
		isStopping := false
		s.OnTeardown = func(context.Context) error { isStopping = w.Stopping(); return nil }
		w = fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(out)), nil, funnel.WithReadAhead(10))
		fake.WantError(t, w.Do(t.Context()), fake.ErrTest)
		if !isStopping || !w.Stopping() {
			t.Error("the worker is not stopping")
		}
		fake.WantNoError(t, w.Close(t.Context()))
	})
}
