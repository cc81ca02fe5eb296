package funnel_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
)

// The ends of a worker that is not stopped.
func TestWorker_doEnds(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reads []fake.Read
		err   error
		want  []string
	}{
		{"no more records", []fake.Read{{Records: fake.Records("1")}, {Err: io.EOF}}, nil, []string{"out 1", "ack 1"}},
		{"the last records", []fake.Read{{Records: fake.Records("1"), Err: io.EOF}}, nil, []string{"out 1", "ack 1"}},
		{"a wrapped io.EOF", []fake.Read{{Records: fake.Records("1"), Err: errors.Join(io.EOF)}}, io.EOF, nil},
		{"a failed read drops its records", []fake.Read{{Records: fake.Records("1")}, {Records: fake.Records("2"), Err: fake.ErrTest}}, fake.ErrTest, []string{"out 1", "ack 1"}},
		{"a cancellation that nobody asked for", []fake.Read{{Err: context.Canceled}, {Records: fake.Records("1")}}, context.Canceled, nil},
		{"another end of file", []fake.Read{{Err: io.ErrUnexpectedEOF}}, io.ErrUnexpectedEOF, nil},
		{"an empty position", []fake.Read{{Records: fake.Records("1", "", "3")}}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := &fake.Journal{}
			err := fake.Run(t, nil, fake.From(fake.NewSource(j, tt.reads...)), fake.To(fake.NewDestination(j, "out")))
			switch {
			case tt.name == "an empty position":
				fake.WantError(t, err, nil, "record 1", "empty position", `"source"`)
				fake.WantFatal(t, err, true)
			case tt.err != nil:
				fake.WantError(t, err, tt.err, `"source"`)
			default:
				fake.WantNoError(t, err)
			}
			j.Want(t, "out ack", tt.want...)
		})
	}
}

// However the source ends, what it has returned before comes first, and the end
// is that of the sequential walk.
func TestWithReadAhead_ends(t *testing.T) {
	one, two, empty := fake.Read{Records: fake.Records("1")}, fake.Read{Records: fake.Records("2", "3")}, fake.Read{}
	for _, tt := range []struct {
		name  string
		reads []fake.Read
		err   error
		want  string
		words []string
	}{
		{name: "nothing"},
		{name: "no more records", reads: []fake.Read{one, two, {Err: io.EOF}}, want: "1 2 3"},
		{name: "the last records", reads: []fake.Read{one, {Records: fake.Records("2", "3"), Err: io.EOF}}, want: "1 2 3"},
		{name: "a wrapped io.EOF", reads: []fake.Read{one, {Records: fake.Records("2"), Err: errors.Join(io.EOF)}}, err: io.EOF, want: "1"},
		{name: "empty reads", reads: []fake.Read{empty, one, empty, empty, two, empty}, want: "1 2 3"},
		{name: "a failed read", reads: []fake.Read{one, two, {Err: fake.ErrTest}}, err: fake.ErrTest, want: "1 2 3"},
		{name: "a failed read drops its records", reads: []fake.Read{one, two, {Records: fake.Records("4"), Err: fake.ErrTest}}, err: fake.ErrTest, want: "1 2 3"},
		{name: "a failed first read", reads: []fake.Read{{Err: fake.ErrTest}, one}, err: fake.ErrTest},
		{name: "a cancellation that nobody asked for", reads: []fake.Read{one, {Err: context.Canceled}, two}, err: context.Canceled, want: "1"},
		{name: "another end of file", reads: []fake.Read{one, {Err: io.ErrUnexpectedEOF}}, err: io.ErrUnexpectedEOF, want: "1"},
		{name: "an empty position", reads: []fake.Read{one, two, {Records: fake.Records("4", "", "5")}}, want: "1 2 3", words: []string{"record 1", "of 3", "empty position"}},
		{name: "an empty last position", reads: []fake.Read{one, {Records: fake.Records(""), Err: io.EOF}}, want: "1", words: []string{"empty position"}},
	} {
		for _, ahead := range []int{0, 1, 100} {
			for _, slow := range []time.Duration{0, time.Millisecond} {
				synctest.Test(t, func(t *testing.T) {
					j := &fake.Journal{}
					s := &fake.StrictSource{T: t, Source: fake.NewSource(j, tt.reads...)}
					err := fake.RunWorker(t, fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(fake.SlowDestination(j, "out", slow))), nil, fake.Ahead(ahead)...))
					switch {
					case tt.err != nil || tt.words != nil:
						fake.WantError(t, err, tt.err, append(tt.words, `"source"`)...)
						fake.WantFatal(t, err, (tt.words != nil))
					case err != nil:
						t.Errorf("%s: %v", tt.name, err)
					}
					j.WantGiven(t, tt.want, "", tt.want)
				})
			}
		}
	}
}

