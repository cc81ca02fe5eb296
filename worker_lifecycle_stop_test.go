package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// Stop waits for the batch in flight, then tears the source down, which ends the pending
// read. What that read returns is dropped, and so is what was read ahead. A Stop that
// gives up leaves no trace.
func TestWorker_stop(t *testing.T) {
	four := fake.Records("4")
	for _, last := range []fake.Read{
		{}, {Records: four}, {Err: fake.ErrTest}, {Err: io.EOF}, {Err: context.Canceled},
		{Records: four, Err: fake.ErrTest}, {Records: four, Err: io.EOF},
		{Records: four, Err: context.Canceled}, {Records: four, Err: io.ErrUnexpectedEOF},
	} {
		for _, isIdle := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d records, %v, idle %t", len(last.Records), last.Err, isIdle), func(t *testing.T) {
				fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) { testStop(t, last, isIdle, opts...) })
			})
		}
	}
}

func testStop(t *testing.T, last fake.Read, isIdle bool, opts ...funnel.WorkerOption) {
	p := fake.NewBusy(t)
	p.Pending = func(ctx context.Context) ([]opencdc.Record, error) {
		<-p.Source.TornDown
		fake.WantNoError(t, ctx.Err())
		return last.Records, last.Err
	}
	p.Source.OnTeardown = func(context.Context) error { time.Sleep(time.Second); return nil }
	var done <-chan fake.Ending
	want := "1"
	if isIdle {
		done = p.StartIdle(t, t.Context(), opts...)
		want = "1 2 3"
	} else {
		done = p.Start(t, t.Context(), opts...)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, stop := range []func(context.Context) error{p.Worker.Stop, p.Worker.Close} {
			if err := stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a stop that gives up returned %v", err)
			}
		}
	}
	stopped := make(chan error)
	for range 3 {
		go func() { stopped <- p.Worker.Stop(t.Context()) }()
	}
	if !isIdle {
		synctest.Wait()
		p.Want(t, "ack teardown")
		close(p.GoOn)
	}
	for range 3 {
		fake.WantNoError(t, <-stopped)
	}
	(<-done).Want(t, nil)
	p.WantGiven(t, want, "", want)
	p.WantOver(t, 1)
	fake.WantNoError(t, p.Worker.Stop(t.Context()))
	fake.WantNoError(t, p.Worker.Close(t.Context()))
	p.Want(t, "teardown", "teardown source", "teardown dlq", "teardown out")
}

// A worker notices a stop even if the read that the stop ends returns nothing.
func TestWorker_stopEndsAnEmptyRead(t *testing.T) {
	for _, ahead := range []int{0, 1} {
		for range 1000 { // the worker may see the end of the read before it sees the stop
			synctest.Test(t, func(t *testing.T) {
				s := fake.NewSource(&fake.Journal{})
				s.OnRead = func(context.Context) ([]opencdc.Record, error) { <-s.TornDown; runtime.Gosched(); return nil, nil }
				w := fake.NewWorker(t, fake.Chain(fake.From(s), fake.Out(s.Journal)), nil, fake.Ahead(ahead)...)
				done := fake.Start(t.Context(), w)
				synctest.Wait()
				fake.WantNoError(t, w.Stop(t.Context()))
				(<-done).Want(t, nil)
			})
		}
	}
}

// If Stop or Close gives up, the worker runs on, and a failed read is an error.
func TestWorker_stopLeavesNoTrace(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		p := fake.NewBusy(t)
		fails := make(chan struct{})
		p.Pending = func(context.Context) ([]opencdc.Record, error) { <-fails; return nil, fake.ErrTest }
		done := p.Start(t, t.Context(), opts...)
		for _, stop := range []func(context.Context) error{p.Worker.Stop, p.Worker.Close} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("stopping returned %v", err)
			}
		}
		close(p.GoOn)
		time.Sleep(2 * time.Millisecond)
		p.WantGiven(t, "1 2 3", "", "1 2 3")
		close(fails)
		(<-done).Want(t, fake.ErrTest, `"source"`)
		p.WantOver(t, 0)
		fake.WantNoError(t, p.Worker.Stop(t.Context()))
		p.WantOver(t, 1)
		fake.WantNoError(t, p.Worker.Close(t.Context()))
	})
}

// If a connector calls Stop while its worker waits for it, Stop gives up when its context
// ends.
func TestWorker_stopByAConnector(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		source := fake.NewSource(j, fake.Read{Records: fake.Records("1")}, fake.Read{Err: fake.ErrTest})
		out := fake.NewDestination(j, "out")
		var w *funnel.Worker
		ctx, cancel := context.WithCancel(t.Context())
		out.OnWrite = func(context.Context, []opencdc.Record) error {
			go func() { time.Sleep(time.Second); cancel() }()
			if err := w.Stop(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("Stop: %v", err)
			}
			return nil
		}
		w = fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil, opts...)
		fake.WantError(t, w.Do(t.Context()), fake.ErrTest, `"source"`)
		j.Want(t, "ack teardown", "ack 1")
		fake.WantNoError(t, w.Close(t.Context()))
		j.Want(t, "ack teardown", "ack 1", "teardown source")
	})
}

