package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
)

// However the source ends, the records that it returned before are delivered first.
func TestWorker_doEnds(t *testing.T) {
	one, two, empty := fake.Read{Records: fake.Records("1")}, fake.Read{Records: fake.Records("2", "3")}, fake.Read{}
	for _, tt := range []struct {
		name  string
		reads []fake.Read
		err   error
		words []string // in the text of a fatal error
		want  []string // the batches
	}{
		{name: "nothing"},
		{name: "no more records", reads: []fake.Read{one, two, {Err: io.EOF}}, want: []string{"1", "2 3"}},
		{name: "the last records", reads: []fake.Read{one, {Records: fake.Records("2", "3"), Err: io.EOF}}, want: []string{"1", "2 3"}},
		{name: "the only records", reads: []fake.Read{{Records: fake.Records("1"), Err: io.EOF}}, want: []string{"1"}},
		{name: "a wrapped io.EOF", reads: []fake.Read{one, {Records: fake.Records("2"), Err: errors.Join(io.EOF)}}, err: io.EOF, want: []string{"1"}},
		{name: "a wrapped io.EOF first", reads: []fake.Read{{Records: fake.Records("1"), Err: errors.Join(io.EOF)}}, err: io.EOF},
		{name: "empty reads", reads: []fake.Read{empty, one, empty, empty, two, empty}, want: []string{"1", "2 3"}},
		{name: "a failed read", reads: []fake.Read{one, two, {Err: fake.ErrTest}}, err: fake.ErrTest, want: []string{"1", "2 3"}},
		{name: "a failed read drops its records", reads: []fake.Read{one, two, {Records: fake.Records("4"), Err: fake.ErrTest}}, err: fake.ErrTest, want: []string{"1", "2 3"}},
		{name: "a failed first read", reads: []fake.Read{{Err: fake.ErrTest}, one}, err: fake.ErrTest},
		{name: "an unasked cancellation", reads: []fake.Read{one, {Err: context.Canceled}, two}, err: context.Canceled, want: []string{"1"}},
		{name: "an unasked cancellation first", reads: []fake.Read{{Err: context.Canceled}, one}, err: context.Canceled},
		{name: "another end of file", reads: []fake.Read{one, {Err: io.ErrUnexpectedEOF}}, err: io.ErrUnexpectedEOF, want: []string{"1"}},
		{name: "another end of file first", reads: []fake.Read{{Err: io.ErrUnexpectedEOF}}, err: io.ErrUnexpectedEOF},
		{name: "an empty position", reads: []fake.Read{one, two, {Records: fake.Records("4", "", "5")}}, want: []string{"1", "2 3"}, words: []string{"record 1", "of 3", "empty position"}},
		{name: "an empty position first", reads: []fake.Read{{Records: fake.Records("1", "", "3")}}, words: []string{"record 1", "empty position"}},
		{name: "an empty last position", reads: []fake.Read{one, {Records: fake.Records(""), Err: io.EOF}}, want: []string{"1"}, words: []string{"empty position"}},
	} {
		for _, slow := range []time.Duration{0, time.Millisecond} {
			t.Run(tt.name+", a write takes "+slow.String(), func(t *testing.T) {
				fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
					j := &fake.Journal{}
					s := &fake.StrictSource{T: t, Source: fake.NewSource(j, tt.reads...)}
					err := fake.RunWorker(t, fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(fake.SlowDestination(j, "out", slow))), nil, opts...))
					if tt.err == nil && tt.words == nil {
						fake.WantNoError(t, err)
					} else {
						fake.WantError(t, err, tt.err, append(tt.words, `"source"`)...)
						fake.WantFatal(t, err, tt.words != nil)
					}
					all := strings.Join(tt.want, " ")
					j.WantGiven(t, all, "", all)
					if len(opts) == 0 { // read-ahead may join batches
						var calls []string
						for _, batch := range tt.want {
							calls = append(calls, "out "+batch, "ack "+batch)
						}
						j.Want(t, "out ack", calls...)
					}
				})
			})
		}
	}
}

