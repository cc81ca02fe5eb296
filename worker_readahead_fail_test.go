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
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// A Do that ends with an error while a read is pending tears the source down,
// once, and what was read ahead is dropped.
func TestWithReadAhead_errorEndsTheRead(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func(p *fake.Busy)
		want error // nil for one of the engine's
		word string
		dlq  string
		ack  string
	}{
		{name: "the destination", fail: func(p *fake.Busy) { p.Result = func() error { return fake.ErrTest } }, want: fake.ErrTest, word: `"out"`},
		{name: "the source's ack", fail: func(p *fake.Busy) {
			p.Source.OnAck = func(context.Context, []opencdc.Position) error { return fake.ErrTest }
		}, want: fake.ErrTest, word: "ack", ack: "1"},
		{name: "no queue", fail: func(p *fake.Busy) { p.DLQ = nil; p.Out.Refuse["1"] = fake.ErrTest }, want: fake.ErrTest, word: `"1"`},
		{name: "a queue that refuses", fail: func(p *fake.Busy) {
			p.DLQ = fake.Window(fake.NewDestination(p.Journal, "dlq"), 1, 0)
			p.Out.Refuse["1"] = fake.ErrTest
		}, want: fake.ErrTest, word: `"1"`},
		{name: "a queue that fails", fail: func(p *fake.Busy) {
			dlq := fake.NewDestination(p.Journal, "dlq")
			dlq.OnWrite = func(context.Context, []opencdc.Record) error { return fake.ErrTest }
			p.DLQ = fake.Queue(dlq)
			p.Out.Refuse["1"] = errors.New("refused")
		}, want: fake.ErrTest, word: `"dlq"`, dlq: "1"},
		{name: "a processor", fail: func(p *fake.Busy) { answersWith(p, nil) }, word: "no result"},
		{name: "a processor without answers", fail: func(p *fake.Busy) { answersWith(p, []sdk.ProcessedRecord{nil}) }, word: "no answer"},
		{name: "a branch", fail: func(p *fake.Busy) {
			p.Result = func() error { return fake.ErrTest }
			p.First.Next = append(p.First.Next, fake.Custom("other", func(ctx context.Context, _ *funnel.Batch) error {
				<-ctx.Done()
				return ctx.Err()
			}))
		}, want: fake.ErrTest, word: `"out"`},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := fake.NewBusy(t)
			tt.fail(p)
			done := p.StartReading(t, t.Context())
			close(p.GoOn)
			end := <-done
			fake.WantError(t, end.Err, tt.want, tt.word)
			p.WantOver(t, 1)
			p.WantGiven(t, "1", tt.dlq, tt.ack)
			fake.WantNoError(t, p.Worker.Stop(t.Context()))
			p.WantOver(t, 1)
			fake.WantNoError(t, p.Worker.Close(t.Context()))
			fake.WantNoError(t, p.Worker.Close(t.Context()))
			if n := len(p.Lines("teardown")); n > 3 {
				t.Errorf("%s: there were %d teardowns", tt.name, n)
			}
		})
	}
}

// answersWith puts a processor behind the destination.
func answersWith(p *fake.Busy, results []sdk.ProcessedRecord) {
	p.First.Next[0].Next = []*funnel.TaskNode{fake.Chain(fake.Through("p", fake.Processor(
		func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { return results },
	)), fake.Custom("end", fake.Nothing))}
}

// Nobody tears the source down if no read is pending, but Stop or Close.
func TestWithReadAhead_errorWithoutARead(t *testing.T) {
	for _, ahead := range []int{1, 100} { // the reader waits for room, or has read all
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			d := fake.NewDestination(j, "out")
			d.OnWrite = func(context.Context, []opencdc.Record) error { time.Sleep(time.Second); return fake.ErrTest }
			w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1", "2", "3")), fake.To(d)), nil, fake.Ahead(ahead)...)
			fake.WantError(t, w.Do(t.Context()), fake.ErrTest)
			j.Want(t, "teardown")
			fake.WantNoError(t, w.Stop(t.Context()))
			j.Want(t, "teardown", "teardown source")
		})
	}
}