// The context of Do ends while the worker works, reads, or before.
func TestWorker_contextEnds(t *testing.T) {
	for _, tt := range []struct {
		name     string
		canceled func(cancel func(), source *fake.Source, out *fake.Destination)
		want     []string
		also     error
	}{{
		name:     "before Do",
		canceled: func(cancel func(), _ *fake.Source, _ *fake.Destination) { cancel() },
	}, {
		name: "in a source that does not care",
		canceled: func(cancel func(), s *fake.Source, _ *fake.Destination) {
			i := 0
			s.OnRead = func(context.Context) ([]opencdc.Record, error) {
				if i++; i == 3 {
					cancel()
				}
				return fake.Records(strconv.Itoa(i)), nil
			}
		},
		want: []string{"out 1", "ack 1", "out 2", "ack 2", "out 3", "ack 3"},
	}, {
		name: "in a read",
		canceled: func(cancel func(), s *fake.Source, _ *fake.Destination) {
			s.OnRead = func(ctx context.Context) ([]opencdc.Record, error) {
				cancel()
				return nil, errors.Join(fake.ErrTest, ctx.Err())
			}
		},
		also: fake.ErrTest,
	}, {
		name: "in a destination that fails for another reason",
		canceled: func(cancel func(), _ *fake.Source, d *fake.Destination) {
			d.OnWrite = func(context.Context, []opencdc.Record) error { cancel(); return fake.ErrTest }
		},
		want: []string{"out 1"},
		also: fake.ErrTest,
	}} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			j := &fake.Journal{}
			source, out := fake.SourceOf(j, "1", "2"), fake.NewDestination(j, "out")
			tt.canceled(cancel, source, out)
			err := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil).Do(ctx)
			fake.WantError(t, err, context.Canceled)
			if tt.also != nil {
				fake.WantError(t, err, tt.also)
			} else if err != context.Canceled {
				t.Errorf("the error is %v, not that of the context", err)
			}
			j.Want(t, "out ack", tt.want...)
		})
	}
}

// The context of Do ends while the worker writes, or waits, and a read is pending
// that does not care.
func TestWithReadAhead_contextEnds(t *testing.T) {
	for _, idle := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := fake.NewBusy(t)
			ctx, cancel := context.WithCancel(context.WithValue(t.Context(), ctxKey{}, "mine"))
			defer cancel()
			p.Source.OnTeardown = func(got context.Context) error {
				fake.WantNoError(t, got.Err())
				if got.Value(ctxKey{}) != "mine" {
					t.Error("the context of the teardown is not that of Do")
				}
				return nil
			}
			done, want := p.StartReading(t, ctx), "1"
			if idle {
				close(p.GoOn)
				synctest.Wait()
				want = "1 2 3"
			}
			cancel()
			synctest.Wait()
			if !idle {
				p.WantGiven(t, want, "", "")
				close(p.GoOn)
			}
			end := <-done
			if end.Err != context.Canceled {
				t.Errorf("Do has ended with %+v", end)
			}
			p.WantGiven(t, want, "", want)
			p.WantOver(t, 1)
			fake.WantNoError(t, p.Worker.Close(t.Context()))
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

// The error of an ended context has its cause, too.
func TestWorker_contextCause(t *testing.T) {
	for _, ahead := range []int{0, 1} {
		ctx, cancel := context.WithCancelCause(t.Context())
		j := &fake.Journal{}
		s := fake.SourceOf(j, "1")
		s.Endless = true
		w := fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(fake.NewDestination(j, "out"))), nil, fake.Ahead(ahead)...)
		done := fake.Start(ctx, w)
		<-s.Reading
		cancel(fake.ErrTest)
		e := <-done
		e.Want(t, context.Canceled)
		e.Want(t, fake.ErrTest)
		ctx, cancel = context.WithCancelCause(t.Context())
		cancel(fake.ErrTest)
		w = fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.To(fake.NewDestination(j, "out"))), nil, fake.Ahead(ahead)...)
		err := w.Do(ctx)
		fake.WantError(t, err, context.Canceled)
		fake.WantError(t, err, fake.ErrTest)
	}
}

