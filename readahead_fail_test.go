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
	"github.com/conduitio/funnel/log"
)

// A Do that ends with an error while a read is pending tears the source down,
// once, and what was read ahead is dropped.
func TestWithReadAhead_errorEndsTheRead(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func(p *pipeline)
		want error // nil for one of the engine's
		word string
		dlq  string
		ack  string
	}{
		{name: "the destination", fail: func(p *pipeline) { p.result = func() error { return errTest } }, want: errTest, word: `"out"`},
		{name: "the source's ack", fail: func(p *pipeline) {
			p.source.ack = func(context.Context, []opencdc.Position) error { return errTest }
		}, want: errTest, word: "ack", ack: "1"},
		{name: "no queue", fail: func(p *pipeline) { p.dlq = nil; p.out.refuse["1"] = errTest }, want: errTest, word: `"1"`},
		{name: "a queue that refuses", fail: func(p *pipeline) {
			p.dlq = funnel.NewDLQ("dlq", newDestination(p.journal, "dlq"), log.Nop(), nil, 1, 0)
			p.out.refuse["1"] = errTest
		}, want: errTest, word: `"1"`},
		{name: "a queue that fails", fail: func(p *pipeline) {
			dlq := newDestination(p.journal, "dlq")
			dlq.write = func(context.Context, []opencdc.Record) error { return errTest }
			p.dlq = queue(dlq)
			p.out.refuse["1"] = errors.New("refused")
		}, want: errTest, word: `"dlq"`, dlq: "1"},
		{name: "a processor", fail: func(p *pipeline) { p.answersWith(nil) }, word: "no result"},
		{name: "a processor without answers", fail: func(p *pipeline) { p.answersWith([]sdk.ProcessedRecord{nil}) }, word: "no answer"},
		{name: "a branch", fail: func(p *pipeline) {
			p.result = func() error { return errTest }
			p.first.Next = append(p.first.Next, custom("other", func(ctx context.Context, _ *funnel.Batch) error {
				<-ctx.Done()
				return ctx.Err()
			}))
		}, want: errTest, word: `"out"`},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPipeline(t)
			tt.fail(p)
			done := p.start(t, t.Context())
			close(p.goOn)
			end := <-done
			wantError(t, end.err, tt.want, tt.word)
			p.wantOver(t, 1)
			p.wantFlat(t, "1", tt.dlq, tt.ack)
			wantNoError(t, p.worker.Stop(t.Context()))
			p.wantOver(t, 1)
			wantNoError(t, p.worker.Close(t.Context()))
			wantNoError(t, p.worker.Close(t.Context()))
			if n := len(p.all("teardown")); n > 3 {
				t.Errorf("%s: there were %d teardowns", tt.name, n)
			}
		})
	}
}

// answersWith puts a processor behind the destination.
func (p *pipeline) answersWith(results []sdk.ProcessedRecord) {
	p.first.Next[0].Next = []*funnel.TaskNode{chain(through("p", fakeProcessor(
		func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { return results },
	)), custom("end", func(context.Context, *funnel.Batch) error { return nil }))}
}

// Nobody tears the source down if no read is pending, but Stop or Close.
func TestWithReadAhead_errorWithoutARead(t *testing.T) {
	for _, ahead := range []int{1, 100} { // the reader waits for room, or has read all
		synctest.Test(t, func(t *testing.T) {
			j := &journal{}
			d := newDestination(j, "out")
			d.write = func(context.Context, []opencdc.Record) error { time.Sleep(time.Second); return errTest }
			w := newAhead(t, ahead, chain(from(batchesOf(j, "1", "2", "3")), to(d)), nil, nil)
			wantError(t, w.Do(t.Context()), errTest)
			j.want(t, []string{"teardown"})
			wantNoError(t, w.Stop(t.Context()))
			j.want(t, []string{"teardown"}, "teardown source")
		})
	}
}

// A teardown that fails is in the error of Do, and Close tries again. The end of
// its context ends the read all the same.
func TestWithReadAhead_errorAndTeardownFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipeline(t)
		p.pending = func(ctx context.Context) ([]opencdc.Record, error) { <-ctx.Done(); return nil, ctx.Err() }
		p.result = func() error { return errTest }
		failing := errors.New("teardown failed")
		p.source.teardown = func(ctx context.Context) error {
			wantNoError(t, ctx.Err())
			return failing
		}
		done := p.start(t, t.Context())
		close(p.goOn)
		end := <-done
		end.want(t, errTest)
		end.want(t, failing, "tear down")
		p.wantOver(t, 1)
		wantError(t, p.worker.Stop(t.Context()), failing)
		failing = nil
		wantNoError(t, p.worker.Close(t.Context()))
		p.journal.want(t, []string{"teardown"}, "teardown source", "teardown source", "teardown source", "teardown dlq", "teardown out")
	})
}

