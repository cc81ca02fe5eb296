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

// errTornDown is the text of the error of a Read after Teardown, when no read of the
// source has failed.
const errTornDown = "the connector was torn down"

// renew gives the inner source, which was torn down, other reads for its next opening.
func (b *batching) renew(reads string) {
	b.inner.TornDown, b.start = make(chan struct{}), time.Now()
	slowReads(b.inner.Source, reads)
}

// After Teardown nothing is left of an opening: no goroutine, no error, no records.
func TestBatchingSource_openedAgain(t *testing.T) {
	for _, reads := range []string{"", "30:a 99:b", "1:a,b,c 1:d", "1:", "1:a 1:!", "1:!", "1:a$", "1:$", "1:a 1:b 1:c 1:d"} {
		for _, after := range []time.Duration{0, 10 * ms, 50 * ms} {
			t.Run(fmt.Sprintf("%s after %v", reads, after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBatching(t, funnel.BatchPolicy{Records: 2, Period: 40 * ms}, reads)
					fake.WantNoError(t, b.Open(t.Context()))
					if after > 0 {
						ctx, cancel := context.WithTimeout(t.Context(), after)
						b.next(ctx)
						cancel()
					}
					fake.WantNoError(t, b.Teardown(t.Context()))
					fake.WantNoError(t, b.Teardown(t.Context()))
					for range 2 {
						if recs, err := b.Read(t.Context()); len(recs) > 0 || err == nil || err == io.EOF {
							t.Errorf("Read after Teardown: %v, %v", recs, err)
						}
					}

					b.renew("5:x 1:y 1:z$")
					fake.WantNoError(t, b.Open(t.Context()))
					b.wantNext(t, "6: x y", "7: z", "7: $")
					fake.WantNoError(t, b.Teardown(t.Context()))
					b.Want(t, "open teardown", "open source", "teardown source", "open source", "teardown source")
				})
			})
		}
	}
}

// A Read that is pending when the source is torn down returns when the read of the source
// does, with its error and without records.
func TestBatchingSource_teardownDuringRead(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration // from the first record to Teardown
		reads string
		want  string
	}{
		{"nothing collected", 10 * ms, "", "15: the source was torn down"},
		{"records collected", 10 * ms, "5:a,b", "15: the source was torn down"},
		{"in a pause", 10 * ms, "0: 0: 0: 0: 0:", "10: " + errTornDown},
		{"in a pause, with records collected", 10 * ms, "0:a 0: 0: 0: 0: 0:", "10: " + errTornDown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBatching(t, funnel.BatchPolicy{}, tt.reads)
				result := make(chan string, 1)
				go func() { result <- b.next(t.Context()) }()
				time.Sleep(tt.after)
				b.inner.OnTeardown = func(context.Context) error { time.Sleep(5 * ms); return nil }
				fake.WantNoError(t, b.Teardown(t.Context()))
				fake.WantLines(t, []string{<-result}, tt.want)
			})
		})
	}
}

// No read of the source begins once Teardown has begun.
func TestBatchingSource_noReadAfterTeardown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, funnel.BatchPolicy{}, "")
		reads := 0
		b.inner.OnRead = func(context.Context) ([]opencdc.Record, error) {
			reads++
			<-b.inner.TornDown
			return fake.Records("a"), nil
		}
		result := make(chan string, 1)
		go func() { result <- b.next(t.Context()) }()
		synctest.Wait()
		fake.WantNoError(t, b.Teardown(t.Context()))
		fake.WantLines(t, []string{<-result}, "0: "+errTornDown)
		if reads != 1 {
			t.Errorf("%d reads", reads)
		}
	})
}

// A Read that is pending when the source is torn down still heeds its context.
func TestBatchingSource_teardownLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, funnel.BatchPolicy{}, "1:a")
		ctx, cancel := context.WithTimeout(t.Context(), 20*ms)
		defer cancel()
		result := make(chan string, 1)
		go func() { result <- b.next(ctx) }()
		time.Sleep(10 * ms)
		b.inner.OnTeardown = func(context.Context) error { time.Sleep(50 * ms); return nil }
		fake.WantNoError(t, b.Teardown(t.Context()))
		fake.WantLines(t, []string{<-result}, "20: context deadline exceeded")
		b.wantNext(t, "60: the source was torn down")
	})
}