// If acking reports io.EOF, the next read says why the stream has closed.
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
			j := &fake.Journal{}
			source := fake.NewSource(j, fake.Read{Records: fake.Records("1")}, tt.next)
			source.OnAck = func(context.Context, []opencdc.Position) error { return tt.ack }
			err := fake.Run(t, nil, fake.From(source), fake.To(fake.NewDestination(j, "out")))
			fake.WantError(t, err, tt.want)
			j.Want(t, "out", "out 1")
			if read := len(source.Reads) == 0; read != (tt.ack == ackErr) {
				t.Errorf("the source was read again: %v", read)
			}
		})
	}
}

// If acking reports io.EOF, the next read says why the stream has closed: one that
// has begun later, or one before that has failed.
func TestWithReadAhead_ackReportsEOF(t *testing.T) {
	ackErr := errors.Join(errors.New("the stream of acks"), io.EOF)
	for _, tt := range []struct {
		name    string
		pending fake.Read // when the stream has closed
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
		synctest.Test(t, func(t *testing.T) {
			p := fake.NewBusy(t)
			asked := make(chan struct{})
			p.Pending = func(context.Context) ([]opencdc.Record, error) {
				switch len(p.Lines("read")) {
				case 4:
					<-asked
					time.Sleep(time.Millisecond) // the worker waits for the reason
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
			end := <-done
			end.Want(t, tt.want)
			if tt.want == fake.ErrTest && errors.Is(end.Err, ackErr) {
				t.Errorf("%s: %v", tt.name, end.Err)
			}
			p.WantGiven(t, "1", "", "1")
			fake.WantNoError(t, p.Worker.Close(t.Context()))
			p.WantOver(t, 3)
		})
	}
}

// The same if no read is pending then: the reader waits for room, or is done.
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
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			s := fake.NewSource(j)
			s.OnAck = func(context.Context, []opencdc.Position) error { return io.EOF }
			d := fake.SlowDestination(j, "out", time.Second)
			reads := 0
			s.OnRead = func(context.Context) ([]opencdc.Record, error) {
				if reads++; reads == 2 {
					time.Sleep(time.Millisecond) // 1 is on its way by itself
				}
				if reads > len(tt.reads) {
					return nil, errors.New("one read too many")
				}
				return tt.reads[reads-1].Records, tt.reads[reads-1].Err
			}
			err := fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(d)), nil, fake.Ahead(tt.ahead)...).Do(t.Context())
			fake.WantError(t, err, tt.want)
			if errors.Is(err, io.EOF) != (tt.want == io.EOF) {
				t.Errorf("%s: %v", tt.name, err)
			}
			j.WantGiven(t, "1", "", "1")
		})
	}
}