// A Do that ends with an error while it is being stopped leaves the teardown to
// the stop, and returns also if that fails.
func TestWithReadAhead_errorWhileStopping(t *testing.T) {
	for i := range 20 {
		synctest.Test(t, func(t *testing.T) {
			p := newPipeline(t)
			p.pending = p.untilEnded
			p.result = func() error { return errTest }
			var failing error
			if i%2 == 0 {
				failing = errors.New("teardown failed")
			}
			p.source.teardown = func(context.Context) error { return failing }
			done, stopped := p.start(t, t.Context()), make(chan error)
			go func() { stopped <- p.worker.Stop(t.Context()) }()
			synctest.Wait()
			close(p.goOn)
			end := <-done
			end.want(t, errTest)
			if failing != nil && errors.Is(end.err, failing) {
				t.Errorf("Do has torn the source down, too: %v", end.err)
			}
			if err := <-stopped; !errors.Is(err, failing) {
				t.Errorf("Stop: %v", err)
			}
			p.wantOver(t, 1)
			failing = nil
			wantNoError(t, p.worker.Close(t.Context()))
			p.wantFlat(t, "1", "", "")
		})
	}
}

// Stop and Close wait for a Do that is tearing the source down, and do not repeat
// it.
func TestWithReadAhead_stopWhileEnding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipeline(t)
		p.result = func() error { return errTest }
		goOn := make(chan struct{})
		p.source.teardown = func(context.Context) error { <-goOn; return nil }
		done, stopped := p.start(t, t.Context()), make(chan error)
		close(p.goOn)
		synctest.Wait()
		go func() { stopped <- p.worker.Stop(t.Context()) }()
		go func() { stopped <- p.worker.Close(t.Context()) }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.worker.Stop(ctx); err != context.DeadlineExceeded {
			t.Errorf("Stop: %v", err)
		}
		close(goOn)
		(<-done).want(t, errTest)
		wantNoError(t, <-stopped)
		wantNoError(t, <-stopped)
		p.journal.want(t, []string{"teardown"}, "teardown source", "teardown dlq", "teardown out")
	})
}

// The context of Do ends while the worker writes, or waits, and a read is pending
// that does not care.
func TestWithReadAhead_contextEnds(t *testing.T) {
	for _, idle := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := newPipeline(t)
			ctx, cancel := context.WithCancel(context.WithValue(t.Context(), ctxKey{}, "mine"))
			defer cancel()
			p.source.teardown = func(got context.Context) error {
				wantNoError(t, got.Err())
				if got.Value(ctxKey{}) != "mine" {
					t.Error("the context of the teardown is not that of Do")
				}
				return nil
			}
			done, want := p.start(t, ctx), "1"
			if idle {
				close(p.goOn)
				synctest.Wait()
				want = "1 2 3"
			}
			cancel()
			synctest.Wait()
			if !idle {
				p.wantFlat(t, want, "", "")
				close(p.goOn)
			}
			end := <-done
			if end.err != context.Canceled {
				t.Errorf("Do has ended with %+v", end)
			}
			p.wantFlat(t, want, "", want)
			p.wantOver(t, 1)
			wantNoError(t, p.worker.Close(t.Context()))
		})
	}
}

// If acking reports io.EOF, the next read says why the stream has closed: one that
// has begun later, or one before that has failed.
func TestWithReadAhead_ackReportsEOF(t *testing.T) {
	ackErr := errors.Join(errors.New("the stream of acks"), io.EOF)
	for _, tt := range []struct {
		name    string
		pending fakeRead // when the stream has closed
		next    fakeRead
		want    error
	}{
		{"the pending read has a reason", fakeRead{err: errTest}, fakeRead{err: io.ErrUnexpectedEOF}, errTest},
		{"the pending read ends", fakeRead{recs: records("4"), err: io.EOF}, fakeRead{err: errTest}, ackErr},
		{"the next read has a reason", fakeRead{recs: records("4")}, fakeRead{err: errTest}, errTest},
		{"the next read after an empty one has a reason", fakeRead{}, fakeRead{err: errTest}, errTest},
		{"the next read has none", fakeRead{recs: records("4")}, fakeRead{recs: records("5")}, ackErr},
		{"the next read is empty", fakeRead{}, fakeRead{}, ackErr},
		{"the next read ends", fakeRead{recs: records("4")}, fakeRead{err: io.EOF}, ackErr},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPipeline(t)
			asked := make(chan struct{})
			p.pending = func(context.Context) ([]opencdc.Record, error) {
				switch len(p.all("read")) {
				case 4:
					<-asked
					time.Sleep(time.Millisecond) // the worker waits for the reason
					return tt.pending.recs, tt.pending.err
				case 5:
					time.Sleep(time.Millisecond)
					return tt.next.recs, tt.next.err
				default:
					<-p.source.torn
					return nil, errors.New("the source was torn down")
				}
			}
			p.source.ack = func(context.Context, []opencdc.Position) error { close(asked); return ackErr }
			done := p.start(t, t.Context())
			close(p.goOn)
			end := <-done
			end.want(t, tt.want)
			if tt.want == errTest && errors.Is(end.err, ackErr) {
				t.Errorf("%s: %v", tt.name, end.err)
			}
			p.wantFlat(t, "1", "", "1")
			wantNoError(t, p.worker.Close(t.Context()))
			p.wantOver(t, 3)
		})
	}
}