// A teardown that fails can be repeated, and one that has succeeded is not. Open fails as
// long as the goroutine may still read.
func TestBatchingSource_teardownFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, funnel.BatchPolicy{Period: ms}, "")
		release, reads := make(chan struct{}), 0
		b.inner.OnRead = func(context.Context) ([]opencdc.Record, error) {
			if reads++; reads == 1 {
				return fake.Records("a"), nil
			}
			<-release // neither Teardown nor the context ends the read
			return fake.Records("b"), nil
		}
		b.wantNext(t, "1: a")

		fake.WantError(t, b.Open(t.Context()), nil, "not torn down")
		b.inner.OnTeardown = func(context.Context) error { return fake.ErrTest }
		for range 2 {
			if err := b.Teardown(t.Context()); err != fake.ErrTest {
				t.Errorf("Teardown: %v", err)
			}
		}
		fake.WantError(t, b.Open(t.Context()), nil, "not torn down")

		b.inner.OnTeardown = nil
		cause := errors.New("out of patience")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		err := b.Teardown(ctx)
		fake.WantError(t, err, context.DeadlineExceeded, "still pending", "out of patience")
		fake.WantError(t, err, cause)
		fake.WantError(t, b.Open(t.Context()), nil, "still pending")
		b.Want(t, "open teardown", "teardown source", "teardown source", "teardown source")

		close(release)
		synctest.Wait()
		for range 20 {
			fake.WantNoError(t, b.Teardown(ctx)) // nothing is left to wait for
		}
		b.wantNext(t, "1001: "+errTornDown)
		if reads != 2 {
			t.Errorf("%d reads", reads)
		}
		fake.WantNoError(t, b.Open(t.Context()))
		b.Want(t, "open teardown", "teardown source", "teardown source", "teardown source", "open source")
		fake.WantNoError(t, b.Teardown(t.Context()))
	})
}

// If Open fails, the source stays as it was, and can be opened again.
func TestBatchingSource_openFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, funnel.BatchPolicy{}, "")
		b.inner.OnOpen = func(context.Context) error { return fake.ErrTest }
		fake.WantNoError(t, b.Teardown(t.Context()))
		if err := b.Open(t.Context()); err != fake.ErrTest {
			t.Errorf("Open: %v", err)
		}
		b.wantNext(t, "0: "+errTornDown)
		b.inner.OnOpen = nil
		b.renew("1:a$")
		fake.WantNoError(t, b.Open(t.Context()))
		b.wantNext(t, "1: a", "1: $")
		fake.WantNoError(t, b.Teardown(t.Context()))
	})
}

// breaksWith returns a read that panics or ends the goroutine.
func breaksWith(panics bool) ([]opencdc.Record, error) {
	if panics {
		panic(fake.ErrTest)
	}
	runtime.Goexit()
	return nil, nil
}

// wantBroken fails the test unless the call has ended by the panic or Goexit of
// breaksWith.
func wantBroken(t *testing.T, e fake.Ending, panics bool) {
	t.Helper()
	if panics {
		e.WantPanic(t, fake.ErrTest)
	} else {
		e.Want(t, funnel.ErrGoexit)
	}
}

// A panic or Goexit in a read reaches the caller of each Read after the records before
// it, and then not the caller of Teardown.
func TestBatchingSource_broken(t *testing.T) {
	for _, panics := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := newBatching(t, funnel.BatchPolicy{}, "")
			reads := 0
			b.inner.OnRead = func(context.Context) ([]opencdc.Record, error) {
				if reads++; reads == 1 {
					return fake.Records("a", "b"), nil
				}
				return breaksWith(panics)
			}
			b.wantNext(t, "0: a b")
			for range 2 {
				wantBroken(t, <-fake.Call(func() error { _, err := b.Read(t.Context()); return err }), panics)
			}
			fake.WantNoError(t, b.Teardown(t.Context()))
		})
	}
}

// A panic or Goexit that no Read can report is reported by Teardown, once. A Read that is
// pending, whether it began before or after Teardown, reports it instead.
func TestBatchingSource_brokenByTeardown(t *testing.T) {
	for _, panics := range []bool{true, false} {
		for _, reading := range []string{"not", "before", "after"} {
			t.Run(fmt.Sprintf("panics %t, read %s", panics, reading), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBatching(t, funnel.BatchPolicy{}, "")
					b.inner.OnRead = func(context.Context) ([]opencdc.Record, error) {
						<-b.inner.TornDown
						time.Sleep(ms)
						return breaksWith(panics)
					}
					read := func(ctx context.Context) <-chan fake.Ending {
						defer synctest.Wait()
						return fake.Call(func() error { _, err := b.Read(ctx); return err })
					}
					ctx, cancel := context.WithCancel(t.Context())
					pending := read(ctx)
					if reading != "before" {
						cancel()
						(<-pending).Want(t, context.Canceled)
					}
					tearingDown := fake.Call(func() error { return b.Teardown(t.Context()) })
					synctest.Wait()
					if reading == "after" {
						pending = read(t.Context())
					}
					tornDown := <-tearingDown
					if reading == "not" {
						wantBroken(t, tornDown, panics)
					} else {
						wantBroken(t, <-pending, panics)
						tornDown.Want(t, nil)
					}
					fake.WantNoError(t, b.Teardown(t.Context()))
					b.Want(t, "teardown", "teardown source")
					cancel()
				})
			})
		}
	}
}