// If the context of Do ends, Do returns its error, with whatever else went wrong.
func TestWorker_contextEnds(t *testing.T) {
	for _, tt := range []struct {
		name     string
		prepare  func(cancel func(), p *fake.Busy)
		out, ack string
		also     error
	}{{
		name:    "before Do",
		prepare: func(cancel func(), _ *fake.Busy) { cancel() },
	}, {
		name: "in a read",
		prepare: func(cancel func(), p *fake.Busy) {
			p.Source.OnRead = func(ctx context.Context) ([]opencdc.Record, error) {
				cancel()
				return nil, errors.Join(fake.ErrTest, ctx.Err())
			}
		},
		also: fake.ErrTest,
	}, {
		name:    "in a destination",
		prepare: func(cancel func(), p *fake.Busy) { p.Result = func() error { cancel(); return nil } },
		out:     "1", ack: "1",
	}, {
		name:    "in a destination that fails for another reason",
		prepare: func(cancel func(), p *fake.Busy) { p.Result = func() error { cancel(); return fake.ErrTest } },
		out:     "1",
		also:    fake.ErrTest,
	}} {
		t.Run(tt.name, func(t *testing.T) {
			fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
				ctx, cancel := context.WithCancel(t.Context())
				p := fake.NewBusy(t)
				close(p.GoOn)
				tt.prepare(cancel, p)
				err := fake.NewWorker(t, p.First, nil, opts...).Do(ctx)
				fake.WantError(t, err, context.Canceled)
				if tt.also != nil && tt.out == "" && len(opts) > 0 {
					// the source may be torn down before the read fails, and then that is no error
				} else if tt.also != nil {
					fake.WantError(t, err, tt.also)
				} else if err != context.Canceled {
					t.Errorf("the error is %v, not that of the context", err)
				}
				p.WantGiven(t, tt.out, "", tt.ack)
			})
		})
	}
}

// If the context ends while a batch is in flight, that batch is finished. If a read is
// pending then, the teardown ends it.
func TestWorker_contextEndsWhileProcessing(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) { testContextEnds(t, false, opts...) })
}

// testContextEnds ends the context of Do while record 1 is being written or, if the
// worker is idle, while it waits for a read that does not heed its context.
func testContextEnds(t *testing.T, isIdle bool, opts ...funnel.WorkerOption) {
	p := fake.NewBusy(t)
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), fake.ContextKey{}, "mine"))
	defer cancel()
	p.Source.OnTeardown = func(got context.Context) error {
		fake.WantNoError(t, got.Err())
		if got.Value(fake.ContextKey{}) != "mine" {
			t.Error("the context of the teardown is not that of Do")
		}
		return nil
	}
	start, want := p.Start, "1"
	if isIdle {
		start, want = p.StartIdle, "1 2 3"
	}
	done, teardowns := start(t, ctx, opts...), 0
	if p.IsReading() {
		teardowns = 1
	}
	cancel()
	synctest.Wait()
	if !isIdle {
		p.WantGiven(t, want, "", "")
		close(p.GoOn)
	}
	if e := <-done; e.Err != context.Canceled {
		t.Errorf("Do ended with %+v", e)
	}
	p.WantGiven(t, want, "", want)
	p.WantOver(t, teardowns)
	fake.WantNoError(t, p.Worker.Close(context.WithoutCancel(ctx)))
	p.WantOver(t, 3)
}

// If the context ends during a read that returns records, they are still delivered, and
// no other read begins.
func TestWorker_contextEndsWithARead(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		for _, returns := range []string{"records", "nothing"} {
			j := &fake.Journal{}
			s := fake.NewSource(j)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			reads := 0
			s.OnRead = func(context.Context) ([]opencdc.Record, error) {
				if reads++; reads == 3 {
					cancel()
				}
				if returns == "nothing" {
					return nil, nil
				}
				return fake.Records(strconv.Itoa(reads)), nil
			}
			err := fake.NewWorker(t, fake.Chain(fake.From(s), fake.Out(j)), nil, opts...).Do(ctx)
			if err != context.Canceled || reads != 3 {
				t.Errorf("Do returned %v after %d reads", err, reads)
			}
			switch {
			case returns == "nothing":
				j.Want(t, "out ack")
			case len(opts) == 0: // with read-ahead, Do may end before the batch begins
				j.Want(t, "out ack", "out 1", "ack 1", "out 2", "ack 2", "out 3", "ack 3")
			}
		}
	})
}