// The same if no read is pending then: the reader waits for room, or is done.
func TestWithReadAhead_ackReportsEOFBetweenReads(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ahead int
		reads []fakeRead
		want  error
	}{
		{"room", 1, []fakeRead{{recs: records("1")}, {recs: records("2")}, {err: errTest}}, errTest},
		{"room, and there is no reason", 1, []fakeRead{{recs: records("1")}, {recs: records("2")}, {recs: records("3")}}, io.EOF},
		{"failed", 100, []fakeRead{{recs: records("1")}, {recs: records("2")}, {err: errTest}}, errTest},
		{"no position", 100, []fakeRead{{recs: records("1")}, {recs: records("")}}, nil},
		{"at the end", 100, []fakeRead{{recs: records("1")}, {recs: records("2"), err: io.EOF}, {err: errTest}}, io.EOF},
	} {
		synctest.Test(t, func(t *testing.T) {
			j := &journal{}
			s := newSource(j)
			s.ack = func(context.Context, []opencdc.Position) error { return io.EOF }
			d := slowDestination(j, "out", time.Second)
			reads := 0
			s.read = func(context.Context) ([]opencdc.Record, error) {
				if reads++; reads == 2 {
					time.Sleep(time.Millisecond) // 1 is on its way by itself
				}
				if reads > len(tt.reads) {
					return nil, errors.New("one read too many")
				}
				return tt.reads[reads-1].recs, tt.reads[reads-1].err
			}
			err := newAhead(t, tt.ahead, chain(from(s), to(d)), nil, nil).Do(t.Context())
			wantError(t, err, tt.want)
			if errors.Is(err, io.EOF) != (tt.want == io.EOF) {
				t.Errorf("%s: %v", tt.name, err)
			}
			j.wantFlat(t, "1", "", "1")
		})
	}
}

// A stop, or the end of the context, while the reason of a closed stream is read.
func TestWithReadAhead_stopWhileReadingTheReason(t *testing.T) {
	for _, stops := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p := newPipeline(t)
			p.source.ack = func(context.Context, []opencdc.Position) error { return io.EOF }
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := p.start(t, ctx)
			close(p.goOn)
			synctest.Wait()
			if stops {
				wantNoError(t, p.worker.Stop(t.Context()))
				(<-done).want(t, io.EOF)
			} else {
				cancel()
				(<-done).want(t, context.Canceled)
			}
			p.wantOver(t, 1)
		})
	}
}

// Do leaves the teardown to a Stop that has come before it, also if that failed.
func TestWithReadAhead_teardownFailsWhileReadingTheReason(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			p := newPipeline(t)
			p.pending = func(ctx context.Context) ([]opencdc.Record, error) {
				<-ctx.Done()
				time.Sleep(time.Millisecond) // it is pending still when Do is about to end
				return nil, ctx.Err()
			}
			p.source.ack = func(context.Context, []opencdc.Position) error { return io.EOF }
			failing := errTest
			p.source.teardown = func(context.Context) error { return failing }
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := p.start(t, ctx)
			close(p.goOn)
			synctest.Wait()
			wantError(t, p.worker.Stop(t.Context()), errTest)
			cancel()
			(<-done).want(t, io.EOF)
			p.wantOver(t, 1)
			failing = nil
			wantNoError(t, p.worker.Close(t.Context()))
		})
	}
}

// A panic in Read reaches the caller of Do after what was read before was
// processed.
func TestWithReadAhead_panicInRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipeline(t)
		goOn := make(chan struct{})
		p.pending = func(context.Context) ([]opencdc.Record, error) { <-goOn; panic(errTest) }
		done := p.start(t, t.Context())
		close(goOn)
		synctest.Wait()
		p.wantFlat(t, "1", "", "")
		close(p.goOn)
		wantPanic(t, <-done, errTest)
		p.wantFlat(t, "1 2 3", "", "1 2 3")
		p.wantOver(t, 0)
		wantNoError(t, p.worker.Stop(t.Context()))
		p.wantOver(t, 1)
		wantNoError(t, p.worker.Close(t.Context()))
	})
}