// If the context of Stop has already ended, Stop does nothing while the worker runs. Once
// Do has returned, Stop has nothing to wait for, and succeeds.
func TestWorker_stopWithAnEndedContext(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		j := &fake.Journal{}
		source := fake.NewSource(j)
		source.Endless = true
		w := failingWorker(t, j, source, nil, opts...)
		fake.WantNoError(t, w.Open(t.Context()))
		ctx, end := context.WithCancel(t.Context())
		done := fake.Start(ctx, w)
		<-source.Reading
		if err := w.Stop(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("Stop: %v", err)
		}
		j.Want(t, "teardown")
		end()
		if e := <-done; e.Err != context.Canceled {
			t.Errorf("Do: %+v", e)
		}
		fake.WantNoError(t, w.Stop(ended))
		fake.WantNoError(t, w.Close(ended))
		j.Want(t, "teardown", "teardown source", "teardown dlq", "teardown out")
	})
}

// After a Stop, Do returns at once. The source is torn down once, even if the worker was
// stopped before it was opened.
func TestWorker_stopEarly(t *testing.T) {
	for _, when := range []string{"before Open", "after Open", "and closed before Do"} {
		t.Run(when, func(t *testing.T) {
			fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
				j := &fake.Journal{}
				w := failingWorker(t, j, fake.SourceOf(j, "1"), nil, opts...)
				if when == "before Open" {
					fake.WantNoError(t, w.Stop(t.Context()))
					j.Want(t, "")
				}
				fake.WantNoError(t, w.Open(t.Context()))
				fake.WantNoError(t, w.Stop(t.Context()))
				if when == "and closed before Do" {
					fake.WantNoError(t, w.Close(t.Context()))
				}
				fake.WantNoError(t, w.Do(t.Context()))
				fake.WantNoError(t, w.Close(t.Context()))
				fake.WantNoError(t, w.Stop(t.Context()))
				j.Want(t, "out ack teardown", "teardown source", "teardown dlq", "teardown out")
			})
		})
	}
}

// If the worker was stopped before Do, or the context of Do has already ended, the worker
// reads nothing.
func TestWorker_doesNotBegin(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		for range 100 {
			p := fake.NewBusy(t)
			w := fake.NewWorker(t, p.First, nil, opts...)
			fake.WantNoError(t, w.Stop(t.Context()))
			fake.WantNoError(t, w.Do(t.Context()))
			fake.WantError(t, w.Do(t.Context()), funnel.ErrAlreadyRan, "once")

			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			w = fake.NewWorker(t, p.First, nil, opts...)
			if err := w.Do(ctx); err != context.Canceled {
				t.Errorf("Do: %v", err)
			}
			p.Want(t, "")
			fake.WantNoError(t, w.Close(t.Context()))
			p.Want(t, "", "teardown source")
		}
	})
}

// If a teardown fails, the next Stop or Close retries it. The worker stops all the same,
// once the read has returned.
func TestWorker_teardownFails(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		p := fake.NewBusy(t)
		unblock := make(chan struct{})
		p.Pending = func(context.Context) ([]opencdc.Record, error) { <-unblock; return fake.Records("4"), nil }
		failing := fake.ErrTest
		p.Source.OnTeardown = func(context.Context) error { return failing }
		done := p.StartIdle(t, t.Context(), opts...)
		fake.WantError(t, p.Worker.Stop(t.Context()), fake.ErrTest)
		fake.WantError(t, p.Worker.Stop(t.Context()), fake.ErrTest)
		close(unblock)
		(<-done).Want(t, nil)
		fake.WantError(t, p.Worker.Stop(t.Context()), fake.ErrTest)
		failing = nil
		fake.WantNoError(t, p.Worker.Close(t.Context()))
		fake.WantNoError(t, p.Worker.Close(t.Context()))
		fake.WantNoError(t, p.Worker.Stop(t.Context()))
		p.WantGiven(t, "1 2 3", "", "1 2 3")
		p.Want(t, "teardown",
			"teardown source", "teardown source", "teardown source", "teardown source", "teardown dlq", "teardown out")
	})
}

// While the teardown of a Stop hangs, Do returns as soon as the read does. The records
// and the error of that read are dropped.
func TestWorker_teardownHangs(t *testing.T) {
	for _, readErr := range []error{nil, fake.ErrTest} {
		for _, isIdle := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, idle %t", readErr, isIdle), func(t *testing.T) {
				fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
					p := fake.NewBusy(t)
					tearing, goOn := make(chan struct{}), make(chan struct{})
					p.Pending = func(context.Context) ([]opencdc.Record, error) { <-tearing; return fake.Records("4"), readErr }
					p.Source.OnTeardown = func(context.Context) error { close(tearing); <-goOn; return nil }
					start, want := p.Start, "1"
					if isIdle {
						start, want = p.StartIdle, "1 2 3"
					}
					done := start(t, t.Context(), opts...)
					stopped := fake.Call(func() error { return p.Worker.Stop(t.Context()) })
					synctest.Wait()
					if !isIdle {
						close(p.GoOn)
					}
					(<-done).Want(t, nil)
					close(goOn)
					(<-stopped).Want(t, nil)
					p.WantGiven(t, want, "", want)
					p.WantOver(t, 1)
				})
			})
		}
	}
}

// Stopping is true from when the teardown of the source may have begun, not before.
func TestWorker_Stopping(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		p := fake.NewBusy(t)
		p.Source.OnTeardown = func(context.Context) error {
			if !p.Worker.Stopping() {
				t.Error("the source is torn down, and the worker is not stopping")
			}
			return nil
		}
		done := p.Start(t, t.Context(), opts...)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		fake.WantError(t, p.Worker.Stop(ctx), context.DeadlineExceeded)
		if p.Worker.Stopping() {
			t.Error("a Stop that gave up left a trace")
		}
		close(p.GoOn)
		fake.WantNoError(t, p.Worker.Stop(t.Context()))
		(<-done).Want(t, nil)
		if !p.Worker.Stopping() {
			t.Error("the worker has stopped and is not stopping")
		}
	})
}