// The error of an ended context comes with its cause.
func TestWorker_contextCause(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		ctx, cancel := context.WithCancelCause(t.Context())
		j := &fake.Journal{}
		s := fake.SourceOf(j, "1")
		s.Endless = true
		done := fake.Start(ctx, fake.NewWorker(t, fake.Chain(fake.From(s), fake.Out(j)), nil, opts...))
		<-s.Reading
		cancel(fake.ErrTest)
		e := <-done
		e.Want(t, context.Canceled)
		e.Want(t, fake.ErrTest)
		ctx, cancel = context.WithCancelCause(t.Context())
		cancel(fake.ErrTest)
		err := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.Out(j)), nil, opts...).Do(ctx)
		fake.WantError(t, err, context.Canceled)
		fake.WantError(t, err, fake.ErrTest)
	})
}

// A source that returns the cause of its context's end says nothing new, even if the cause
// wraps an error.
func TestWorker_contextCauseReturned(t *testing.T) {
	cause := fmt.Errorf("going down: %w", fake.ErrTest)
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		ctx, cancel := context.WithCancelCause(t.Context())
		source := funnel.SourceFunc(func(ctx context.Context) ([]opencdc.Record, error) {
			cancel(cause)
			<-ctx.Done()
			return nil, context.Cause(ctx)
		})
		err := funnel.From("in", source).To("out", fake.NewDestination(&fake.Journal{}, "out")).Options(opts...).Run(ctx)
		if err == nil || err.Error() != "context canceled: going down: "+fake.ErrTest.Error() {
			t.Errorf("got %q", err)
		}
	})
}

// If Source.Ack returns io.EOF, the stream has closed, and the next read says why.
func TestWorker_ackReportsEOF(t *testing.T) {
	ackErr := errors.Join(errors.New("the stream of acks"), io.EOF)
	for _, tt := range []struct {
		name string
		next fake.Read
		ack  error
		want error
	}{
		{"and the read has a reason", fake.Read{Err: fake.ErrTest}, ackErr, fake.ErrTest},
		{"and the read has none", fake.Read{Records: fake.Records("2")}, ackErr, ackErr},
		{"and so does the read", fake.Read{Err: io.EOF}, ackErr, ackErr},
		{"and the read is empty", fake.Read{}, ackErr, ackErr},
		{"not, it is another error", fake.Read{Err: context.Canceled}, fake.ErrTest, fake.ErrTest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
				p := fake.NewBusy(t)
				p.Reads = 1
				p.Pending = func(context.Context) ([]opencdc.Record, error) {
					if len(p.Lines("read")) == 2 {
						return tt.next.Records, tt.next.Err
					}
					return nil, io.EOF
				}
				p.Source.OnAck = func(context.Context, []opencdc.Position) error { return tt.ack }
				done := p.Start(t, t.Context(), opts...)
				close(p.GoOn)
				(<-done).Want(t, tt.want)
				p.Want(t, "out", "out 1")
				if isReadAgain := len(p.Lines("read")) == 2; len(opts) == 0 && isReadAgain != (tt.ack == ackErr) {
					t.Errorf("the source was read again: %t", isReadAgain)
				}
				fake.WantNoError(t, p.Worker.Close(t.Context()))
			})
		})
	}
}

// The reason does not hide what else went wrong.
func TestWorker_ackReportsEOFAfterAnotherError(t *testing.T) {
	reason := errors.New("the stream broke")
	newSource := func(j *fake.Journal) *fake.Source {
		source := fake.NewSource(j, fake.Read{Records: fake.Records("1", "2")}, fake.Read{Err: reason})
		source.OnAck = func(context.Context, []opencdc.Position) error { return io.EOF }
		return source
	}
	t.Run("on a branch", func(t *testing.T) {
		fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
			j := &fake.Journal{}
			a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
			delivered := make(chan struct{})
			b.OnAck = func(context.Context) ([]connector.DestinationAck, error) {
				defer close(delivered)
				return b.Pending, nil
			}
			a.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
				if string(recs[0].Position) == "2" {
					<-delivered
					synctest.Wait() // until the other branch has settled its records
					return funnel.FatalError(fake.ErrTest)
				}
				return nil
			}
			p := fake.Through("p", fake.ByPosition(fake.Answers{"2": fake.SecondTime(fake.Pass)}))
			first := fake.Fork(fake.From(newSource(j)), fake.Chain(p, fake.To(a)), fake.To(b))
			err := fake.RunWorker(t, fake.NewWorker(t, first, nil, opts...))
			fake.WantError(t, err, fake.ErrTest)
			fake.WantError(t, err, reason)
			fake.WantFatal(t, err, true)
		})
	})
	t.Run("in the dead-letter queue", func(t *testing.T) {
		fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
			j := &fake.Journal{}
			first := fake.Chain(fake.From(newSource(j)), fake.Through("p", fake.Each(fake.Fail)), fake.Out(j))
			err := fake.RunWorker(t, fake.NewWorker(t, first, fake.Window(fake.NewDestination(j, "dlq"), 10, 1), opts...))
			fake.WantError(t, err, fake.ErrTest, `"2"`)
			fake.WantError(t, err, reason)
			fake.WantFatal(t, err, true)
		})
	})
}

