package funnel_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// startBatching opens and starts a worker that writes the batches to a destination "out".
func startBatching(t *testing.T, b *batching, opts ...funnel.WorkerOption) (*funnel.Worker, <-chan fake.Ending) {
	w := fake.NewWorker(t, fake.Chain(fake.From(b), fake.Out(b.Journal)), nil, opts...)
	fake.WantNoError(t, w.Open(t.Context()))
	done := fake.Start(t.Context(), w)
	return w, done
}

// A worker gets the batches, and acks each record once, in order, until the source ends.
func TestBatchingSource_inWorker(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		b := newBatching(t, funnel.BatchPolicy{Records: 3, Period: 20 * ms}, "5:a 5:b 0: 5:c 5:d,e,f,g 50:h 1:i 1:$")
		w, done := startBatching(t, b, opts...)
		(<-done).Want(t, nil)
		fake.WantNoError(t, w.Close(t.Context()))
		b.WantGiven(t, "a b c d e f g h i", "", "a b c d e f g h i")
		b.Want(t, "out teardown", "out a b c", "out d e f", "out g", "out h i", "teardown source", "teardown out")
	})
}

// With read-ahead, batches are collected while one is in flight, and joined if several are
// complete.
func TestBatchingSource_readAhead(t *testing.T) {
	for ahead, want := range map[int][]int{0: {10, 10, 10, 10, 10}, 1: {10, 10, 10, 10, 10}, 100: {10, 20, 20}} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			d := fake.NewDestination(j, "out")
			var sizes []int
			d.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
				sizes = append(sizes, len(recs))
				time.Sleep(25 * ms)
				return nil
			}
			s := funnel.NewBatchingSource(&fake.StrictSource{T: t, Source: fake.SteadySource(j, 50, ms)}, funnel.BatchPolicy{Records: 10})
			fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(d)), nil, fake.Ahead(ahead)...)))
			if !slices.Equal(sizes, want) {
				t.Errorf("%d ahead: batches of %v records, want %v", ahead, sizes, want)
			}
		})
	}
}

// Stop ends a pending Read. What was collected is neither written nor acked, and is read
// again by the next worker.
func TestBatchingSource_stop(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		b := newBatching(t, funnel.BatchPolicy{Records: 3}, "5:a,b,c 5:d 5:e")
		w, done := startBatching(t, b, opts...)
		time.Sleep(50 * ms)
		synctest.Wait()
		fake.WantNoError(t, w.Stop(t.Context()))
		(<-done).Want(t, nil)
		fake.WantNoError(t, w.Close(t.Context()))
		b.WantGiven(t, "a b c", "", "a b c")

		b.renew("5:d,e 5:f,g 5:$")
		w, done = startBatching(t, b, opts...)
		(<-done).Want(t, nil)
		fake.WantNoError(t, w.Close(t.Context()))
		b.WantGiven(t, "a b c d e f g", "", "a b c d e f g")
	})
}

// The end of the context of Do ends a pending Read at once.
func TestBatchingSource_contextOfDo(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		b := newBatching(t, funnel.BatchPolicy{Records: 3}, "5:a,b,c 5:d")
		w := fake.NewWorker(t, fake.Chain(fake.From(b), fake.Out(b.Journal)), nil, opts...)
		fake.WantNoError(t, w.Open(t.Context()))
		ctx, cancel := context.WithTimeout(t.Context(), 50*ms)
		defer cancel()
		(<-fake.Start(ctx, w)).Want(t, context.DeadlineExceeded)
		if since(b.start) != 50 {
			t.Errorf("Do returned after %v ms", since(b.start))
		}
		fake.WantNoError(t, w.Close(t.Context()))
		b.WantGiven(t, "a b c", "", "a b c")
	})
}

// A failure of the source takes effect after the records before it.
func TestBatchingSource_failureInWorker(t *testing.T) {
	for _, how := range []string{"error", "panic", "goexit"} {
		t.Run(how, func(t *testing.T) {
			fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
				b := newBatching(t, funnel.BatchPolicy{}, "")
				reads := 0
				b.inner.OnRead = func(context.Context) ([]opencdc.Record, error) {
					switch reads++; {
					case reads == 1:
						return fake.Records("a", "b"), nil
					case how == "error":
						return fake.Records("c"), fake.ErrTest
					default:
						return breaksWith(how == "panic")
					}
				}
				w, done := startBatching(t, b, opts...)
				switch end := <-done; how {
				case "error":
					end.Want(t, fake.ErrTest, "failed to read from source")
					fake.WantTask(t, end.Err, "source")
				case "panic":
					end.WantPanic(t, fake.ErrTest)
				default:
					end.Want(t, funnel.ErrGoexit)
					fake.WantTask(t, end.Err, "source")
				}
				fake.WantNoError(t, w.Close(t.Context()))
				b.WantGiven(t, "a b", "", "a b")
			})
		})
	}
}

// If an ack tells that the source's stream has closed, Do says why, although records were
// collected since.
func TestBatchingSource_streamReasonInWorker(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		b := newBatching(t, funnel.BatchPolicy{Records: 2}, "0:a,b,c,d,e 5:!")
		b.inner.OnAck = func(context.Context, []opencdc.Position) error { return io.EOF }
		w, done := startBatching(t, b, opts...)
		end := <-done
		end.Want(t, fake.ErrTest)
		if errors.Is(end.Err, io.EOF) {
			t.Errorf("the error says %v", end.Err)
		}
		fake.WantNoError(t, w.Close(t.Context()))
	})
}