// A teardown that fails is in the error of Do, and Close tries again. The end of
// its context ends the read all the same.
func TestWithReadAhead_errorAndTeardownFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.NewBusy(t)
		p.Pending = func(ctx context.Context) ([]opencdc.Record, error) { <-ctx.Done(); return nil, ctx.Err() }
		p.Result = func() error { return fake.ErrTest }
		failing := errors.New("teardown failed")
		p.Source.OnTeardown = func(ctx context.Context) error {
			fake.WantNoError(t, ctx.Err())
			return failing
		}
		done := p.StartReading(t, t.Context())
		close(p.GoOn)
		end := <-done
		end.Want(t, fake.ErrTest)
		end.Want(t, failing, "tear down")
		p.WantOver(t, 1)
		fake.WantError(t, p.Worker.Stop(t.Context()), failing)
		failing = nil
		fake.WantNoError(t, p.Worker.Close(t.Context()))
		p.Want(t, "teardown", "teardown source", "teardown source", "teardown source", "teardown dlq", "teardown out")
	})
}

// A Do that ends with an error while it is being stopped leaves the teardown to
// the stop, and returns also if that fails.
func TestWithReadAhead_errorWhileStopping(t *testing.T) {
	for i := range 20 {
		synctest.Test(t, func(t *testing.T) {
			p := fake.NewBusy(t)
			p.Pending = p.UntilEnded
			p.Result = func() error { return fake.ErrTest }
			var failing error
			if i%2 == 0 {
				failing = errors.New("teardown failed")
			}
			p.Source.OnTeardown = func(context.Context) error { return failing }
			done, stopped := p.StartReading(t, t.Context()), make(chan error)
			go func() { stopped <- p.Worker.Stop(t.Context()) }()
			synctest.Wait()
			close(p.GoOn)
			end := <-done
			end.Want(t, fake.ErrTest)
			if failing != nil && errors.Is(end.Err, failing) {
				t.Errorf("Do has torn the source down, too: %v", end.Err)
			}
			if err := <-stopped; !errors.Is(err, failing) {
				t.Errorf("Stop: %v", err)
			}
			p.WantOver(t, 1)
			failing = nil
			fake.WantNoError(t, p.Worker.Close(t.Context()))
			p.WantGiven(t, "1", "", "")
		})
	}
}

// Stop and Close wait for a Do that is tearing the source down, and do not repeat
// it.
func TestWithReadAhead_stopWhileEnding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.NewBusy(t)
		p.Result = func() error { return fake.ErrTest }
		goOn := make(chan struct{})
		p.Source.OnTeardown = func(context.Context) error { <-goOn; return nil }
		done, stopped := p.StartReading(t, t.Context()), make(chan error)
		close(p.GoOn)
		synctest.Wait()
		go func() { stopped <- p.Worker.Stop(t.Context()) }()
		go func() { stopped <- p.Worker.Close(t.Context()) }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Worker.Stop(ctx); err != context.DeadlineExceeded {
			t.Errorf("Stop: %v", err)
		}
		close(goOn)
		(<-done).Want(t, fake.ErrTest)
		fake.WantNoError(t, <-stopped)
		fake.WantNoError(t, <-stopped)
		p.Want(t, "teardown", "teardown source", "teardown dlq", "teardown out")
	})
}

// Do leaves the teardown to a Stop that has come before it, also if that failed.
func TestWithReadAhead_teardownFailsWhileReadingTheReason(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			p := fake.NewBusy(t)
			p.Pending = func(ctx context.Context) ([]opencdc.Record, error) {
				<-ctx.Done()
				time.Sleep(time.Millisecond) // it is pending still when Do is about to end
				return nil, ctx.Err()
			}
			p.Source.OnAck = func(context.Context, []opencdc.Position) error { return io.EOF }
			failing := fake.ErrTest
			p.Source.OnTeardown = func(context.Context) error { return failing }
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := p.StartReading(t, ctx)
			close(p.GoOn)
			synctest.Wait()
			fake.WantError(t, p.Worker.Stop(t.Context()), fake.ErrTest)
			cancel()
			(<-done).Want(t, io.EOF)
			p.WantOver(t, 1)
			failing = nil
			fake.WantNoError(t, p.Worker.Close(t.Context()))
		})
	}
}