// If a stop or the end of the context ends the read that is to say why, Do still returns
// the error of the ack.
func TestWorker_stopWhileReadingTheReason(t *testing.T) {
	for _, how := range []string{"stop", "context"} {
		t.Run(how, func(t *testing.T) {
			fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
				p := fake.NewBusy(t)
				p.Reads = 1
				if len(opts) == 0 {
					p.Pending = p.UntilEnded // nobody tears the source down
				}
				p.Source.OnAck = func(context.Context, []opencdc.Position) error { return io.EOF }
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done, teardowns := p.Start(t, ctx, opts...), 1
				close(p.GoOn)
				time.Sleep(2 * time.Millisecond)
				synctest.Wait()
				if !p.IsReading() {
					t.Fatal("no read is pending")
				}
				if how == "stop" {
					fake.WantNoError(t, p.Worker.Stop(t.Context()))
					(<-done).Want(t, io.EOF)
				} else {
					cancel()
					e := <-done
					e.Want(t, context.Canceled)
					e.Want(t, io.EOF, "failed to ack")
					if len(opts) == 0 {
						teardowns = 0
					}
				}
				p.WantOver(t, teardowns)
				fake.WantNoError(t, p.Worker.Close(t.Context()))
			})
		})
	}
}

// A panic reaches the caller of Do unchanged, and leaves no lock and no read behind. With
// read-ahead, a panic in Read comes from another goroutine, so it is wrapped in a
// PanicError, and comes after the records that were read before.
func TestWorker_panic(t *testing.T) {
	for _, tt := range []struct{ where, out, ack string }{{"read", "1 2 3", "1 2 3"}, {"write", "1", ""}, {"ack", "1", "1"}} {
		t.Run(tt.where, func(t *testing.T) {
			fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
				p := fake.NewBusy(t)
				switch tt.where {
				case "read":
					p.Pending = func(context.Context) ([]opencdc.Record, error) { panic(fake.ErrTest) }
				case "write":
					p.Result = func() error { panic(fake.ErrTest) }
				case "ack":
					p.Source.OnAck = func(context.Context, []opencdc.Position) error { panic(fake.ErrTest) }
				}
				done, teardowns := p.Start(t, t.Context(), opts...), 0
				if p.IsReading() {
					teardowns = 1
				}
				close(p.GoOn)
				if e := <-done; tt.where == "read" && len(opts) > 0 {
					e.WantPanic(t, fake.ErrTest)
				} else if e.Panic != fake.ErrTest {
					t.Errorf("Do ended with %+v", e)
				}
				p.WantGiven(t, tt.out, "", tt.ack)
				p.WantOver(t, teardowns)
				fake.WantNoError(t, p.Worker.Ack(t.Context(), funnel.NewBatch(nil)))
				fake.WantNoError(t, p.Worker.Stop(t.Context()))
				fake.WantNoError(t, p.Worker.Close(t.Context()))
				p.Want(t, "teardown", "teardown source", "teardown dlq", "teardown out")
			})
		})
	}
}

// If a connector ends the goroutine of Do, the worker can still be closed, and no
// read is left behind.
func TestWorker_goexit(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		p := fake.NewBusy(t)
		p.Result = func() error { runtime.Goexit(); return nil }
		done, teardowns := p.Start(t, t.Context(), opts...), 0
		if p.IsReading() {
			teardowns = 1
		}
		close(p.GoOn)
		(<-done).WantExit(t)
		p.WantGiven(t, "1", "", "")
		p.WantOver(t, teardowns)
		fake.WantNoError(t, p.Worker.Stop(t.Context()))
		fake.WantNoError(t, p.Worker.Close(t.Context()))
		p.Want(t, "teardown", "teardown source", "teardown dlq", "teardown out")
	})
}