// If a Read gives up just when the read panics that Teardown has ended, one of them reports
// the panic.
func TestBatchingSource_brokenInARace(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			b := newBatching(t, funnel.BatchPolicy{}, "")
			ctx, cancel := context.WithCancel(t.Context())
			b.inner.OnRead = func(context.Context) ([]opencdc.Record, error) {
				<-b.inner.TornDown
				time.Sleep(ms)
				cancel()
				return breaksWith(true)
			}
			read := fake.Call(func() error { _, err := b.Read(ctx); return err })
			synctest.Wait()
			tornDown := <-fake.Call(func() error { return b.Teardown(t.Context()) })
			end := <-read
			if end.Panic == nil {
				end.Want(t, context.Canceled)
				end = tornDown
			} else {
				tornDown.Want(t, nil)
			}
			wantBroken(t, end, true)
		})
	}
}

// If the teardown of the source panics, it can be called again, and the context of the
// reads has ended.
func TestBatchingSource_teardownPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, funnel.BatchPolicy{}, "")
		b.inner.OnRead = func(ctx context.Context) ([]opencdc.Record, error) { return nil, b.inner.Block(ctx) }
		b.inner.OnTeardown = func(context.Context) error { panic(fake.ErrTest) }
		read := fake.Call(func() error { _, err := b.Read(t.Context()); return err })
		synctest.Wait()
		if v := fake.PanicOf(func() { _ = b.Teardown(t.Context()) }); v != fake.ErrTest {
			t.Errorf("Teardown panicked with %v", v)
		}
		(<-read).Want(t, context.Canceled)
		b.inner.OnTeardown = nil
		fake.WantNoError(t, b.Teardown(t.Context()))
		b.Want(t, "teardown", "teardown source", "teardown source")
	})
}

// Once an ack has told that the source's stream has closed, Read says why, without the
// records before: they cannot be acked anymore.
func TestBatchingSource_streamReason(t *testing.T) {
	for _, tt := range []struct {
		name   string
		reads  string
		pause  time.Duration // before the ack
		during bool          // the ack comes during the next Read
		ack    error
		want   string
	}{
		{"the next read fails", "0:a,b,c,d,e 5:!", 0, false, io.EOF, "5: !"},
		{"the pending read has failed", "0:a,b,c 9:!", 20 * ms, false, io.EOF, "20: !"},
		{"the pending read fails", "0:a,b,c 30:!", 20 * ms, false, io.EOF, "30: !"},
		{"the read after it fails", "0:a,b,c 30:d 5:!", 20 * ms, false, io.EOF, "35: !"},
		{"the read after it fails, during Read", "0:a,b 0:c 5:d 5:!", 0, true, io.EOF, "10: !"},
		{"during Read", "0:a,b 0:c 9:!", 0, true, io.EOF, "9: !"},
		{"in a wrapped error", "0:a,b,c,d,e 5:!", 0, false, fmt.Errorf("closed: %w", io.EOF), "5: !"},
		{"there is no error", "0:a,b 0:c 5:d 5:e 5:f,g 1:h", 0, true, io.EOF, "15: e f"},
		{"there is no error, nor another record", "0:a,b 0:c 5:d 5:e 100:f", 0, true, io.EOF, "60: e"},
		{"another error", "0:a,b,c,d 5:!", 0, false, fake.ErrTest, "0: c d"},
		{"no error", "0:a,b,c,d 5:!", 0, false, nil, "0: c d"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBatching(t, funnel.BatchPolicy{Records: 2, Period: 50 * ms}, tt.reads)
				b.inner.OnAck = func(context.Context, []opencdc.Position) error { return tt.ack }
				b.wantNext(t, "0: a b")
				if tt.pause > 0 {
					ctx, cancel := context.WithTimeout(t.Context(), 1)
					defer cancel()
					b.next(ctx) // leaves a read pending
					time.Sleep(tt.pause - 1)
				}
				acked := make(chan error, 1)
				ack := func() { acked <- b.Ack(t.Context(), []opencdc.Position{opencdc.Position("a")}) }
				if tt.during {
					time.AfterFunc(ms, ack)
				} else {
					ack()
				}
				b.wantNext(t, tt.want)
				if err := <-acked; err != tt.ack {
					t.Errorf("Ack: %v", err)
				}
				fake.WantNoError(t, b.Teardown(t.Context()))
			})
		})
	}
}