// With read-ahead, a goroutine that ends in a read is known whatever else goes
// wrong, and so is an error of a read that was there before.
func TestWithReadAhead_errorsAreJoined(t *testing.T) {
	for _, isEarly := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			other := errors.New("another error")
			s, out, failed := fake.NewSource(j), fake.NewDestination(j, "out"), make(chan struct{})
			reads := 0
			s.OnRead = func(context.Context) ([]opencdc.Record, error) {
				switch reads++; {
				case reads == 1:
					return fake.Records("1"), nil
				case isEarly:
					close(failed)
					return nil, other
				}
				<-s.TornDown
				runtime.Goexit()
				return nil, nil
			}
			out.OnWrite = func(context.Context, []opencdc.Record) error {
				if isEarly {
					<-failed
				}
				synctest.Wait()
				return fake.ErrTest
			}
			w := fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(out)), nil, funnel.WithReadAhead(10))
			err := w.Do(t.Context())
			fake.WantError(t, err, fake.ErrTest)
			if isEarly {
				fake.WantError(t, err, other)
			} else {
				fake.WantError(t, err, funnel.ErrGoexit)
			}
			fake.WantNoError(t, w.Close(t.Context()))
		})
	}
}

// A panic in Read reaches the caller of Do after what was read before was
// processed.
func TestWithReadAhead_panicInRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.NewBusy(t)
		goOn := make(chan struct{})
		p.Pending = func(context.Context) ([]opencdc.Record, error) { <-goOn; panic(fake.ErrTest) }
		done := p.StartReading(t, t.Context())
		close(goOn)
		synctest.Wait()
		p.WantGiven(t, "1", "", "")
		close(p.GoOn)
		(<-done).WantPanic(t, fake.ErrTest)
		p.WantGiven(t, "1 2 3", "", "1 2 3")
		p.WantOver(t, 0)
		fake.WantNoError(t, p.Worker.Stop(t.Context()))
		p.WantOver(t, 1)
		fake.WantNoError(t, p.Worker.Close(t.Context()))
	})
}

// A panic in Read is not lost over an error that ends Do before, or a stop.
func TestWithReadAhead_panicInReadAtTheEnd(t *testing.T) {
	for _, result := range []error{nil, fake.ErrTest} {
		synctest.Test(t, func(t *testing.T) {
			p := fake.NewBusy(t)
			p.Pending = func(context.Context) ([]opencdc.Record, error) { <-p.Source.TornDown; panic(io.ErrClosedPipe) }
			p.Result = func() error { return result }
			done := p.StartReading(t, t.Context())
			if result == nil {
				go func() { fake.WantNoError(t, p.Worker.Stop(t.Context())) }()
				synctest.Wait()
			}
			close(p.GoOn)
			(<-done).WantPanic(t, io.ErrClosedPipe)
			p.WantOver(t, 1)
			fake.WantNoError(t, p.Worker.Close(t.Context()))
		})
	}
}

// A read whose goroutine ends is a failure, also while the worker is being
// stopped.
func TestWithReadAhead_goexitInRead(t *testing.T) {
	for _, stops := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := fake.NewBusy(t)
			goOn := make(chan struct{})
			p.Pending = func(context.Context) ([]opencdc.Record, error) {
				select {
				case <-goOn:
				case <-p.Source.TornDown:
				}
				runtime.Goexit()
				return nil, nil
			}
			done, want := p.StartReading(t, t.Context()), "1 2 3"
			if stops {
				want = "1"
				go func() { fake.WantNoError(t, p.Worker.Stop(t.Context())) }()
				synctest.Wait()
			} else {
				close(goOn)
				synctest.Wait()
			}
			close(p.GoOn)
			end := <-done
			if end.Err == nil {
				t.Fatalf("Do has ended with %+v", end)
			}
			end.Want(t, end.Err, "Goexit", `"source"`)
			p.WantGiven(t, want, "", want)
			fake.WantNoError(t, p.Worker.Close(t.Context()))
			p.WantOver(t, 3)
		})
	}
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
