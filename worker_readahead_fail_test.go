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

// If Do ends with an error while a read is pending, it tears the source down, once.
// What was read ahead is dropped.
func TestWithReadAhead_errorEndsTheRead(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func(p *fake.Busy)
		want error // nil if the engine makes the error
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
		{name: "a processor", fail: func(p *fake.Busy) { processBehind(p) }, word: "no result"},
		{name: "a processor without answers", fail: func(p *fake.Busy) { processBehind(p, nil) }, word: "no answer"},
		{name: "a branch", fail: func(p *fake.Busy) {
			p.Result = func() error { return fake.ErrTest }
			p.First.Next = append(p.First.Next, fake.Custom("other", func(ctx context.Context, _ *funnel.Batch) error {
				<-ctx.Done()
				return ctx.Err()
			}))
		}, want: fake.ErrTest, word: `"out"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := fake.NewBusy(t)
				tt.fail(p)
				done := p.StartReading(t, t.Context())
				close(p.GoOn)
				fake.WantError(t, (<-done).Err, tt.want, tt.word)
				p.WantOver(t, 1)
				p.WantGiven(t, "1", tt.dlq, tt.ack)
				fake.WantNoError(t, p.Worker.Stop(t.Context()))
				p.WantOver(t, 1)
				fake.WantNoError(t, p.Worker.Close(t.Context()))
				fake.WantNoError(t, p.Worker.Close(t.Context()))
				if n := len(p.Lines("teardown")); n > 3 {
					t.Errorf("there were %d teardowns", n)
				}
			})
		})
	}
}

// processBehind puts a processor with these results after the destination.
func processBehind(p *fake.Busy, results ...sdk.ProcessedRecord) {
	fake.Fork(p.First.Next[0], fake.Chain(fake.Through("p", fake.Returns(results...)), fake.Custom("end", fake.Nothing)))
}

// If no read is pending when Do fails, Do leaves the teardown to Stop or Close.
func TestWithReadAhead_errorWithoutARead(t *testing.T) {
	for _, ahead := range []int{1, 100} { // the prefetcher waits for room, or has read everything
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

// If Do fails to tear the source down, its error says so, and Stop and Close try again.
// The read ends all the same, since its context ends.
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
		e := <-done
		e.Want(t, fake.ErrTest)
		e.Want(t, failing, "tear down")
		p.WantOver(t, 1)
		fake.WantError(t, p.Worker.Stop(t.Context()), failing)
		failing = nil
		fake.WantNoError(t, p.Worker.Close(t.Context()))
		p.Want(t, "teardown", "teardown source", "teardown source", "teardown source", "teardown dlq", "teardown out")
	})
}

// If Do fails during a Stop, it leaves the teardown to Stop, and returns even if that
// teardown fails.
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
			done := p.StartReading(t, t.Context())
			stopped := fake.Call(func() error { return p.Worker.Stop(t.Context()) })
			synctest.Wait()
			close(p.GoOn)
			e := <-done
			e.Want(t, fake.ErrTest)
			if failing != nil && errors.Is(e.Err, failing) {
				t.Errorf("Do tore the source down, too: %v", e.Err)
			}
			if e := <-stopped; !errors.Is(e.Err, failing) {
				t.Errorf("Stop: %+v", e)
			}
			p.WantOver(t, 1)
			failing = nil
			fake.WantNoError(t, p.Worker.Close(t.Context()))
			p.WantGiven(t, "1", "", "")
		})
	}
}

// While Do tears the source down, Stop and Close wait for that, and do not repeat it.
func TestWithReadAhead_stopWhileEnding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.NewBusy(t)
		p.Result = func() error { return fake.ErrTest }
		goOn := make(chan struct{})
		p.Source.OnTeardown = func(context.Context) error { <-goOn; return nil }
		done := p.StartReading(t, t.Context())
		close(p.GoOn)
		synctest.Wait()
		stopped := fake.Call(func() error { return p.Worker.Stop(t.Context()) })
		closed := fake.Call(func() error { return p.Worker.Close(t.Context()) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Worker.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stop: %v", err)
		}
		close(goOn)
		(<-done).Want(t, fake.ErrTest)
		(<-stopped).Want(t, nil)
		(<-closed).Want(t, nil)
		p.Want(t, "teardown", "teardown source", "teardown dlq", "teardown out")
	})
}

// Do leaves the teardown to an earlier Stop, even if that failed.
func TestWithReadAhead_teardownFailsWhileReadingTheReason(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			p := fake.NewBusy(t)
			p.Pending = func(ctx context.Context) ([]opencdc.Record, error) {
				<-ctx.Done()
				time.Sleep(time.Millisecond) // so the read is still pending when Do is about to end
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

// Whatever else goes wrong, the error of Do says if a read failed before, or if the
// goroutine of a read was ended.
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

// A panic in Read reaches the caller of Do after the records read before are delivered.
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

// If Stop or a failed Do ends a read and the read panics, the panic is not lost.
func TestWithReadAhead_panicInReadAtTheEnd(t *testing.T) {
	for _, result := range []error{nil, fake.ErrTest} {
		synctest.Test(t, func(t *testing.T) {
			p := fake.NewBusy(t)
			p.Pending = func(context.Context) ([]opencdc.Record, error) { <-p.Source.TornDown; panic(io.ErrClosedPipe) }
			p.Result = func() error { return result }
			done := p.StartReading(t, t.Context())
			stopped := fake.Call(func() error {
				if result == nil {
					return p.Worker.Stop(t.Context())
				}
				return nil
			})
			synctest.Wait()
			close(p.GoOn)
			(<-done).WantPanic(t, io.ErrClosedPipe)
			(<-stopped).Want(t, nil)
			p.WantOver(t, 1)
			fake.WantNoError(t, p.Worker.Close(t.Context()))
		})
	}
}

// It is an error if the goroutine of a read is ended, even during a Stop.
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
			} else {
				close(goOn)
			}
			synctest.Wait()
			close(p.GoOn)
			(<-done).Want(t, funnel.ErrGoexit, "Goexit", `"source"`)
			p.WantGiven(t, want, "", want)
			fake.WantNoError(t, p.Worker.Close(t.Context()))
			p.WantOver(t, 3)
		})
	}
}

// While Do itself tears the source down, Stopping is true.
func TestWithReadAhead_StoppingWhenDoTearsDown(t *testing.T) {
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

// If the context of Do ends while the worker waits, the teardown ends a read that
// does not heed its context.
func TestWithReadAhead_contextEndsWhileIdle(t *testing.T) {
	for _, ahead := range []int{1, 100} {
		synctest.Test(t, func(t *testing.T) { testContextEnds(t, true, fake.Ahead(ahead)...) })
	}
}

// If Source.Ack returns io.EOF, the error of the pending read says why the stream has
// closed. If that read does not fail, the next one says why.
func TestWithReadAhead_ackReportsEOF(t *testing.T) {
	ackErr := errors.Join(errors.New("the stream of acks"), io.EOF)
	for _, tt := range []struct {
		name    string
		pending fake.Read // pending when the stream closes
		next    fake.Read
		want    error
	}{
		{"the pending read has a reason", fake.Read{Err: fake.ErrTest}, fake.Read{Err: io.ErrUnexpectedEOF}, fake.ErrTest},
		{"the pending read ends", fake.Read{Records: fake.Records("4"), Err: io.EOF}, fake.Read{Err: fake.ErrTest}, ackErr},
		{"the next read has a reason", fake.Read{Records: fake.Records("4")}, fake.Read{Err: fake.ErrTest}, fake.ErrTest},
		{"the next read after an empty one has a reason", fake.Read{}, fake.Read{Err: fake.ErrTest}, fake.ErrTest},
		{"the next read has none", fake.Read{Records: fake.Records("4")}, fake.Read{Records: fake.Records("5")}, ackErr},
		{"the next read is empty", fake.Read{}, fake.Read{}, ackErr},
		{"the next read ends", fake.Read{Records: fake.Records("4")}, fake.Read{Err: io.EOF}, ackErr},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := fake.NewBusy(t)
				asked := make(chan struct{})
				p.Pending = func(context.Context) ([]opencdc.Record, error) {
					switch len(p.Lines("read")) {
					case 4:
						<-asked
						time.Sleep(time.Millisecond) // until the worker waits for the reason
						return tt.pending.Records, tt.pending.Err
					case 5:
						time.Sleep(time.Millisecond)
						return tt.next.Records, tt.next.Err
					default:
						<-p.Source.TornDown
						return nil, errors.New("the source was torn down")
					}
				}
				p.Source.OnAck = func(context.Context, []opencdc.Position) error { close(asked); return ackErr }
				done := p.StartReading(t, t.Context())
				close(p.GoOn)
				e := <-done
				e.Want(t, tt.want)
				if tt.want == fake.ErrTest && errors.Is(e.Err, ackErr) {
					t.Errorf("the error is also that of the ack: %v", e.Err)
				}
				p.WantGiven(t, "1", "", "1")
				fake.WantNoError(t, p.Worker.Close(t.Context()))
				p.WantOver(t, 3)
			})
		})
	}
}

// The same holds if no read is pending then: the prefetcher waits for room, or is done.
func TestWithReadAhead_ackReportsEOFBetweenReads(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ahead int
		reads []fake.Read
		want  error
	}{
		{"room", 1, []fake.Read{{Records: fake.Records("1")}, {Records: fake.Records("2")}, {Err: fake.ErrTest}}, fake.ErrTest},
		{"room, and there is no reason", 1, []fake.Read{{Records: fake.Records("1")}, {Records: fake.Records("2")}, {Records: fake.Records("3")}}, io.EOF},
		{"failed", 100, []fake.Read{{Records: fake.Records("1")}, {Records: fake.Records("2")}, {Err: fake.ErrTest}}, fake.ErrTest},
		{"no position", 100, []fake.Read{{Records: fake.Records("1")}, {Records: fake.Records("")}}, nil},
		{"at the end", 100, []fake.Read{{Records: fake.Records("1")}, {Records: fake.Records("2"), Err: io.EOF}, {Err: fake.ErrTest}}, io.EOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				s := fake.NewSource(j)
				s.OnAck = func(context.Context, []opencdc.Position) error { return io.EOF }
				d := fake.SlowDestination(j, "out", time.Second)
				reads := 0
				s.OnRead = func(context.Context) ([]opencdc.Record, error) {
					if reads++; reads == 2 {
						time.Sleep(time.Millisecond) // until 1 is in flight, alone
					}
					if reads > len(tt.reads) {
						return nil, errors.New("one read too many")
					}
					return tt.reads[reads-1].Records, tt.reads[reads-1].Err
				}
				err := fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(d)), nil, fake.Ahead(tt.ahead)...).Do(t.Context())
				fake.WantError(t, err, tt.want)
				if errors.Is(err, io.EOF) != (tt.want == io.EOF) {
					t.Errorf("the error is %v", err)
				}
				j.WantGiven(t, "1", "", "1")
			})
		})
	}
}

// If a panic ends Do while the pending read panics, too, or if the teardown by a failed
// Do panics, a PanicError holds both. The read has ended by then.
func TestWithReadAhead_panicAndMore(t *testing.T) {
	for _, where := range []string{"write", "teardown"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := fake.NewBusy(t)
				switch where {
				case "write":
					p.Pending = func(context.Context) ([]opencdc.Record, error) { <-p.Source.TornDown; panic(fake.ErrTest) }
					p.Result = func() error { panic(io.ErrNoProgress) }
				case "teardown":
					p.Pending = func(ctx context.Context) ([]opencdc.Record, error) { <-ctx.Done(); panic(fake.ErrTest) }
					p.Result = func() error { return fake.ErrTest }
					p.Source.OnTeardown = func(context.Context) error {
						if len(p.Lines("teardown")) == 1 {
							panic(io.ErrNoProgress)
						}
						return nil
					}
				}
				done := p.StartReading(t, t.Context())
				close(p.GoOn)
				e := <-done
				e.WantPanic(t, io.ErrNoProgress)
				fake.WantError(t, e.Panic.(error), fake.ErrTest)
				p.WantOver(t, 1)
				fake.WantNoError(t, p.Worker.Ack(t.Context(), funnel.NewBatch(nil)))
				fake.WantNoError(t, p.Worker.Stop(t.Context()))
				fake.WantNoError(t, p.Worker.Close(t.Context()))
			})
		})
	}
}