// What else went wrong is not forgotten over the reason.
func TestWorker_ackReportsEOFAfterAnotherError(t *testing.T) {
	reason := errors.New("the stream broke")
	t.Run("on a branch", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			source := fake.NewSource(j, fake.Read{Records: fake.Records("1", "2")}, fake.Read{Err: reason})
			source.OnAck = func(context.Context, []opencdc.Position) error { return io.EOF }
			a, b := fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
			delivered := make(chan struct{})
			b.OnTeardown = func(context.Context) error { return nil }
			b.OnAck = func(context.Context) ([]connector.DestinationAck, error) {
				defer close(delivered)
				return b.Pending, nil
			}
			a.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
				if string(recs[0].Position) == "2" {
					<-delivered
					return funnel.FatalError(fake.ErrTest)
				}
				return nil
			}
			first := fake.From(source)
			first.Next = []*funnel.TaskNode{fake.Chain(fake.Through("p", fake.ByPosition(fake.Answers{"2": fake.SecondTime(fake.Pass)})), fake.To(a)), fake.To(b)}
			err := fake.RunWorker(t, fake.NewWorker(t, first, nil))
			fake.WantError(t, err, fake.ErrTest)
			fake.WantError(t, err, reason)
			fake.WantFatal(t, err, true)
		})
	})
	t.Run("in the DLQ", func(t *testing.T) {
		j := &fake.Journal{}
		source := fake.NewSource(j, fake.Read{Records: fake.Records("1", "2")}, fake.Read{Err: reason})
		source.OnAck = func(context.Context, []opencdc.Position) error { return io.EOF }
		dlq := fake.Window(fake.NewDestination(j, "dlq"), 10, 1)
		err := fake.Run(t, dlq, fake.From(source), fake.Through("p", fake.Each(fake.Fail)), fake.To(fake.NewDestination(j, "out")))
		fake.WantError(t, err, fake.ErrTest, `"2"`)
		fake.WantError(t, err, reason)
		fake.WantFatal(t, err, true)
	})
}

// If acking reports io.EOF and the context ends before the next read says why, the
// error of the ack is known.
func TestWorker_ackReportsEOFAndTheContextEnds(t *testing.T) {
	for _, ahead := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			j := &fake.Journal{}
			s := fake.SourceOf(j, "1")
			s.Endless = true
			s.Reading = make(chan struct{}, 10)
			s.OnAck = func(context.Context, []opencdc.Position) error { return io.EOF }
			w := fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(fake.NewDestination(j, "out"))), nil, fake.Ahead(ahead)...)
			done := fake.Start(ctx, w)
			synctest.Wait()
			cancel()
			e := <-done
			e.Want(t, context.Canceled)
			e.Want(t, io.EOF, "failed to ack")
			fake.WantNoError(t, w.Close(t.Context()))
		})
	}
}

// A stop that comes while the reason of a closed stream is read.
func TestWorker_stopWhileReadingTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		source := fake.SourceOf(j, "1")
		source.Endless = true
		source.OnAck = func(context.Context, []opencdc.Position) error { return io.EOF }
		w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(fake.NewDestination(j, "out"))), nil)
		done := make(chan error)
		go func() { done <- w.Do(t.Context()) }()
		<-source.Reading
		fake.WantNoError(t, w.Stop(t.Context()))
		fake.WantError(t, <-done, io.EOF)
	})
}

// A stop, or the end of the context, while the reason of a closed stream is read.
func TestWithReadAhead_stopWhileReadingTheReason(t *testing.T) {
	for _, stops := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p := fake.NewBusy(t)
			p.Source.OnAck = func(context.Context, []opencdc.Position) error { return io.EOF }
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := p.StartReading(t, ctx)
			close(p.GoOn)
			synctest.Wait()
			if stops {
				fake.WantNoError(t, p.Worker.Stop(t.Context()))
				(<-done).Want(t, io.EOF)
			} else {
				cancel()
				(<-done).Want(t, context.Canceled)
			}
			p.WantOver(t, 1)
		})
	}
}