// wantPanic fails the test if Do has not panicked with a PanicError that holds the
// value and its stack.
func wantPanic(t *testing.T, e ending, value error) {
	t.Helper()
	err, ok := e.panicked.(*funnel.PanicError)
	if !ok || err.Value != value || !errors.Is(err, value) || len(err.Stack) == 0 {
		t.Errorf("Do has ended with %+v, not with a panic", e)
	}
}

// A panic in Read is not lost over an error that ends Do before, or a stop.
func TestWithReadAhead_panicInReadAtTheEnd(t *testing.T) {
	for _, result := range []error{nil, errTest} {
		synctest.Test(t, func(t *testing.T) {
			p := newPipeline(t)
			p.pending = func(context.Context) ([]opencdc.Record, error) { <-p.source.torn; panic(io.ErrClosedPipe) }
			p.result = func() error { return result }
			done := p.start(t, t.Context())
			if result == nil {
				go func() { wantNoError(t, p.worker.Stop(t.Context())) }()
				synctest.Wait()
			}
			close(p.goOn)
			wantPanic(t, <-done, io.ErrClosedPipe)
			p.wantOver(t, 1)
			wantNoError(t, p.worker.Close(t.Context()))
		})
	}
}

// A panic while a batch is on its way is the panic of Do, after the read has ended:
// as it is, or with what else has gone wrong. So is one while Do tears the source
// down.
func TestWithReadAhead_panicElsewhere(t *testing.T) {
	for _, where := range []string{"write", "write, and the read panics, too", "ack", "teardown"} {
		synctest.Test(t, func(t *testing.T) {
			p := newPipeline(t)
			explode := func() { panic(io.ErrNoProgress) }
			switch where {
			case "write":
				p.result = func() error { explode(); return nil }
			case "write, and the read panics, too":
				p.pending = func(context.Context) ([]opencdc.Record, error) { <-p.source.torn; panic(errTest) }
				p.result = func() error { explode(); return nil }
			case "ack":
				p.source.ack = func(context.Context, []opencdc.Position) error { explode(); return nil }
			case "teardown":
				p.pending = func(ctx context.Context) ([]opencdc.Record, error) { <-ctx.Done(); panic(errTest) }
				p.result = func() error { return errTest }
				p.source.teardown = func(context.Context) error {
					if len(p.all("teardown")) == 1 {
						explode()
					}
					return nil
				}
			}
			done := p.start(t, t.Context())
			close(p.goOn)
			end := <-done
			if where == "write" || where == "ack" {
				if end.panicked != io.ErrNoProgress {
					t.Errorf("%s: Do has ended with %+v", where, end)
				}
			} else {
				wantPanic(t, end, io.ErrNoProgress)
				wantError(t, end.panicked.(error), errTest)
			}
			p.wantOver(t, 1)
			wantNoError(t, p.worker.Ack(t.Context(), funnel.NewBatch(nil)))
			wantNoError(t, p.worker.Stop(t.Context()))
			wantNoError(t, p.worker.Close(t.Context()))
		})
	}
}

// A read whose goroutine ends is a failure, also while the worker is being
// stopped.
func TestWithReadAhead_goexitInRead(t *testing.T) {
	for _, stops := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := newPipeline(t)
			goOn := make(chan struct{})
			p.pending = func(context.Context) ([]opencdc.Record, error) {
				select {
				case <-goOn:
				case <-p.source.torn:
				}
				runtime.Goexit()
				return nil, nil
			}
			done, want := p.start(t, t.Context()), "1 2 3"
			if stops {
				want = "1"
				go func() { wantNoError(t, p.worker.Stop(t.Context())) }()
				synctest.Wait()
			} else {
				close(goOn)
				synctest.Wait()
			}
			close(p.goOn)
			end := <-done
			if end.err == nil {
				t.Fatalf("Do has ended with %+v", end)
			}
			end.want(t, end.err, "Goexit", `"source"`)
			p.wantFlat(t, want, "", want)
			wantNoError(t, p.worker.Close(t.Context()))
			p.wantOver(t, 3)
		})
	}
}

// The goroutine of Do is ended while a read is pending.
func TestWithReadAhead_goexitElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipeline(t)
		p.result = func() error { runtime.Goexit(); return nil }
		done := p.start(t, t.Context())
		close(p.goOn)
		if end := <-done; !end.exited {
			t.Errorf("Do has ended with %+v", end)
		}
		p.wantOver(t, 1)
		wantNoError(t, p.worker.Stop(t.Context()))
		wantNoError(t, p.worker.Close(t.Context()))
	})
}