// A panic reaches the caller of Do as it is, and leaves no lock behind.
func TestWorker_panic(t *testing.T) {
	for _, where := range []string{"read", "write", "ack"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				source, out := fake.SourceOf(j, "1"), fake.NewDestination(j, "out")
				switch where {
				case "read":
					source.OnRead = func(context.Context) ([]opencdc.Record, error) { panic(fake.ErrTest) }
				case "write":
					out.OnWrite = func(context.Context, []opencdc.Record) error { panic(fake.ErrTest) }
				case "ack":
					source.OnAck = func(context.Context, []opencdc.Position) error { panic(fake.ErrTest) }
				}
				w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil)
				fake.WantNoError(t, w.Open(t.Context()))
				func() {
					defer func() {
						if p := recover(); p != fake.ErrTest {
							t.Errorf("Do panicked with %v", p)
						}
					}()
					_ = w.Do(t.Context())
				}()
				fake.WantNoError(t, w.Ack(t.Context(), funnel.NewBatch(nil)))
				fake.WantNoError(t, w.Stop(t.Context()))
				fake.WantNoError(t, w.Close(t.Context()))
				j.Want(t, "teardown", "teardown source", "teardown out")
			})
		})
	}
}

// A panic while a batch is on its way is the panic of Do, after the read has ended:
// as it is, or with what else has gone wrong. So is one while Do tears the source
// down.
func TestWithReadAhead_panicElsewhere(t *testing.T) {
	for _, where := range []string{"write", "write, and the read panics, too", "ack", "teardown"} {
		synctest.Test(t, func(t *testing.T) {
			p := fake.NewBusy(t)
			explode := func() { panic(io.ErrNoProgress) }
			switch where {
			case "write":
				p.Result = func() error { explode(); return nil }
			case "write, and the read panics, too":
				p.Pending = func(context.Context) ([]opencdc.Record, error) { <-p.Source.TornDown; panic(fake.ErrTest) }
				p.Result = func() error { explode(); return nil }
			case "ack":
				p.Source.OnAck = func(context.Context, []opencdc.Position) error { explode(); return nil }
			case "teardown":
				p.Pending = func(ctx context.Context) ([]opencdc.Record, error) { <-ctx.Done(); panic(fake.ErrTest) }
				p.Result = func() error { return fake.ErrTest }
				p.Source.OnTeardown = func(context.Context) error {
					if len(p.Lines("teardown")) == 1 {
						explode()
					}
					return nil
				}
			}
			done := p.StartReading(t, t.Context())
			close(p.GoOn)
			end := <-done
			if where == "write" || where == "ack" {
				if end.Panic != io.ErrNoProgress {
					t.Errorf("%s: Do has ended with %+v", where, end)
				}
			} else {
				end.WantPanic(t, io.ErrNoProgress)
				fake.WantError(t, end.Panic.(error), fake.ErrTest)
			}
			p.WantOver(t, 1)
			fake.WantNoError(t, p.Worker.Ack(t.Context(), funnel.NewBatch(nil)))
			fake.WantNoError(t, p.Worker.Stop(t.Context()))
			fake.WantNoError(t, p.Worker.Close(t.Context()))
		})
	}
}

// The same for a goroutine that ends.
func TestWorker_goexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		source, out := fake.SourceOf(j, "1"), fake.NewDestination(j, "out")
		out.OnWrite = func(context.Context, []opencdc.Record) error { runtime.Goexit(); return nil }
		w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil)
		fake.WantNoError(t, w.Open(t.Context()))
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = w.Do(t.Context())
			t.Error("Do has returned")
		})
		wg.Wait()
		fake.WantNoError(t, w.Close(t.Context()))
		j.Want(t, "ack teardown", "teardown source", "teardown out")
	})
}

// The goroutine of Do is ended while a read is pending.
func TestWithReadAhead_goexitElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.NewBusy(t)
		p.Result = func() error { runtime.Goexit(); return nil }
		done := p.StartReading(t, t.Context())
		close(p.GoOn)
		if end := <-done; !end.Exited {
			t.Errorf("Do has ended with %+v", end)
		}
		p.WantOver(t, 1)
		fake.WantNoError(t, p.Worker.Stop(t.Context()))
		fake.WantNoError(t, p.Worker.Close(t.Context()))
	})
}
